package client_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/mem"
	"trefoil/server"
)

// turnedAway is a transport whose connections are closed, for a reason, before anything
// can be sent: as a server does that does not like a client's certificate.
type turnedAway struct {
	abstract.BaseClient
	tries *int
}

func (c turnedAway) Connect(ctx context.Context) (abstract.BaseConnection, error) {
	conn, err := c.BaseClient.Connect(ctx)
	if err == nil {
		*c.tries++
		conn.Close(abstract.Errorf(abstract.Denied, "your certificate is not known here"))
		<-conn.Done()
	}
	return conn, err
}

func TestWhoIsTurnedAwayBeforeHelloIsToldWhy(t *testing.T) {
	network, quiet := mem.NewNetwork(), slog.New(slog.DiscardHandler)
	broker := server.NewBroker("broker", server.WithTransport(network.Server), server.WithLogger(quiet))
	require.NoError(t, broker.Listen())
	served := make(chan error, 1)
	go func() { served <- broker.Serve() }()
	tries := 0
	_, err := client.DialRpc(t.Context(), "broker", client.WithLogger(quiet), client.WithTransport(func(addr string, cfg abstract.TransportConfig) abstract.BaseClient {
		return turnedAway{network.Client(addr, cfg), &tries}
	}))
	require.ErrorIs(t, err, abstract.ErrDenied)
	assert.ErrorContains(t, err, "your certificate")
	assert.Equal(t, 1, tries, "it is not tried again as an existing program")
	require.NoError(t, broker.Shutdown(t.Context()))
	require.NoError(t, <-served)
}
