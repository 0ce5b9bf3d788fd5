package protostub_test

import (
	"context"
	"encoding/json"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"trefoil/abstract"
	"trefoil/business/protostub/internal/everything"
	"trefoil/server"
)

func TestServerStream(t *testing.T) {
	w := newWorld(t)
	stub := everything.NewEverythingClient(w.rpc)
	var got []int32
	for m, err := range stub.Down(t.Context(), &everything.Scalars{Int32: 3}) {
		require.NoError(t, err)
		got = append(got, m.GetInt32())
	}
	assert.Equal(t, []int32{0, 1, 2}, got)

	var last error
	got = nil
	for m, err := range stub.Down(t.Context(), &everything.Scalars{Int32: 2, Bool: true}) {
		if last = err; err == nil {
			got = append(got, m.GetInt32())
		}
	}
	assert.Equal(t, []int32{0, 1}, got)
	require.ErrorIs(t, last, abstract.ErrConflict)
	assert.ErrorContains(t, last, "there is no more")
}

func TestLeavingTheLoopEndsTheStream(t *testing.T) {
	ended := make(chan error, 1)
	w := serve(t, func(srv *server.RpcServer) error {
		return srv.ServeMethod(everything.Everything_Down.Served(func(ctx context.Context, in *everything.Scalars, send func(*everything.Scalars) error) error {
			var err error
			for err == nil {
				err = send(in)
			}
			<-ctx.Done()
			ended <- err
			return nil
		}))
	})
	for _, err := range everything.NewEverythingClient(w.rpc).Down(t.Context(), &everything.Scalars{}) {
		require.NoError(t, err)
		break
	}
	assert.Error(t, <-ended)
}

func TestClientStream(t *testing.T) {
	w := newWorld(t)
	s, err := everything.NewEverythingClient(w.rpc).Up(t.Context())
	require.NoError(t, err)
	for i := range int64(100) {
		require.NoError(t, s.Send(&everything.Scalars{Int64: i}))
	}
	sum, err := s.CloseAndReceive()
	require.NoError(t, err)
	assert.Equal(t, int64(4950), sum.GetInt64())
	<-s.Context().Done()
	require.NoError(t, s.Close())
}

func TestClientStreamThatIsAnsweredEarly(t *testing.T) {
	w := serve(t, func(srv *server.RpcServer) error {
		return everything.RegisterEverything(srv, everything.UnimplementedEverythingServer{})
	})
	s, err := everything.NewEverythingClient(w.rpc).Up(t.Context())
	require.NoError(t, err)
	_, err = s.CloseAndReceive()
	require.ErrorIs(t, err, abstract.ErrMethodNotFound)
}

func TestBidiStream(t *testing.T) {
	w := newWorld(t)
	s, err := everything.NewEverythingClient(w.rpc).Both(t.Context())
	require.NoError(t, err)
	for _, text := range []string{"a", "b"} { // each is answered before the next
		m := &everything.Choice{Kind: &everything.Choice_Text{Text: text}}
		require.NoError(t, s.Send(m))
		got, err := s.Receive()
		require.NoError(t, err)
		assert.True(t, proto.Equal(m, got))
	}
	require.NoError(t, s.CloseSend())
	_, err = s.Receive()
	assert.Equal(t, io.EOF, err)
	require.NoError(t, s.Close())
}

// TestMessagesOfStreamsMayBeAnyJSON sends strings and gets strings, and at last null.
func TestMessagesOfStreamsMayBeAnyJSON(t *testing.T) {
	w := newWorld(t)
	s, err := everything.NewEverythingClient(w.rpc).Words(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.Send(wrapperspb.String("hello")))
	require.NoError(t, s.CloseSend())
	var got []any
	for v, err := range s.All() {
		require.NoError(t, err)
		got = append(got, v.AsInterface())
	}
	assert.Equal(t, []any{"hello", nil}, got)
}

// TestMessageThatDoesNotFitIsNamed opens streams as somebody does who has no stub.
func TestMessageThatDoesNotFitIsNamed(t *testing.T) {
	w := newWorld(t)
	s, err := w.rpc.OpenStream(t.Context(), "test.everything.Everything.Up", nil)
	require.NoError(t, err)
	require.NoError(t, s.Send(map[string]any{"int64": []int{1}}))
	err = s.Receive(nil)
	require.ErrorIs(t, err, abstract.ErrInvalidParams)
	assert.ErrorContains(t, err, `field "int64" of a message of test.everything.Everything.Up must be integer, not array`)

	s, err = w.rpc.OpenStream(t.Context(), "test.everything.Everything.Down", map[string]any{"int32": true})
	require.NoError(t, err)
	err = s.Receive(nil)
	require.ErrorIs(t, err, abstract.ErrInvalidParams)
	assert.ErrorContains(t, err, `parameter "int32" of test.everything.Everything.Down must be integer, not bool`)
}

// TestUntypedStreamsAndStubsWorkTogether has a stub at one side only.
func TestUntypedStreamsAndStubsWorkTogether(t *testing.T) {
	w := newWorld(t)
	s, err := w.rpc.OpenStream(t.Context(), "test.everything.Everything.Both", nil)
	require.NoError(t, err)
	require.NoError(t, s.Send(map[string]any{"before": "b", "number": 5}))
	var got map[string]any
	require.NoError(t, s.Receive(&got))
	assert.Equal(t, map[string]any{"before": "b", "number": "5"}, got)
	require.NoError(t, s.Close())

	other := serve(t, func(srv *server.RpcServer) error {
		return srv.HandleStream(server.Description{Method: "test.everything.Everything.Up", Result: server.KindAny}, func(_ json.RawMessage, s abstract.Stream) error {
			var in map[string]any
			var err error
			for err == nil {
				err = s.Receive(&in)
			}
			return s.Send(in)
		})
	})
	up, err := everything.NewEverythingClient(other.rpc).Up(t.Context())
	require.NoError(t, err)
	require.NoError(t, up.Send(&everything.Scalars{String_: "last"}))
	last, err := up.CloseAndReceive()
	require.NoError(t, err)
	assert.Equal(t, "last", last.GetString_())
}
