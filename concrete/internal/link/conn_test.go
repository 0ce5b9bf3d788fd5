package link

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/abstract/transporttest"
)

func TestQueueDoesNotWrite(t *testing.T) {
	w := newFakeWire()
	c, _ := testConn(t, w)
	require.NoError(t, c.Queue(testFrame(abstract.Ping, 1, 0)))
	assert.Empty(t, w.bytes())
	c.Flush()
	assert.Equal(t, []uint64{1}, numbers(w.bytes()))
}

func TestFlushWritesEverythingInOneWrite(t *testing.T) {
	w := newFakeWire()
	c, _ := testConn(t, w)
	var want []byte
	for n := range uint64(200) { // small and big ones, which are written from where they are
		f := testFrame(abstract.RspRPC, n, int(n%7)*400)
		want = append(want, f.Bytes...)
		require.NoError(t, c.Queue(f))
	}
	c.Flush()
	assert.True(t, bytes.Equal(want, w.bytes()))
	assert.Equal(t, 1, w.tries)
}

func TestFullSocketIsWrittenByAGoroutine(t *testing.T) {
	w := newFakeWire()
	w.room, w.blocked = 100, make(chan struct{})
	c, _ := testConn(t, w)
	for n := range uint64(10) {
		require.NoError(t, c.Queue(testFrame(abstract.RspRPC, n, 90)))
	}
	c.Flush() // returns, though the socket is full
	assert.Len(t, w.bytes(), 100)
	require.NoError(t, c.Queue(testFrame(abstract.RspRPC, 10, 0)))
	c.Flush()
	close(w.blocked)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c.Shutdown(ctx, nil)
	assert.Equal(t, []uint64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, numbers(w.bytes()))
}

func TestHigherClassGetsInBetweenWhileTheSocketIsFull(t *testing.T) {
	w := newFakeWire()
	w.room, w.blocked = 0, make(chan struct{})
	c, _ := testConn(t, w)
	for n := range uint64(100) {
		require.NoError(t, c.Queue(testFrame(abstract.ReqTopic, n, 16<<10)))
	}
	c.Flush()
	require.NoError(t, c.Queue(testFrame(abstract.RspRPC, 1000, 0)))
	close(w.blocked)
	c.Shutdown(context.Background(), nil)
	list := numbers(w.bytes())
	require.Len(t, list, 101)
	at := 0
	for list[at] != 1000 {
		at++
	}
	assert.LessOrEqual(t, at, batchBytes/(16<<10)+1)
}

func TestWriteErrorClosesTheConnection(t *testing.T) {
	reason := errors.New("cable cut")
	for _, tt := range []struct {
		name string
		prep func(w *fakeWire)
	}{
		{"at once", func(w *fakeWire) { w.err = reason }},
		{"in the goroutine", func(w *fakeWire) { w.room, w.blocked = 0, make(chan struct{}) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newFakeWire()
			tt.prep(w)
			c, s := testConn(t, w)
			require.NoError(t, c.Send(&transporttest.Message{}))
			if w.blocked != nil {
				w.mu.Lock()
				w.err = reason
				w.mu.Unlock()
				close(w.blocked)
			}
			err := wait(t, s.closed)
			assert.ErrorIs(t, err, reason)
			assert.Equal(t, abstract.Disconnected, abstract.CodeOf(err))
		})
	}
}

func TestOneWriterAtATime(t *testing.T) {
	const senders, each = 8, 400
	w := newFakeWire()
	c, _ := testConn(t, w)
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for n := range each {
				w.mu.Lock()
				w.room = rand.IntN(500) - 100
				w.mu.Unlock()
				assert.NoError(t, c.Send(&transporttest.Message{Kind: abstract.RspRPC, N: uint64(i*each + n)}))
			}
		})
	}
	wg.Wait()
	c.Shutdown(context.Background(), nil)
	assert.Zero(t, w.overlaps)
	list := numbers(w.bytes())
	require.Len(t, list, senders*each)
	next := [senders]uint64{}
	for _, n := range list {
		require.Equal(t, next[n/each], n%each)
		next[n/each]++
	}
}

func TestWithdrawnFrameIsSkipped(t *testing.T) {
	w := newFakeWire()
	c, _ := testConn(t, w)
	marks := make([]abstract.Mark, 3)
	for n := range marks {
		f := testFrame(abstract.ReqRPC, uint64(n), 0)
		f.Mark = &marks[n]
		require.NoError(t, c.Queue(f))
	}
	require.True(t, marks[1].Withdraw())
	c.Flush()
	assert.Equal(t, []uint64{0, 2}, numbers(w.bytes()))
	assert.False(t, marks[0].Withdraw())
}

func TestGapNoticeStandsBeforeTheNextFrame(t *testing.T) {
	w := newFakeWire()
	c, _ := testConn(t, w)
	l := c.NewLane(abstract.LaneConfig{MaxBytes: 250, Gap: func(n uint64) abstract.Frame { return testFrame(abstract.Gap, 100+n, 0) }})
	for n := range uint64(5) {
		require.NoError(t, l.Queue(testFrame(abstract.ReqTopic, n, 100)))
	}
	c.Flush()
	require.NoError(t, l.Queue(testFrame(abstract.ReqTopic, 5, 100)))
	c.Flush()
	assert.Equal(t, []uint64{103, 3, 4, 5}, numbers(w.bytes()))
	assert.Equal(t, uint64(3), l.Missed())
}

