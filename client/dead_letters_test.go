package client_test

import (
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
)

func TestDeletedMessagesAreGone(t *testing.T) {
	inDurableWorld(t, func(w *durableWorld, c *client.TopicClient) {
		ctx := w.Context()
		w.durable(c, "durable", abstract.TopicSettings{})
		require.NoError(t, c.CreateWith(ctx, "history", abstract.TopicSettings{History: abstract.History{Count: 100}, Retain: true}))
		for _, topic := range []string{"durable", "history"} {
			w.publish(c, topic, 1, 10)
			require.NoError(t, c.Delete(ctx, topic, 3, 4, 10, 99))
			require.NoError(t, c.Delete(ctx, topic, 3))
			require.NoError(t, c.Delete(ctx, topic))
			assert.Equal(t, "1=1 2=2 5=5 6=6 7=7 8=8 9=9", w.kept(c, topic))
			in, _ := w.subscribe(c, topic, client.FromAll())
			want := append(numbered(topic, 1, 2), numbered(topic, 5, 9)...)
			assert.Equal(t, want, in.all())
			last, _ := w.subscribe(c, topic, client.FromLast())
			w.publish(c, topic, 11, 11)
			assert.Equal(t, numbered(topic, 11, 11), in.all(), "who has caught up goes on")
			assert.Equal(t, numbered(topic, 11, 11), last.all())
			assert.Empty(t, in.lost(), "what was deleted is not missed")
		}
		require.NoError(t, c.Create(ctx, "plain"))
		assert.ErrorIs(t, c.Delete(ctx, "plain", 1), abstract.ErrInvalidOp)
		assert.ErrorIs(t, c.Delete(ctx, "nowhere", 1), abstract.ErrTopicNotFound)
	})
}

// bury puts dead letters of a topic where a broker puts them.
func (w *durableWorld) bury(c *client.TopicClient, dead, topic string, n int) {
	w.Helper()
	for i := range n {
		w.later(c, dead, fmt.Sprint(topic, i), client.Publishing{Meta: abstract.Metadata{
			"trefoil-dead-topic": topic, "trefoil-dead-offset": strconv.Itoa(i + 10), "trefoil-dead-deliveries": "16",
			"trefoil-dead-consumer": "billing", "trefoil-dead-reason": "not acknowledged", "k": strconv.Itoa(i),
		}})
	}
}

func offsets(list []client.DeadLetter) (all []uint64) {
	for _, d := range list {
		all = append(all, d.Offset)
	}
	return all
}

func TestDeadLettersAreListed(t *testing.T) {
	inDurableWorld(t, func(w *durableWorld, c *client.TopicClient) {
		ctx := w.Context()
		w.durable(c, "t", abstract.TopicSettings{})
		list, err := c.DeadLetters(ctx, "t", 0, 0)
		require.NoError(t, err)
		assert.Empty(t, list, "there is no topic of dead letters")
		w.durable(c, "t.dead", abstract.TopicSettings{})
		w.bury(c, "t.dead", "another", 2)
		w.bury(c, "t.dead", "t", 3)
		w.publish(c, "t.dead", 1, 1)
		list, err = c.DeadLetters(ctx, "t", 0, 0)
		require.NoError(t, err)
		require.Equal(t, []uint64{3, 4, 5}, offsets(list))
		assert.Equal(t, client.DeadLetter{
			Offset: 3, Time: list[0].Time, Topic: "t", Origin: 10, Consumer: "billing", Deliveries: 16,
			Reason: "not acknowledged", Data: []byte(`"t0"`), Meta: abstract.Metadata{"k": "0"},
		}, list[0])
		assert.WithinDuration(t, time.Now(), list[0].Time, time.Second)
		list, err = c.DeadLetters(ctx, "t", 4, 1)
		require.NoError(t, err)
		assert.Equal(t, []uint64{4}, offsets(list))
		_, err = c.DeadLetters(ctx, "nowhere", 0, 0)
		assert.ErrorIs(t, err, abstract.ErrTopicNotFound)

		w.durable(c, "special", abstract.TopicSettings{DeadLetter: "t.dead"})
		w.bury(c, "t.dead", "special", 1)
		list, err = c.DeadLetters(ctx, "special", 0, 0)
		require.NoError(t, err)
		assert.Equal(t, []uint64{7}, offsets(list), "in the topic that the settings name")
	})
}

