package server_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/mem"
	"trefoil/server"
)

// The work of the tests below: 32 calls at once, 5 ms each, however many handlers
// there are.
const (
	atOnce   = 32
	work     = 5 * time.Millisecond
	peak     = atOnce * int(time.Second/work) // calls a second
	overload = 3
	deadline = 250 * time.Millisecond // of a caller
)

// workshop is a method with so much room.
type workshop struct {
	room    chan struct{}
	waiting atomic.Int64 // handlers
	most    atomic.Int64
}

// highest makes most n, when that is more.
func highest(most *atomic.Int64, n int64) {
	for {
		old := most.Load()
		if n <= old || most.CompareAndSwap(old, n) {
			return
		}
	}
}

func newWorkshop() *workshop { return &workshop{room: make(chan struct{}, atOnce)} }

func (w *workshop) serve(context.Context, struct{}) (int, error) {
	n := w.waiting.Add(1)
	highest(&w.most, n)
	w.room <- struct{}{}
	time.Sleep(work)
	<-w.room
	w.waiting.Add(-1)
	return 1, nil
}

// outcome is what callers have seen.
type outcome struct {
	good    int // answered in time
	took    []time.Duration
	late    int // answered with success, too late
	refused int
	hints   map[int]bool // milliseconds after which to try again
	others  map[int]int  // other codes
}

func (o *outcome) p99() time.Duration {
	slices.Sort(o.took)
	return o.took[len(o.took)*99/100]
}

// storm calls at a rate for a time, over several connections, whatever becomes of the calls.
func storm(t *testing.T, network *mem.Network, perSecond int, total time.Duration) *outcome {
	const conns = 8
	o := &outcome{hints: map[int]bool{}, others: map[int]int{}}
	var mu sync.Mutex
	var done sync.WaitGroup
	begun := time.Now()
	for range conns {
		nc, err := network.Dial(t.Context(), "srv")
		require.NoError(t, err)
		done.Go(func() { listen(nc, begun, o, &mu) })
		go func() {
			sent := 0
			for tick := time.Millisecond; tick <= total; tick += time.Millisecond {
				time.Sleep(tick - time.Since(begun))
				var batch []byte
				for ; sent < int(float64(perSecond/conns)*tick.Seconds()); sent++ {
					id := strconv.FormatInt(int64(time.Since(begun)), 10)
					batch = append(batch, frame{0, id, `{"method":"work","parameters":{},"timeout_ms":250}`}.bytes()...)
				}
				if _, err := nc.Write(batch); err != nil {
					return
				}
			}
			time.Sleep(2 * time.Second) // for the last answers
			nc.Close()
		}()
	}
	done.Wait()
	return o
}

// listen takes answers. Their ids say when they were asked for.
func listen(nc net.Conn, begun time.Time, o *outcome, mu *sync.Mutex) {
	r := bufio.NewReader(nc)
	for {
		var head [12]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		rest := make([]byte, binary.BigEndian.Uint32(head[:4])-8)
		if _, err := io.ReadFull(r, rest); err != nil {
			return
		}
		n := binary.BigEndian.Uint32(head[8:])
		f := frame{int32(binary.BigEndian.Uint32(head[4:])), string(rest[:n]), string(rest[n:])}
		if f.mtype != 1 {
			continue
		}
		at, _ := strconv.ParseInt(f.id, 10, 64)
		took := time.Since(begun) - time.Duration(at)
		mu.Lock()
		o.note(f, took)
		mu.Unlock()
	}
}

func (o *outcome) note(f frame, took time.Duration) {
	switch code := f.rcode(); {
	case code == 0 && took <= deadline:
		o.good++
		o.took = append(o.took, took)
	case code == 0:
		o.late++
	case code == 20 || code == 9: // legacy peers see an internal error
		o.refused++
	default:
		o.others[code]++
	}
}

// faults are what overload must not do; none when the server holds its own.
func faults(o *outcome, total time.Duration) (list []string) {
	if want := peak * int(total/time.Millisecond) / 1000 * 9 / 10; o.good < want {
		list = append(list, fmt.Sprintf("%d calls answered in time, of %d", o.good, want))
	}
	if len(o.took) == 0 || o.p99() > 10*work {
		list = append(list, "p99 of what is accepted is too long")
	}
	return list
}

// TestOverload: at three times the capacity the server does nine tenths of what it
// can, in good time, and refuses the rest; without shedding it does not.
func TestOverload(t *testing.T) {
	const total = 2 * time.Second
	for _, tt := range []struct {
		name  string
		opts  []server.Option
		holds bool
	}{
		{"a known limit", []server.Option{server.WithMaxConcurrent(atOnce)}, true},
		{"a limit that is found out", []server.Option{server.WithAdaptiveShedding()}, true},
		{"planted: no shedding", nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network, w := mem.NewNetwork(), newWorkshop()
				srv := server.NewRpcServer("srv", append(tt.opts, server.WithTransport(network.Server), server.WithLogger(quietLog()))...)
				require.NoError(t, server.Handle(srv, "work", w.serve))
				serve(t, srv)
				o := storm(t, network, overload*peak, total)
				found := faults(o, total)
				t.Logf("%s: %d in time (%d%% of the peak), p99 %v, %d late, %d refused, %v others, %d handlers at once",
					tt.name, o.good, o.good*100/(peak*int(total/time.Second)), o.p99(), o.late, o.refused, o.others, w.most.Load())
				assert.Equal(t, tt.holds, len(found) == 0, "%v", found)
			})
		})
	}
}

