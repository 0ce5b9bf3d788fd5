package client_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	heartbeat "trefoil/business/session"
	"trefoil/client"
	"trefoil/concrete/lv"
	"trefoil/concrete/message"
	"trefoil/concrete/stdnet"
	"trefoil/concrete/udp"
)

// A broker writes answers before events that were queued earlier: the oldest order in
// which a second watch of a part may find things.
func TestOlderEventsThatComeAfterTheAnswerHideNoneBefore(t *testing.T) {
	event := func(revision int64) *message.NodeEvent {
		path := fmt.Sprintf("/n%d", revision)
		return &message.NodeEvent{Path: "/", Scope: client.ScopeSubtree, Revision: revision, Events: []message.NodeChange{
			{Path: path, Node: &message.Node{Path: path, Data: []byte{}, Stat: &message.NodeStat{Version: 1, Created: revision, Modified: revision}}},
		}}
	}
	var mu sync.Mutex
	watched, pending := false, []int64(nil)
	n := rawBroker(t, func(bc abstract.BaseConnection, m abstract.BaseMessage) {
		r, ok := m.(*message.NodeRequest)
		if !ok {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		rsp := &message.NodeResponse{Header: message.ID(r.ID()), Epoch: "e", Revision: 10}
		var events []int64
		switch {
		case r.Op == abstract.NodeUnwatch:
			watched, pending = false, nil // as a broker drops what waits for the watch
		case r.Op == abstract.NodeWatch && r.Revision == 0:
			watched, pending = true, []int64{11, 12} // which happens now, and is written later
		case r.Op == abstract.NodeWatch:
			rsp.Revision = r.Revision
			if watched {
				events = pending
			}
			for revision := r.Revision + 1; revision <= 12; revision++ {
				events = append(events, revision)
			}
		}
		assert.NoError(t, bc.Send(rsp))
		for _, revision := range events {
			assert.NoError(t, bc.Send(event(revision)))
		}
	})
	conn, err := client.Dial(ctx, "broker", patient(client.WithTransport(n.Client))...)
	require.NoError(t, err)
	defer conn.Close()
	nodes := client.NewNodeClient(conn)
	first := watch(t, nodes, "/", client.ScopeSubtree)
	second, err := nodes.WatchFrom(ctx, "/", client.ScopeSubtree, 5, "e")
	require.NoError(t, err)
	for revision := int64(6); revision <= 12; revision++ {
		require.Equal(t, revision, next(t, second).Revision)
		if revision > 10 {
			require.Equal(t, revision, next(t, first).Revision)
		}
	}
}

// A broker that has lost the tree comes back, and goes away while one of two watches
// is restored: the other must not go on from a revision of before.
func TestEpochThatChangesWhileWatchesAreRestored(t *testing.T) {
	var mu sync.Mutex
	var conns []abstract.BaseConnection
	n := rawBroker(t, func(bc abstract.BaseConnection, m abstract.BaseMessage) {
		r, ok := m.(*message.NodeRequest)
		if !ok {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if !slices.Contains(conns, bc) {
			conns = append(conns, bc)
		}
		epoch := "new"
		if len(conns) == 1 {
			epoch = "old"
		}
		rsp := &message.NodeResponse{Header: message.ID(r.ID()), Epoch: epoch, Revision: 100}
		rsp.Resync = r.Revision != 0 && r.Epoch != epoch
		_ = bc.Send(rsp)
		if len(conns) == 2 { // after one of the two
			bc.Close(nil)
		}
	})
	conn, err := client.Dial(ctx, "broker", patient(client.WithTransport(n.Client), client.WithBackoff(1, time.Millisecond))...)
	require.NoError(t, err)
	defer conn.Close()
	nodes := client.NewNodeClient(conn)
	a, b := watch(t, nodes, "/a", client.ScopeNode), watch(t, nodes, "/b", client.ScopeNode)
	n.Cut()
	assert.True(t, next(t, a).Resync)
	assert.True(t, next(t, b).Resync)
	_, in := b.Position()
	assert.Equal(t, "new", in)
}

// grantingPeer is a broker that grants one session and resumes it.
type grantingPeer struct {
	bc    abstract.BaseConnection
	grant message.SessionGrant
	asked chan *message.SessionRequest
}

func (p *grantingPeer) OnMessages(batch []abstract.BaseMessage) {
	for _, m := range batch {
		switch m := m.(type) {
		case *message.Hello:
			g := p.grant
			g.Resumed = m.Session.ID == g.ID
			p.asked <- m.Session
			_ = p.bc.Send(&message.HelloResponse{Header: message.ID(m.ID()), Version: message.ProtocolVersion, PingMs: 60_000, Misses: 5, MaxFrame: 8 << 20, Session: &g})
		case *message.Ping:
			_ = p.bc.Send(&message.Pong{Header: message.ID(m.ID())})
		}
	}
}

func (p *grantingPeer) OnClose(error) {}

// Heartbeats go on over lost connections, their sequence grows for as long as the
// session lasts, HELLO names the last of them, and they stop at Close.
func TestHeartbeatsOfASession(t *testing.T) {
	beats := make(chan uint64, 10_000)
	listener, err := udp.Listen(udp.Config{Addr: "127.0.0.1:0", Logger: quiet, Handler: func(d []byte, _ netip.AddrPort) {
		if assert.Len(t, d, heartbeat.DatagramSize) {
			beats <- binary.BigEndian.Uint64(d[21:])
		}
	}})
	require.NoError(t, err)
	defer listener.Close()
	asked, conns := make(chan *message.SessionRequest, 10), make(chan abstract.BaseConnection, 10)
	grant := message.SessionGrant{ID: strings.Repeat("ab", 16), Secret: strings.Repeat("cd", 32), IntervalMs: 10, Misses: 5, UDP: int(listener.Addr().Port())}
	srv := stdnet.NewServer("127.0.0.1:0", abstract.TransportConfig{
		Protocol: lv.New(message.New(message.Config{}), lv.Config{}), Logger: quiet,
		OnOpen: func(bc abstract.BaseConnection) abstract.Receiver {
			conns <- bc
			return &grantingPeer{bc, grant, asked}
		},
	})
	require.NoError(t, srv.Listen())
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve() }()
	defer func() { _, _ = srv.Shutdown(context.Background()), <-ended }()

	conn, err := client.Dial(ctx, srv.Addr().String(), patient(client.WithBackoff(time.Millisecond, time.Millisecond))...)
	require.NoError(t, err)
	last := uint64(0)
	grows := func(count int) {
		for range count {
			b := <-beats
			require.Greater(t, b, last)
			last = b
		}
	}
	assert.Zero(t, (<-asked).Sequence)
	grows(3)
	for range 3 {
		(<-conns).Close(nil)
		req := <-asked
		assert.Equal(t, grant.ID, req.ID)
		assert.Equal(t, grant.Secret, req.Secret)
		assert.GreaterOrEqual(t, req.Sequence, last)
		grows(3)
	}
	require.NoError(t, conn.Close())
	listener.Close()
	for len(beats) > 0 {
		grows(1)
	}
}
