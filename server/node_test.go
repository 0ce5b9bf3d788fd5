package server_test

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
	"trefoil/concrete/mem"
	"trefoil/concrete/memstore"
	"trefoil/server"
)

// started is a broker inside the process, in virtual time.
type started struct {
	*testing.T
	network *mem.Network
	broker  *server.Broker
	ended   chan error
}

// start starts a broker under the name "broker".
func start(t *testing.T, opts ...server.Option) *started {
	s := &started{T: t, network: mem.NewNetwork()}
	s.again(opts...)
	return s
}

// again starts another one, after stop.
func (s *started) again(opts ...server.Option) {
	s.broker = server.NewBroker("broker", append([]server.Option{server.WithTransport(s.network.Server)}, opts...)...)
	s.ended = make(chan error, 1)
	require.NoError(s, s.broker.Listen())
	go func() { s.ended <- s.broker.Serve() }()
}

func (s *started) stop() {
	require.NoError(s, s.broker.Shutdown(s.Context()))
	require.NoError(s, <-s.ended)
}

// dial opens a connection that is closed, with its session, by closing it.
func (s *started) dial(opts ...client.Option) (*client.Conn, *client.NodeClient) {
	conn, err := client.Dial(s.Context(), "broker", append([]client.Option{client.WithTransport(s.network.Client)}, opts...)...)
	require.NoError(s, err)
	return conn, client.NewNodeClient(conn)
}

func TestSessionNodesGoWithTheirSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		expired := make(chan string, 1)
		s := start(t, server.WithSessions(time.Second, 3), server.WithOnSessionExpired(func(id string) { expired <- id }))
		defer s.stop()
		conn, nodes := s.dial()
		other, seen := s.dial()
		defer other.Close()
		_, err := nodes.Create(t.Context(), "/config", []byte("kept"))
		require.NoError(t, err)
		_, err = nodes.Create(t.Context(), "/worker", nil, client.SessionNode())
		require.NoError(t, err)
		n, err := seen.Stat(t.Context(), "/worker")
		require.NoError(t, err)
		assert.Equal(t, conn.SessionID(), n.Stat.Session)

		time.Sleep(time.Minute) // a session lives as long as its connection is alive
		there, err := seen.Exists(t.Context(), "/worker")
		require.NoError(t, err)
		assert.True(t, there)

		watch, err := seen.Watch(t.Context(), "/", client.ScopeSubtree)
		require.NoError(t, err)
		defer watch.Close(t.Context())
		require.NoError(t, conn.Close())
		e, err := watch.Next(t.Context())
		require.NoError(t, err)
		require.Len(t, e.Changes, 1)
		assert.Equal(t, "/worker", e.Changes[0].Path)
		assert.True(t, e.Changes[0].Deleted)
		assert.Empty(t, expired, "a goodbye is no expiry")
		list, err := seen.List(t.Context(), "/")
		require.NoError(t, err)
		require.Len(t, list, 1)
		assert.Equal(t, "/config", list[0].Path)
	})
}

func TestSilentSessionExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		expired := make(chan string, 1)
		s := start(t, server.WithSessions(time.Second, 3), server.WithOnSessionExpired(func(id string) { expired <- id }))
		defer s.stop()
		lost := make(chan string, 1)
		conn, nodes := s.dial(client.OnSessionExpired(func(id string) { lost <- id }))
		defer conn.Close()
		_, err := nodes.Create(t.Context(), "/worker", nil, client.SessionNode())
		require.NoError(t, err)
		id := conn.SessionID()
		s.network.Blackhole(true)
		assert.Equal(t, id, <-expired)
		s.network.Blackhole(false)
		assert.Equal(t, id, <-lost)
		there, err := nodes.Exists(t.Context(), "/worker")
		require.NoError(t, err)
		assert.False(t, there)
		assert.NotEqual(t, id, conn.SessionID())
	})
}

