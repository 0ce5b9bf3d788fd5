package requestor_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/business/requestor"
	"trefoil/concrete/message"
)

// grain is how late a call may end at its deadline.
const grain = 10 * time.Millisecond

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)

// ending notes how a call ended, and how often.
type ending struct {
	times int
	m     abstract.BaseMessage
	err   *abstract.Error
}

func (e *ending) done(m abstract.BaseMessage, err error) {
	e.times++
	e.m = m
	if err != nil && !errors.As(err, &e.err) {
		panic("not an *abstract.Error")
	}
}

// add stores a call for a RSP_RPC that is due a second from the epoch.
func add(t *testing.T, r *requestor.Requestor) (*requestor.Pending, *ending) {
	t.Helper()
	e := new(ending)
	p, err := r.Add(epoch.Add(time.Second), abstract.RspRPC, e.done)
	require.NoError(t, err)
	return p, e
}

func response(id string) *message.RpcResponse {
	return &message.RpcResponse{Header: message.ID(id), Result: message.Raw("1")}
}

// unreadable is a RSP_RPC without the rcode it needs.
func unreadable(t *testing.T, id string) abstract.BaseMessage {
	t.Helper()
	m, err := message.New(message.Config{}).Unmarshal(abstract.RspRPC, id, []byte(`{}`), nil)
	require.NoError(t, err)
	require.Error(t, m.Check())
	return m
}

func TestResponseEndsItsCall(t *testing.T) {
	tests := []struct {
		name     string
		response func(t *testing.T, id string) abstract.BaseMessage
		code     abstract.RCode
	}{
		{"of the wanted type", func(_ *testing.T, id string) abstract.BaseMessage { return response(id) }, abstract.OK},
		{"of the wanted type with an error code", func(_ *testing.T, id string) abstract.BaseMessage {
			return &message.RpcResponse{Header: message.ID(id), Code: abstract.Internal}
		}, abstract.OK},
		{"of another type", func(_ *testing.T, id string) abstract.BaseMessage {
			return &message.TopicResponse{Header: message.ID(id)}
		}, abstract.WrongMessageType},
		{"that is no response", func(_ *testing.T, id string) abstract.BaseMessage {
			return &message.RpcRequest{Header: message.ID(id)}
		}, abstract.WrongMessageType},
		{"that says the request's type is unknown", func(_ *testing.T, id string) abstract.BaseMessage {
			return &message.Unsupported{Header: message.ID(id)}
		}, abstract.Unsupported},
		{"that cannot be understood", unreadable, abstract.InvalidMessage},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := requestor.New(requestor.Config{})
			p, e := add(t, r)
			m := tt.response(t, p.ID())
			require.True(t, r.Complete(m))
			assert.False(t, r.Complete(m), "the second response has no call")
			assert.Equal(t, 1, e.times)
			assert.Zero(t, r.Len())
			assert.Equal(t, uint64(1), r.Ignored())
			if tt.code == abstract.OK {
				assert.Same(t, m, e.m)
				assert.Nil(t, e.err)
				return
			}
			require.NotNil(t, e.err)
			assert.Nil(t, e.m)
			assert.Equal(t, tt.code, e.err.Code)
			assert.Equal(t, abstract.SentYes, e.err.Sent)
			assert.True(t, e.err.FromPeer)
			assert.NotEmpty(t, e.err.Message)
		})
	}
}

func TestFailedCallSaysWhetherItsRequestLeft(t *testing.T) {
	noRoom := abstract.Errorf(abstract.Overloaded, "the queue is full")
	lost := &abstract.Error{Code: abstract.Disconnected, Message: "the connection was lost", Err: errors.New("reset")}
	ways := []struct {
		name string
		end  func(*requestor.Requestor, *requestor.Pending)
		code abstract.RCode
		text string
	}{
		{"not queued", func(r *requestor.Requestor, p *requestor.Pending) { r.Fail(p, noRoom) }, abstract.Overloaded, "the queue is full"},
		{"not queued, a stranger's error", func(r *requestor.Requestor, p *requestor.Pending) { r.Fail(p, errors.New("x")) }, abstract.Internal, "could not be queued"},
		{"cancelled", func(r *requestor.Requestor, p *requestor.Pending) { r.Cancel(p, context.Canceled) }, abstract.Cancelled, "gave up"},
		{"cancelled without a cause", func(r *requestor.Requestor, p *requestor.Pending) { r.Cancel(p, nil) }, abstract.Cancelled, "gave up"},
		{"context's deadline", func(r *requestor.Requestor, p *requestor.Pending) { r.Cancel(p, context.DeadlineExceeded) }, abstract.Timeout, "before the deadline"},
		{"own deadline", func(r *requestor.Requestor, _ *requestor.Pending) { r.Expire(epoch.Add(time.Second + grain)) }, abstract.Timeout, "deadline"},
		{"connection lost", func(r *requestor.Requestor, _ *requestor.Pending) { r.CloseAll(lost) }, abstract.Disconnected, "the connection was lost"},
		{"closed without a cause", func(r *requestor.Requestor, _ *requestor.Pending) { r.CloseAll(nil) }, abstract.Disconnected, "closed"},
	}
	for _, w := range ways {
		t.Run(w.name+", request waiting", func(t *testing.T) {
			r := requestor.New(requestor.Config{})
			p, e := add(t, r)
			w.end(r, p)
			require.Equal(t, 1, e.times)
			assert.Equal(t, w.code, e.err.Code)
			assert.Equal(t, abstract.SentNo, e.err.Sent)
			assert.Contains(t, e.err.Message, w.text)
			assert.Contains(t, e.err.Message, "the request was not sent")
			assert.False(t, p.Mark().Take(), "it stays true: the request is not sent later")
			assert.False(t, e.err.FromPeer)
		})
		t.Run(w.name+", request written", func(t *testing.T) {
			r := requestor.New(requestor.Config{})
			p, e := add(t, r)
			require.True(t, p.Mark().Take())
			w.end(r, p)
			require.Equal(t, 1, e.times)
			assert.Equal(t, abstract.SentUnknown, e.err.Sent)
			assert.Contains(t, e.err.Message, "may have been handled")
		})
	}
	assert.Equal(t, "the queue is full", noRoom.Message, "what was given is not changed")
	assert.Equal(t, "the connection was lost", lost.Message)
}

