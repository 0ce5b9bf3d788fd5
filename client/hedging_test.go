package client_test

import (
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

// latencies makes calls to providers of which each answers every fiftieth request late,
// and returns how long calls take and how many requests there are for each.
func latencies(t *testing.T, opts []client.Option, callOpts ...client.CallOption) (p50, p99 time.Duration, load float64) {
	inFleet(t, func(f *fleet) {
		const calls = 3000
		sometimesLate := func(m *member, bc abstract.BaseConnection, req *message.RpcRequest) {
			d := 5 * time.Millisecond
			if m.did()%50 == 0 {
				d = 200 * time.Millisecond
			}
			answersAfter(d)(m, bc, req)
		}
		var all []*member
		var list []abstract.Provider
		for i := range 5 {
			m := f.join(i, string(rune('a'+i)), sometimesLate)
			all, list = append(all, m), append(list, m.Provider)
		}
		f.say(list...)
		c := f.client(opts...)
		took := make(chan time.Duration, calls)
		for range calls {
			begun := time.Now()
			c.CallFunc(ctx, "svc.do", nil, func(_ client.Reply, err error) {
				assert.NoError(t, err)
				took <- time.Since(begun)
			}, append(callOpts, client.Idempotent())...)
			time.Sleep(time.Millisecond)
		}
		var times []time.Duration
		for range calls {
			times = append(times, <-took)
		}
		slices.Sort(times)
		did := 0
		for _, m := range all {
			did += m.did()
		}
		p50, p99, load = times[calls/2], times[calls*99/100], float64(did)/calls
		synctest.Wait()
		for _, s := range c.Instances("svc.do") {
			assert.Zero(t, s.Pending)
		}
	})
	return p50, p99, load
}

func TestHedgingCutsTheSlowestAnswers(t *testing.T) {
	_, plain, load := latencies(t, nil)
	assert.Equal(t, 200*time.Millisecond, plain)
	assert.EqualValues(t, 1, load)
	for name, tt := range map[string]struct {
		opts     []client.Option
		callOpts []client.CallOption
	}{
		"the client's":                   {opts: []client.Option{client.WithHedging(client.Hedging{})}},
		"the call's":                     {callOpts: []client.CallOption{client.Hedge()}},
		"the call's, after a fixed time": {callOpts: []client.CallOption{client.HedgeAfter(10 * time.Millisecond)}},
	} {
		t.Run(name, func(t *testing.T) {
			p50, p99, load := latencies(t, tt.opts, tt.callOpts...)
			t.Logf("p50 %v, p99 %v, %.3f requests for each call", p50, p99, load)
			assert.Equal(t, 5*time.Millisecond, p50)
			assert.LessOrEqual(t, p99, 20*time.Millisecond)
			assert.LessOrEqual(t, load, 1.06)
		})
	}
}

// The attempt that loses is cancelled, whichever it is.
func TestLoserIsCancelled(t *testing.T) {
	inFleet(t, func(f *fleet) {
		slow, fast := f.join(1, "slow", silent), f.join(2, "fast", answersAfter(time.Millisecond))
		f.say(slow.Provider, fast.Provider)
		c := f.client(inOrder())
		r, err := c.CallReply(ctx, "svc.do", nil, client.Idempotent(), client.HedgeAfter(20*time.Millisecond))
		require.NoError(f, err)
		assert.Equal(f, `"fast"`, string(r.Raw))
		assert.Equal(f, fast.Host.String(), r.Instance)
		assert.Equal(f, 2, r.Attempts)
		synctest.Wait()
		assert.Len(f, slow.ids(), 1)
		assert.Equal(f, slow.ids(), slow.cancelled())
		assert.Empty(f, fast.cancelled())

		slow.now(answersAfter(30 * time.Millisecond))
		fast.now(silent)
		r, err = c.CallReply(ctx, "svc.do", nil, client.Idempotent(), client.HedgeAfter(20*time.Millisecond))
		require.NoError(f, err)
		assert.Equal(f, `"slow"`, string(r.Raw))
		assert.Equal(f, 2, r.Attempts)
		synctest.Wait()
		assert.Equal(f, fast.ids()[1:], fast.cancelled())
	})
}

// Only who can be called twice may be hedged.
func TestOnlyIdempotentCallsAreHedged(t *testing.T) {
	inFleet(t, func(f *fleet) {
		slow, fast := f.join(1, "slow", answersAfter(time.Second)), f.join(2, "fast", answers)
		f.say(slow.Provider, fast.Provider)
		c := f.client(inOrder(), client.WithHedging(client.Hedging{After: time.Millisecond}))
		err := c.Call(ctx, "svc.do", nil, nil, client.Hedge())
		e := failedAs(f, err)
		assert.Equal(f, abstract.InvalidParams, e.Code)
		assert.Equal(f, abstract.SentNo, e.Sent)
		assert.ErrorContains(f, err, "Idempotent")
		assert.Zero(f, slow.did()+fast.did())

		require.NoError(f, c.Call(ctx, "svc.do", nil, nil))
		assert.Zero(f, fast.did(), "the client's hedging leaves it alone")
		require.NoError(f, c.Call(ctx, "svc.do", nil, nil, client.Idempotent()))
		assert.Equal(f, 1, fast.did())
		require.NoError(f, c.Call(ctx, "svc.do", nil, nil, client.Idempotent(), client.NoRetry()))
		assert.Equal(f, 1, fast.did(), "one attempt is one attempt")
	})
}

// What becomes of a hedged call when its attempts fail.
func TestHedgedCallsThatFail(t *testing.T) {
	late := func(d time.Duration, then func(*member, abstract.BaseConnection, *message.RpcRequest)) func(*member, abstract.BaseConnection, *message.RpcRequest) {
		return func(m *member, bc abstract.BaseConnection, req *message.RpcRequest) {
			time.AfterFunc(d, func() { then(m, bc, req) })
		}
	}
	const ms = time.Millisecond
	tests := map[string]struct {
		first, second func(*member, abstract.BaseConnection, *message.RpcRequest)
		code          abstract.RCode
		took          time.Duration
		attempts      int
	}{
		"the first fails, the second answers":            {first: late(20*ms, hangsUp), second: answersAfter(50 * ms), took: 60 * ms, attempts: 2},
		"the second fails, the first answers":            {first: answersAfter(50 * ms), second: hangsUp, took: 50 * ms, attempts: 2},
		"the second cannot be reached, the first does":   {first: answersAfter(50 * ms), took: 50 * ms, attempts: 2},
		"one says what cannot be mended":                 {first: silent, second: refuses(abstract.Denied, ""), code: abstract.Denied, took: 10 * ms, attempts: 2},
		"the first says it, while the second is at work": {first: late(20*ms, refuses(abstract.Internal, "")), second: silent, code: abstract.Internal, took: 20 * ms, attempts: 2},
		"nobody answers":                                 {first: silent, second: silent, code: abstract.Timeout, took: 500 * ms, attempts: 2},
		"both are overloaded":                            {first: late(20*ms, refuses(abstract.Overloaded, "")), second: late(20*ms, refuses(abstract.Overloaded, "")), code: abstract.Overloaded, took: 30 * ms, attempts: 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(f *fleet) {
				a, b := f.join(1, "a", tt.first), f.join(2, "b", tt.second)
				f.say(a.Provider, b.Provider)
				if tt.second == nil {
					b.leave()
				}
				c := f.client(inOrder())
				begun := time.Now()
				r, err := c.CallReply(ctx, "svc.do", nil, client.Idempotent(), client.HedgeAfter(10*ms), client.Timeout(500*ms))
				assert.Equal(f, tt.code, abstract.CodeOf(err), "%v", err)
				attempts := r.Attempts
				if err != nil {
					attempts = failedAs(f, err).Attempts
				}
				if tt.second == nil {
					attempts++ // it was not sent
				}
				assert.Equal(f, tt.attempts, attempts)
				assert.InDelta(f, tt.took, time.Since(begun), float64(11*ms))
				time.Sleep(time.Minute)
				for _, s := range c.Instances("svc.do") {
					assert.Zero(f, s.Pending)
				}
			})
		})
	}
}

