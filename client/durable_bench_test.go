package client_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/jetstream"
	"trefoil/concrete/mem"
	"trefoil/server"
)

// BenchmarkDurablePublish publishes messages of 200 bytes to a topic that is on the disk
// before it answers: from one publisher that waits for each, from 64 of 16 connections, and
// from one that has up to 1,000 on their way.
func BenchmarkDurablePublish(b *testing.B) {
	for name, sync := range map[string]jetstream.Sync{"always": jetstream.SyncAlways, "os": jetstream.SyncOS} {
		b.Run(name+"/1 publisher", func(b *testing.B) { benchPublishers(b, sync, 1, 1) })
		b.Run(name+"/64 publishers", func(b *testing.B) { benchPublishers(b, sync, 16, 64) })
		b.Run(name+"/pipelined", func(b *testing.B) { benchPipelined(b, sync) })
	}
}

const benchMessage = 200

func benchTopic(b *testing.B, sync jetstream.Sync, conns int) []*client.TopicClient {
	b.Helper()
	logs, err := jetstream.Open(b.Context(), jetstream.Config{Dir: b.TempDir(), Sync: sync, Logger: quiet})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, logs.Close()) })
	net := mem.NewNetwork()
	srv := server.NewBroker("broker", server.WithTransport(net.Server), server.WithLogger(quiet), server.WithTopicLog(logs))
	require.NoError(b, srv.Listen())
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve() }()
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(b, srv.Shutdown(ctx))
		require.NoError(b, <-ended)
	})
	list := make([]*client.TopicClient, conns)
	for i := range list {
		c, err := client.Dial(b.Context(), "broker", client.WithTransport(net.Client), client.WithLogger(quiet), client.WithTimeout(time.Minute))
		require.NoError(b, err)
		b.Cleanup(func() { require.NoError(b, c.Close()) })
		list[i] = client.NewTopicClient(c)
	}
	require.NoError(b, list[0].CreateWith(b.Context(), "t", abstract.TopicSettings{Durable: true}))
	require.NoError(b, list[0].Publish(b.Context(), "t", 0))
	return list
}

func benchPublishers(b *testing.B, sync jetstream.Sync, conns, publishers int) {
	list := benchTopic(b, sync, conns)
	text := strings.Repeat("x", benchMessage)
	var left atomic.Int64
	left.Store(int64(b.N))
	failed := make(chan error, publishers)
	b.ResetTimer()
	for i := range publishers {
		go func() {
			var err error
			for err == nil && left.Add(-1) >= 0 {
				err = list[i%conns].Publish(context.Background(), "t", text)
			}
			failed <- err
		}()
	}
	for range publishers {
		require.NoError(b, <-failed)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "publishes/s")
}

func benchPipelined(b *testing.B, sync jetstream.Sync) {
	c := benchTopic(b, sync, 1)[0]
	text := strings.Repeat("x", benchMessage)
	const window = 1000
	waiting := make(chan *client.PublishFuture, window)
	failed := make(chan error, 1)
	b.ResetTimer()
	go func() {
		var err error
		for f := range waiting {
			if e := f.Wait(context.Background()); e != nil {
				err = e
			}
		}
		failed <- err
	}()
	for range b.N {
		waiting <- c.PublishFuture(context.Background(), "t", text)
	}
	close(waiting)
	require.NoError(b, <-failed)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "publishes/s")
}

// BenchmarkDurableConsume consumes messages of 200 bytes that are there, through the broker:
// with as many in hand as a program in a hurry takes, and as many as it takes by default.
func BenchmarkDurableConsume(b *testing.B) {
	for name, opts := range map[string][]client.SubscribeOption{"window 1000": {client.Window(1000)}, "by default": nil} {
		b.Run(name, func(b *testing.B) { benchConsume(b, opts...) })
	}
}

func benchConsume(b *testing.B, opts ...client.SubscribeOption) {
	c := benchTopic(b, jetstream.SyncOS, 1)[0]
	text := strings.Repeat("x", benchMessage)
	line := c.Pipeline("t", 1000)
	for range b.N {
		require.NoError(b, line.Publish(b.Context(), text))
	}
	require.NoError(b, line.Flush(b.Context()))
	left := b.N
	done := make(chan struct{})
	b.ReportAllocs()
	b.ResetTimer()
	_, err := c.Subscribe(b.Context(), "t", func(client.Message) {
		if left--; left == 0 {
			close(done)
		}
	}, append(opts, client.Consumer("c"), client.FromOffset(2))...)
	require.NoError(b, err)
	<-done
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