func TestSessionsAndNodesSurviveARestartOnTheirStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		defer store.Close()
		opts := []server.Option{server.WithSessions(time.Second, 3), server.WithStore(store)}
		s := start(t, opts...)
		conn, nodes := s.dial()
		dead, gone := s.dial()
		for path, n := range map[string]*client.NodeClient{"/here": nodes, "/gone": gone} {
			_, err := n.Create(t.Context(), path, []byte("1"), client.SessionNode())
			require.NoError(t, err)
		}
		id := conn.SessionID()
		s.stop()
		go dead.Close() // it cannot say goodbye any more
		s.again(opts...)
		defer s.stop()
		defer conn.Close()
		n, err := nodes.Get(t.Context(), "/here")
		require.NoError(t, err)
		assert.Equal(t, id, conn.SessionID(), "resumed")
		assert.Equal(t, id, n.Stat.Session)
		there, err := nodes.Exists(t.Context(), "/gone")
		require.NoError(t, err)
		assert.True(t, there, "it has its full time again")
		time.Sleep(5 * time.Second)
		there, err = nodes.Exists(t.Context(), "/gone")
		require.NoError(t, err)
		assert.False(t, there)
		there, err = nodes.Exists(t.Context(), "/here")
		require.NoError(t, err)
		assert.True(t, there)
	})
}

func TestWatcherThatDoesNotReadIsToldToReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, server.WithWatcherQueue(64<<10))
		defer s.stop()
		conn, nodes := s.dial()
		defer conn.Close()
		slow, watching := s.dial()
		defer slow.Close()
		_, err := nodes.Create(t.Context(), "/n", nil)
		require.NoError(t, err)
		watch, err := watching.Watch(t.Context(), "/n", client.ScopeNode)
		require.NoError(t, err)
		defer watch.Close(t.Context())
		data := bytes.Repeat([]byte("x"), 32<<10)
		var last client.Node
		for i := range 500 {
			last, err = nodes.Set(t.Context(), "/n", fmt.Append(data[:len(data):len(data)], i))
			require.NoError(t, err)
		}
		resynced := false
		for seen := int64(0); seen < last.Revision; {
			e, err := watch.Next(t.Context())
			require.NoError(t, err)
			require.Greater(t, e.Revision, seen, "in order")
			seen, resynced = e.Revision, resynced || e.Resync
		}
		assert.True(t, resynced)
	})
}

func TestMultiIsSeenWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		defer s.stop()
		conn, nodes := s.dial()
		defer conn.Close()
		watch, err := nodes.Watch(t.Context(), "/", client.ScopeSubtree)
		require.NoError(t, err)
		defer watch.Close(t.Context())
		_, err = nodes.Multi(t.Context(), client.CreateOp("/a", nil), client.CreateOp("/a/b", []byte("1")), client.SetOp("/a/b", []byte("2")))
		require.NoError(t, err)
		_, err = nodes.Multi(t.Context(), client.SetOp("/a", []byte("x")), client.DeleteOp("/none"))
		require.ErrorIs(t, err, abstract.ErrNotFound)
		var e *abstract.Error
		require.ErrorAs(t, err, &e)
		assert.JSONEq(t, `{"op":1}`, string(e.Details))
		event, err := watch.Next(t.Context())
		require.NoError(t, err)
		require.Len(t, event.Changes, 2)
		assert.Equal(t, "2", string(event.Changes[1].Node.Data))
		n, err := nodes.Get(t.Context(), "/a", client.Linearizable())
		require.NoError(t, err)
		assert.Empty(t, n.Data)
	})
}

func TestWithoutTheRoleThereAreNoNodesAndNoSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, server.WithRoles(server.RoleTopic))
		defer s.stop()
		conn, nodes := s.dial()
		defer conn.Close()
		assert.Empty(t, conn.SessionID())
		_, err := nodes.Get(context.Background(), "/")
		assert.ErrorIs(t, err, abstract.ErrUnsupported)
	})
}
