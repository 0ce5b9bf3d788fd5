package etcdstore

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// BenchmarkPut is guarded puts of 200 bytes, each on the disk before it is
// acknowledged, by some writers at the same time.
func BenchmarkPut(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("%d-writers", writers), func(b *testing.B) {
			s := open(b, Config{Dir: b.TempDir()})
			value := make([]byte, 200)
			var next atomic.Int64
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					for {
						i := next.Add(1)
						if i > int64(b.N) {
							return
						}
						key := fmt.Sprintf("/t/002/bench/%d", i)
						res, err := s.Txn(context.Background(), abstract.Txn{
							If:   []abstract.Compare{{Key: key}},
							Then: []abstract.Op{{Key: key, Value: value}},
						})
						if err != nil || !res.Succeeded {
							b.Error(res, err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
			b.StopTimer()
		})
	}
}

// BenchmarkSync is what a linearizable read costs on top of a local one.
func BenchmarkSync(b *testing.B) {
	s := open(b, Config{Dir: b.TempDir()})
	b.ReportAllocs()
	for b.Loop() {
		_, err := s.Sync(context.Background())
		require.NoError(b, err)
	}
}

// BenchmarkTold is a put until a follower has been told.
func BenchmarkTold(b *testing.B) {
	s := open(b, Config{Dir: b.TempDir()})
	told := make(chan int64, 1)
	defer s.Follow("", func(c abstract.Change) { told <- c.Revision })()
	for b.Loop() {
		_, err := s.Txn(context.Background(), abstract.Txn{Then: []abstract.Op{{Key: "/k", Value: []byte("v")}}})
		require.NoError(b, err)
		<-told
	}
}
