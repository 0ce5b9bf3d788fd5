package client_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
)

// HELLO says whom a call is for. Another process at the address is passed over at no
// cost, reported, and not tried again before the registry has a new list.
func TestAnotherInstanceIsPassedOver(t *testing.T) {
	inFleet(t, func(f *fleet) {
		other, good := f.join(1, "other", answers), f.join(2, "good", answers)
		gone := other.as(func(p *abstract.Provider) { p.Instance = "gone" })
		f.say(gone, good.Provider)
		c := f.client(inOrder(), client.WithRetryBudget(client.RetryBudget{Ratio: -1, PerSecond: -1}), client.WithBackoff(1, 1))
		for range 50 {
			r, err := c.CallReply(ctx, "svc.do", nil)
			require.NoError(f, err)
			assert.Equal(f, `"good"`, string(r.Raw))
			time.Sleep(time.Second)
		}
		assert.Zero(f, other.did(), "no call meant for another one was served")
		require.Len(f, other.hellos, 1)
		assert.Equal(f, "gone", other.hellos[0].Instance)
		assert.Equal(f, "good", good.hellos[0].Instance)
		assert.Equal(f, []abstract.Provider{gone}, f.reported())
		states := c.Instances("svc.do")
		assert.True(f, states[0].Gone)
		assert.ErrorContains(f, states[0].Problem, "wrong instance")
		assert.False(f, states[1].Gone)

		f.say(gone, good.Provider)
		require.NoError(f, c.Call(ctx, "svc.do", nil, nil))
		assert.Len(f, other.hellos, 2, "the registry insists")
	})
}

// A provider that comes back at its address as another process gets a connection of its
// own, and the old one ends when its calls have.
func TestAnotherInstanceAtAnAddressGetsItsOwnConnection(t *testing.T) {
	inFleet(t, func(f *fleet) {
		m := f.join(1, "old", answersAfter(time.Second))
		f.say(m.Provider)
		c := f.client()
		first := c.CallFuture(ctx, "svc.do", nil)
		synctest.Wait()
		require.Len(f, m.hellos, 1)

		m.mu.Lock()
		m.Instance, m.serve = "new", answers
		m.mu.Unlock()
		f.say(m.Provider)
		r, err := c.CallReply(ctx, "svc.do", nil)
		require.NoError(f, err)
		assert.Equal(f, `"new"`, string(r.Raw))
		assert.Len(f, m.hellos, 2)
		assert.Equal(f, 2, m.connected(), "the old one has a call")
		require.NoError(f, first.Wait(ctx, nil))
		time.Sleep(time.Second)
		assert.Equal(f, 1, m.connected())
	})
}

// Whoever cannot be reached is reported; whoever can, is not.
func TestUnreachableProvidersAreReported(t *testing.T) {
	inFleet(t, func(f *fleet) {
		away, good := f.join(1, "away", answers), f.join(2, "good", answers)
		away.leave()
		f.say(away.Provider, good.Provider)
		c := f.client(inOrder())
		require.NoError(f, c.Call(ctx, "svc.do", nil, nil))
		assert.Equal(f, []abstract.Provider{away.Provider}, f.reported())
	})
}

// A provider that drains, or has gone, gets no new calls and keeps its connection until
// the last of its old ones has ended.
func TestDrainingProviderEndsItsCalls(t *testing.T) {
	retire := func(p *abstract.Provider) { p.State = abstract.Retiring }
	for name, after := range map[string]func(a, b *member) []abstract.Provider{
		"draining": func(a, b *member) []abstract.Provider { return []abstract.Provider{a.as(retire), b.Provider} },
		"offline":  func(a, b *member) []abstract.Provider { return []abstract.Provider{b.Provider} },
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(f *fleet) {
				a, b := f.join(1, "a", answersAfter(3*time.Second)), f.join(2, "b", answers)
				f.say(a.Provider)
				c := f.client()
				old := c.CallFuture(ctx, "svc.do", nil, client.Timeout(time.Minute))
				synctest.Wait()
				f.say(after(a, b)...)
				for range 50 {
					r, err := c.CallReply(ctx, "svc.do", nil)
					require.NoError(f, err)
					assert.Equal(f, `"b"`, string(r.Raw))
				}
				assert.Equal(f, 1, a.connected())
				require.NoError(f, old.Wait(ctx, nil))
				f.say(b.Provider)
				time.Sleep(time.Second)
				assert.Zero(f, a.connected())
				assert.Equal(f, 1, a.did())
			})
		})
	}
}

func TestCallWhenEverybodyDrains(t *testing.T) {
	inFleet(t, func(f *fleet) {
		a := f.join(1, "a", answers)
		f.say(a.as(func(p *abstract.Provider) { p.State = abstract.Retiring }))
		c := f.client()
		err := c.Call(ctx, "svc.do", nil, nil)
		e := failedAs(f, err)
		assert.Equal(f, abstract.Draining, e.Code)
		assert.Equal(f, abstract.SentNo, e.Sent)
		assert.Zero(f, a.did())
	})
}

// An unhealthy provider gets calls when there is nobody else.
func TestUnhealthyProviderIsTheLastResort(t *testing.T) {
	inFleet(t, func(f *fleet) {
		sick, well := f.join(1, "sick", answers), f.join(2, "well", answers)
		unhealthy := sick.as(func(p *abstract.Provider) { p.State = abstract.Unhealthy })
		f.say(unhealthy, well.Provider)
		c := f.client(inOrder())
		for range 20 {
			require.NoError(f, c.Call(ctx, "svc.do", nil, nil))
		}
		assert.Zero(f, sick.did())
		f.say(unhealthy)
		require.NoError(f, c.Call(ctx, "svc.do", nil, nil))
		assert.Equal(f, 1, sick.did())
	})
}
