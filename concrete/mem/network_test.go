package mem_test

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/abstract/transporttest"
	"trefoil/concrete/mem"
)

// taker is a Receiver that hands on what it gets.
type taker struct {
	abstract.BaseConnection
	got    chan uint64
	closed chan error
}

func (k *taker) OnMessages(batch []abstract.BaseMessage) {
	for _, m := range batch {
		k.got <- m.(*transporttest.Message).N
	}
}

func (k *taker) OnClose(err error) { k.closed <- err }

func settings(opened chan *taker) abstract.TransportConfig {
	return abstract.TransportConfig{
		Protocol: transporttest.Protocol{},
		OnOpen: func(c abstract.BaseConnection) abstract.Receiver {
			k := &taker{c, make(chan uint64, 100), make(chan error, 1)}
			opened <- k
			return k
		},
	}
}

// inVirtualTime runs f with a served Network and one connection.
func inVirtualTime(t *testing.T, f func(t *testing.T, n *mem.Network, client abstract.BaseClient, c, s *taker)) {
	synctest.Test(t, func(t *testing.T) {
		n, clients, servers := mem.NewNetwork(), make(chan *taker, 10), make(chan *taker, 10)
		srv := n.Server("srv", settings(servers))
		require.NoError(t, srv.Listen())
		served := make(chan error, 1)
		go func() { served <- srv.Serve() }()
		cli := n.Client("srv", settings(clients))
		conn, err := cli.Connect(t.Context())
		require.NoError(t, err)
		f(t, n, cli, <-clients, <-servers)
		conn.Close(nil)
		n.Blackhole(false)
		require.NoError(t, srv.Shutdown(context.Background()))
		require.NoError(t, <-served)
	})
}

func TestMessagesTravelInVirtualTime(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, _ *mem.Network, _ abstract.BaseClient, c, s *taker) {
		start := time.Now()
		require.NoError(t, c.Send(&transporttest.Message{N: 1}))
		assert.Equal(t, uint64(1), <-s.got)
		assert.Zero(t, time.Since(start))
		assert.Equal(t, "srv", c.RemoteAddr().String())
		assert.Equal(t, "mem", c.RemoteAddr().Network())
		assert.Equal(t, "srv#1", s.RemoteAddr().String())
	})
}

func TestCutEndsConnectionsOnBothSides(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *mem.Network, cli abstract.BaseClient, c, s *taker) {
		require.NoError(t, c.Send(&transporttest.Message{N: 1}))
		n.Cut()
		assert.Equal(t, uint64(1), <-s.got, "what was sent before arrives")
		assert.Equal(t, io.EOF, <-c.closed)
		assert.Equal(t, io.EOF, <-s.closed)
		again, err := cli.Connect(t.Context())
		require.NoError(t, err, "new connections work")
		again.Close(nil)
	})
}

func TestRefuseFailsNewConnectionsOnly(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *mem.Network, cli abstract.BaseClient, c, s *taker) {
		n.Refuse(true)
		_, err := cli.Connect(t.Context())
		assert.ErrorIs(t, err, abstract.ErrUnavailable)
		require.NoError(t, c.Send(&transporttest.Message{N: 1}))
		assert.Equal(t, uint64(1), <-s.got)
		n.Refuse(false)
		again, err := cli.Connect(t.Context())
		require.NoError(t, err)
		again.Close(nil)
	})
}

func TestBlackholeSwallowsWithoutAWord(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *mem.Network, cli abstract.BaseClient, c, s *taker) {
		n.Blackhole(true)
		for range 100 { // more than a pipe holds
			require.NoError(t, c.Send(&transporttest.Message{Body: make([]byte, 64<<10)}))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := cli.Connect(ctx)
		assert.ErrorIs(t, err, abstract.ErrTimeout, "a new connection waits")
		assert.Empty(t, s.got)
		assert.NoError(t, c.Err())
		n.Blackhole(false)
		assert.Equal(t, io.EOF, <-c.closed, "a connection that lost something cannot go on")
		assert.Equal(t, io.EOF, <-s.closed)
	})
}

func TestBlackholeHidesTheEndOfAConnection(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *mem.Network, _ abstract.BaseClient, c, s *taker) {
		n.Blackhole(true)
		c.Close(nil)
		require.NoError(t, <-c.closed)
		synctest.Wait()
		assert.NoError(t, s.Err())
		assert.Empty(t, s.closed)
		n.Blackhole(false)
		assert.Equal(t, io.EOF, <-s.closed)
	})
}

func TestConnectWaitsForTheEndOfABlackhole(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, n *mem.Network, cli abstract.BaseClient, c, s *taker) {
		n.Blackhole(true)
		connected := make(chan abstract.BaseConnection, 1)
		go func() {
			conn, err := cli.Connect(t.Context())
			assert.NoError(t, err)
			connected <- conn
		}()
		synctest.Wait()
		assert.Empty(t, connected)
		n.Blackhole(false)
		(<-connected).Close(nil)
		require.NoError(t, c.Send(&transporttest.Message{N: 1}))
		assert.Equal(t, uint64(1), <-s.got, "a connection that lost nothing goes on")
	})
}

func TestWriteTimeoutInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, opened := mem.NewNetwork(), make(chan *taker, 1)
		srv := n.Server("srv", settings(opened))
		require.NoError(t, srv.Listen())
		go func() { _ = srv.Serve() }()
		silent, err := n.Dial(t.Context(), "srv")
		require.NoError(t, err)
		s, start := <-opened, time.Now()
		require.NoError(t, s.Send(&transporttest.Message{Body: make([]byte, 1<<20)}))
		assert.ErrorIs(t, <-s.closed, abstract.ErrTimeout)
		assert.Equal(t, 10*time.Second, time.Since(start))
		require.NoError(t, silent.Close())
		require.NoError(t, srv.Shutdown(context.Background()))
	})
}

func TestNamesAreTakenOnce(t *testing.T) {
	n, opened := mem.NewNetwork(), make(chan *taker, 1)
	first, second := n.Server("a", settings(opened)), n.Server("a", settings(opened))
	require.NoError(t, first.Listen())
	assert.ErrorIs(t, second.Listen(), abstract.ErrExists)
	require.NoError(t, first.Shutdown(t.Context()))
	require.NoError(t, second.Listen(), "the name is free again")
	require.NoError(t, second.Shutdown(t.Context()))
}

func TestConnectionsThatWereNotAcceptedAreClosed(t *testing.T) {
	n := mem.NewNetwork()
	srv := n.Server("a", settings(make(chan *taker, 1)))
	require.NoError(t, srv.Listen())
	nc, err := n.Dial(t.Context(), "a")
	require.NoError(t, err)
	require.NoError(t, srv.Shutdown(t.Context()))
	_, err = nc.Read(make([]byte, 1))
	assert.Equal(t, io.EOF, err)
	require.NoError(t, nc.Close())
}
