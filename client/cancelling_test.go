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
)

// Whoever gives a call up says so to the provider, once.
func TestGivingUpIsToldToTheProvider(t *testing.T) {
	tests := map[string]func(c *client.RpcClient){
		"its context is cancelled": func(c *client.RpcClient) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second, cancel)
			assert.ErrorIs(t, c.Call(ctx, "svc.do", nil, nil), abstract.ErrCancelled)
		},
		"its context's deadline passes": func(c *client.RpcClient) {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			assert.ErrorIs(t, c.Call(ctx, "svc.do", nil, nil), abstract.ErrTimeout)
		},
		"its timeout passes": func(c *client.RpcClient) {
			assert.ErrorIs(t, c.Call(ctx, "svc.do", nil, nil, client.Timeout(time.Second)), abstract.ErrTimeout)
		},
		"its Future is cancelled": func(c *client.RpcClient) {
			f := c.CallFuture(ctx, "svc.do", nil)
			synctest.Wait()
			f.Cancel()
			f.Cancel()
			assert.ErrorIs(t, f.Wait(ctx, nil), abstract.ErrCancelled)
		},
		"the context of a callback's call is cancelled": func(c *client.RpcClient) {
			ctx, cancel := context.WithCancel(ctx)
			ended := make(chan error)
			c.CallFunc(ctx, "svc.do", nil, func(_ client.Reply, err error) { ended <- err })
			synctest.Wait()
			cancel()
			assert.ErrorIs(t, <-ended, abstract.ErrCancelled)
		},
	}
	for name, giveUp := range tests {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(f *fleet) {
				m := f.join(1, "a", silent)
				f.say(m.Provider)
				giveUp(f.client())
				time.Sleep(time.Minute)
				require.Len(f, m.ids(), 1)
				assert.Equal(f, m.ids(), m.cancelled())
			})
		})
	}
}

// The calls of one context end together, and each is told.
func TestEveryCallOfACancelledContextIsTold(t *testing.T) {
	inFleet(t, func(f *fleet) {
		m := f.join(1, "a", silent)
		f.say(m.Provider)
		c := f.client()
		ctx, cancel := context.WithCancel(ctx)
		for range 500 {
			c.CallFuture(ctx, "svc.do", nil)
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		want, got := m.ids(), m.cancelled()
		require.Len(f, want, 500)
		slices.Sort(want)
		slices.Sort(got)
		assert.Equal(f, want, got)
	})
}

// What was answered, refused, or never sent is not cancelled, and an existing program
// would not understand.
func TestNothingElseIsToldToBeCancelled(t *testing.T) {
	tests := map[string]struct {
		serve  func(*member) // what it does
		legacy bool
	}{
		"answered": {serve: func(m *member) { m.now(answers) }},
		"refused":  {serve: func(m *member) { m.now(refuses(abstract.Timeout, "")) }},
		"lost":     {serve: func(m *member) { m.now(hangsUp) }},
		"legacy":   {serve: func(m *member) { m.now(silent) }, legacy: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(f *fleet) {
				m := f.join(1, "a", nil)
				tt.serve(m)
				f.say(m.as(func(p *abstract.Provider) { p.Hello = !tt.legacy }))
				_ = f.client().Call(ctx, "svc.do", nil, nil, client.Timeout(time.Second))
				time.Sleep(time.Minute)
				assert.Len(f, m.ids(), 1)
				assert.Empty(f, m.cancelled())
			})
		})
	}
	t.Run("never sent", func(t *testing.T) {
		inFleet(t, func(f *fleet) {
			f.net.Blackhole(true) // connecting takes for ever
			m := f.join(1, "a", answers)
			f.say(m.Provider)
			err := f.client().Call(ctx, "svc.do", nil, nil, client.Timeout(time.Second))
			assert.Equal(f, abstract.SentNo, failedAs(f, err).Sent)
			f.net.Blackhole(false)
			time.Sleep(time.Minute)
			assert.Empty(f, m.ids())
			assert.Empty(f, m.cancelled())
		})
	})
}
