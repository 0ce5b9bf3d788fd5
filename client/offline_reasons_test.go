package client_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
)

// whys notes who goes and why, as callbacks and followers are told.
func whys(w *world, d *client.DiscoveryClient) (called, followed *events) {
	called, followed = new(events), new(events)
	d.OnOfflineWhy(func(p abstract.Provider, why abstract.OfflineReason) { called.add(fmt.Sprintf("%s %s", p.Host, why)) })
	d.Follow("m", func(p abstract.Providers) {
		assert.Len(w, p.Reasons, len(p.Offline))
		for i, gone := range p.Offline {
			followed.add(fmt.Sprintf("%s %s", gone.Host, p.Reasons[i]))
		}
	})
	synctest.Wait()
	return called, followed
}

func TestOfflineHasItsReason(t *testing.T) {
	h := abstract.Host{IP: "h", Port: 1}
	at := abstract.Provider{Method: "m", Host: h, Instance: "a"}
	for reason, goes := range map[abstract.OfflineReason]func(w *world, c *client.Conn, l *leash){
		abstract.OfflineUnregistered: func(w *world, c *client.Conn, _ *leash) {
			require.NoError(w, client.NewRegistryClient(c).Unregister(ctx, at))
		},
		abstract.OfflineLeft:    func(w *world, c *client.Conn, _ *leash) { require.NoError(w, c.Close()) },
		abstract.OfflineLost:    func(_ *world, _ *client.Conn, l *leash) { l.cut() },
		abstract.OfflineExpired: func(*world, *client.Conn, *leash) { time.Sleep(time.Minute) },
		abstract.OfflineReplaced: func(w *world, _ *client.Conn, _ *leash) {
			other := at
			other.Instance = "b"
			require.NoError(w, client.NewRegistryClient(w.dial()).Register(ctx, other))
		},
	} {
		t.Run(string(reason), func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.broker()
				called, followed := whys(w, client.NewDiscoveryClient(w.dial()))
				c, leash := w.leashed(client.WithAutoHeartbeat(false))
				p := at
				if reason == abstract.OfflineExpired {
					p.TTL = time.Second
				}
				require.NoError(w, client.NewRegistryClient(c).Register(ctx, p))
				synctest.Wait()
				require.Empty(w, called.all())
				goes(w, c, leash)
				synctest.Wait()
				want := []string{h.String() + " " + string(reason)}
				assert.Equal(w, want, called.all())
				assert.Equal(w, want, followed.all())
			})
		})
	}
}

// TestOfflineThatNobodyHasTold is that of a provider which the broker's next run does not
// know.
func TestOfflineThatNobodyHasTold(t *testing.T) {
	inWorld(t, func(w *world) {
		first := w.broker()
		c := w.dial()
		require.NoError(w, client.NewRegistryClient(c).Register(ctx, abstract.Provider{Method: "m", Host: abstract.Host{IP: "h", Port: 1}}))
		called, followed := whys(w, client.NewDiscoveryClient(w.dial(client.WithGrace(3*time.Second))))
		first.stop()
		require.NoError(w, c.Close())
		w.broker()
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(w, []string{"h:1 vanished"}, called.all())
		assert.Equal(w, []string{"h:1 vanished"}, followed.all())
	})
}

// TestReasonsOfChangesThatArePutTogether: one that has come back and gone again has the
// last reason, and one that nobody has seen has none to tell.
func TestReasonsOfChangesThatArePutTogether(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		d, registry := client.NewDiscoveryClient(w.dial()), client.NewRegistryClient(w.dial(client.WithAutoHeartbeat(false)))
		at := func(port int) abstract.Provider {
			return abstract.Provider{Method: "m", Host: abstract.Host{IP: "h", Port: port}}
		}
		require.NoError(w, registry.Register(ctx, at(1), at(2)))
		var told []abstract.Providers
		busy := make(chan struct{})
		d.Follow("m", func(p abstract.Providers) {
			told = append(told, p)
			if len(told) == 1 {
				<-busy
			}
		})
		synctest.Wait()
		require.NoError(w, registry.Unregister(ctx, at(1)))
		short := at(1)
		short.TTL = time.Second
		require.NoError(w, registry.Register(ctx, short, at(3)))
		require.NoError(w, registry.Unregister(ctx, at(2), at(3)))
		require.NoError(w, registry.Register(ctx, at(2)))
		time.Sleep(10 * time.Second)
		close(busy)
		synctest.Wait()
		require.Len(w, told, 2)
		last := told[1]
		assert.Equal(w, []int{1, 2}, ports(last.Offline))
		assert.Equal(w, []abstract.OfflineReason{abstract.OfflineExpired, abstract.OfflineUnregistered}, last.Reasons)
		assert.Equal(w, []int{2}, ports(last.Online))
	})
}
