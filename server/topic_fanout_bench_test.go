//go:build unix

package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/mem"
	"trefoil/concrete/message"
)

// BenchmarkFanOut is what the broker does for a batch of publishes of 128 bytes to plain
// topics, but for system calls: it judges them, queues them at all subscribers, and writes
// them to sockets that take everything at no cost. The figures are of a delivery.
func BenchmarkFanOut(b *testing.B) {
	for _, c := range []struct{ batch, subscribers int }{{1, 1}, {64, 1}, {1, 100}, {64, 100}, {64, 1000}} {
		b.Run(fmt.Sprintf("%d-messages-to-%d", c.batch, c.subscribers), func(b *testing.B) {
			s, conns := inVoid(b, c.subscribers+1)
			publisher := conns[c.subscribers]
			ask := func(c *conn, op abstract.TopicOp) {
				turn := newTurn(c, []abstract.BaseMessage{request(b, s, op, "r", "bench.topic", "null")})
				turn.run()
				turn.end()
				c.Flush()
			}
			ask(publisher, abstract.TopicCreate)
			for _, c := range conns[:c.subscribers] {
				ask(c, abstract.TopicSubscribe)
			}
			var batch []abstract.BaseMessage
			for i := range c.batch {
				batch = append(batch, request(b, s, abstract.TopicPublish, strconv.Itoa(1000+i), "bench.topic", `"`+strings.Repeat("x", 126)+`"`))
			}
			b.ReportAllocs()
			began := busy()
			for b.Loop() {
				turn := newTurn(publisher, batch)
				turn.run()
				turn.end()
				publisher.Flush()
			}
			deliveries := float64(b.N * c.batch * c.subscribers)
			b.ReportMetric(float64(busy()-began)/deliveries, "cpu-ns/delivery")
		})
	}
}

// inVoid is a topic server with so many modern connections, to which everything can be
// written and nothing comes of it.
func inVoid(b *testing.B, n int) (*TopicServer, []*conn) {
	network := mem.NewNetwork()
	transport := func(addr string, cfg abstract.TransportConfig) abstract.BaseServer { return network.Server(addr, cfg) }
	s := NewTopicServer("broker", WithTransport(transport), WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))), WithPing(time.Hour, 5))
	require.NoError(b, s.Listen())
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	var conns []*conn
	open := func() []*conn {
		s.ep.mu.Lock()
		defer s.ep.mu.Unlock()
		conns = nil
		for _, c := range s.ep.conns {
			conns = append(conns, c)
		}
		return conns
	}
	b.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.Shutdown(ctx)
		<-served
		require.Eventually(b, func() bool { return len(open()) == 0 }, time.Minute, time.Millisecond)
	})
	for range n {
		_, err := network.Dial(b.Context(), "broker")
		require.NoError(b, err)
	}
	require.Eventually(b, func() bool { return len(open()) == n }, time.Minute, time.Millisecond)
	for _, c := range conns {
		hello := &message.Hello{Header: message.ID("h"), Version: message.ProtocolVersion, MaxFrame: bigFrames}
		require.NoError(b, c.judge.Receive(hello, time.Now()).Close)
	}
	network.Blackhole(true)
	return s, conns
}
