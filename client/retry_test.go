package client_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/message"
)

// storm makes calls through a chain of three callers to a leaf that fails them all,
// and returns how many requests the leaf gets for each.
func storm(t *testing.T, opts ...client.Option) (load float64) {
	inFleet(t, func(f *fleet) {
		const calls, perSecond = 4000, 2000
		refuse := refuses(abstract.Unavailable, "")
		leaf := []*member{f.join(0, "leaf-0", refuse), f.join(1, "leaf-1", refuse)}
		f.say(leaf[0].Provider, leaf[1].Provider)
		tier := f
		for depth := 2; depth > 0; depth-- { // each tier calls the one below it
			below := tier.client(opts...)
			tier = &fleet{T: f.T, net: f.net, follow: make(map[int]func(abstract.Providers))}
			pass := func(m *member, bc abstract.BaseConnection, req *message.RpcRequest) {
				below.CallFunc(ctx, "svc.do", nil, func(client.Reply, error) { refuse(m, bc, req) }, client.Idempotent(), client.Timeout(time.Second))
			}
			a, b := tier.join(10*depth, "a", pass), tier.join(10*depth+1, "b", pass)
			tier.say(a.Provider, b.Provider)
		}
		top := tier.client(opts...)
		var ended atomic.Int32
		for range calls {
			top.CallFunc(ctx, "svc.do", nil, func(client.Reply, error) { ended.Add(1) }, client.Idempotent(), client.Timeout(time.Second))
			time.Sleep(time.Second / perSecond)
		}
		time.Sleep(time.Minute)
		assert.EqualValues(f, calls, ended.Load())
		load = float64(leaf[0].did()+leaf[1].did()) / calls
	})
	return load
}

// Three callers in a row that try again when a service is down make not much more
// load than one that does not. Without budgets it is a multiple.
func TestRetryStormIsBounded(t *testing.T) {
	load := storm(t)
	t.Logf("with budgets the leaf gets %.2f requests for each call", load)
	assert.LessOrEqual(t, load, 1.8)
	assert.Greater(t, load, 1.2, "some are tried again")
	load = storm(t, client.WithRetryBudget(client.RetryBudget{Off: true}))
	t.Logf("without, %.1f", load)
	assert.Greater(t, load, 5.0)
}

// Attempts that follow one which did nothing need no budget.
func TestFreeAttemptsNeedNoBudget(t *testing.T) {
	inFleet(t, func(f *fleet) {
		nobody := f.join(1, "nobody", answers)
		nobody.leave()
		other := f.join(2, "other", answers)
		drains := f.join(3, "drains", refuses(abstract.Draining, ""))
		good := f.join(4, "good", answers)
		f.say(nobody.Provider, other.as(func(p *abstract.Provider) { p.Instance = "was here" }), drains.Provider, good.Provider)
		c := f.client(inOrder(), client.WithRetryBudget(client.RetryBudget{Ratio: -1, PerSecond: -1}))
		r, err := c.CallReply(ctx, "svc.do", nil)
		require.NoError(f, err)
		assert.Equal(f, `"good"`, string(r.Raw))
		assert.Equal(f, 4, r.Attempts)
	})
}

// An idempotent call that was lost takes from the budget, and says so when it cannot.
func TestUsedUpBudgetIsSaid(t *testing.T) {
	for name, lost := range map[string]func(*member, abstract.BaseConnection, *message.RpcRequest){
		"lost":        hangsUp,
		"unavailable": refuses(abstract.Unavailable, ""),
		"overloaded":  refuses(abstract.Overloaded, `{"queue":7}`),
		"not served":  refuses(abstract.ServiceNotFound, ""),
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(f *fleet) {
				bad, good := f.join(1, "bad", lost), f.join(2, "good", answers)
				f.say(bad.Provider, good.Provider)
				c := f.client(inOrder(), client.WithRetryBudget(client.RetryBudget{Ratio: -1, PerSecond: 1}), client.WithBackoff(1, 1))
				require.NoError(f, c.Call(ctx, "svc.do", nil, nil, client.Idempotent()), "one second's worth is there")
				time.Sleep(time.Millisecond) // whom a connection was just lost to rests
				err := c.Call(ctx, "svc.do", nil, nil, client.Idempotent())
				e := failedAs(f, err)
				assert.ErrorIs(f, err, client.ErrRetryBudget)
				assert.Equal(f, 1, e.Attempts)
				assert.Equal(f, bad.Host.String(), e.Instance)
				if name == "overloaded" {
					assert.JSONEq(f, `{"queue":7}`, string(e.Details), "what the provider said is kept")
				}
				time.Sleep(time.Second)
				require.NoError(f, c.Call(ctx, "svc.do", nil, nil, client.Idempotent()))
			})
		})
	}
}

