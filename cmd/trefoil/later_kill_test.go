//go:build unix

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
)

// later publishes messages for later, cancels some, and knows which were acknowledged.
type later struct {
	topics    *client.TopicClient
	mu        sync.Mutex
	acked     []string
	cancelled []string
}

// run publishes until ctx ends. What is not acknowledged may be there all the same.
func (l *later) run(ctx context.Context, name string) {
	for i := 0; ctx.Err() == nil; i++ {
		text := fmt.Sprintf("%s-%d", name, i)
		delay := time.Duration(1+rand.IntN(700)) * time.Millisecond
		got, err := l.topics.PublishWith(ctx, "t", text, client.Publishing{Delay: delay})
		if err != nil || got.Due.IsZero() {
			continue
		}
		list := &l.acked
		if i%4 == 0 {
			switch err := l.topics.CancelScheduled(ctx, "t", got.Scheduled); {
			case err == nil:
				list = &l.cancelled
			case abstract.CodeOf(err) != abstract.NotFound: // nobody knows
				continue
			}
		}
		l.mu.Lock()
		*list = append(*list, text)
		l.mu.Unlock()
	}
}

func (l *later) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// published counts how often each message is in the topic.
func published(t *testing.T, topics *client.TopicClient) map[string]int {
	t.Helper()
	all := map[string]int{}
	for from := uint64(0); ; {
		page, err := topics.Read(t.Context(), "t", from, 0)
		require.NoError(t, err)
		if len(page) == 0 {
			return all
		}
		for _, m := range page {
			var text string
			require.NoError(t, m.Decode(&text))
			all[text]++
		}
		from = page[len(page)-1].Offset + 1
	}
}

// TestKilledBrokerPublishesLaterOnce kills a broker again and again while messages for
// later come in and fall due. Each that was acknowledged is published, once, unless it was cancelled: then it never is.
// TREFOIL_LONG=1 does it 100 times.
func TestKilledBrokerPublishesLaterOnce(t *testing.T) {
	args := []string{"--data", t.TempDir(), "--log-level", "error"}
	proc, broker := startBroker(t, append([]string{"--listen", "127.0.0.1:0"}, args...)...)
	conn, _ := dialBroker(t, broker, client.WithTimeout(patience))
	l := &later{topics: client.NewTopicClient(conn)}
	require.NoError(t, l.topics.CreateWith(t.Context(), "t", abstract.TopicSettings{Durable: true}))
	require.NoError(t, l.topics.Create(t.Context(), "plain"))
	_, err := l.topics.PublishWith(t.Context(), "plain", 1, client.Publishing{Delay: time.Second})
	assert.ErrorIs(t, err, abstract.ErrUnsupported)
	assert.ErrorContains(t, err, "not durable")

	cycles := long(3, 100)
	for cycle := range cycles {
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		for i := range 4 {
			running.Go(func() { l.run(ctx, fmt.Sprintf("%d-%d", cycle, i)) })
		}
		before := l.count()
		more := 50 + rand.IntN(300)
		require.Eventually(t, func() bool { return l.count() > before+more }, patience, time.Millisecond)
		proc.signal(syscall.SIGKILL)
		proc.wait()
		stop()
		running.Wait()
		proc, _ = startBroker(t, append([]string{"--listen", broker}, args...)...)
		require.Eventually(t, conn.Connected, patience, time.Millisecond)
	}
	require.Eventually(t, func() bool {
		info, err := l.topics.Info(t.Context(), "t")
		return err == nil && info.Later == 0 && int(info.Last) >= l.count()
	}, patience, 20*time.Millisecond)
	all := published(t, l.topics)
	for _, text := range l.acked {
		assert.Equal(t, 1, all[text], text)
	}
	assert.NotEmpty(t, l.cancelled)
	for _, text := range l.cancelled {
		assert.Zero(t, all[text], text)
	}
	for text, n := range all {
		assert.Equal(t, 1, n, text)
	}
	t.Logf("%d cycles, %d messages acknowledged and %d cancelled, %d published", cycles, len(l.acked), len(l.cancelled), len(all))
}
