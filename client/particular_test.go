package client_test

import (
	"context"
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

func TestCallGoesToTheInstanceItNames(t *testing.T) {
	inFleet(t, func(f *fleet) {
		a, b := f.join(1, "a", answers), f.join(2, "b", answers)
		old := f.join(3, "", answers)
		f.say(a.Provider, b.Provider, old.as(func(p *abstract.Provider) { p.State = abstract.Unhealthy }))
		c := f.client()
		for range 5 {
			var who string
			require.NoError(f, c.Call(ctx, "svc.do", nil, &who, client.OnInstance("b")))
			assert.Equal(f, "b", who)
			r, err := c.CallReply(ctx, "svc.do", nil, client.OnInstance(host(3)))
			require.NoError(f, err)
			assert.Equal(f, host(3), r.From(), "by its address, and although others are better")
		}
		assert.Equal(f, []int{0, 5, 5}, []int{a.did(), b.did(), old.did()})

		e := failedAs(f, c.Call(ctx, "svc.do", nil, nil, client.OnInstance("c")))
		assert.Equal(f, abstract.ServiceNotFound, e.Code)
		assert.ErrorContains(f, e, "no provider c of it")

		b.now(refuses(abstract.Overloaded, ""))
		e = failedAs(f, c.Call(ctx, "svc.do", nil, nil, client.OnInstance("b")))
		assert.Equal(f, abstract.Overloaded, e.Code, "and to nobody else")
		b.now(hangsUp)
		e = failedAs(f, c.Call(ctx, "svc.do", nil, nil, client.OnInstance("b")))
		assert.Equal(f, abstract.Disconnected, e.Code)
		assert.Equal(f, 0, a.did())
	})
}

// While the connection to the only provider that may be asked is opened, there is
// nothing to be done but to wait.
func TestCallOfOneInstanceWaitsForASlowConnection(t *testing.T) {
	inFleet(t, func(f *fleet) {
		a, b := f.join(1, "a", answers), f.join(2, "b", answers)
		f.say(a.Provider, b.Provider)
		c := f.client(client.WithTimeout(20 * time.Second))
		f.net.Blackhole(true)
		call := c.CallFuture(ctx, "svc.do", nil, client.OnInstance("a"))
		time.Sleep(time.Second) // other calls go elsewhere after 300 ms
		f.net.Blackhole(false)
		var who string
		require.NoError(f, call.Wait(ctx, &who))
		assert.Equal(f, "a", who)
		assert.Equal(f, 0, b.did())
	})
}

func TestDirectCallOfAnotherInstanceEndsAtOnce(t *testing.T) {
	inFleet(t, func(f *fleet) {
		m := f.join(1, "a", func(m *member, bc abstract.BaseConnection, req *message.RpcRequest) {
			if req.Instance != "" && req.Instance != "a" {
				refuses(abstract.WrongInstance, "")(m, bc, req)
				return
			}
			answers(m, bc, req)
		})
		c, err := client.DialRpc(ctx, host(1), client.WithTransport(f.net.Client), client.WithLogger(quiet))
		require.NoError(f, err)
		defer c.Close()
		require.NoError(f, c.Call(ctx, "svc.do", nil, nil, client.OnInstance("a")))
		e := failedAs(f, c.Call(ctx, "svc.do", nil, nil, client.OnInstance("b")))
		assert.Equal(f, abstract.WrongInstance, e.Code)
		assert.Equal(f, 2, m.did())
	})
}

func TestCallPrefersItsZone(t *testing.T) {
	inFleet(t, func(f *fleet) {
		west := f.join(1, "west", answers)
		east := f.join(2, "east", answers)
		in := func(m *member, zone string) abstract.Provider {
			return m.as(func(p *abstract.Provider) { p.Zone = zone })
		}
		f.say(in(west, "west"), in(east, "east"))
		for _, rule := range []string{"least-pending", "round-robin", "zone", "hash"} {
			c := f.client(client.WithBalancing(rule), client.WithZone("west"))
			for range 10 {
				var who string
				require.NoError(f, c.Call(ctx, "svc.do", nil, &who, client.Zone("east")))
				assert.Equal(f, "east", who, rule)
			}
		}
		east.now(refuses(abstract.Overloaded, ""))
		var who string
		c := f.client()
		require.NoError(f, c.Call(ctx, "svc.do", nil, &who, client.Zone("east")))
		assert.Equal(f, "west", who, "better than nobody")
		require.NoError(f, c.Call(ctx, "svc.do", nil, &who, client.Zone("north")))
	})
}

// sent are the requests that a member got.
func (m *member) sent() []*message.RpcRequest {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.requests)
}

func TestSendWaitsForNoAnswer(t *testing.T) {
	inFleet(t, func(f *fleet) {
		m := f.join(1, "a", silent)
		f.say(m.Provider)
		c := f.client()
		begun := time.Now()
		require.NoError(f, c.Send(ctx, "svc.do", map[string]int{"n": 1}, client.Metadata(map[string]string{"k": "v"})))
		require.NoError(f, c.Send(ctx, "svc.do", nil, client.OnInstance("a")))
		assert.Zero(f, time.Since(begun))
		synctest.Wait()
		got := m.sent()
		require.Len(f, got, 2)
		assert.True(f, got[0].OneWay && got[1].OneWay)
		assert.JSONEq(f, `{"n":1}`, string(got[0].Parameters))
		assert.Equal(f, abstract.Metadata{"k": "v"}, got[0].Meta)
		assert.NotEqual(f, got[0].ID(), got[1].ID())

		m.now(answers) // a provider that does not know of such requests
		require.NoError(f, c.Send(ctx, "svc.do", nil))
		var who string
		require.NoError(f, c.Call(ctx, "svc.do", nil, &who))
		assert.Equal(f, "a", who)
		assert.Zero(f, c.Instances("svc.do")[0].Pending)
		assert.Empty(f, m.cancelled())

		e := failedAs(f, c.Send(ctx, "svc.do", 7))
		assert.Equal(f, abstract.InvalidParams, e.Code)
		f.say()
		e = failedAs(f, c.Send(ctx, "svc.do", nil))
		assert.Equal(f, abstract.ServiceNotFound, e.Code)
		assert.Equal(f, abstract.SentNo, e.Sent)
	})
}

