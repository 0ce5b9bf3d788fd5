package client_test

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/message"
)

// parting makes a provider that says goodbye when its stream is open, and returns that
// and the provider's end of it.
func parting(f *fleet, opts ...client.Option) (st abstract.Stream, m *member, send func(abstract.BaseMessage), id string) {
	f.Helper()
	m = f.join(1, "a", answers)
	var conn abstract.BaseConnection
	m.stream = func(bc abstract.BaseConnection, req *message.StreamRequest) {
		conn, id = bc, req.ID()
		_ = bc.Send(&message.CreditNotice{Header: message.ID(id), Bytes: 1 << 16})
	}
	f.say(m.Provider)
	st, err := f.client(opts...).OpenStream(ctx, "svc.do", nil)
	require.NoError(f, err)
	send = func(msg abstract.BaseMessage) {
		f.Helper()
		require.NoError(f, conn.Send(msg))
		synctest.Wait()
	}
	send(&message.Goodbye{Header: message.ID("bye"), Code: abstract.Draining, Reason: "soon"})
	return st, m, send, id
}

// A stream that is open when the provider says goodbye goes on for as long as the
// provider lets it, and the connection ends when it has.
func TestStreamsEndAfterTheGoodbye(t *testing.T) {
	inFleet(t, func(f *fleet) {
		st, m, send, id := parting(f)
		for range 5 {
			time.Sleep(time.Minute)
			send(&message.StreamMessage{Header: message.ID(id), Data: message.Raw("1")})
			require.NoError(f, st.Receive(nil))
			require.Equal(f, 1, m.connected())
		}
		send(&message.EndNotice{Header: message.ID(id)})
		require.ErrorIs(f, st.Receive(nil), io.EOF)
		time.Sleep(10 * time.Second) // the provider does not close: we do
		synctest.Wait()
		assert.Equal(f, 0, m.connected())
	})
}

func TestStreamsEndWithTheDrainAfterTheGoodbye(t *testing.T) {
	inFleet(t, func(f *fleet) {
		st, m, _, _ := parting(f, client.WithDrain(90*time.Second))
		time.Sleep(89 * time.Second)
		require.Equal(f, 1, m.connected())
		time.Sleep(2 * time.Second)
		require.ErrorIs(f, st.Receive(nil), abstract.ErrDisconnected)
		assert.Equal(f, 0, m.connected())
	})
}

// What is new does not wait for the old streams: where the provider takes it again, there
// is a second connection.
func TestNewCallsDoNotWaitForTheStreamsOfAGoodbye(t *testing.T) {
	inFleet(t, func(f *fleet) {
		m := f.join(1, "a", answers)
		var first abstract.BaseConnection
		m.stream = func(bc abstract.BaseConnection, req *message.StreamRequest) {
			first = bc
			_ = bc.Send(&message.CreditNotice{Header: message.ID(req.ID()), Bytes: 1 << 16})
		}
		f.say(m.Provider)
		c := f.client()
		st, err := c.OpenStream(ctx, "svc.do", nil)
		require.NoError(f, err)
		require.NoError(f, first.Send(&message.Goodbye{Header: message.ID("bye"), Code: abstract.Draining}))
		time.Sleep(time.Minute)
		require.NoError(f, c.Call(ctx, "svc.do", nil, nil))
		assert.Equal(f, 2, m.connected())
		require.NoError(f, c.Close())
		synctest.Wait()
		assert.Equal(f, 0, m.connected(), "the client's end is that of both")
		require.ErrorIs(f, st.Receive(nil), abstract.ErrDisconnected)
	})
}

// A client of one server has one connection.
func TestConnRatherConnectsAgainAfterTheGoodbye(t *testing.T) {
	inFleet(t, func(f *fleet) {
		m := f.join(1, "a", answers)
		m.stream = func(bc abstract.BaseConnection, req *message.StreamRequest) {
			_ = bc.Send(&message.CreditNotice{Header: message.ID(req.ID()), Bytes: 1 << 16})
			_ = bc.Send(&message.Goodbye{Header: message.ID("bye"), Code: abstract.Draining})
		}
		c, err := client.DialRpc(ctx, host(1), client.WithTransport(f.net.Client), client.WithLogger(quiet))
		require.NoError(f, err)
		f.Cleanup(func() { _ = c.Close() })
		st, err := c.OpenStream(ctx, "svc.do", nil)
		require.NoError(f, err)
		time.Sleep(10 * time.Second)
		require.ErrorIs(f, st.Receive(nil), abstract.ErrDisconnected)
		require.NoError(f, c.Call(ctx, "svc.do", nil, nil))
	})
}

// A call under way has its own deadline then, too, also one beyond the client's timeout.
func TestCallsEndAfterTheGoodbye(t *testing.T) {
	inFleet(t, func(f *fleet) {
		m := f.join(1, "a", func(_ *member, bc abstract.BaseConnection, req *message.RpcRequest) {
			_ = bc.Send(&message.Goodbye{Header: message.ID("bye"), Code: abstract.Draining})
			time.AfterFunc(20*time.Second, func() {
				_ = bc.Send(&message.RpcResponse{Header: message.ID(req.ID()), Result: message.Raw(`"late"`)})
			})
		})
		f.say(m.Provider)
		var got string
		require.NoError(f, f.client().Call(ctx, "svc.do", nil, &got, client.Timeout(time.Minute)))
		assert.Equal(f, "late", got)
	})
}
