package client_test

import (
	"encoding/json"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
)

// breakers returns the states of the breakers of a method's providers.
func breakers(c *client.RpcClient) (states []string) {
	for _, s := range c.Instances("svc.do") {
		states = append(states, s.Breaker)
	}
	return states
}

// A provider that does not answer is left alone after some calls, others are not, and
// when its time is over a few calls find out whether it is well.
func TestBreakerOpensAndCloses(t *testing.T) {
	inFleet(t, func(f *fleet) {
		sick, well := f.join(1, "sick", silent), f.join(2, "well", answers)
		f.say(sick.Provider, well.Provider)
		c := f.client(inOrder(), client.WithBreaker(client.Breaker{InRow: 3, OpenFor: 5 * time.Second, Trials: 2}))
		call := func() error { return c.Call(ctx, "svc.do", nil, nil, client.Timeout(time.Second)) }
		for range 3 {
			assert.ErrorIs(f, call(), abstract.ErrTimeout)
		}
		assert.Equal(f, []string{"open", "closed"}, breakers(c))
		assert.WithinDuration(f, time.Now().Add(5*time.Second), c.Instances("svc.do")[0].Until, 0)
		for range 100 {
			require.NoError(f, call())
		}
		assert.Equal(f, 3, sick.did(), "no call while it is open")

		time.Sleep(5 * time.Second)
		var calls sync.WaitGroup
		for range 20 { // at once
			calls.Go(func() { _ = call() })
		}
		calls.Wait()
		assert.Equal(f, 5, sick.did(), "two on trial")
		assert.Equal(f, []string{"open", "closed"}, breakers(c))

		time.Sleep(5 * time.Second)
		sick.now(answers)
		for range 2 {
			assert.Equal(f, "closed", breakers(c)[1])
			require.NoError(f, call())
		}
		assert.Equal(f, []string{"closed", "closed"}, breakers(c))
		require.NoError(f, call())
		assert.Equal(f, 8, sick.did())
	})
}

// When no breaker lets a call through it ends at once, and says when to try again.
func TestCallThatNoBreakerLetsThrough(t *testing.T) {
	inFleet(t, func(f *fleet) {
		a, b := f.join(1, "a", silent), f.join(2, "b", silent)
		spare := f.join(3, "c", silent) // of whom the client makes no use
		f.say(a.Provider, b.Provider, spare.Provider)
		c := f.client(client.WithBreaker(client.Breaker{InRow: 2, OpenFor: 5 * time.Second}), client.WithSubset(2, 0))
		for range 4 {
			assert.ErrorIs(f, c.Call(ctx, "svc.do", nil, nil, client.Timeout(time.Second)), abstract.ErrTimeout)
		}
		begun := time.Now()
		err := c.Call(ctx, "svc.do", nil, nil, client.Idempotent())
		e := failedAs(f, err)
		assert.Equal(f, abstract.Unavailable, e.Code)
		assert.Equal(f, abstract.SentNo, e.Sent)
		assert.ErrorContains(f, err, "breaker open")
		assert.ErrorContains(f, err, "tried again in")
		assert.Zero(f, time.Since(begun))
		var details struct {
			Ms int64 `json:"retry_after_ms"`
		}
		require.NoError(f, json.Unmarshal(e.Details, &details))
		time.Sleep(time.Duration(details.Ms) * time.Millisecond)
		for _, m := range []*member{a, b, spare} {
			m.now(answers)
		}
		assert.NoError(f, c.Call(ctx, "svc.do", nil, nil), "the first one is tried again")
	})
}

// Answers with errors are answers, and who gives up says nothing of the provider.
func TestWhatABreakerTakesForAFailure(t *testing.T) {
	inFleet(t, func(f *fleet) {
		m := f.join(1, "a", refuses(abstract.Internal, ""))
		f.say(m.Provider)
		c := f.client(client.WithBreaker(client.Breaker{InRow: 2, Rate: 0.1, MinCalls: 2}))
		for _, code := range []abstract.RCode{abstract.Internal, abstract.Denied, abstract.Overloaded, abstract.InvalidParams} {
			m.now(refuses(code, ""))
			for range 10 {
				assert.Error(f, c.Call(ctx, "svc.do", nil, nil))
			}
		}
		m.now(silent)
		for range 10 {
			call := c.CallFuture(ctx, "svc.do", nil)
			synctest.Wait()
			call.Cancel()
		}
		assert.Equal(f, []string{"closed"}, breakers(c))
		m.now(hangsUp)
		for range 2 {
			assert.ErrorIs(f, c.Call(ctx, "svc.do", nil, nil), abstract.ErrDisconnected)
		}
		assert.Equal(f, []string{"open"}, breakers(c))
	})
}

// The one server of a direct client has a breaker, too; without the option there is none.
func TestBreakerOfOneServer(t *testing.T) {
	for name, opts := range map[string][]client.Option{"with": {client.WithBreaker(client.Breaker{InRow: 2})}, "without": nil} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(f *fleet) {
				m := f.join(1, "a", silent)
				c, err := client.DialRpc(ctx, host(1), append(opts, client.WithTransport(f.net.Client), client.WithLogger(quiet))...)
				require.NoError(f, err)
				defer c.Close()
				for range 4 {
					err = c.Call(ctx, "svc.do", nil, nil, client.Timeout(time.Second))
				}
				if opts == nil {
					assert.ErrorIs(f, err, abstract.ErrTimeout)
					assert.Equal(f, 4, m.did())
					return
				}
				assert.ErrorContains(f, err, "breaker open")
				assert.Equal(f, 2, m.did())
				time.Sleep(5 * time.Second)
				m.now(answers)
				assert.NoError(f, c.Call(ctx, "svc.do", nil, nil))
			})
		})
	}
}