// Each service has its own budget.
func TestBudgetIsOfTheService(t *testing.T) {
	inFleet(t, func(f *fleet) {
		bad, good := f.join(1, "bad", refuses(abstract.Overloaded, "")), f.join(2, "good", answers)
		f.say(bad.Provider, good.Provider)
		c := f.client(inOrder(), client.WithRetryBudget(client.RetryBudget{Ratio: -1, PerSecond: 1}))
		require.NoError(f, c.Call(ctx, "a.b.first", nil, nil))
		assert.ErrorIs(f, c.Call(ctx, "a.b.second", nil, nil), client.ErrRetryBudget, "of the same service")
		assert.NoError(f, c.Call(ctx, "a.first", nil, nil), "of another one")
	})
}

// What may be tried again, and where.
func TestWhatIsTriedAgain(t *testing.T) {
	tests := map[string]struct {
		serve      func(*member, abstract.BaseConnection, *message.RpcRequest)
		idempotent bool
		again      bool
	}{
		"lost":                          {serve: hangsUp},
		"lost, idempotent":              {serve: hangsUp, idempotent: true, again: true},
		"overloaded":                    {serve: refuses(abstract.Overloaded, ""), again: true},
		"draining":                      {serve: refuses(abstract.Draining, ""), again: true},
		"another instance":              {serve: refuses(abstract.WrongInstance, ""), again: true},
		"not served there":              {serve: refuses(abstract.ServiceNotFound, ""), again: true},
		"unavailable behind it":         {serve: refuses(abstract.Unavailable, "")},
		"unavailable, idempotent":       {serve: refuses(abstract.Unavailable, ""), idempotent: true, again: true},
		"an internal error, idempotent": {serve: refuses(abstract.Internal, ""), idempotent: true},
		"wrong parameters, idempotent":  {serve: refuses(abstract.InvalidParams, ""), idempotent: true},
		"denied, idempotent":            {serve: refuses(abstract.Denied, ""), idempotent: true},
		"a timeout behind it":           {serve: refuses(abstract.Timeout, ""), idempotent: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(f *fleet) {
				bad, good := f.join(1, "bad", tt.serve), f.join(2, "good", answers)
				f.say(bad.Provider, good.Provider)
				var opts []client.CallOption
				if tt.idempotent {
					opts = append(opts, client.Idempotent())
				}
				c := f.client(inOrder())
				err := c.Call(ctx, "svc.do", nil, nil, opts...)
				assert.Equal(f, tt.again, err == nil, "%v", err)
				assert.Equal(f, tt.again, good.did() == 1)
				time.Sleep(time.Second) // whom a connection was just lost to rests
				err = c.Call(ctx, "svc.do", nil, nil, append(opts, client.NoRetry())...)
				if e := new(abstract.Error); assert.Error(f, err) {
					assert.ErrorAs(f, err, &e)
					assert.Equal(f, 1, e.Attempts)
				}
			})
		})
	}
}

func TestRetryBoundsAttempts(t *testing.T) {
	inFleet(t, func(f *fleet) {
		var all []*member
		var list []abstract.Provider
		for i := range 5 {
			m := f.join(i, string(rune('a'+i)), refuses(abstract.Draining, ""))
			all, list = append(all, m), append(list, m.Provider)
		}
		f.say(list...)
		err := f.client().Call(ctx, "svc.do", nil, nil, client.Retry(3))
		assert.Equal(f, 3, failedAs(f, err).Attempts)
		assert.ErrorIs(f, err, abstract.ErrDraining)
		did := 0
		for _, m := range all {
			did += m.did()
		}
		assert.Equal(f, 3, did)
	})
}

