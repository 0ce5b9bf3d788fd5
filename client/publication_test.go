package client_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
)

// publishing is a broker with the topic "news", and who publishes to it.
func publishing(w *world, opts ...client.Option) (*running, *client.TopicClient) {
	b := w.broker()
	topics := client.NewTopicClient(w.dial(opts...))
	require.NoError(w, topics.Create(context.Background(), "news"))
	return b, topics
}

// listen collects what is published to "news".
func listen(w *world) *[]int {
	var got []int
	_, err := client.NewTopicClient(w.dial()).Subscribe(context.Background(), "news", func(m client.Message) {
		var n int
		assert.NoError(w, m.Decode(&n))
		got = append(got, n)
	})
	require.NoError(w, err)
	return &got
}

func numbers(n int) (list []int) {
	for i := range n {
		list = append(list, i)
	}
	return list
}

func TestPublishingWithoutWaitingKeepsTheOrder(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := context.Background()
		_, topics := publishing(w)
		got := listen(w)
		const n = 1000
		var futures []*client.PublishFuture
		var ended []int
		for i := range n {
			if i%2 == 0 {
				futures = append(futures, topics.PublishFuture(ctx, "news", i))
				continue
			}
			topics.PublishFunc(ctx, "news", i, func(err error) {
				assert.NoError(w, err)
				ended = append(ended, i)
			})
		}
		for _, f := range futures {
			require.NoError(w, f.Wait(ctx))
			require.NoError(w, f.Wait(ctx), "it may be asked again")
		}
		synctest.Wait()
		assert.Equal(w, numbers(n), *got)
		assert.Len(w, ended, n/2)
		assert.True(w, slices.IsSorted(ended), "callbacks come in the order of the answers")
	})
}

func TestPublishingWithoutWaitingTellsWhatPublishWouldHaveSaid(t *testing.T) {
	inWorld(t, func(w *world) {
		over, cancel := context.WithCancel(context.Background())
		cancel()
		cases := []struct {
			name  string
			ctx   context.Context
			topic string
			value any
			want  error
			sent  abstract.Sent
		}{
			{"no such topic", context.Background(), "nosuch", 1, abstract.ErrTopicNotFound, abstract.SentYes},
			{"not JSON", context.Background(), "news", func() {}, abstract.ErrInvalidParams, abstract.SentNo},
			{"the context is over", over, "news", 1, abstract.ErrCancelled, abstract.SentNo},
		}
		_, topics := publishing(w)
		got := listen(w)
		for _, tc := range cases {
			outcome := make(chan error, 1)
			topics.PublishFunc(tc.ctx, tc.topic, tc.value, func(err error) { outcome <- err })
			for how, err := range map[string]error{
				"sync":     topics.Publish(tc.ctx, tc.topic, tc.value),
				"future":   topics.PublishFuture(tc.ctx, tc.topic, tc.value).Wait(context.Background()),
				"callback": <-outcome,
			} {
				var e *abstract.Error
				assert.ErrorIs(w, err, tc.want, "%s, %s", tc.name, how)
				require.ErrorAs(w, err, &e)
				assert.Equal(w, tc.sent, e.Sent, "%s, %s", tc.name, how)
			}
		}
		synctest.Wait()
		assert.Empty(w, *got)
	})
}

func TestAMessageWaitsForTheConnection(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := context.Background()
		b, topics := publishing(w)
		b.stop()
		synctest.Wait()
		f := topics.PublishFuture(ctx, "news", 7)
		short, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		late := topics.PublishFuture(short, "news", 8)
		assert.ErrorIs(w, late.Wait(ctx), abstract.ErrUnavailable)
		select {
		case <-f.Done():
			require.Fail(w, "it ended while there was no connection")
		default:
		}
		w.broker()
		require.NoError(w, f.Wait(ctx))
	})
}

func TestCloseEndsWhatIsPublished(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := context.Background()
		b := w.broker()
		conn := w.dial()
		topics := client.NewTopicClient(conn)
		b.stop()
		synctest.Wait()
		called := 0
		for range 10 {
			topics.PublishFunc(ctx, "news", 1, func(err error) {
				assert.ErrorIs(w, err, abstract.ErrDisconnected)
				called++
			})
		}
		synctest.Wait()
		require.NoError(w, conn.Close())
		assert.Equal(w, 10, called, "Close waits for the callbacks")
		assert.ErrorIs(w, topics.PublishFuture(ctx, "news", 1).Wait(ctx), abstract.ErrDisconnected)
	})
}

func TestMessagesOfABatchAreDroppedOneByOne(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := context.Background()
		_, topics := publishing(w)
		gate := make(chan struct{})
		var seen, missed uint64
		last := -1
		_, err := client.NewTopicClient(w.dial(client.WithSubscriptionQueue(1000))).Subscribe(ctx, "news", func(m client.Message) {
			<-gate
			seen++
			missed += m.Missed
			var n int
			assert.NoError(w, m.Decode(&n))
			assert.Equal(w, last+1+int(m.Missed), n, "the loss is told where it happened")
			last = n
		})
		require.NoError(w, err)
		const n = 300
		var f *client.PublishFuture
		for i := range n {
			f = topics.PublishFuture(ctx, "news", i)
		}
		require.NoError(w, f.Wait(ctx))
		synctest.Wait()
		close(gate)
		synctest.Wait()
		assert.Equal(w, n-1, last)
		assert.EqualValues(w, n, seen+missed)
		assert.Positive(w, missed)
	})
}