func TestNothingIsWrittenBeforeStart(t *testing.T) {
	w := newFakeWire()
	s := &sink{closed: make(chan error, 1)}
	c := New(testConfig(s), w, nil)
	c.Open()
	require.NoError(t, c.Send(&transporttest.Message{N: 1}))
	assert.Empty(t, w.bytes())
	c.Start()
	c.Shutdown(context.Background(), nil)
	assert.Equal(t, []uint64{1}, numbers(w.bytes()))
	assert.NoError(t, wait(t, s.closed))
}

func TestConnectionEndsWithoutReceiver(t *testing.T) {
	for _, tt := range []struct {
		name string
		open func(abstract.BaseConnection) abstract.Receiver
		code abstract.RCode
	}{
		{"none", func(abstract.BaseConnection) abstract.Receiver { return nil }, abstract.OK},
		{"panic", func(abstract.BaseConnection) abstract.Receiver { panic("no") }, abstract.Internal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := testConfig(nil)
			cfg.OnOpen = tt.open
			ended := make(chan *Conn, 1)
			c := New(cfg, newFakeWire(), func(c *Conn) { ended <- c })
			c.Open()
			c.Start()
			assert.Equal(t, c, wait(t, ended))
			assert.Equal(t, tt.code, abstract.CodeOf(c.Err()))
		})
	}
}

func TestPanicInOnCloseIsContained(t *testing.T) {
	ended := make(chan *Conn, 1)
	c := New(testConfig(panicky{}), newFakeWire(), func(c *Conn) { ended <- c })
	c.Open()
	c.Start()
	c.Close(nil)
	wait(t, ended)
	assert.NoError(t, c.Err(), "the first Close counts")
}

type panicky struct{}

func (panicky) OnMessages([]abstract.BaseMessage) {}
func (panicky) OnClose(error)                     { panic("at the end") }

func TestStalledTellsHowLongAFrameIsIncomplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := testConn(t, newFakeWire())
		whole := testFrame(abstract.ReqRPC, 1, 100).Bytes
		steps := []struct {
			name  string
			input []byte
			want  time.Duration
		}{
			{"nothing yet", nil, 0},
			{"a beginning", whole[:5], time.Second},
			{"more of it", whole[5:20], 2 * time.Second},
			{"its end and the next one's beginning", append(bytes.Clone(whole[20:]), whole[:1]...), time.Second},
			{"the next one's end", whole[1:], 0},
		}
		for _, s := range steps {
			if s.input != nil {
				c.Receive(s.input)
			}
			synctest.Wait()
			time.Sleep(time.Second) // virtual
			assert.Equal(t, s.want, c.Stalled().Round(time.Millisecond), s.name)
		}
	})
}

func TestShutdownEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWire()
		w.room, w.blocked = 0, make(chan struct{})
		c, s := testConn(t, w)
		require.NoError(t, c.Send(&transporttest.Message{}))
		start := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		reason := errors.New("the end")
		c.Shutdown(ctx, reason)
		assert.Equal(t, time.Minute, time.Since(start))
		assert.Equal(t, reason, <-s.closed)
		c.Shutdown(context.Background(), nil) // a second one finds it closed
	})
}

func TestSecondShutdownWaitsForTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWire()
		w.room, w.blocked = 0, make(chan struct{})
		c, _ := testConn(t, w)
		require.NoError(t, c.Send(&transporttest.Message{}))
		first := errors.New("first")
		go c.Shutdown(context.Background(), first)
		synctest.Wait()
		go c.Shutdown(context.Background(), errors.New("second"))
		synctest.Wait()
		close(w.blocked)
		<-c.Done()
		assert.Equal(t, first, c.Err())
	})
}

// TestPeerThatHasEndedMayReadSlowly: what was answered to a peer that says nothing more is
// written for as long as any peer may take to read it, and no longer.
func TestPeerThatHasEndedMayReadSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 10 * time.Second // the default
		for _, after := range []time.Duration{limit - time.Second, limit + time.Second} {
			w := newFakeWire()
			w.room, w.blocked = 0, make(chan struct{})
			c, s := testConn(t, w)
			require.NoError(t, c.Send(&transporttest.Message{N: 7}))
			c.ReadEnded(io.EOF)
			time.Sleep(after)
			close(w.blocked)
			assert.Equal(t, io.EOF, <-s.closed)
			if after < limit {
				assert.Equal(t, []uint64{7}, numbers(w.bytes()))
			} else {
				assert.Empty(t, w.bytes())
			}
		}
	})
}

