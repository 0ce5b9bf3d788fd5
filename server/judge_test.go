package server

import (
	"context"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// mute is a connection to a peer that reads nothing: Shutdown takes its time.
type mute struct{ abstract.BaseConnection }

func (mute) Queue(abstract.Frame) error              { return nil }
func (mute) Flush()                                  {}
func (mute) Close(error)                             {}
func (mute) Shutdown(ctx context.Context, err error) { <-ctx.Done() }
func (mute) RemoteAddr() net.Addr                    { return &net.TCPAddr{} }

// What comes after a HELLO that was refused is not handled, however it is batched.
func TestNothingIsHandledAfterARefusedHello(t *testing.T) {
	s := NewRpcServer("x")
	ran := 0
	require.NoError(t, s.HandleFunc(Description{Method: "m", Result: KindAny}, func(context.Context, message.Raw) (any, error) { ran++; return 1, nil }))
	c := s.ep.open(mute{}).(*conn)
	c.OnMessages([]abstract.BaseMessage{&message.Hello{Header: message.ID("h"), Version: message.ProtocolVersion, MaxFrame: 1}})
	call := func(id string) abstract.BaseMessage {
		return &message.RpcRequest{Header: message.ID(id), Method: "m", Parameters: message.Raw("{}")}
	}
	c.OnMessages([]abstract.BaseMessage{call("1"), call("2"), call("3")})
	assert.Zero(t, ran, "calls handled for a peer that was judged unfit")
}
