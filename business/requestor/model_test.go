package requestor_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"trefoil/abstract"
	"trefoil/business/requestor"
	"trefoil/concrete/message"
)

// modelCall is what the model knows of a call.
type modelCall struct {
	pending *requestor.Pending
	due     time.Time // its deadline, or when it was added if that was later
	taken   bool      // its bytes have left
	end     ending
	over    bool
	code    abstract.RCode // how it must have ended
	sent    abstract.Sent
}

// model is a Requestor beside a slow list of its calls.
type model struct {
	r      *requestor.Requestor
	calls  []*modelCall
	now    time.Time
	closed bool
	max    int
}

func (m *model) live() (list []*modelCall) {
	for _, c := range m.calls {
		if !c.over {
			list = append(list, c)
		}
	}
	return list
}

// finish notes how a call must have ended without a response.
func (c *modelCall) finish(code abstract.RCode) {
	c.over, c.code, c.sent = true, code, abstract.SentNo
	if c.taken {
		c.sent = abstract.SentUnknown
	}
}

// TestEveryCallEndsOnceWithTheRightOutcome plays random events against the model.
func TestEveryCallEndsOnceWithTheRightOutcome(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{now: epoch, max: rapid.IntRange(1, 40).Draw(t, "max")}
		m.r = requestor.New(requestor.Config{MaxPending: m.max})
		any := func(t *rapid.T) *modelCall {
			if len(m.calls) == 0 {
				t.Skip("no call yet")
			}
			return rapid.SampledFrom(m.calls).Draw(t, "call")
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				ms := rapid.OneOf(rapid.Int64Range(-50, 200), rapid.Int64Range(0, 20_000)).Draw(t, "ms")
				c := &modelCall{due: later(m.now, m.now.Add(time.Duration(ms)*time.Millisecond))}
				p, err := m.r.Add(m.now.Add(time.Duration(ms)*time.Millisecond), abstract.RspRPC, c.end.done)
				switch {
				case m.closed:
					require.ErrorIs(t, err, abstract.ErrDisconnected)
				case len(m.live()) >= m.max:
					require.ErrorIs(t, err, abstract.ErrOverloaded)
				default:
					require.NoError(t, err)
					c.pending = p
					m.calls = append(m.calls, c)
				}
			},
			"write": func(t *rapid.T) {
				c := any(t)
				if c.pending.Mark().Take() {
					c.taken = true
				}
			},
			"respond": func(t *rapid.T) {
				c := any(t)
				code := rapid.SampledFrom([]abstract.RCode{abstract.OK, abstract.WrongMessageType, abstract.Unsupported}).Draw(t, "code")
				var rsp abstract.BaseMessage = response(c.pending.ID())
				switch code {
				case abstract.WrongMessageType:
					rsp = &message.ServiceResponse{Header: message.ID(c.pending.ID())}
				case abstract.Unsupported:
					rsp = &message.Unsupported{Header: message.ID(c.pending.ID())}
				}
				require.Equal(t, !c.over, m.r.Complete(rsp))
				if !c.over {
					c.over, c.code, c.sent = true, code, abstract.SentYes
				}
			},
			"respond to nobody": func(t *rapid.T) {
				id := rapid.OneOf(rapid.String(), rapid.StringMatching("[0-9a-f]{16}")).Draw(t, "id")
				for _, c := range m.calls {
					if c.pending.ID() == id {
						t.Skip("somebody's")
					}
				}
				require.False(t, m.r.Complete(response(id)))
			},
			"cancel": func(t *rapid.T) {
				c := any(t)
				require.Equal(t, !c.over, m.r.Cancel(c.pending, context.Canceled))
				if !c.over {
					c.finish(abstract.Cancelled)
				}
			},
			"fail": func(t *rapid.T) {
				c := any(t)
				require.Equal(t, !c.over, m.r.Fail(c.pending, abstract.ErrTooLarge))
				if !c.over {
					c.finish(abstract.TooLarge)
				}
			},
			"wait": func(t *rapid.T) {
				ms := rapid.OneOf(rapid.Int64Range(0, 30), rapid.Int64Range(0, 10_000)).Draw(t, "ms")
				m.now = m.now.Add(time.Duration(ms) * time.Millisecond)
				m.expire(t)
			},
			"close": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "rarely") > 0 {
					t.Skip("not now")
				}
				m.r.CloseAll(abstract.Errorf(abstract.Disconnected, "lost"))
				m.closed = true
				for _, c := range m.live() {
					c.finish(abstract.Disconnected)
				}
			},
			"": m.check,
		})
		m.r.CloseAll(abstract.Errorf(abstract.Disconnected, "lost"))
		for _, c := range m.live() {
			c.finish(abstract.Disconnected)
		}
		m.check(t)
		assert.Zero(t, m.r.Len())
	})
}