func TestReadErrorIsTheReason(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want abstract.RCode
	}{
		{"end", io.EOF, abstract.Internal}, // io.EOF itself, no Error
		{"failure", errors.New("no route"), abstract.Disconnected},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, s := testConn(t, newFakeWire())
			c.Receive(testFrame(abstract.ReqRPC, 1, 0).Bytes)
			c.ReadEnded(tt.err)
			err := wait(t, s.closed)
			assert.ErrorIs(t, err, tt.err)
			assert.Equal(t, tt.want, abstract.CodeOf(err))
			assert.Equal(t, []uint64{1}, s.got)
			assert.Equal(t, err, c.Err())
		})
	}
}

func TestMoreThanMaxInboundCloses(t *testing.T) {
	cfg := testConfig(nil)
	busy, goOn := make(chan bool), make(chan bool)
	s := &sink{closed: make(chan error, 1)}
	cfg.OnOpen = func(abstract.BaseConnection) abstract.Receiver { return &slow{sink: s, busy: busy, goOn: goOn} }
	cfg.MaxInbound = 1000
	c := New(cfg, newFakeWire(), nil)
	c.Open()
	c.Start()
	c.Receive(testFrame(abstract.ReqRPC, 1, 0).Bytes)
	wait(t, busy)
	c.Receive(testFrame(abstract.ReqRPC, 2, 900).Bytes)
	c.Receive(testFrame(abstract.ReqRPC, 3, 900).Bytes)
	wait(t, c.Done())
	close(goOn)
	assert.ErrorIs(t, wait(t, s.closed), abstract.ErrOverloaded)
	assert.Equal(t, []uint64{1, 2}, s.got, "what was taken before is delivered")
}

// slow is a sink whose first batch waits.
type slow struct {
	*sink
	busy, goOn chan bool
	once       sync.Once
}

func (s *slow) OnMessages(batch []abstract.BaseMessage) {
	s.once.Do(func() {
		s.busy <- true
		<-s.goOn
	})
	s.sink.OnMessages(batch)
}

func TestBatchesAreBounded(t *testing.T) {
	var sizes []int
	s := &sizer{sizes: &sizes, sink: sink{closed: make(chan error, 1)}}
	c := New(testConfig(s), newFakeWire(), nil)
	c.Open()
	c.Start()
	var all []byte
	for n := range uint64(3000) {
		all = append(all, testFrame(abstract.ReqRPC, n, 0).Bytes...)
	}
	c.Receive(all)
	c.ReadEnded(io.EOF)
	wait(t, s.closed)
	assert.Len(t, s.got, 3000)
	for _, n := range sizes {
		assert.LessOrEqual(t, n, maxBatch)
	}
}

type sizer struct {
	sink
	sizes *[]int
}

func (s *sizer) OnMessages(batch []abstract.BaseMessage) {
	*s.sizes = append(*s.sizes, len(batch))
	s.sink.OnMessages(batch)
}

func TestEncodedFramesDoNotShareMemory(t *testing.T) {
	var frames [][]byte
	for n := range 2000 {
		f, err := Encode(transporttest.Protocol{}, &transporttest.Message{N: uint64(n), Body: make([]byte, n%700*(n%5))})
		require.NoError(t, err)
		require.Equal(t, len(f), cap(f))
		frames = append(frames, f)
	}
	for n, f := range frames {
		assert.Equal(t, []uint64{uint64(n)}, numbers(f))
	}
	_, err := Encode(transporttest.Protocol{}, &transporttest.Message{Body: make([]byte, transporttest.MaxFrame+1)})
	assert.ErrorIs(t, err, abstract.ErrTooLarge)
}

// FuzzSplitting receives a stream of frames, and whatever bytes follow it, in
// pieces: the messages and the end must be those of receiving it whole.
func FuzzSplitting(f *testing.F) {
	good := append(testFrame(abstract.ReqRPC, 1, 3).Bytes, testFrame(abstract.ReqTopic, 2, 0).Bytes...)
	f.Add(good, []byte{1, 2, 3})
	f.Add(append(bytes.Clone(good), 0, 0, 0, 0), []byte{5})
	f.Add(append(bytes.Clone(good), "GET / HTTP/1.1"...), []byte{0, 200})
	f.Fuzz(func(t *testing.T, stream, cuts []byte) {
		whole, wholeErr := receive(t, pieces{stream}, false)
		for _, direct := range []bool{false, true} {
			split, splitErr := receive(t, cutUp(stream, cuts), direct)
			assert.Equal(t, whole, split)
			assert.Equal(t, wholeErr, splitErr)
		}
	})
}

// cutUp cuts stream at distances that cuts gives, again and again.
func cutUp(stream, cuts []byte) (list pieces) {
	for i := 0; len(stream) > 0; i++ {
		n := len(stream)
		if len(cuts) > 0 {
			n = min(n, 1+int(cuts[i%len(cuts)]))
		}
		list = append(list, bytes.Clone(stream[:n]))
		stream = stream[n:]
	}
	return list
}

func receive(t *testing.T, src pieces, direct bool) ([]uint64, error) {
	s := &sink{closed: make(chan error, 1)}
	cfg := testConfig(s)
	cfg.Direct = direct
	c := NewReading(cfg, newFakeWire(), nil)
	c.Open()
	c.Read(&src)
	return s.got, wait(t, s.closed)
}