// What was not queued goes elsewhere, as with calls.
func TestSendGoesOnToTheNextProvider(t *testing.T) {
	inFleet(t, func(f *fleet) {
		a, b := f.join(1, "a", silent), f.join(2, "b", silent)
		f.say(a.Provider, b.Provider)
		a.leave()
		c := f.client()
		for range 4 {
			require.NoError(f, c.Send(ctx, "svc.do", nil))
		}
		synctest.Wait()
		assert.Equal(f, 4, b.did())
	})
}

func TestSendToAnExistingProgramIsACallWhoseAnswerIsThrownAway(t *testing.T) {
	p := startProgram(t, "close")
	rpc, err := client.DialRpc(ctx, p.listener.Addr().String(), patient(client.WithLegacy())...)
	require.NoError(t, err)
	defer rpc.Close()
	meta := client.Metadata(map[string]string{"k": "v"})
	for range 3 {
		require.NoError(t, rpc.Send(ctx, "Add", add{1, 2}, meta))
	}
	var sum int
	require.NoError(t, rpc.Call(ctx, "Add", add{3, 4}, &sum, meta))
	assert.Equal(t, 7, sum)
	assert.Equal(t, 4, p.came(0))
}

// all collects what All returns.
func all(ctx context.Context, t *testing.T, c *client.RpcClient, opts ...client.CallOption) (who []string, errs map[string]abstract.RCode) {
	errs = make(map[string]abstract.RCode)
	for r, err := range c.All(ctx, "svc.do", nil, opts...) {
		if err != nil {
			errs[r.From()] = abstract.CodeOf(err)
			continue
		}
		var name string
		require.NoError(t, r.Decode(&name))
		who = append(who, name)
	}
	return who, errs
}

func TestAllCallsEverybodyOnce(t *testing.T) {
	inFleet(t, func(f *fleet) {
		c := f.client()
		var list []abstract.Provider
		slow, fast := f.join(1, "slow", answersAfter(2*time.Second)), f.join(2, "fast", answersAfter(time.Second))
		lost, never := f.join(3, "lost", hangsUp), f.join(4, "never", silent)
		gone, busy := f.join(5, "gone", answers), f.join(6, "busy", refuses(abstract.Overloaded, ""))
		retiring := f.join(7, "retiring", answers)
		sick := f.join(8, "sick", answers)
		gone.leave()
		for _, m := range []*member{slow, fast, lost, never, gone, busy} {
			list = append(list, m.Provider)
		}
		list = append(list,
			retiring.as(func(p *abstract.Provider) { p.State = abstract.Retiring }),
			sick.as(func(p *abstract.Provider) { p.State = abstract.Unhealthy }))
		f.say(list...)
		begun := time.Now()
		who, errs := all(ctx, f.T, c, client.Timeout(time.Minute), client.Idempotent())
		assert.Equal(f, []string{"sick", "fast", "slow"}, who, "as they come")
		assert.Equal(f, map[string]abstract.RCode{
			host(3): abstract.Disconnected, host(4): abstract.Timeout, host(5): abstract.Unavailable, host(6): abstract.Overloaded,
		}, errs)
		assert.Equal(f, time.Minute, time.Since(begun).Truncate(time.Second), "one of them never answers")
		assert.Equal(f, 1, lost.did(), "each is asked once")
		assert.Equal(f, 0, retiring.did())
	})
}

func TestAllOfNobodyIsOneError(t *testing.T) {
	inFleet(t, func(f *fleet) {
		c := f.client()
		_, errs := all(ctx, f.T, c)
		assert.Equal(f, map[string]abstract.RCode{"": abstract.ServiceNotFound}, errs)
		m := f.join(1, "a", answers)
		f.say(m.as(func(p *abstract.Provider) { p.State = abstract.Retiring }))
		_, errs = all(ctx, f.T, c)
		assert.Equal(f, map[string]abstract.RCode{"": abstract.Draining}, errs)
		over, cancel := context.WithCancel(ctx)
		cancel()
		f.say(m.Provider)
		_, errs = all(over, f.T, c)
		assert.Equal(f, map[string]abstract.RCode{host(1): abstract.Cancelled}, errs)
		require.NoError(f, c.Close())
		_, errs = all(ctx, f.T, c)
		assert.Equal(f, map[string]abstract.RCode{"": abstract.Disconnected}, errs)
	})
}

func TestLeavingAllCancels(t *testing.T) {
	inFleet(t, func(f *fleet) {
		a, b := f.join(1, "a", answersAfter(time.Second)), f.join(2, "b", silent)
		f.say(a.Provider, b.Provider)
		for range f.client().All(ctx, "svc.do", nil) {
			break
		}
		synctest.Wait()
		assert.Equal(f, b.ids(), b.cancelled())
		assert.Len(f, b.ids(), 1)
	})
}
