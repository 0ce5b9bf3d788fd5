package client_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/message"
)

var here = abstract.Host{IP: "h", Port: 1}

func providersOf(host abstract.Host, ttl time.Duration, methods ...string) []abstract.Provider {
	var list []abstract.Provider
	for _, m := range methods {
		list = append(list, abstract.Provider{Method: m, Host: host, Instance: "i", TTL: ttl, Traits: abstract.Traits{Weight: 3, Tags: "a,b", Meta: `{"k":"v"}`, Relay: true}})
	}
	return list
}

// methodsOf are all methods of requests, in order.
func methodsOf(list []*message.ServiceRequest) []string {
	methods := []string{}
	for _, m := range list {
		methods = append(append(methods, m.Method), m.Methods...)
	}
	slices.Sort(methods)
	return methods
}

func TestProvidersThatDifferInTheMethodAreOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newScripted(t)
		b.start()
		conn := b.dial()
		reg := client.NewRegistryClient(conn)
		all := append(providersOf(here, time.Minute, "x", "y", "z", "y"), abstract.Provider{Method: "x", Host: abstract.Host{IP: "h", Port: 2}})
		require.NoError(t, reg.Register(ctx, all...))
		got := b.asked(abstract.ServiceRegister)
		require.Len(t, got, 2)
		assert.Equal(t, "x", got[0].Method)
		assert.Equal(t, []string{"y", "z"}, got[0].Methods)
		assert.Equal(t, all[0].Traits, got[0].Traits)
		assert.Equal(t, "i", got[0].Instance)
		assert.Equal(t, int64(60_000), got[0].TTLMs)
		assert.Equal(t, 2, got[1].Host.Port)
		assert.Zero(t, got[1].TTLMs)

		b.net.Cut()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		again := b.asked(abstract.ServiceRegister)
		require.Len(t, again, 2, "all of it after a reconnect")
		assert.Equal(t, got[0].Traits, again[0].Traits)
		assert.Equal(t, got[0].Methods, again[0].Methods)
		assert.Equal(t, got[0].TTLMs, again[0].TTLMs)

		require.NoError(t, reg.Unregister(ctx, all[1:3]...))
		gone := b.asked(abstract.ServiceUnregister)
		require.Len(t, gone, 1)
		assert.Equal(t, []string{"y", "z"}, methodsOf(gone))
		require.NoError(t, reg.Unregister(ctx, all[1]), "it is not there any more")
		assert.Empty(t, b.asked(abstract.ServiceUnregister))
	})
}

func TestManyMethodsAreManyRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newScripted(t)
		b.start()
		names := make([]string, 300)
		for i := range names {
			names[i] = fmt.Sprintf("m%03d", i)
		}
		require.NoError(t, client.NewRegistryClient(b.dial()).Register(ctx, providersOf(here, 0, names...)...))
		got := b.asked(abstract.ServiceRegister)
		require.Len(t, got, 3)
		assert.Equal(t, names, methodsOf(got))
		for _, m := range got {
			assert.LessOrEqual(t, len(m.Methods), 127)
		}
	})
}

func TestRefusedRegistrationIsNotTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newScripted(t)
		b.answer = func(m *message.ServiceRequest) *message.ServiceResponse {
			if m.Host.Port == 2 {
				return &message.ServiceResponse{Code: abstract.Denied, Message: "not you"}
			}
			return &message.ServiceResponse{}
		}
		b.start()
		reg := client.NewRegistryClient(b.dial())
		err := reg.Register(ctx, append(providersOf(here, 0, "x"), providersOf(abstract.Host{IP: "h", Port: 2}, 0, "x", "y")...)...)
		assert.ErrorIs(t, err, abstract.ErrDenied)
		assert.ErrorContains(t, err, "not you")
		b.asked(abstract.ServiceRegister)
		b.net.Cut()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		got := b.asked(abstract.ServiceRegister)
		require.Len(t, got, 1)
		assert.Equal(t, 1, got[0].Host.Port, "the other host's batch stands")
	})
}

// One of a batch that is refused after a reconnect must not keep the others away.
func TestRefusedBatchGoesOnAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newScripted(t)
		taken := map[string]bool{}
		refuse := false
		b.answer = func(m *message.ServiceRequest) *message.ServiceResponse {
			methods := append([]string{m.Method}, m.Methods...)
			if refuse && slices.Contains(methods, "bad") {
				return &message.ServiceResponse{Code: abstract.Overloaded, Message: "too many"}
			}
			for _, name := range methods {
				taken[name] = true
			}
			return &message.ServiceResponse{}
		}
		b.start()
		conn := b.dial()
		require.NoError(t, client.NewRegistryClient(conn).Register(ctx, providersOf(here, 0, "bad", "x", "y")...))
		b.mu.Lock()
		refuse = true
		clear(taken)
		b.mu.Unlock()
		b.net.Cut()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		b.mu.Lock()
		assert.Equal(t, map[string]bool{"x": true, "y": true}, taken)
		refuse = false
		b.mu.Unlock()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		b.mu.Lock()
		assert.True(t, taken["bad"], "tried again until it is taken")
		b.mu.Unlock()
	})
}

func TestAddressThatTheBrokerHasSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newScripted(t)
		b.answer = func(m *message.ServiceRequest) *message.ServiceResponse {
			if m.Op == abstract.ServiceRegister && m.Host.IP == "" {
				return &message.ServiceResponse{Registered: &abstract.Host{IP: "10.1.2.3", Port: m.Host.Port}}
			}
			return &message.ServiceResponse{}
		}
		b.start()
		reg := client.NewRegistryClient(b.dial())
		own := providersOf(abstract.Host{Port: 9000}, time.Minute, "x", "y")
		at, err := reg.RegisterAt(ctx, own...)
		require.NoError(t, err)
		require.Len(t, at, 2)
		for i, p := range at {
			assert.Equal(t, abstract.Host{IP: "10.1.2.3", Port: 9000}, p.Host)
			assert.Equal(t, own[i].Method, p.Method)
			assert.Equal(t, own[i].Traits, p.Traits)
		}
		require.NoError(t, reg.Heartbeat(ctx, own[0]))
		assert.Equal(t, "10.1.2.3", b.asked(abstract.ServiceHeartbeat)[0].Host.IP)

		b.net.Cut()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		assert.Empty(t, b.asked(abstract.ServiceRegister)[0].Host.IP, "perhaps it is another one now")

		require.NoError(t, reg.Unregister(ctx, own[0], at[1]), "by either name")
		gone := b.asked(abstract.ServiceUnregister)
		require.Len(t, gone, 1)
		assert.Equal(t, "10.1.2.3", gone[0].Host.IP)
		assert.Equal(t, []string{"x", "y"}, methodsOf(gone))
	})
}

func TestHeartbeatsComeByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newScripted(t)
		known := true
		b.answer = func(m *message.ServiceRequest) *message.ServiceResponse {
			if m.Op == abstract.ServiceHeartbeat && !known {
				return &message.ServiceResponse{Code: abstract.NotFound}
			}
			if m.Op == abstract.ServiceRegister {
				known = true
			}
			return &message.ServiceResponse{}
		}
		b.start()
		reg := client.NewRegistryClient(b.dial())
		require.NoError(t, reg.Register(ctx, providersOf(here, 30*time.Second, "x", "y")...))
		require.NoError(t, reg.Register(ctx, providersOf(abstract.Host{IP: "h", Port: 2}, 0, "z")...))
		b.asked(abstract.ServiceRegister)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		beats := b.asked(abstract.ServiceHeartbeat)
		assert.InDelta(t, 31, len(beats), 3, "three in each TTL, together")
		assert.Equal(t, []string{"x", "y"}, methodsOf(beats[:1]))
		assert.Equal(t, 1, beats[0].Host.Port, "not for what has no TTL")

		b.mu.Lock()
		known = false
		b.mu.Unlock()
		time.Sleep(15 * time.Second)
		synctest.Wait()
		again := b.asked(abstract.ServiceRegister)
		require.Len(t, again, 1, "registered again when the broker has forgotten")
		assert.Equal(t, int64(30_000), again[0].TTLMs)

		require.NoError(t, reg.Unregister(ctx, providersOf(here, 0, "x", "y")...), "a TTL is no part of a name")
		b.asked(abstract.ServiceHeartbeat)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		assert.Empty(t, b.asked(abstract.ServiceHeartbeat))
	})
}

// Who comes later and has less time is not kept waiting by who has more.
func TestShorterTTLIsRenewedInItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newScripted(t)
		b.answer = func(m *message.ServiceRequest) *message.ServiceResponse {
			if m.TTLMs == 40_000 {
				return &message.ServiceResponse{Code: abstract.InvalidParams}
			}
			return &message.ServiceResponse{}
		}
		b.start()
		reg := client.NewRegistryClient(b.dial())
		beats := func(host abstract.Host) (n int) {
			time.Sleep(30 * time.Second)
			synctest.Wait()
			for _, m := range b.asked(abstract.ServiceHeartbeat) {
				if *m.Host == host {
					n++
				}
			}
			return n
		}
		there := abstract.Host{IP: "h", Port: 2}
		require.NoError(t, reg.Register(ctx, providersOf(here, 10*time.Minute, "x")...))
		require.NoError(t, reg.Register(ctx, providersOf(there, 3*time.Second, "x")...))
		assert.InDelta(t, 31, beats(there), 3)
		require.NoError(t, reg.Register(ctx, providersOf(here, 6*time.Second, "x")...))
		assert.InDelta(t, 15, beats(here), 2)
		require.Error(t, reg.Register(ctx, providersOf(here, 40*time.Second, "x")...))
		assert.InDelta(t, 15, beats(here), 2, "what was there before the refusal stays")
	})
}

