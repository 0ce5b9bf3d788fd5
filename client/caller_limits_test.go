package client_test

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
)

func TestClientLimitsItsRate(t *testing.T) {
	inFleet(t, func(f *fleet) {
		m := f.join(1, "a", answers)
		f.say(m.Provider)
		c := f.client(client.WithRateLimit(10, 5))
		call := func() error { return c.Call(ctx, "svc.do", nil, nil) }
		for range 5 {
			require.NoError(f, call())
		}
		err := call()
		e := failedAs(f, err)
		assert.Equal(f, abstract.Overloaded, e.Code)
		assert.Equal(f, abstract.SentNo, e.Sent)
		assert.ErrorContains(f, err, "try again in 100ms")
		var details struct {
			Ms int64 `json:"retry_after_ms"`
		}
		require.NoError(f, json.Unmarshal(e.Details, &details))
		time.Sleep(time.Duration(details.Ms) * time.Millisecond)
		assert.NoError(f, call())
		assert.Error(f, call())
		assert.Equal(f, 6, m.did())
	})
}

func TestClientLimitsItsCallsAtOnce(t *testing.T) {
	inFleet(t, func(f *fleet) {
		m := f.join(1, "a", silent)
		f.say(m.Provider)
		c := f.client(client.WithMaxConcurrent(3))
		var all []*client.Future
		for range 3 {
			all = append(all, c.CallFuture(ctx, "svc.do", nil, client.Timeout(time.Minute)))
		}
		synctest.Wait()
		err := c.Call(ctx, "svc.do", nil, nil)
		e := failedAs(f, err)
		assert.Equal(f, abstract.Overloaded, e.Code)
		assert.Equal(f, abstract.SentNo, e.Sent)
		assert.ErrorContains(f, err, "limit of 3 calls at once")
		all[0].Cancel()
		m.now(answers)
		for range 10 { // every way to end makes room
			require.NoError(f, c.Call(ctx, "svc.do", nil, nil))
		}
		m.now(hangsUp)
		assert.ErrorIs(f, c.Call(ctx, "svc.do", nil, nil), abstract.ErrDisconnected)
		m.now(answers)
		var ended atomic.Int32
		for range 3 { // the loss has ended the other two
			c.CallFunc(ctx, "svc.do", nil, func(_ client.Reply, err error) {
				assert.NoError(t, err)
				ended.Add(1)
			})
		}
		time.Sleep(time.Second)
		assert.EqualValues(f, 3, ended.Load())
	})
}

// served is the context of a handler.
type served struct {
	context.Context
	deadline time.Time
}

func (s served) CallDeadline() (time.Time, bool) { return s.deadline, !s.deadline.IsZero() }

func (s served) Value(key any) any {
	if _, ok := key.(abstract.CallKey); ok {
		return s
	}
	return s.Context.Value(key)
}

// A handler's further calls end a little before its caller gives up; calls of others
// have all their time.
func TestDeadlineMargin(t *testing.T) {
	inFleet(t, func(f *fleet) {
		m := f.join(1, "a", answers)
		f.say(m.Provider)
		told := func(ctx context.Context, opts ...client.Option) time.Duration {
			require.NoError(f, f.client(opts...).Call(ctx, "svc.do", nil, nil))
			m.mu.Lock()
			defer m.mu.Unlock()
			return time.Duration(m.requests[len(m.requests)-1].TimeoutMs) * time.Millisecond
		}
		within := func(d time.Duration) context.Context {
			c, cancel := context.WithTimeout(ctx, d)
			f.Cleanup(cancel)
			return c
		}
		handler := func(d time.Duration) context.Context {
			c := within(d)
			deadline, _ := c.Deadline()
			return served{c, deadline}
		}
		inside := func(outer context.Context, d time.Duration) context.Context {
			c, cancel := context.WithTimeout(outer, d)
			f.Cleanup(cancel)
			return c
		}
		assert.Equal(f, time.Second, told(within(time.Second)), "no handler's")
		assert.Equal(f, 950*time.Millisecond, told(handler(time.Second)))
		assert.Equal(f, 3900*time.Millisecond, told(handler(4*time.Second)), "at most 100 ms are kept")
		assert.Equal(f, 9*time.Millisecond, told(handler(10*time.Millisecond)), "at least 1 ms is")
		assert.Equal(f, 950*time.Millisecond, told(inside(handler(time.Second), time.Hour)), "of a context made of it")
		assert.Equal(f, 500*time.Millisecond, told(inside(handler(time.Second), 500*time.Millisecond)), "what is shorter anyway stays")
		assert.Equal(f, 800*time.Millisecond, told(handler(time.Second), client.WithDeadlineMargin(0.2, time.Second)))
		assert.Equal(f, time.Second, told(handler(time.Second), client.WithDeadlineMargin(0, 0)), "off")

		n := m.did()
		err := f.client().Call(handler(time.Millisecond), "svc.do", nil, nil)
		e := failedAs(f, err)
		assert.Equal(f, abstract.Timeout, e.Code)
		assert.Equal(f, abstract.SentNo, e.Sent)
		assert.Equal(f, n, m.did(), "a call that cannot be answered in time does not begin")
	})
}
