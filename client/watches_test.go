package client_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/memstore"
	"trefoil/server"
)

func watch(t testing.TB, n *client.NodeClient, path string, scope client.NodeScope) *client.Watch {
	t.Helper()
	w, err := n.Watch(ctx, path, scope)
	require.NoError(t, err)
	return w
}

func next(t testing.TB, w *client.Watch) client.NodeEvent {
	t.Helper()
	limited, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	e, err := w.Next(limited)
	require.NoError(t, err)
	return e
}

// quietNow checks that nothing waits in a watch.
func quietNow(t testing.TB, w *client.Watch) {
	t.Helper()
	synctest.Wait()
	over, cancel := context.WithCancel(ctx)
	cancel()
	e, err := w.Next(over)
	require.ErrorIs(t, err, abstract.ErrCancelled, "%+v", e)
}

func paths(e client.NodeEvent) (all []string) {
	for _, c := range e.Changes {
		sign := "+"
		if c.Deleted {
			sign = "-"
		}
		all = append(all, sign+c.Path)
	}
	return all
}

func TestScopesOfAWatch(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		n, o := w.nodes(), w.nodes()
		create(w, n, "/a/b", "", client.MakeParents())
		node, children, subtree := watch(w, o, "/a", client.ScopeNode), watch(w, o, "/a", client.ScopeChildren), watch(w, o, "/a", client.ScopeSubtree)
		create(w, n, "/a/b/c", "1")
		_, err := n.Set(ctx, "/a/b", []byte("2"))
		require.NoError(w, err)
		_, err = n.Set(ctx, "/a", []byte("3"))
		require.NoError(w, err)
		create(w, n, "/other", "")
		require.NoError(w, n.Delete(ctx, "/a", client.Recursive()))

		assert.Equal(w, []string{"+/a"}, paths(next(w, node)))
		assert.Equal(w, []string{"-/a"}, paths(next(w, node)))
		assert.Equal(w, []string{"+/a/b"}, paths(next(w, children)))
		assert.Equal(w, []string{"-/a/b"}, paths(next(w, children)))
		e := next(w, subtree)
		assert.Equal(w, []string{"+/a/b/c"}, paths(e))
		assert.Equal(w, "1", string(e.Changes[0].Node.Data))
		assert.Equal(w, e.Revision, e.Changes[0].Node.Stat.Created)
		assert.Equal(w, []string{"+/a/b"}, paths(next(w, subtree)))
		assert.Equal(w, []string{"+/a"}, paths(next(w, subtree)))
		e = next(w, subtree)
		assert.ElementsMatch(w, []string{"-/a", "-/a/b", "-/a/b/c"}, paths(e), "one revision is one event")
		assert.Equal(w, e.Revision, subtree.Revision())
		for _, x := range []*client.Watch{node, children, subtree} {
			quietNow(w, x)
			require.NoError(w, x.Close(ctx))
			_, err := x.Next(ctx)
			require.ErrorIs(w, err, abstract.ErrCancelled)
		}
		_, err = o.Watch(ctx, "/a", "sideways")
		require.ErrorIs(w, err, abstract.ErrInvalidMessage)
		_, err = o.WatchFrom(ctx, "/a", client.ScopeNode, 0, o.Epoch())
		require.ErrorIs(w, err, abstract.ErrInvalidParams)
	})
}

func TestWatchGoesOnAfterACutWithoutAGap(t *testing.T) {
	inWorld(t, func(w *world) {
		broker := w.broker()
		n := w.nodes()
		o, err := client.Dial(ctx, "broker", client.WithTransport(w.net.Client), client.WithLogger(quiet), client.WithBackoff(time.Second, time.Second))
		require.NoError(w, err)
		defer o.Close()
		_ = broker
		x := watch(w, client.NewNodeClient(o), "/", client.ScopeSubtree)
		for i := range 100 {
			create(w, n, fmt.Sprintf("/n%d", i), "")
			if i%10 == 0 {
				w.net.Cut()
				require.NoError(w, waitConnected(n))
			}
		}
		for i := range 100 {
			assert.Equal(w, []string{fmt.Sprintf("+/n%d", i)}, paths(next(w, x)))
		}
		quietNow(w, x)
	})
}

func waitConnected(n *client.NodeClient) error {
	_, err := n.Sync(ctx)
	return err
}

// The broker may tell newer events of a part before it tells what a second watch of
// it asks for: neither may miss anything.
func TestSecondWatchOfAPartThatBeginsEarlierMissesNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		n, o := w.nodes(), w.nodes()
		first := watch(w, o, "/", client.ScopeSubtree)
		from, epoch := first.Position()
		const before, after = 40, 40
		data := bytes.Repeat([]byte("x"), 32<<10) // so that events wait in the connection
		for i := range before {
			create(w, n, fmt.Sprintf("/n%02d", i), string(data))
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := before; i < before+after; i++ {
				create(w, n, fmt.Sprintf("/n%02d", i), string(data))
			}
		}()
		second, err := o.WatchFrom(ctx, "/", client.ScopeSubtree, from, epoch)
		require.NoError(w, err)
		<-done
		for _, x := range []*client.Watch{first, second} {
			for i := range before + after {
				require.Equal(w, []string{fmt.Sprintf("+/n%02d", i)}, paths(next(w, x)))
			}
			quietNow(w, x)
		}
		stranger, err := o.WatchFrom(ctx, "/", client.ScopeSubtree, from, "another")
		require.NoError(w, err)
		assert.True(w, next(w, stranger).Resync, "a revision of another epoch means nothing")
		create(w, n, "/last", "")
		assert.Equal(w, []string{"+/last"}, paths(next(w, stranger)))
	})
}