func TestCallEndsOnce(t *testing.T) {
	r := requestor.New(requestor.Config{})
	p, e := add(t, r)
	require.True(t, r.Cancel(p, context.Canceled))
	assert.False(t, r.Cancel(p, context.Canceled))
	assert.False(t, r.Fail(p, errors.New("late")))
	assert.False(t, r.Complete(response(p.ID())))
	r.Expire(epoch.Add(time.Hour))
	r.CloseAll(nil)
	assert.Equal(t, 1, e.times)
}

func TestStrangeIdsAreIgnoredAndCounted(t *testing.T) {
	r := requestor.New(requestor.Config{})
	p, e := add(t, r)
	ids := []string{
		"", "1", "ffffffffffffffff", "0000000000000000", "7fffffff00000001", "zzzzzzzzzzzzzzzz", "ABCDEF0123456789",
		p.ID() + "0", p.ID()[:15], p.ID()[1:] + "0", "\x00\xff", "73b1b921-b894-51bb-0000-000000000001",
	}
	for _, id := range ids {
		assert.False(t, r.Complete(response(id)), "%q", id)
	}
	assert.Equal(t, uint64(len(ids)), r.Ignored())
	assert.Zero(t, e.times)
	assert.True(t, r.Complete(response(p.ID())))
}

func TestLateResponseDoesNotHitTheSlotsNextCall(t *testing.T) {
	r := requestor.New(requestor.Config{MaxPending: 1})
	first, _ := add(t, r)
	r.Cancel(first, context.Canceled)
	second, e := add(t, r)
	assert.NotEqual(t, first.ID(), second.ID())
	assert.False(t, r.Complete(response(first.ID())))
	assert.Zero(t, e.times)
	assert.False(t, r.Cancel(first, context.Canceled))
	assert.Equal(t, 1, r.Len())
	assert.True(t, r.Complete(response(second.ID())))
}

func TestCallsInFlightAreLimited(t *testing.T) {
	r := requestor.New(requestor.Config{MaxPending: 3})
	first, _ := add(t, r)
	add(t, r)
	add(t, r)
	e := new(ending)
	p, err := r.Add(epoch, abstract.RspRPC, e.done)
	assert.Nil(t, p)
	require.ErrorIs(t, err, abstract.ErrOverloaded)
	assertSentNo(t, err)
	assert.Zero(t, e.times, "what was not stored does not end")
	r.Cancel(first, context.Canceled)
	add(t, r)
}

func assertSentNo(t *testing.T, err error) {
	t.Helper()
	var e *abstract.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, abstract.SentNo, e.Sent)
}

func TestNothingIsAddedAfterCloseAll(t *testing.T) {
	r := requestor.New(requestor.Config{})
	_, e := add(t, r)
	r.CloseAll(abstract.Errorf(abstract.Draining, "the peer is leaving"))
	r.CloseAll(abstract.Errorf(abstract.Internal, "too late to count"))
	assert.Equal(t, abstract.Draining, e.err.Code)
	_, err := r.Add(epoch, abstract.RspRPC, func(abstract.BaseMessage, error) { t.Error("called") })
	require.ErrorIs(t, err, abstract.ErrDraining)
	assertSentNo(t, err)
	assert.Zero(t, r.Len())
	assert.Zero(t, r.Expire(epoch.Add(time.Hour)))
}

func TestCompletionMayUseTheRequestor(t *testing.T) {
	r := requestor.New(requestor.Config{})
	var again *requestor.Pending
	p, err := r.Add(epoch, abstract.RspRPC, func(abstract.BaseMessage, error) {
		again, _ = r.Add(epoch, abstract.RspRPC, func(abstract.BaseMessage, error) {})
	})
	require.NoError(t, err)
	require.True(t, r.Complete(response(p.ID())), "no lock is held while a call is told its end")
	assert.NotNil(t, again)
}

