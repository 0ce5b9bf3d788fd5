package client_test

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/memstore"
	"trefoil/concrete/message"
	"trefoil/server"
)

// nodes is a NodeClient on a connection of its own.
func (w *world) nodes(opts ...client.Option) *client.NodeClient {
	return client.NewNodeClient(w.dial(opts...))
}

func create(t testing.TB, n *client.NodeClient, path, data string, opts ...client.NodeOption) string {
	t.Helper()
	made, err := n.Create(ctx, path, []byte(data), opts...)
	require.NoError(t, err)
	return made
}

func TestNodeOperationsAndTheirFailures(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		conn := w.dial()
		n := client.NewNodeClient(conn)

		_, err := n.Create(ctx, "/a/b", nil)
		require.ErrorIs(w, err, abstract.ErrNotFound, "the parent is missing")
		assert.Equal(w, "/a/b", create(w, n, "/a/b", "1", client.MakeParents()))
		_, err = n.Create(ctx, "/a/b", nil)
		require.ErrorIs(w, err, abstract.ErrExists)
		_, err = n.Create(ctx, "no/path", nil)
		require.ErrorIs(w, err, abstract.ErrInvalidParams)
		assert.Equal(w, "/a/n-0000000000", create(w, n, "/a/n-", "", client.Sequential()))
		assert.Equal(w, "/a/n-0000000001", create(w, n, "/a/n-", "", client.Sequential()))
		create(w, n, "/mine", "", client.SessionNode())
		_, err = n.Create(ctx, "/mine/child", nil)
		require.ErrorIs(w, err, abstract.ErrDenied, "session nodes have no children")

		got, err := n.Get(ctx, "/a/b")
		require.NoError(w, err)
		assert.Equal(w, "1", string(got.Data))
		assert.EqualValues(w, 1, got.Stat.Version)
		assert.Equal(w, got.Stat.Created, got.Stat.Modified)
		assert.GreaterOrEqual(w, got.Revision, got.Stat.Created)
		_, err = n.Get(ctx, "/none")
		require.ErrorIs(w, err, abstract.ErrNotFound)
		st, err := n.Stat(ctx, "/mine", client.Linearizable())
		require.NoError(w, err)
		assert.Equal(w, conn.SessionID(), st.Stat.Session)
		assert.Nil(w, st.Data)
		_, err = n.Stat(ctx, "/none")
		require.ErrorIs(w, err, abstract.ErrNotFound)
		there, err := n.Exists(ctx, "/none")
		require.NoError(w, err)
		assert.False(w, there)
		_, err = n.Exists(ctx, "//")
		require.ErrorIs(w, err, abstract.ErrInvalidParams)

		set, err := n.Set(ctx, "/a/b", []byte("2"), client.IfVersion(1), client.IfCreated(got.Stat.Created), client.IfModified(got.Stat.Modified))
		require.NoError(w, err)
		assert.EqualValues(w, 2, set.Stat.Version)
		for name, opt := range map[string]client.NodeOption{
			"version": client.IfVersion(1), "created": client.IfCreated(got.Stat.Created + 1), "modified": client.IfModified(got.Stat.Modified),
		} {
			_, err = n.Set(ctx, "/a/b", nil, opt)
			require.ErrorIs(w, err, abstract.ErrConflict, name)
			require.ErrorIs(w, n.Delete(ctx, "/a/b", opt), abstract.ErrConflict, name)
			_, err = n.Multi(ctx, client.SetOp("/a", []byte("x")), client.CheckOp("/a/b", opt))
			require.ErrorIs(w, err, abstract.ErrConflict, name)
			assert.JSONEq(w, `{"op":1}`, string(errorOf(w.T, err).Details))
		}
		_, err = n.Set(ctx, "/none", nil)
		require.ErrorIs(w, err, abstract.ErrNotFound)
		_, err = n.Set(ctx, "/a/b", make([]byte, message.MaxNodeData+1))
		require.ErrorIs(w, err, abstract.ErrTooLarge)
		binary := []byte{0, 0xff, '"', '\n'}
		_, err = n.Set(ctx, "/a/b", binary)
		require.NoError(w, err)
		got, err = n.Get(ctx, "/a/b")
		require.NoError(w, err)
		assert.Equal(w, binary, got.Data)

		list, err := n.List(ctx, "/a")
		require.NoError(w, err)
		require.Len(w, list, 3)
		assert.Nil(w, list[0].Data)
		list, err = n.List(ctx, "/", client.Recursive(), client.WithData())
		require.NoError(w, err)
		require.Len(w, list, 5)
		assert.Equal(w, binary, list[1].Data)
		_, err = n.List(ctx, "/none")
		require.ErrorIs(w, err, abstract.ErrNotFound)

		require.ErrorIs(w, n.Delete(ctx, "/a"), abstract.ErrNotEmpty)
		require.ErrorIs(w, n.Delete(ctx, "/none"), abstract.ErrNotFound)
		res, err := n.Multi(ctx, client.CreateOp("/m", nil), client.CreateOp("/m/s-", []byte("d"), client.Sequential()), client.CheckOp("/a"), client.DeleteOp("/mine"))
		require.NoError(w, err)
		require.Len(w, res, 4)
		assert.Equal(w, "/m/s-0000000000", res[1].Path)
		require.NoError(w, n.Delete(ctx, "/a", client.Recursive()))
		there, err = n.Exists(ctx, "/a/b")
		require.NoError(w, err)
		assert.False(w, there)
		rev, err := n.Sync(ctx)
		require.NoError(w, err)
		assert.Positive(w, rev)

		over, cancel := context.WithCancel(ctx)
		cancel()
		_, err = n.Get(over, "/m")
		require.ErrorIs(w, err, abstract.ErrCancelled)
		assert.Equal(w, abstract.SentNo, errorOf(w.T, err).Sent)
	})
}

