package jetstream

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// BenchmarkAppend is appends of one entry of 200 bytes, by some appenders at the same
// time, to some topics.
func BenchmarkAppend(b *testing.B) {
	for _, sync := range []Sync{SyncAlways, Sync(200e6), SyncOS} {
		for _, n := range []struct{ appenders, topics int }{{1, 1}, {64, 1}, {64, 16}, {1000, 1}} {
			b.Run(fmt.Sprintf("%s/%d-on-%d", sync, n.appenders, n.topics), func(b *testing.B) {
				benchmarkAppend(b, sync, n.appenders, n.topics)
			})
		}
	}
}

func benchmarkAppend(b *testing.B, mode Sync, appenders, topics int) {
	s := open(b, Config{Dir: b.TempDir(), Sync: mode, Logger: slog.New(slog.DiscardHandler)})
	logs := make([]abstract.Log, topics)
	for i := range logs {
		l, err := s.Open(context.Background(), fmt.Sprint("t", i), "1", abstract.LogConfig{})
		require.NoError(b, err)
		logs[i] = l
	}
	list := entries(1, 200)
	var next atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for a := range appenders {
		wg.Go(func() {
			for next.Add(1) <= int64(b.N) {
				if _, err := logs[a%topics].Append(context.Background(), list); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
	b.StopTimer()
}

// BenchmarkRead reads 200 bytes an entry, 1,000 at a time.
func BenchmarkRead(b *testing.B) {
	s := open(b, Config{Dir: b.TempDir(), Sync: SyncOS})
	l, err := s.Open(context.Background(), "t", "1", abstract.LogConfig{})
	require.NoError(b, err)
	const kept = 10_000
	_, err = l.Append(context.Background(), entries(kept, 200))
	require.NoError(b, err)
	b.ReportAllocs()
	read := 0
	for b.Loop() {
		list, err := l.Read(context.Background(), uint64(read%(kept-1000))+1, 1000, 1<<20)
		require.NoError(b, err)
		read += len(list)
	}
	b.ReportMetric(float64(read)/b.Elapsed().Seconds(), "entries/s")
}

// BenchmarkConsume fetches and acknowledges entries of 200 bytes, 100 at a time.
func BenchmarkConsume(b *testing.B) {
	s := open(b, Config{Dir: b.TempDir(), Sync: SyncOS})
	l, err := s.Open(context.Background(), "t", "1", abstract.LogConfig{})
	require.NoError(b, err)
	c, err := l.Consumer(context.Background(), "c", abstract.ConsumerConfig{From: 1})
	require.NoError(b, err)
	for left := b.N; left > 0; left -= 10_000 {
		_, err = l.Append(context.Background(), entries(min(left, 10_000), 200))
		require.NoError(b, err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; {
		list, err := c.Fetch(context.Background(), 100)
		require.NoError(b, err)
		var wg sync.WaitGroup
		for _, d := range list {
			wg.Go(func() { _ = d.Ack(context.Background()) })
		}
		wg.Wait()
		done += len(list)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
	b.StopTimer()
	require.NoError(b, c.Close())
}
