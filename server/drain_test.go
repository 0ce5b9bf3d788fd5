package server_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/mem"
	"trefoil/concrete/message"
	"trefoil/server"
)

// ledger is a registry that writes down what it is told.
type ledger struct {
	mu    sync.Mutex
	lines []string
	last  []abstract.Provider
	fail  error
	hangs bool // until ctx ends
}

func (l *ledger) note(ctx context.Context, line string, p []abstract.Provider) error {
	l.mu.Lock()
	l.lines, l.last = append(l.lines, line), p
	fail, hangs := l.fail, l.hangs
	l.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return fail
}

func (l *ledger) Register(ctx context.Context, p ...abstract.Provider) error {
	return l.note(ctx, "register "+p[0].State.String(), p)
}

func (l *ledger) Unregister(ctx context.Context, p ...abstract.Provider) error {
	return l.note(ctx, "unregister", p)
}

func (l *ledger) told() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

// beating is a ledger that takes heartbeats.
type beating struct{ ledger }

func (b *beating) Heartbeat(ctx context.Context, p ...abstract.Provider) error {
	return b.note(ctx, "heartbeat", p)
}

// leaving is a provider in virtual time that is going to leave.
type leaving struct {
	*testing.T
	srv     *server.RpcServer
	network *mem.Network
	ended   chan error
}

func provider(t *testing.T, registry abstract.Registrar, opts ...server.Option) *leaving {
	p := &leaving{t, nil, mem.NewNetwork(), make(chan error, 1)}
	p.srv = server.NewRpcServer("srv", append([]server.Option{
		server.WithTransport(p.network.Server), server.WithLogger(quietLog()), server.WithRegistry(registry),
		server.WithAdvertise(abstract.Host{IP: "10.0.0.1", Port: 7000}), server.WithInstance("me"),
	}, opts...)...)
	require.NoError(t, p.srv.HandleFunc(server.Description{Method: "sleep", Result: "any"}, func(_ context.Context, ms message.Raw) (any, error) {
		time.Sleep(100 * time.Millisecond)
		return 1, nil
	}))
	require.NoError(t, p.srv.Announce(t.Context()))
	go func() { p.ended <- p.srv.Serve() }()
	synctest.Wait()
	return p
}

// shutdown shuts down within a time, and returns how long it took.
func (p *leaving) shutdown(d time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	begun := time.Now()
	err := p.srv.Shutdown(ctx)
	took := time.Since(begun)
	require.NoError(p, <-p.ended)
	return took, err
}

// TestShutdownServesWhoHasNotHeardOfIt: calls are served for as long as they come
// close after each other, then the methods are unregistered, and then comes goodbye.
func TestShutdownServesWhoHasNotHeardOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(ledger)
		p := provider(t, l)
		r := rawOver(t, p.network, "srv").hello()
		sleep := frame{0, "1", `{"method":"sleep","parameters":{}}`}
		r.send(sleep)
		done := make(chan time.Duration)
		go func() {
			took, err := p.shutdown(time.Minute)
			assert.NoError(t, err)
			done <- took
		}()
		for range 5 {
			time.Sleep(20 * time.Millisecond)
			r.send(sleep)
		}
		synctest.Wait()
		assert.Equal(t, []string{"register up", "register draining"}, l.told())
		for range 6 {
			assert.Equal(t, 0, r.expect().rcode())
		}
		f := r.expect()
		assert.Equal(t, int32(20), f.mtype, "nothing is refused before goodbye")
		r.send(frame{20, "bye", `{"rcode":0}`})
		r.expectClosed()
		assert.Less(t, <-done, time.Second)
		assert.Equal(t, []string{"register up", "register draining", "unregister"}, l.told())
	})
}

// TestShutdownWaitsForSlowPeers: who sees the goodbye late is answered until then, for as
// long as WithDrain says; who never answers it does not hold a server up.
func TestShutdownWaitsForSlowPeers(t *testing.T) {
	for _, c := range []struct {
		most, late, took time.Duration
		answered         bool
	}{
		{0, 900 * time.Millisecond, 900 * time.Millisecond, true},
		{0, 5 * time.Second, time.Second, false},
		{10 * time.Second, 5 * time.Second, 5 * time.Second, true},
		{10 * time.Second, time.Minute, 10 * time.Second, false},
	} {
		t.Run(fmt.Sprint(c.most, c.late), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := provider(t, new(ledger), server.WithDrain(0, c.most))
				r := rawOver(t, p.network, "srv").hello()
				done := make(chan time.Duration, 1)
				go func() {
					took, err := p.shutdown(time.Hour)
					assert.NoError(t, err)
					done <- took
				}()
				assert.Equal(t, int32(20), r.expect().mtype, "goodbye")
				begun := time.Now()
				time.Sleep(c.late)
				if c.answered {
					r.send(frame{0, "1", `{"method":"sleep","parameters":{}}`})
					assert.Equal(t, int(abstract.Draining), r.expect().rcode())
					r.send(frame{20, "bye", `{"rcode":0}`})
				}
				r.expectClosed()
				took := <-done - 50*time.Millisecond // of quiet
				assert.GreaterOrEqual(t, took, c.took)
				assert.Less(t, took, c.took+time.Second)
				assert.GreaterOrEqual(t, time.Since(begun), c.late)
			})
		})
	}
}