func TestWatchIsToldToReadAgainWhenHistoryIsGone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		n, o := w.nodes(), w.nodes(client.WithBackoff(time.Hour, time.Hour))
		create(w, n, "/n", "")
		x := watch(w, o, "/n", client.ScopeNode)
		from, epoch := x.Position()
		w.net.Cut()
		require.NoError(w, waitConnected(n))
		data := bytes.Repeat([]byte("x"), 1<<20)
		var last client.Node
		for range 20 { // more than the broker remembers
			var err error
			last, err = n.Set(ctx, "/n", data)
			require.NoError(w, err)
		}
		time.Sleep(2 * time.Hour)
		e := next(w, x)
		assert.True(w, e.Resync)
		assert.Equal(w, last.Revision, e.Revision)
		quietNow(w, x)
		y, err := o.WatchFrom(ctx, "/n", client.ScopeChildren, from, epoch)
		require.NoError(w, err)
		at, _ := y.Position()
		assert.Equal(w, from, at, "while the order to read again waits")
		assert.True(w, next(w, y).Resync)
		at, _ = y.Position()
		assert.GreaterOrEqual(w, at, last.Revision)
	})
}

func TestWatchAfterARestartOfTheBroker(t *testing.T) {
	for _, kept := range []bool{false, true} {
		t.Run(fmt.Sprintf("store kept %t", kept), func(t *testing.T) {
			inWorld(t, func(w *world) {
				var opts []server.Option
				if kept {
					store := memstore.New()
					defer store.Close()
					opts = append(opts, server.WithStore(store))
				}
				broker := w.broker(opts...)
				n, o := w.nodes(), w.nodes(client.WithBackoff(time.Minute, time.Minute))
				for i := range 10 {
					create(w, n, fmt.Sprintf("/n%d", i), "")
				}
				watches := []*client.Watch{watch(w, o, "/", client.ScopeSubtree), watch(w, o, "/", client.ScopeChildren), watch(w, o, "/n1", client.ScopeNode)}
				epoch := o.Epoch()
				broker.stop()
				w.broker(opts...)
				require.NoError(w, waitConnected(n))
				if !kept {
					create(w, n, "/n1", "")
				}
				_, err := n.Set(ctx, "/n1", []byte("x"))
				require.NoError(w, err)
				time.Sleep(2 * time.Minute)
				for _, x := range watches {
					e := next(w, x)
					assert.Equal(w, !kept, e.Resync)
					if kept {
						assert.Equal(w, []string{"+/n1"}, paths(e))
					}
					_, in := x.Position()
					assert.Equal(w, kept, in == epoch)
				}
				_, err = n.Set(ctx, "/n1", []byte("y"))
				require.NoError(w, err)
				for _, x := range watches {
					assert.Equal(w, []string{"+/n1"}, paths(next(w, x)))
					quietNow(w, x)
				}
			})
		})
	}
}

// A consumer that is always a little behind loses nothing.
func TestWatchCountsOnlyWhatWaits(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		n, o := w.nodes(), w.nodes(client.WithSubscriptionQueue(8<<10))
		create(w, n, "/n", "")
		x := watch(w, o, "/n", client.ScopeNode)
		data := bytes.Repeat([]byte("x"), 1<<10)
		set := func() {
			_, err := n.Set(ctx, "/n", data)
			require.NoError(w, err)
			synctest.Wait()
		}
		set()
		for range 50 {
			set()
			assert.False(w, next(w, x).Resync)
		}
		for range 20 {
			set()
		}
		assert.True(w, next(w, x).Resync, "too much waited")
	})
}

// Who gives up while the broker has the request leaves no watch behind.
func TestWatchThatNobodyWaitedForIsEnded(t *testing.T) {
	inWorld(t, func(w *world) {
		store := &lateStore{Store: memstore.New()}
		w.broker(server.WithStore(store))
		n := w.nodes()
		hold := make(chan struct{})
		store.hold.Store(&hold)
		go n.Create(ctx, "/slow", nil)
		synctest.Wait()
		brief, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := n.Watch(brief, "/", client.ScopeNode) // waits behind the creation
		require.ErrorIs(w, err, abstract.ErrTimeout)
		close(hold)
		store.hold.Store(nil)
		time.Sleep(time.Minute)
		for i := range 3 {
			x := watch(w, n, "/", client.ScopeSubtree)
			create(w, n, fmt.Sprintf("/n%d", i), "")
			assert.Equal(w, []string{fmt.Sprintf("+/n%d", i)}, paths(next(w, x)))
			require.NoError(w, x.Close(ctx))
		}
	})
}

func TestClosedConnEndsItsWatches(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		conn := w.dial()
		x := watch(w, client.NewNodeClient(conn), "/", client.ScopeSubtree)
		ended := make(chan error, 2)
		for range 2 {
			go func() { _, err := x.Next(ctx); ended <- err }()
		}
		synctest.Wait()
		require.NoError(w, conn.Close())
		require.ErrorIs(w, <-ended, abstract.ErrDisconnected)
		require.ErrorIs(w, <-ended, abstract.ErrDisconnected)
		_, err := client.NewNodeClient(conn).Watch(ctx, "/", client.ScopeNode)
		require.ErrorIs(w, err, abstract.ErrDisconnected)
	})
}