// TestWhatWaitsIsBounded: in number, and in time also when no handler ever ends.
func TestWhatWaitsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network, w := mem.NewNetwork(), newWaiter()
		srv := server.NewRpcServer("srv", server.WithTransport(network.Server), server.WithLogger(quietLog()),
			server.WithMaxConcurrent(1), server.WithCallQueue(server.CallQueue{Most: 10}))
		w.on(t, srv)
		serve(t, srv)
		r := rawOver(t, network, "srv").hello()
		for i := range 100 {
			r.send(wait(strconv.Itoa(i)))
			if i == 0 {
				<-w.begun
			}
		}
		for i := range 89 {
			f := r.expect()
			assert.Equal(t, strconv.Itoa(i+1), f.id, "the oldest is refused for a further one")
			assert.Equal(t, 20, f.rcode())
			ms, _ := f.field("details").(map[string]any)["retry_after_ms"].(float64)
			assert.True(t, ms >= 50 && ms <= 150, "%v", f)
		}
		r.send(frame{23, "95", `{}`})
		begun := time.Now()
		codes := map[int]int{}
		for range 10 {
			codes[r.expectNot(18).rcode()]++
		}
		assert.Equal(t, map[int]int{20: 9, 17: 1}, codes, "one was cancelled meanwhile")
		assert.Less(t, time.Since(begun), 2*time.Second)
		r.send(frame{23, "0", `{}`})
		assert.Equal(t, "0", r.expectNot(18).id)
		r.send(wait("next"))
		<-w.begun
		r.send(frame{23, "next", `{}`})
		assert.Equal(t, 17, r.expectNot(18).rcode())
	})
}

// TestLimitsHoldInRealTime, on every transport: callers that call again and again,
// more of them than there is room for.
func TestLimitsHoldInRealTime(t *testing.T) {
	const most, callers, each = 4, 32, 50
	for name, place := range places(t) {
		t.Run(name, func(t *testing.T) {
			w := &workshop{room: make(chan struct{}, most)}
			dial := place(t, func(addr string, o server.Option) abstract.BaseServer {
				srv := server.NewRpcServer(addr, o, server.WithLogger(quietLog()), server.WithMethodConcurrent("work", most), server.WithAdaptiveShedding())
				require.NoError(t, server.Handle(srv, "work", func(context.Context, struct{}) (int, error) {
					n := w.waiting.Add(1)
					defer w.waiting.Add(-1)
					highest(&w.most, n)
					runtime.Gosched()
					return 1, nil
				}))
				return srv
			})
			var codes [100]atomic.Int64
			var done sync.WaitGroup
			for range callers {
				r := dial().hello()
				done.Go(func() {
					for i := range each {
						id := strconv.Itoa(i)
						if _, err := r.Write(frame{0, id, `{"method":"work","parameters":{}}`}.bytes()); !assert.NoError(t, err) {
							return
						}
						f, err := r.read()
						for err == nil && f.mtype == 18 {
							f, err = r.read()
						}
						if !assert.NoError(t, err) || !assert.Equal(t, id, f.id) {
							return
						}
						codes[f.rcode()].Add(1)
					}
				})
			}
			done.Wait()
			assert.LessOrEqual(t, w.most.Load(), int64(most))
			assert.Equal(t, int64(callers*each), codes[0].Load()+codes[20].Load(), "each is answered once")
			assert.Positive(t, codes[0].Load())
		})
	}
}

func TestRatesOfCalls(t *testing.T) {
	for name, opt := range map[string]server.Option{
		"of the server":    server.WithRateLimit(10, 5),
		"of a method":      server.WithMethodRateLimit("void", 10, 5),
		"of each identity": server.WithIdentityRateLimit(10, 5),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t, server.WithLogger(quietLog()), opt)
				defer s.stop()
				methods(t, s.broker)
				r, other := rawOver(t, s.network, "broker").hello(), rawOver(t, s.network, "broker").hello()
				call := func(r *raw) frame {
					r.send(frame{0, "1", `{"method":"void","parameters":{}}`})
					return r.expectNot(18)
				}
				for range 2 {
					for _, from := range []*raw{r, other, r, other, r} {
						require.Equal(t, 0, call(from).rcode())
					}
					f := call(other)
					require.Equal(t, 20, f.rcode())
					after := f.field("details").(map[string]any)["retry_after_ms"].(float64)
					assert.InDelta(t, 100, after, 2)
					time.Sleep(time.Duration(after) * time.Millisecond)
					require.Equal(t, 0, call(other).rcode(), "it said so")
					time.Sleep(time.Second)
				}
			})
		})
	}
}

// TestCallIsRefusedAtOnceWhenItsRoomIsOfNoUse has a call wait for room beside another
// one of its method, and then find the workers' queue full.
func TestCallIsRefusedAtOnceWhenItsRoomIsOfNoUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := provider(t, new(ledger), server.WithHandlers(1, 1), server.WithMethodConcurrent("sleep", 1), server.WithCallQueue(server.CallQueue{Interval: time.Minute}))
		release := make(chan struct{})
		require.NoError(t, server.Handle(p.srv, "block", func(context.Context, struct{}) (int, error) {
			<-release
			return 1, nil
		}))
		calls := func(methods ...string) *raw {
			r := rawOver(t, p.network, "srv").hello()
			for _, m := range methods {
				r.send(frame{0, "1", sprintf(`{"method":%q,"parameters":{}}`, m)})
				synctest.Wait()
			}
			return r
		}
		calls("sleep")
		waits, begun := calls("sleep"), time.Now()
		calls("block")
		assert.Equal(t, int(abstract.Overloaded), waits.expect().rcode())
		assert.Less(t, time.Since(begun), time.Second, "not with the next message to the connection")
		close(release)
		_, err := p.shutdown(time.Minute)
		require.NoError(t, err)
	})
}
