package client_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/server"
)

// shown is what a cache or a tree shows of each node.
type shown map[string]string

func describe(n *client.Node) string {
	return fmt.Sprintf("%d %d %d %s %q", n.Stat.Version, n.Stat.Created, n.Stat.Modified, n.Stat.Session, n.Data)
}

// treeOf is what stands in the tree at a node and below.
func treeOf(t testing.TB, n *client.NodeClient, path string) shown {
	t.Helper()
	all := make(shown)
	if top, err := n.Get(ctx, path, client.Linearizable()); err == nil {
		all[path] = describe(&top)
	}
	list, err := n.List(ctx, path, client.Recursive(), client.WithData(), client.Linearizable())
	if abstract.CodeOf(err) != abstract.NotFound {
		require.NoError(t, err)
	}
	for i := range list {
		all[list[i].Path] = describe(&list[i])
	}
	return all
}

func contents(c *client.NodeCache) shown {
	all := make(shown)
	for path, n := range c.All() {
		all[path] = describe(&n)
	}
	return all
}

// mirror is what onChange has told.
type mirror struct {
	mu  sync.Mutex
	all shown
}

func (m *mirror) changed(changes []client.NodeChange) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range changes {
		if changes[i].Deleted {
			delete(m.all, changes[i].Path)
		} else {
			m.all[changes[i].Path] = describe(&changes[i].Node)
		}
	}
}

func TestCacheFollowsTheTree(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		n := w.nodes()
		conn := w.dial()
		cache, err := client.NewNodeClient(conn).Cache(ctx, "/a", nil)
		require.NoError(w, err)
		assert.Empty(w, cache.All(), "the node need not exist")
		create(w, n, "/a/b/c", "1", client.MakeParents())
		create(w, n, "/ab", "")
		_, err = n.Set(ctx, "/a/b", []byte("2"))
		require.NoError(w, err)
		synctest.Wait()
		assert.Equal(w, treeOf(w, n, "/a"), contents(cache))
		got, there := cache.Get("/a/b")
		require.True(w, there)
		assert.Equal(w, "2", string(got.Data))
		assert.Equal(w, got.Stat.Modified, cache.Revision())
		_, there = cache.Get("/ab")
		assert.False(w, there)
		list := cache.List("/a")
		require.Len(w, list, 1)
		assert.Equal(w, "/a/b", list[0].Path)
		require.NoError(w, cache.Err())
		require.NoError(w, conn.Close())
		<-cache.Done()
		require.ErrorIs(w, cache.Err(), abstract.ErrDisconnected)
		assert.Len(w, cache.All(), 3, "what was cached stays readable")
		require.NoError(w, cache.Close(ctx))
		_, err = client.NewNodeClient(conn).Cache(ctx, "/a", nil)
		require.ErrorIs(w, err, abstract.ErrDisconnected)
	})
}

// A Multi moves a mark from one node to another: who reads the cache must always see
// exactly one, however it is filled.
func TestCacheShowsNoStateThatNeverWas(t *testing.T) {
	for _, pad := range []int{10, 200 << 10} { // one page, and several
		t.Run(fmt.Sprintf("pad %d", pad), func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.broker()
				n := w.nodes()
				const places = 12
				create(w, n, "/p", "")
				filler := bytes.Repeat([]byte("x"), pad)
				for i := range places {
					create(w, n, fmt.Sprintf("/p/%02d", i), string(filler))
				}
				create(w, n, "/p/00/mark", "0")
				stop, ended := make(chan struct{}), make(chan struct{})
				go func() {
					defer close(ended)
					at := 0
					for k := 1; !closed(stop); k++ {
						to := (at + 1 + rand.N(places-1)) % places
						_, err := n.Multi(ctx, client.DeleteOp(fmt.Sprintf("/p/%02d/mark", at)), client.CreateOp(fmt.Sprintf("/p/%02d/mark", to), fmt.Append(nil, k)), client.SetOp("/p", fmt.Append(nil, k)))
						assert.NoError(w, err)
						at = to
					}
				}()
				check := func(all map[string]client.Node) {
					marks, k := 0, ""
					for i := range places {
						if m, there := all[fmt.Sprintf("/p/%02d/mark", i)]; there {
							marks++
							k = string(m.Data)
						}
					}
					if top := string(all["/p"].Data); assert.Equal(w, 1, marks) && top != "" {
						assert.Equal(w, k, top, "the root of the cache is of the same revision")
					}
				}
				conn := w.dial(client.WithBackoff(time.Nanosecond, time.Nanosecond))
				for range 10 {
					var cache *client.NodeCache
					ready, enough := make(chan struct{}), make(chan struct{})
					seen := 0
					cache, err := client.NewNodeClient(conn).Cache(ctx, "/p", func([]client.NodeChange) {
						<-ready
						check(cache.All())
						if seen++; seen == 20 {
							close(enough)
						}
					})
					require.NoError(w, err)
					check(cache.All())
					close(ready)
					<-enough
					require.NoError(w, cache.Close(ctx))
				}
				close(stop)
				<-ended
			})
		})
	}
}

// Whatever happens to tree, connection and broker, the cache ends as the tree is, and
// so does who has only listened to onChange.
func TestCacheEqualsTheTreeAfterRandomOperations(t *testing.T) {
	for seed := range uint64(rounds(30, 2000)) {
		inWorld(t, func(w *world) {
			r := rand.New(rand.NewPCG(seed, 1))
			broker := w.broker(server.WithWatcherQueue(16 << 10))
			n, o := w.nodes(client.WithBackoff(time.Millisecond, time.Millisecond)), w.nodes(client.WithBackoff(time.Millisecond, 20*time.Millisecond), client.WithSubscriptionQueue(8<<10))
			m := mirror{all: make(shown)}
			cache, err := o.Cache(ctx, "/a", m.changed)
			require.NoError(w, err)
			names := []string{"/a", "/a/b", "/a/c", "/a/b/d", "/a/b/e", "/x", "/a/s"}
			for range 200 {
				path := names[r.IntN(len(names))]
				data := bytes.Repeat([]byte{byte('a' + r.IntN(26))}, r.IntN(2000))
				switch k := r.IntN(100); {
				case k < 40:
					_, _ = n.Set(ctx, path, data)
				case k < 65:
					_, _ = n.Create(ctx, path, data)
				case k < 75:
					_ = n.Delete(ctx, path, client.Recursive())
				case k < 80:
					_, _ = n.Create(ctx, "/a/s", data, client.SessionNode())
				case k < 85:
					_, _ = n.Multi(ctx, client.SetOp("/a", data), client.SetOp("/a/b", data))
				case k < 92:
					w.net.Cut()
				case k < 93:
					broker.stop()
					broker = w.broker()
				case k < 97:
					time.Sleep(time.Duration(r.IntN(30)) * time.Millisecond)
				default:
					synctest.Wait()
				}
			}
			time.Sleep(time.Minute)
			want := treeOf(w, n, "/a")
			require.Equal(w, want, contents(cache), "seed %d", seed)
			m.mu.Lock()
			defer m.mu.Unlock()
			assert.Equal(w, want, m.all, "seed %d", seed)
			assert.Equal(w, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(m.all)))
		})
	}
}
