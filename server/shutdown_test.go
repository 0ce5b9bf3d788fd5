package server_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/memstore"
	"trefoil/concrete/message"
	"trefoil/server"
)

type stuckStore struct {
	abstract.Store
	entered chan struct{}
	release chan struct{} // closed when transactions end
}

func (s *stuckStore) Txn(context.Context, abstract.Txn) (abstract.TxnResult, error) {
	select {
	case s.entered <- struct{}{}:
	default:
	}
	<-s.release
	return abstract.TxnResult{}, abstract.Errorf(abstract.Unavailable, "the store is away")
}

// Shutdown returns when ctx ends, also while the store does not answer.
func TestShutdownKeepsToItsContext(t *testing.T) {
	store := &stuckStore{memstore.New(), make(chan struct{}, 1), make(chan struct{})}
	b := newBroker(server.WithLogger(quietLog()), server.WithStore(store))
	require.NoError(t, b.HandleFunc(server.Description{Method: "m", Result: server.KindAny}, func(context.Context, message.Raw) (any, error) { return 1, nil }))
	require.NoError(t, b.Listen())
	ended := make(chan error, 1)
	go func() { ended <- b.Serve() }()
	r := dialRaw(t, b.Addr())
	r.send(frame{0, "1", `{"method":"m","parameters":{}}`}, frame{2, "2", `{"optype":0,"topic_key":"t"}`})
	<-store.entered
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	_ = b.Shutdown(ctx) // returns, or the test hangs
	close(store.release)
	require.NoError(t, <-ended)
}

// A topic operation with a long name is answered, whatever the peer's limit.
func TestRefusalIsAnsweredAtTheSmallestMaxFrame(t *testing.T) {
	b := broker(t)
	r := dialRaw(t, b.Addr())
	r.send(frame{16, "h", `{"version":1,"agent":"test","max_frame":1024}`})
	require.Equal(t, int32(17), r.expect().mtype)
	r.send(frame{2, "d", fmt.Sprintf(`{"optype":2,"topic_key":%q}`, strings.Repeat("n", 1000))})
	assert.Equal(t, "d", r.expect().id)
}