// TestShutdownEndsAlthoughCallersStay: who never stops calling is refused in the end,
// and told that it may go elsewhere.
func TestShutdownEndsAlthoughCallersStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := provider(t, new(ledger), server.WithDrain(10*time.Millisecond, time.Second))
		r := rawOver(t, p.network, "srv").hello()
		done := make(chan time.Duration, 1) // who fails below does not wait for it, and is to be told why
		go func() {
			took, err := p.shutdown(time.Minute)
			assert.NoError(t, err)
			done <- took
		}()
		codes := map[int]int{}
		written := make(chan struct{})
		defer func() { <-written }()
		go func() {
			defer close(written)
			for {
				if _, err := r.Write(frame{0, "1", `{"method":"sleep","parameters":{}}`}.bytes()); err != nil {
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
		}()
		for f := r.expectNot(18); ; f = r.expectNot(18) {
			if f.mtype == 20 {
				break
			}
			codes[f.rcode()]++
		}
		assert.Less(t, <-done, 3*time.Second)
		assert.Greater(t, codes[0], 150)
		assert.Len(t, codes, 2)
		assert.Positive(t, codes[19])
	})
}

// TestShutdownReturnsByItsContext, whatever the registry does.
func TestShutdownReturnsByItsContext(t *testing.T) {
	for name, broken := range map[string]func(*ledger){
		"registry fails": func(l *ledger) { l.fail = errors.New("away") },
		"registry hangs": func(l *ledger) { l.hangs = true },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := new(ledger)
				p := provider(t, l, server.WithTTL(time.Minute))
				l.mu.Lock()
				broken(l)
				l.mu.Unlock()
				took, _ := p.shutdown(time.Second)
				assert.LessOrEqual(t, took, time.Second)
				assert.Equal(t, "unregister", l.told()[2])
			})
		})
	}
}

// TestShutdownReturnsWhileAMethodIsBeingRegistered, although the registry hangs.
func TestShutdownReturnsWhileAMethodIsBeingRegistered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(ledger)
		p := provider(t, l)
		l.mu.Lock()
		l.hangs = true
		l.mu.Unlock()
		registered := make(chan error, 1)
		go func() {
			registered <- server.Handle(p.srv, "more", func(context.Context, struct{}) (int, error) { return 1, nil })
		}()
		synctest.Wait()
		took, _ := p.shutdown(time.Second)
		assert.LessOrEqual(t, took, time.Second)
		assert.Error(t, <-registered)
	})
}

// TestDrainWithoutATime takes what is below 0 for the default.
func TestDrainWithoutATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := provider(t, new(ledger), server.WithDrain(-1, -1))
		took, err := p.shutdown(time.Minute)
		assert.NoError(t, err)
		assert.Less(t, took, time.Second)
	})
}

// TestDrainAndUndrain: a server under maintenance stays registered, and is up again
// afterwards; methods that are added meanwhile retire like the others.
func TestDrainAndUndrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(ledger)
		p := provider(t, l)
		r := rawOver(t, p.network, "srv").hello()
		r.send(frame{0, "1", `{"method":"sleep","parameters":{}}`})
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, p.srv.Drain(short), context.DeadlineExceeded, "a call runs")
		require.NoError(t, p.srv.Drain(t.Context()))
		assert.Equal(t, 0, r.expect().rcode())
		require.NoError(t, server.Handle(p.srv, "more", func(context.Context, struct{}) (int, error) { return 1, nil }))
		r.send(frame{0, "2", `{"method":"more","parameters":{}}`})
		assert.Equal(t, 0, r.expect().rcode(), "it goes on serving")
		require.NoError(t, p.srv.Undrain(t.Context()))
		assert.Equal(t, []string{"register up", "register draining", "register draining", "register draining", "register up"}, l.told())
		assert.Len(t, l.last, 2)
		_, err := p.shutdown(time.Minute)
		require.NoError(t, err)
	})
}

// TestRegistrationsAreRenewedOnlyWhileHealthy: an ill server takes itself out.
func TestRegistrationsAreRenewedOnlyWhileHealthy(t *testing.T) {
	for name, registry := range map[string]interface {
		abstract.Registrar
		told() []string
	}{"heartbeat": new(beating), "register up": new(ledger)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var ill, stuck atomic.Bool
				release := make(chan struct{})
				p := provider(t, registry, server.WithTTL(3*time.Second), server.WithHealth(func(ctx context.Context) error {
					if stuck.Load() {
						<-release // also after ctx's end
					}
					if ill.Load() {
						return errors.New("out of order")
					}
					return nil
				}))
				defer close(release)
				told := func(after time.Duration) []string {
					from := len(registry.told())
					time.Sleep(after)
					synctest.Wait()
					return registry.told()[from:]
				}
				assert.Equal(t, []string{name, name, name}, told(3100*time.Millisecond))
				ill.Store(true)
				assert.Equal(t, []string{"unregister"}, told(10*time.Second), "once, and nothing is renewed")
				ill.Store(false)
				assert.Equal(t, []string{"register up", name}, told(2*time.Second))
				stuck.Store(true)
				assert.Equal(t, []string{"unregister"}, told(10*time.Second))
				took, err := p.shutdown(time.Second)
				assert.NoError(t, err)
				assert.LessOrEqual(t, took, time.Second)
			})
		})
	}
}

// TestWhatAProviderSaysOfItself gets to the registry.
func TestWhatAProviderSaysOfItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(ledger)
		p := provider(t, l, server.WithTraits(abstract.Traits{Zone: "west"}), server.WithTags("b", "a"), server.WithMeta(map[string]string{"k": "v"}),
			server.WithTTL(time.Minute), server.WithAdvertise(abstract.Host{Port: 7001}))
		want := abstract.Provider{
			Method: "sleep", Host: abstract.Host{Port: 7001}, Instance: "me", Hello: true, TTL: time.Minute,
			Traits: abstract.Traits{Zone: "west", Tags: "a,b", Meta: `{"k":"v"}`},
		}
		assert.Equal(t, []abstract.Provider{want}, l.last)
		_, err := p.shutdown(time.Minute)
		require.NoError(t, err)
	})
}
