package dispatch_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/business/dispatch"
	"trefoil/concrete/message"
)

// conn is what handlers get; it notes what they did.
type conn struct{ log []string }

func (c *conn) note(what string) { c.log = append(c.log, what) }

func rpc(id string) abstract.BaseMessage { return &message.RpcRequest{Header: message.ID(id)} }

func topic(id string) abstract.BaseMessage { return &message.TopicRequest{Header: message.ID(id)} }

// newDispatcher handles calls, and panics on those with the id "boom".
func newDispatcher() *dispatch.Dispatcher[*conn] {
	d := dispatch.New[*conn]()
	dispatch.On(d, abstract.ReqRPC, func(c *conn, m *message.RpcRequest) {
		if m.ID() == "boom" {
			panic("a bug")
		}
		c.note("call " + m.ID())
	})
	return d
}

func TestMessagesGoToTheirHandlersInOrder(t *testing.T) {
	d := newDispatcher()
	dispatch.On(d, abstract.ReqTopic, func(c *conn, m *message.TopicRequest) { c.note("topic " + m.ID()) })
	d.Handle(abstract.Gap, func(c *conn, m abstract.BaseMessage) { c.note("gap " + m.ID()) })
	c := new(conn)
	d.Dispatch(c, []abstract.BaseMessage{rpc("1"), topic("2"), rpc("3"), &message.GapNotice{Header: message.ID("4")}, topic("5")})
	d.Dispatch(c, nil)
	assert.Equal(t, []string{"call 1", "topic 2", "call 3", "gap 4", "topic 5"}, c.log)
}

// odd claims to be a call and is none of our Go types.
type odd struct{ message.Header }

func (*odd) Type() abstract.MType { return abstract.ReqRPC }

func TestMessagesWithoutAHandlerGoToUnhandled(t *testing.T) {
	tests := []struct {
		name string
		m    abstract.BaseMessage
	}{
		{"a type without a handler", topic("x")},
		{"a type that cannot have one", &message.Unknown{Header: message.ID("x"), T: 1 << 30}},
		{"a negative type", &message.Unknown{Header: message.ID("x"), T: -1}},
		{"the right type in another Go type", &odd{message.ID("x")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := new(conn)
			newDispatcher().Dispatch(c, []abstract.BaseMessage{tt.m, rpc("1")})
			assert.Equal(t, []string{"call 1"}, c.log, "ignored when nobody asked for them")

			d := newDispatcher()
			d.Unhandled = func(c *conn, m abstract.BaseMessage) { c.note("unhandled " + m.ID()) }
			c = new(conn)
			d.Dispatch(c, []abstract.BaseMessage{tt.m, rpc("1")})
			assert.Equal(t, []string{"unhandled x", "call 1"}, c.log)
		})
	}
}

func TestMessagesAfterAPanicAreHandled(t *testing.T) {
	batch := []abstract.BaseMessage{rpc("boom"), rpc("1"), rpc("boom"), rpc("boom"), rpc("2"), rpc("boom")}
	t.Run("nobody asks", func(t *testing.T) {
		c := new(conn)
		newDispatcher().Dispatch(c, batch)
		assert.Equal(t, []string{"call 1", "call 2"}, c.log)
	})
	t.Run("OnPanic is told each", func(t *testing.T) {
		d := newDispatcher()
		d.OnPanic = func(c *conn, m abstract.BaseMessage, v any, stack []byte) {
			c.note("panic " + m.ID())
			assert.Equal(t, "a bug", v)
			assert.Contains(t, string(stack), "newDispatcher", "where it happened")
		}
		c := new(conn)
		d.Dispatch(c, batch)
		assert.Equal(t, []string{"panic boom", "call 1", "panic boom", "panic boom", "call 2", "panic boom"}, c.log)
	})
	t.Run("in Unhandled too", func(t *testing.T) {
		d := newDispatcher()
		d.Unhandled = func(*conn, abstract.BaseMessage) { panic("another") }
		c := new(conn)
		d.Dispatch(c, []abstract.BaseMessage{topic("x"), rpc("1")})
		assert.Equal(t, []string{"call 1"}, c.log)
	})
}

func TestWrongRegistrationsPanic(t *testing.T) {
	d := newDispatcher()
	nothing := func(*conn, abstract.BaseMessage) {}
	assert.PanicsWithValue(t, "dispatch: a second handler for REQ_RPC", func() { d.Handle(abstract.ReqRPC, nothing) })
	for _, typ := range []abstract.MType{-1, 6, 15, 64, 1 << 30} {
		assert.Panics(t, func() { d.Handle(typ, nothing) }, "%s", typ)
	}
	assert.PanicsWithValue(t, "dispatch: no handler for GAP", func() { d.Handle(abstract.Gap, nil) })
	require.NotPanics(t, func() { d.Handle(63, nothing) })
}

func TestDispatchDoesNotAllocate(t *testing.T) {
	d := dispatch.New[*conn]()
	n := 0
	dispatch.On(d, abstract.ReqRPC, func(*conn, *message.RpcRequest) { n++ })
	batch := []abstract.BaseMessage{rpc("1"), rpc("2"), rpc("3")}
	c := new(conn)
	assert.Zero(t, testing.AllocsPerRun(100, func() { d.Dispatch(c, batch) }))
	assert.Positive(t, n)
}

func BenchmarkDispatch(b *testing.B) {
	d := dispatch.New[*conn]()
	dispatch.On(d, abstract.ReqRPC, func(*conn, *message.RpcRequest) {})
	batch := []abstract.BaseMessage{rpc("1")}
	c := new(conn)
	for b.Loop() {
		d.Dispatch(c, batch)
	}
}