func TestCallsEndAtTheirDeadline(t *testing.T) {
	deadlines := []struct {
		name  string
		after time.Duration
	}{
		{"in 1 ms", time.Millisecond},
		{"in 15 ms", 15 * time.Millisecond},
		{"in 1 s", time.Second},
		{"in one turn of the wheel", 512 * grain},
		{"in a minute", time.Minute},
		{"in a year", 365 * 24 * time.Hour},
	}
	r := requestor.New(requestor.Config{})
	ends := make([]*ending, len(deadlines))
	for i := len(deadlines) - 1; i >= 0; i-- { // the latest first: earlier ones may be added after it
		ends[i] = new(ending)
		_, err := r.Add(epoch.Add(deadlines[i].after), abstract.RspRPC, ends[i].done)
		require.NoError(t, err)
	}
	for i, d := range deadlines {
		due := epoch.Add(d.after)
		next := r.Expire(due.Add(-1))
		assert.Zero(t, ends[i].times, "%s: not early", d.name)
		assert.True(t, next.After(due.Add(-1)), d.name)
		assert.False(t, next.After(due.Add(grain)), "%s: the next look is in time", d.name)
		r.Expire(due.Add(grain))
		assert.Equal(t, 1, ends[i].times, "%s: not late", d.name)
	}
	assert.Zero(t, r.Len())
}

func TestPassedDeadlineEndsAtTheNextLook(t *testing.T) {
	r := requestor.New(requestor.Config{})
	_, far := add(t, r)
	now := epoch.Add(100 * time.Millisecond)
	r.Expire(now)
	for _, deadline := range []time.Time{epoch, epoch.Add(-time.Hour), {}} {
		e := new(ending)
		_, err := r.Add(deadline, abstract.RspRPC, e.done)
		require.NoError(t, err)
		next := r.Expire(now)
		assert.False(t, next.After(now.Add(grain)))
		now = next
		r.Expire(now)
		assert.Equal(t, 1, e.times)
	}
	assert.Zero(t, far.times)
}

func TestTimeThatGoesBackIsHarmless(t *testing.T) {
	r := requestor.New(requestor.Config{})
	_, e := add(t, r)
	r.Expire(epoch.Add(900 * time.Millisecond))
	next := r.Expire(epoch.Add(-time.Hour))
	assert.False(t, next.IsZero())
	assert.Zero(t, e.times)
	r.Expire(epoch.Add(time.Second + grain))
	assert.Equal(t, 1, e.times)
}

func TestTableGivesBackTheMemoryOfABurst(t *testing.T) {
	r := requestor.New(requestor.Config{})
	for range 3 {
		var calls []*requestor.Pending
		ids := make(map[string]bool)
		for range 5000 {
			p, _ := add(t, r)
			assert.False(t, ids[p.ID()])
			ids[p.ID()] = true
			calls = append(calls, p)
		}
		for _, p := range calls {
			require.True(t, r.Complete(response(p.ID())))
		}
		assert.Zero(t, r.Len())
		assert.Zero(t, r.Expire(epoch))
	}
}

func TestAllocationsPerCall(t *testing.T) {
	r := requestor.New(requestor.Config{})
	m := response("")
	done := func(abstract.BaseMessage, error) {}
	assert.LessOrEqual(t, testing.AllocsPerRun(1000, func() {
		p, err := r.Add(epoch, abstract.RspRPC, done)
		if err != nil {
			t.Fatal(err)
		}
		m.Header = message.ID(p.ID())
		r.Complete(m)
	}), 2.0, "the Pending and its id")
}

func BenchmarkCall(b *testing.B) {
	for _, flying := range []struct {
		name string
		n    int
	}{{"alone", 0}, {"among 1000", 1000}, {"among 60000", 60_000}} {
		b.Run(flying.name, func(b *testing.B) {
			r := requestor.New(requestor.Config{})
			done := func(abstract.BaseMessage, error) {}
			for i := range flying.n {
				_, err := r.Add(epoch.Add(time.Duration(i)*time.Millisecond), abstract.RspRPC, done)
				require.NoError(b, err)
			}
			m := response("")
			b.ReportAllocs()
			for b.Loop() {
				p, _ := r.Add(epoch.Add(5*time.Second), abstract.RspRPC, done)
				m.Header = message.ID(p.ID())
				r.Complete(m)
			}
		})
	}
}

func BenchmarkExpireNothingDue(b *testing.B) {
	r := requestor.New(requestor.Config{})
	for i := range 60_000 {
		_, err := r.Add(epoch.Add(time.Second+time.Duration(i)*50*time.Microsecond), abstract.RspRPC, func(abstract.BaseMessage, error) {})
		require.NoError(b, err)
	}
	b.ReportAllocs()
	for b.Loop() {
		r.Expire(epoch)
	}
}
