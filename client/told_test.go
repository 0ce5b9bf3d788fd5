package client_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/memstore"
	"trefoil/server"
)

// Two registries on one Store: who asked one of them hears of a provider of the other at once.
func TestNoticeOfAnotherBrokersChangeIsFlushed(t *testing.T) {
	for name, opts := range map[string][]client.Option{"modern": nil, "legacy": {client.WithLegacy()}} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				store := memstore.New()
				w.broker(server.WithStore(store))
				w.run(server.NewBroker("broker2", server.WithStore(store), server.WithTransport(w.net.Server), server.WithLogger(quiet)))
				here := w.dial(opts...)
				there, err := client.Dial(ctx, "broker2", client.WithTransport(w.net.Client), client.WithLogger(quiet))
				require.NoError(w, err)
				defer there.Close()
				d := client.NewDiscoveryClient(here)
				_, err = d.Discover(ctx, "who")
				require.NoError(w, err)
				told := make(chan time.Time, 1)
				d.OnOnline(func(abstract.Provider) { told <- time.Now() })
				begun := time.Now()
				require.NoError(w, client.NewRegistryClient(there).Register(ctx, abstract.Provider{Method: "who", Host: abstract.Host{IP: "h", Port: 1}}))
				select {
				case at := <-told:
					assert.Less(w, at.Sub(begun), 500*time.Millisecond)
				case <-time.After(10 * time.Minute):
					t.Error("not told within ten minutes")
				}
			})
		})
	}
}