// A provider that has too much to do is not asked again by the same call, and when it
// has said for how long, not by others either while somebody else is there.
func TestOverloadedProvidersAreLeftAlone(t *testing.T) {
	t.Run("by the call", func(t *testing.T) {
		inFleet(t, func(f *fleet) {
			a, b := f.join(1, "a", refuses(abstract.Overloaded, "")), f.join(2, "b", refuses(abstract.Overloaded, ""))
			f.say(a.Provider, b.Provider)
			c := f.client(client.WithRetryBudget(client.RetryBudget{Ratio: -1, PerSecond: 1}))
			begun := time.Now()
			err := c.Call(ctx, "svc.do", nil, nil, client.Idempotent())
			assert.ErrorIs(f, err, abstract.ErrOverloaded)
			assert.Equal(f, 2, failedAs(f, err).Attempts)
			assert.Equal(f, 2, a.did()+b.did())
			assert.Zero(f, time.Since(begun), "there is nothing to wait for")
		})
	})
	t.Run("for as long as it says", func(t *testing.T) {
		inFleet(t, func(f *fleet) {
			busy, good := f.join(1, "busy", refuses(abstract.Overloaded, `{"retry_after_ms":700}`)), f.join(2, "good", answers)
			f.say(busy.Provider, good.Provider)
			c := f.client(inOrder())
			for range 10 {
				require.NoError(f, c.Call(ctx, "svc.do", nil, nil))
			}
			assert.Equal(f, 1, busy.did())
			time.Sleep(700 * time.Millisecond)
			require.NoError(f, c.Call(ctx, "svc.do", nil, nil))
			assert.Equal(f, 2, busy.did())
		})
	})
}

// Between attempts at the same providers a call pauses, longer each time, and not in
// step with others.
func TestPausesGrow(t *testing.T) {
	inFleet(t, func(f *fleet) {
		m := f.join(1, "a", refuses(abstract.Draining, ""))
		f.say(m.Provider)
		c := f.client()
		assert.Error(f, c.Call(ctx, "svc.do", nil, nil, client.Timeout(time.Minute)))
		m.mu.Lock()
		defer m.mu.Unlock()
		var pauses []time.Duration
		for i := 1; i < len(m.times); i++ {
			pauses = append(pauses, m.times[i].Sub(m.times[i-1]))
		}
		limit := 50 * time.Millisecond
		for i, p := range pauses {
			assert.LessOrEqual(f, p, limit, "pause %d", i)
			limit = min(2*limit, time.Second)
		}
		assert.Less(f, len(pauses), 300, "one each half a second, on average")
		slices.Sort(pauses)
		assert.Greater(f, len(slices.Compact(pauses)), 20, "at random")
	})
}