// expire looks for late calls: a deadline may be overrun by a grain, not by more,
// and never comes early.
func (m *model) expire(t *rapid.T) {
	next := m.r.Expire(m.now)
	for _, c := range m.live() {
		switch {
		case c.end.times > 0:
			require.False(t, c.due.After(m.now), "ended early")
			c.finish(abstract.Timeout)
		case !c.due.Add(grain).After(m.now):
			require.Fail(t, "not ended at its deadline")
		default:
			require.True(t, next.After(m.now))
			require.False(t, next.After(later(c.due, m.now).Add(grain)), "the next look comes too late")
		}
	}
	require.Equal(t, len(m.live()) == 0, next.IsZero())
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (m *model) check(t *rapid.T) {
	require.Equal(t, len(m.live()), m.r.Len())
	for _, c := range m.calls {
		if !c.over {
			require.Zero(t, c.end.times)
			continue
		}
		require.Equal(t, 1, c.end.times)
		if c.code == abstract.OK {
			require.NotNil(t, c.end.m)
			require.Nil(t, c.end.err)
			continue
		}
		require.NotNil(t, c.end.err)
		require.Equal(t, c.code, c.end.err.Code)
		require.Equal(t, c.sent, c.end.err.Sent)
		if c.sent == abstract.SentNo {
			require.False(t, c.pending.Mark().Take(), "not sent stays not sent")
		}
	}
}

// TestConcurrentEndsAreOne lets everything that ends a call race for it.
func TestConcurrentEndsAreOne(t *testing.T) {
	const callers, each = 8, 500
	r := requestor.New(requestor.Config{})
	var ended [callers * each]atomic.Int32
	var stored atomic.Int64
	var callersGone, lookersGone sync.WaitGroup
	stop := make(chan struct{})
	lookersGone.Go(func() {
		for now := epoch; ; now = now.Add(time.Millisecond) {
			select {
			case <-stop:
				return
			default:
				r.Expire(now)
			}
		}
	})
	for i := range callers {
		callersGone.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(i)))
			for j := range each {
				n := i*each + j
				p, err := r.Add(epoch.Add(time.Duration(rnd.IntN(3000))*time.Millisecond), abstract.RspRPC, func(abstract.BaseMessage, error) { ended[n].Add(1) })
				if err != nil {
					ended[n].Add(1)
					continue
				}
				stored.Add(1)
				var race sync.WaitGroup
				race.Go(func() { r.Complete(response(p.ID())) })
				race.Go(func() { p.Mark().Take() })
				if rnd.IntN(2) == 0 {
					race.Go(func() { r.Cancel(p, context.Canceled) })
				}
				race.Wait()
				if i == 0 && j == each*9/10 {
					r.CloseAll(nil)
				}
			}
		})
	}
	callersGone.Wait()
	close(stop)
	lookersGone.Wait()
	r.CloseAll(nil)
	for n := range ended {
		require.Equal(t, int32(1), ended[n].Load(), "call %d", n)
	}
	assert.Positive(t, stored.Load())
	assert.Zero(t, r.Len())
}