func TestListsOfSeveralPages(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		n := w.nodes()
		data := bytes.Repeat([]byte("d"), 300<<10)
		for i := range 12 {
			create(w, n, fmt.Sprintf("/p%02d", i), string(data))
		}
		list, err := n.List(ctx, "/", client.WithData())
		require.NoError(w, err)
		require.Len(w, list, 12)
		for i := range list {
			assert.Equal(w, fmt.Sprintf("/p%02d", i), list[i].Path)
			assert.Len(w, list[i].Data, len(data))
		}
	})
}

func TestLegacyPeersNeverSeeNodes(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		conn := w.dial(client.WithLegacy())
		_, err := client.NewNodeClient(conn).Get(ctx, "/")
		require.ErrorIs(w, err, abstract.ErrUnsupported)
		_, err = client.NewNodeClient(conn).Watch(ctx, "/", client.ScopeNode)
		require.ErrorIs(w, err, abstract.ErrUnsupported)
		assert.Empty(w, conn.SessionID())
	})
}

// lateStore holds transactions back while it is held: their requests have arrived, and
// their answers are not there.
type lateStore struct {
	abstract.Store
	hold atomic.Pointer[chan struct{}]
}

func (s *lateStore) Txn(ctx context.Context, t abstract.Txn) (abstract.TxnResult, error) {
	if hold := s.hold.Load(); hold != nil {
		<-*hold
	}
	return s.Store.Txn(context.WithoutCancel(ctx), t)
}

func (s *lateStore) Instant() bool { return false }

func TestCreationOverALostConnectionIsDoneOnceUnderItsKey(t *testing.T) {
	inWorld(t, func(w *world) {
		store := &lateStore{Store: memstore.New()}
		w.broker(server.WithStore(store))
		n := w.nodes()
		create(w, n, "/q", "")
		for i, opts := range [][]client.NodeOption{{client.OnceAs("k")}, nil} {
			hold := make(chan struct{})
			store.hold.Store(&hold)
			type outcome struct {
				path string
				err  error
			}
			got := make(chan outcome, 1)
			go func() {
				path, err := n.Create(ctx, "/q/n-", nil, append(opts, client.Sequential())...)
				got <- outcome{path, err}
			}()
			synctest.Wait() // the store has it
			w.net.Cut()
			synctest.Wait()
			store.hold.Store(nil)
			close(hold)
			out := <-got
			if i == 0 {
				require.NoError(w, out.err)
				assert.Equal(w, "/q/n-0000000000", out.path)
			} else {
				require.ErrorIs(w, out.err, abstract.ErrDisconnected)
				assert.Equal(w, abstract.SentUnknown, errorOf(w.T, out.err).Sent, "said honestly")
			}
			time.Sleep(time.Minute)
			list, err := n.List(ctx, "/q")
			require.NoError(w, err)
			assert.Len(w, list, i+1)
		}
		path, err := n.Create(ctx, "/q/n-", nil, client.Sequential(), client.OnceAs("k"))
		require.NoError(w, err)
		assert.Equal(w, "/q/n-0000000000", path, "the outcome of the first time")
	})
}

func TestSessionNodesOutliveTheConnectionAndNotTheSession(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker(server.WithSessions(time.Second, 3))
		lost := make(chan string, 1)
		conn := w.dial(client.OnSessionExpired(func(id string) { lost <- id }))
		n, other := client.NewNodeClient(conn), w.nodes()
		create(w, n, "/mine", "", client.SessionNode())
		id := conn.SessionID()

		w.net.Cut()
		time.Sleep(time.Minute)
		there, err := other.Exists(ctx, "/mine")
		require.NoError(w, err)
		assert.True(w, there, "it reconnects in time")
		assert.Equal(w, id, conn.SessionID())
		assert.Empty(w, lost)

		w.net.Refuse(true)
		w.net.Cut()
		time.Sleep(time.Minute)
		w.net.Refuse(false)
		assert.Equal(w, id, <-lost)
		there, err = n.Exists(ctx, "/mine")
		require.NoError(w, err)
		assert.False(w, there)
		assert.NotEqual(w, id, conn.SessionID())
		create(w, n, "/mine", "", client.SessionNode())
		require.NoError(w, conn.Close())
		synctest.Wait()
		there, err = other.Exists(ctx, "/mine")
		require.NoError(w, err)
		assert.False(w, there, "Close ends the session at once")
		assert.Empty(w, lost, "and that is no expiry")
	})
}

// Close during a reconnect ends the session too, when the broker has resumed it.
func TestCloseRightAfterAReconnectEndsTheSession(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker(server.WithSessions(time.Hour, 3))
		other := w.nodes()
		for round := range 20 {
			conn := w.dial(client.WithBackoff(time.Millisecond, time.Millisecond))
			create(w, client.NewNodeClient(conn), "/mine", "", client.SessionNode())
			w.net.Cut()
			synctest.Wait()
			for !conn.Connected() {
				time.Sleep(time.Microsecond)
			}
			require.NoError(w, conn.Close())
			synctest.Wait()
			there, err := other.Exists(ctx, "/mine")
			require.NoError(w, err)
			require.False(w, there, "round %d", round)
		}
	})
}
