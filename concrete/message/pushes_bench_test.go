package message

import (
	"fmt"
	"strings"
	"testing"

	"trefoil/abstract"
)

// BenchmarkPushes reads the body of a push, with memory that is used again.
func BenchmarkPushes(b *testing.B) {
	for _, size := range []int{128, 1 << 10} {
		b.Run(fmt.Sprintf("%d-bytes", size), func(b *testing.B) {
			var memory Pushes
			codec := New(Config{Pushes: &memory})
			body := []byte(`{"optype":4,"topic_key":"bench.topic.0","topic_msg":"` + strings.Repeat("x", size-2) + `","offset":1234567}`)
			batch := make([]abstract.BaseMessage, 1)
			b.ReportAllocs()
			for b.Loop() {
				m, err := codec.Unmarshal(abstract.ReqTopic, "0123456789abcdef", body, body)
				if err != nil {
					b.Fatal(err)
				}
				batch[0] = m
				memory.Reuse(batch)
			}
		})
	}
}