// A caller who gives up gives up all attempts.
func TestGivingUpEndsEveryAttempt(t *testing.T) {
	inFleet(t, func(f *fleet) {
		a, b := f.join(1, "a", silent), f.join(2, "b", silent)
		f.say(a.Provider, b.Provider)
		c := f.client()
		call := c.CallFuture(ctx, "svc.do", nil, client.Idempotent(), client.HedgeAfter(time.Millisecond))
		time.Sleep(time.Second)
		call.Cancel()
		e := failedAs(f, call.Wait(ctx, nil))
		assert.Equal(f, abstract.Cancelled, e.Code)
		assert.Equal(f, abstract.SentUnknown, e.Sent)
		assert.Equal(f, 2, e.Attempts)
		synctest.Wait()
		assert.Equal(f, a.ids(), a.cancelled())
		assert.Equal(f, b.ids(), b.cancelled())
		assert.Len(f, a.cancelled(), 1)
		assert.Len(f, b.cancelled(), 1)
	})
}

// When all answers are late, hedging adds one attempt for twenty calls and no more.
func TestHedgesAreBounded(t *testing.T) {
	inFleet(t, func(f *fleet) {
		a, b := f.join(1, "a", answersAfter(50*time.Millisecond)), f.join(2, "b", answersAfter(50*time.Millisecond))
		f.say(a.Provider, b.Provider)
		c := f.client()
		const calls = 2000
		for range calls {
			c.CallFuture(ctx, "svc.do", nil, client.Idempotent(), client.HedgeAfter(5*time.Millisecond))
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		extra := a.did() + b.did() - calls
		assert.LessOrEqual(f, extra, calls/20+10)
		assert.Greater(f, extra, calls/25)
	})
}