func TestDeadLettersAreTriedAgain(t *testing.T) {
	inDurableWorld(t, func(w *durableWorld, c *client.TopicClient) {
		ctx := w.Context()
		w.durable(c, "t", abstract.TopicSettings{})
		w.durable(c, "t.dead", abstract.TopicSettings{})
		w.bury(c, "t.dead", "another", 1)
		w.bury(c, "t.dead", "t", 4)
		n, err := c.RetryDeadLetters(ctx, "t", 3, 1, 99, 3)
		require.NoError(t, err)
		assert.Equal(t, 1, n, "only what is a dead letter of the topic")
		list, err := c.Read(ctx, "t", 0, 0)
		require.NoError(t, err)
		require.Len(t, list, 1)
		assert.Equal(t, `"t1"`, string(list[0].Data))
		assert.Equal(t, abstract.Metadata{"k": "1"}, list[0].Meta)
		assert.Equal(t, `1="another0" 2="t0" 4="t2" 5="t3"`, w.kept(c, "t.dead"))

		w.logs.stuck.Store(true) // published, and not deleted
		n, err = c.RetryDeadLetters(ctx, "t", 2)
		assert.ErrorIs(t, err, abstract.ErrUnavailable)
		assert.Zero(t, n)
		w.logs.stuck.Store(false)
		n, err = c.RetryDeadLetters(ctx, "t")
		require.NoError(t, err)
		assert.Equal(t, 3, n)
		assert.Equal(t, `1="t1" 2="t0" 3="t2" 4="t3"`, w.kept(c, "t"), "each once")
		assert.Equal(t, `1="another0"`, w.kept(c, "t.dead"))
		n, err = c.RetryDeadLetters(ctx, "t")
		require.NoError(t, err)
		assert.Zero(t, n)
	})
}

// TestRetryEnds has dead letters that come back at once: who tries them all again tries
// those that were there when it began.
func TestRetryEnds(t *testing.T) {
	inDurableWorld(t, func(w *durableWorld, c *client.TopicClient) {
		w.durable(c, "t", abstract.TopicSettings{})
		w.durable(c, "t.dead", abstract.TopicSettings{})
		w.bury(c, "t.dead", "t", 450)
		back := 0
		_, err := c.Subscribe(w.Context(), "t", func(client.Message) {
			back++
			w.bury(c, "t.dead", "t", 1)
		})
		require.NoError(t, err)
		n, err := c.RetryDeadLetters(w.Context(), "t")
		require.NoError(t, err)
		assert.Equal(t, 450, n)
		synctest.Wait()
		assert.Equal(t, 450, back)
		list, err := c.DeadLetters(w.Context(), "t", 0, 0)
		require.NoError(t, err)
		assert.Len(t, list, 450)
	})
}

func TestDeadLettersAreDropped(t *testing.T) {
	inDurableWorld(t, func(w *durableWorld, c *client.TopicClient) {
		ctx := w.Context()
		w.durable(c, "t", abstract.TopicSettings{})
		n, err := c.DropDeadLetters(ctx, "t")
		require.NoError(t, err)
		assert.Zero(t, n, "there is no topic of dead letters")
		w.durable(c, "t.dead", abstract.TopicSettings{})
		w.bury(c, "t.dead", "another", 1)
		w.bury(c, "t.dead", "t", 450)
		n, err = c.DropDeadLetters(ctx, "t", 1, 2, 5)
		require.NoError(t, err)
		assert.Equal(t, 2, n)
		n, err = c.DropDeadLetters(ctx, "t")
		require.NoError(t, err)
		assert.Equal(t, 448, n)
		assert.Equal(t, `1="another0"`, w.kept(c, "t.dead"))
		assert.Empty(t, w.kept(c, "t"))
	})
}