// Any mixture of failures and of callers who give up ends every call exactly once, and
// nothing is left of it.
func TestChaosEndsEveryCallOnce(t *testing.T) {
	inFleet(t, func(f *fleet) {
		random := func(m *member, bc abstract.BaseConnection, req *message.RpcRequest) {
			switch rand.IntN(40) {
			case 0:
				hangsUp(m, bc, req)
			case 1, 10, 11, 12:
				silent(m, bc, req)
			case 2, 20, 21, 22:
				refuses(abstract.Overloaded, `{"retry_after_ms":20}`)(m, bc, req)
			case 3:
				refuses(abstract.Draining, "")(m, bc, req)
			case 4:
				refuses(abstract.Unavailable, "")(m, bc, req)
			default:
				answersAfter(rand.N(30*time.Millisecond))(m, bc, req)
			}
		}
		var list []abstract.Provider
		for i := range 5 {
			list = append(list, f.join(i, string(rune('a'+i)), random).Provider)
		}
		f.say(list...)
		c := f.client(client.WithBackoff(1, time.Millisecond), client.WithHedging(client.Hedging{After: 10 * time.Millisecond, Most: 2, Ratio: 1}),
			client.WithBreaker(client.Breaker{OpenFor: 50 * time.Millisecond}), client.WithMaxConcurrent(300), client.WithSubset(4, 0))
		const calls = 3000
		var ended, answered, starved atomic.Int32
		for i := range calls {
			opts := []client.CallOption{client.Timeout(time.Second)}
			if i%4 != 0 {
				opts = append(opts, client.Idempotent())
			}
			if i%3 == 0 {
				opts = append(opts, client.Retry(1+i%5))
			}
			if i%2 == 0 {
				c.CallFunc(ctx, "svc.do", nil, func(_ client.Reply, err error) {
					ended.Add(1)
					switch e := new(abstract.Error); {
					case err == nil:
						answered.Add(1)
					case errors.As(err, &e) && e.Attempts == 0 && strings.HasPrefix(e.Message, "no connection"):
						starved.Add(1)
					}
				}, opts...)
			} else {
				call := c.CallFuture(ctx, "svc.do", nil, opts...)
				go func() { <-call.Done(); ended.Add(1) }()
				if i%7 == 0 {
					time.AfterFunc(rand.N(20*time.Millisecond), call.Cancel)
				}
			}
			if i%200 == 199 {
				f.say(list[rand.IntN(3):]...)
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.EqualValues(f, calls, ended.Load())
		assert.Greater(f, answered.Load(), int32(calls/10))
		assert.Zero(f, starved.Load(), "somebody can be asked at any time, or the call ends at once")
		for _, s := range c.Instances("svc.do") {
			assert.Zero(f, s.Pending, s.Provider.Instance)
		}
	})
}

// A call that fails at all who are in use goes to one that is ejected, which may do well
// again, and does not wait for the end of its sentence.
func TestEjectedProviderIsAskedBeforeNobodyIs(t *testing.T) {
	inFleet(t, func(f *fleet) {
		ill, well := f.join(1, "ill", refuses(abstract.Unavailable, "")), f.join(2, "well", answers)
		f.say(ill.Provider, well.Provider)
		c := f.client()
		for range 100 {
			require.NoError(f, c.Call(ctx, "svc.do", nil, nil, client.Idempotent()))
		}
		require.True(f, c.Instances("svc.do")[0].Ejected)
		ill.now(answers)
		well.now(hangsUp)
		begun := time.Now()
		require.NoError(f, c.Call(ctx, "svc.do", nil, nil, client.Idempotent()))
		assert.Zero(f, time.Since(begun))
	})
}

// A call that waits for its next attempt at the same server ends at its deadline, and
// sends nothing after it.
func TestPauseEndsAtTheDeadline(t *testing.T) {
	inFleet(t, func(f *fleet) {
		m := f.join(1, "a", refuses(abstract.Draining, ""))
		c, err := client.DialRpc(ctx, host(1), client.WithTransport(f.net.Client), client.WithLogger(quiet))
		require.NoError(f, err)
		defer c.Close()
		for range 20 {
			begun := time.Now()
			err := c.Call(ctx, "svc.do", nil, nil, client.Timeout(3*time.Second))
			assert.Error(f, err)
			assert.Equal(f, 3*time.Second, time.Since(begun), err)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, req := range m.requests {
			assert.Positive(f, req.TimeoutMs)
		}
	})
}

// A retry that finds nobody to go to costs nothing.
func TestRetryThatIsNotMadeCostsNothing(t *testing.T) {
	inFleet(t, func(f *fleet) {
		busy, good := f.join(1, "busy", refuses(abstract.Overloaded, "")), f.join(2, "good", answers)
		f.say(busy.Provider)
		c := f.client(inOrder(), client.WithRetryBudget(client.RetryBudget{Ratio: -1, PerSecond: 1}))
		for range 5 {
			err := c.Call(ctx, "svc.do", nil, nil)
			assert.ErrorIs(f, err, abstract.ErrOverloaded)
			assert.NotErrorIs(f, err, client.ErrRetryBudget)
		}
		f.say(busy.Provider, good.Provider)
		assert.NoError(f, c.Call(ctx, "svc.do", nil, nil))
	})
}