// A heartbeat that fails is sent again before the registration ends.
func TestHeartbeatThatFailsIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newScripted(t)
		fail := 2
		b.answer = func(m *message.ServiceRequest) *message.ServiceResponse {
			if m.Op == abstract.ServiceHeartbeat && fail > 0 {
				fail--
				return &message.ServiceResponse{Code: abstract.Overloaded}
			}
			return &message.ServiceResponse{}
		}
		b.start()
		require.NoError(t, client.NewRegistryClient(b.dial()).Register(ctx, providersOf(here, 30*time.Second, "x")...))
		time.Sleep(20 * time.Second)
		synctest.Wait()
		assert.Len(t, b.asked(abstract.ServiceHeartbeat), 3)
	})
}

func TestOwnHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newScripted(t)
		b.start()
		reg := client.NewRegistryClient(b.dial(client.WithAutoHeartbeat(false)))
		p := providersOf(here, 30*time.Second, "x")
		assert.ErrorIs(t, reg.Heartbeat(ctx, p...), abstract.ErrNotFound)
		require.NoError(t, reg.Register(ctx, p...))
		for range 4 {
			time.Sleep(20 * time.Second)
			require.NoError(t, reg.Heartbeat(ctx, p...))
		}
		assert.Len(t, b.asked(abstract.ServiceHeartbeat), 4, "no others")
		b.net.Cut()
		time.Sleep(10 * time.Second)
		assert.Len(t, b.asked(abstract.ServiceRegister), 1)

		time.Sleep(time.Minute) // nobody shows that it lives
		b.net.Cut()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		assert.Empty(t, b.asked(abstract.ServiceRegister), "a reconnect does not raise the dead")
		assert.ErrorIs(t, reg.Heartbeat(ctx, p...), abstract.ErrNotFound)
	})
}

func TestLegacyRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newScripted(t)
		b.start()
		reg := client.NewRegistryClient(b.dial(client.WithLegacy()))
		require.NoError(t, reg.Register(ctx, providersOf(here, 30*time.Second, "x", "y", "z")...))
		got := b.asked(abstract.ServiceRegister)
		require.Len(t, got, 3, "one for each method")
		assert.Equal(t, []string{"x", "y", "z"}, methodsOf(got))
		b.net.Cut()
		time.Sleep(time.Minute)
		synctest.Wait()
		b.mu.Lock()
		for _, m := range b.requests {
			assert.Equal(t, abstract.ServiceRegister, m.Op, "it knows no heartbeat")
		}
		b.mu.Unlock()
		assert.Len(t, b.asked(abstract.ServiceRegister), 3)

		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		err := reg.Register(short, abstract.Provider{Method: "w", Host: abstract.Host{Port: 9}})
		assert.ErrorIs(t, err, abstract.ErrInvalidParams, "it does not look where we are")
	})
}

// With a broker that keeps the time: who is renewed stays, who is not goes.
func TestTTLWithABroker(t *testing.T) {
	inWorld(t, func(w *world) {
		b := w.broker()
		lazy := client.NewRegistryClient(w.dial(client.WithAutoHeartbeat(false)))
		require.NoError(w, client.NewRegistryClient(w.dial()).Register(ctx, providersOf(here, 5*time.Second, "x", "y")...))
		require.NoError(w, lazy.Register(ctx, providersOf(abstract.Host{IP: "h", Port: 2}, 5*time.Second, "x", "y")...))
		d := client.NewDiscoveryClient(w.dial())
		var told events
		told.listen(d)
		list, err := d.Discover(ctx, "x")
		require.NoError(w, err)
		assert.Equal(w, []int{1, 2}, ports(list))
		assert.Equal(w, abstract.Tags("a,b"), list[0].Tags)
		assert.True(w, list[0].Relay)

		time.Sleep(6 * time.Second)
		synctest.Wait()
		assert.Equal(w, []string{"-2i"}, told.all(), "nobody has renewed it")
		require.NoError(w, client.NewRegistryClient(w.dial()).Register(ctx, providersOf(abstract.Host{IP: "h", Port: 3}, 5*time.Second, "x")...))
		b.stop()
		w.broker()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		list, err = d.Discover(ctx, "x")
		require.NoError(w, err)
		assert.ElementsMatch(w, []int{1, 3}, ports(list))
		assert.ElementsMatch(w, []string{"-2i", "+3i"}, told.all())
	})
}
