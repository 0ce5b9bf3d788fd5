//go:build unix

package main

import (
	"encoding/json"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/server"
)

// streamer registers a provider of streams that do nothing.
func (r *reloaded) streamer() (stop func()) {
	conn, err := client.Dial(r.t.Context(), r.addr)
	require.NoError(r.t, err)
	srv := server.NewRpcServer("127.0.0.1:0", server.WithRegistry(client.NewRegistryClient(conn)), server.WithLogger(silent))
	require.NoError(r.t, srv.HandleStream(server.Description{Method: "hold", Result: server.KindAny}, func(_ json.RawMessage, s abstract.Stream) error {
		<-s.Context().Done()
		return nil
	}))
	require.NoError(r.t, srv.Announce(r.t.Context()))
	return func() {
		assert.NoError(r.t, srv.Shutdown(r.t.Context()))
		assert.NoError(r.t, conn.Close())
	}
}

// refusesStreams makes sure that so many streams are passed on at once, before the reload
// and not after it.
func (r *reloaded) refusesStreams(reload func(), many int) {
	defer r.streamer()()
	conn, err := client.Dial(r.t.Context(), r.addr)
	require.NoError(r.t, err)
	defer conn.Close()
	calls := client.NewDirectRpcClient(conn)
	defer calls.Close()
	open := func() (err error) {
		for range many {
			if _, err = calls.OpenStream(r.t.Context(), "hold", nil, client.Relay()); err != nil {
				return err
			}
		}
		return nil
	}
	require.NoError(r.t, open())
	reload()
	assert.ErrorIs(r.t, open(), abstract.ErrOverloaded)
}
