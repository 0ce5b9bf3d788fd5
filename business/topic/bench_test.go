package topic

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkPublish finds the subscribers of a topic and visits each.
func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{1, 1_000} {
		b.Run(fmt.Sprintf("%d-subscribers", n), func(b *testing.B) {
			br := subscribed(b, n)
			b.ReportAllocs()
			for b.Loop() {
				subs, err := br.tm.Publish("news")
				require.NoError(b, err)
				for _, sub := range subs {
					if sub.Lane != nil {
						b.Fatal("nobody set it")
					}
				}
			}
		})
	}
}

// BenchmarkSubscribe subscribes and cancels behind 10,000 others, with and
// without a publish in between, which makes cancelling copy their list.
func BenchmarkSubscribe(b *testing.B) {
	for _, publishes := range []bool{false, true} {
		b.Run(fmt.Sprintf("publishes=%t", publishes), func(b *testing.B) {
			br := subscribed(b, 10_000)
			b.ReportAllocs()
			for b.Loop() {
				_, err := br.tm.Subscribe(20_000, "news")
				require.NoError(b, err)
				if publishes {
					_, err = br.tm.Publish("news")
					require.NoError(b, err)
				}
				_, err = br.tm.Cancel(20_000, "news")
				require.NoError(b, err)
			}
		})
	}
}

// BenchmarkDisconnectAll loses 10,000 subscribers of one topic, first come first.
func BenchmarkDisconnectAll(b *testing.B) {
	for b.Loop() {
		br := subscribed(b, 10_000)
		for conn := range ConnID(10_000) {
			br.tm.Disconnect(conn)
		}
	}
}

func subscribed(b *testing.B, n int) *broker {
	br := newBroker(b, Config{})
	br.create("news")
	for conn := range ConnID(n) {
		br.subscribe(conn, "news")
	}
	return br
}
