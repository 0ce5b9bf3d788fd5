package client_test

import (
	"context"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/lv"
	"trefoil/concrete/mem"
	"trefoil/concrete/message"
)

// rawPeer is a broker that answers HELLO and leaves the rest to fn.
type rawPeer struct {
	bc abstract.BaseConnection
	fn func(bc abstract.BaseConnection, m abstract.BaseMessage)
}

func (p *rawPeer) OnMessages(batch []abstract.BaseMessage) {
	for _, m := range batch {
		if h, ok := m.(*message.Hello); ok {
			_ = p.bc.Send(&message.HelloResponse{Header: message.ID(h.ID()), Version: message.ProtocolVersion, PingMs: 60_000, Misses: 5, MaxFrame: 8 << 20})
			continue
		}
		if p.fn != nil {
			p.fn(p.bc, m)
		}
	}
}
func (p *rawPeer) OnClose(error) {}

func rawBroker(t *testing.T, fn func(bc abstract.BaseConnection, m abstract.BaseMessage)) *mem.Network {
	t.Helper()
	n := mem.NewNetwork()
	srv := n.Server("broker", abstract.TransportConfig{
		Protocol: lv.New(message.New(message.Config{}), lv.Config{}),
		Logger:   quiet,
		OnOpen:   func(bc abstract.BaseConnection) abstract.Receiver { return &rawPeer{bc, fn} },
	})
	require.NoError(t, srv.Listen())
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = srv.Shutdown(ctx)
		<-ended
	})
	return n
}

// A connection that is lost while a background discovery is in flight.
func TestLossWithABackgroundDiscoveryInFlight(t *testing.T) {
	debug.SetMaxStack(64 << 20)
	synctest.Test(t, func(t *testing.T) {
		asked := make(chan abstract.BaseConnection, 100)
		n := rawBroker(t, func(bc abstract.BaseConnection, m abstract.BaseMessage) {
			if m.Type() == abstract.ReqService {
				asked <- bc
			}
		})
		conn, err := client.Dial(context.Background(), "broker", client.WithTransport(n.Client), client.WithLogger(quiet))
		require.NoError(t, err)
		defer conn.Close()
		stop := client.NewDiscoveryClient(conn).Follow("m", func(abstract.Providers) {})
		defer stop()
		bc := <-asked
		bc.Close(nil)
		require.NotSame(t, bc, <-asked, "asked again on the next session")
	})
}

// A peer that says goodbye and keeps the connection open: the next new method is followed.
func TestFollowAfterGoodbye(t *testing.T) {
	debug.SetMaxStack(64 << 20)
	synctest.Test(t, func(t *testing.T) {
		n := rawBroker(t, func(bc abstract.BaseConnection, m abstract.BaseMessage) {
			if m.Type() == abstract.ReqService {
				_ = bc.Send(&message.Goodbye{Header: message.ID("x"), Code: abstract.Draining, Reason: "r"})
				_ = bc.Send(&message.ServiceResponse{Header: message.ID(m.ID()), Op: abstract.ServiceDiscover, Method: "a"})
			}
		})
		conn, err := client.Dial(context.Background(), "broker", client.WithTransport(n.Client), client.WithLogger(quiet))
		require.NoError(t, err)
		defer conn.Close()
		d := client.NewDiscoveryClient(conn)
		_, err = d.Discover(context.Background(), "a")
		require.NoError(t, err)
		begun := time.Now()
		d.Follow("b", func(abstract.Providers) {})
		require.Zero(t, time.Since(begun))
	})
}

// A request with a short deadline while the peer is leaving.
func TestAskOutlivesItsDeadlineWhileThePeerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := rawBroker(t, func(bc abstract.BaseConnection, m abstract.BaseMessage) {
			if m.Type() == abstract.ReqTopic {
				_ = bc.Send(&message.Goodbye{Header: message.ID("x"), Code: abstract.Draining, Reason: "r"})
				_ = bc.Send(&message.TopicResponse{Header: message.ID(m.ID())})
			}
		})
		conn, err := client.Dial(context.Background(), "broker", client.WithTransport(n.Client), client.WithLogger(quiet))
		require.NoError(t, err)
		defer conn.Close()
		tc := client.NewTopicClient(conn)
		require.NoError(t, tc.Create(context.Background(), "t"))
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		begun := time.Now()
		err = tc.Create(ctx, "u")
		require.Error(t, err)
		require.LessOrEqual(t, time.Since(begun), 100*time.Millisecond)
	})
}

// Subscribe after Close.
func TestSubscribeAfterClose(t *testing.T) {
	n := rawBroker(t, nil)
	conn, err := client.Dial(context.Background(), "broker", patient(client.WithTransport(n.Client))...)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	_, err = client.NewTopicClient(conn).Subscribe(context.Background(), "t", func(client.Message) {})
	require.Error(t, err)
}
