package client_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/server"
)

// scheduled is what of a topic waits to be published.
func (w *durableWorld) scheduled(c *client.TopicClient, topic string) (list []client.Scheduled) {
	w.Helper()
	for m, err := range c.Scheduled(w.Context(), topic) {
		require.NoError(w, err)
		list = append(list, m)
	}
	return list
}

func TestCancelledMessagesAreNotDelivered(t *testing.T) {
	inDurableWorld(t, func(w *durableWorld, c *client.TopicClient) {
		w.durable(c, "t", abstract.TopicSettings{})
		in, _ := w.subscribe(c, "t")
		assert.Empty(t, w.scheduled(c, "t"))
		start := time.Now()
		two := w.later(c, "t", "two", client.Publishing{Delay: 2 * time.Hour, ID: "mine", Meta: abstract.Metadata{"k": "v"}})
		one := w.later(c, "t", "one", client.Publishing{Delay: time.Hour})
		three := w.later(c, "t", "three", client.Publishing{Delay: 3 * time.Hour})
		list := w.scheduled(c, "t")
		require.Len(t, list, 3)
		assert.Equal(t, []string{two.Scheduled, one.Scheduled, three.Scheduled}, []string{list[0].ID, list[1].ID, list[2].ID})
		assert.Equal(t, `"two"`, string(list[0].Data))
		assert.Equal(t, "mine", list[0].MsgID)
		assert.Equal(t, abstract.Metadata{"k": "v"}, list[0].Meta)
		assert.Equal(t, start.Add(2*time.Hour).UnixMilli(), list[0].Due.UnixMilli())
		assert.Equal(t, start.UnixMilli(), list[0].Time.UnixMilli())

		require.NoError(t, c.CancelScheduled(w.Context(), "t", two.Scheduled))
		err := c.CancelScheduled(w.Context(), "t", two.Scheduled)
		assert.ErrorIs(t, err, abstract.ErrNotFound, "twice")
		assert.ErrorContains(t, err, "does not wait to be published")
		assert.Equal(t, 2, w.waiting(c, "t"))
		time.Sleep(time.Hour + time.Second)
		assert.Equal(t, []string{`t "one"`}, in.all())
		assert.ErrorIs(t, c.CancelScheduled(w.Context(), "t", one.Scheduled), abstract.ErrNotFound, "it was published")

		c = w.restart(time.Second)
		require.Len(t, w.scheduled(c, "t"), 1)
		require.NoError(t, c.CancelScheduled(w.Context(), "t", three.Scheduled), "of another broker before this one")
		c = w.restart(time.Second)
		assert.Empty(t, w.scheduled(c, "t"))
		time.Sleep(5 * time.Hour)
		assert.Equal(t, `1="one"`, w.kept(c, "t"))
		assert.Zero(t, w.waiting(c, "t"))
	})
}

func TestWhatCannotBeCancelledSaysWhy(t *testing.T) {
	inDurableWorld(t, func(w *durableWorld, c *client.TopicClient) {
		w.durable(c, "t", abstract.TopicSettings{})
		require.NoError(t, c.Create(w.Context(), "plain"))
		old := w.later(c, "t", "old", client.Publishing{Delay: time.Hour})
		require.NoError(t, c.Remove(w.Context(), "t"))
		w.durable(c, "t", abstract.TopicSettings{})
		w.later(c, "t", "new", client.Publishing{Delay: time.Hour})
		for name, tc := range map[string]struct {
			topic, id string
			want      abstract.RCode
		}{
			"of an incarnation before":    {"t", old.Scheduled, abstract.NotFound},
			"no id":                       {"t", "x", abstract.InvalidParams},
			"no offset":                   {"t", "x.y", abstract.InvalidParams},
			"nothing":                     {"t", "", abstract.InvalidParams},
			"a topic that is not durable": {"plain", "1.x", abstract.Unsupported},
			"no topic":                    {"nowhere", "1.x", abstract.TopicNotFound},
		} {
			err := c.CancelScheduled(w.Context(), tc.topic, tc.id)
			assert.Equal(t, tc.want, abstract.CodeOf(err), "%s: %v", name, err)
		}
		require.Len(t, w.scheduled(c, "t"), 1, "and nothing was taken back")
		for _, topic := range []string{"plain", "nowhere"} {
			for _, err := range c.Scheduled(w.Context(), topic) {
				assert.Error(t, err, topic)
			}
		}
		require.NoError(t, c.Set(w.Context(), "t", abstract.TopicSettings{Durable: true, Allow: abstract.TopicAllow{Publish: []string{"boss"}}}))
		assert.ErrorIs(t, c.CancelScheduled(w.Context(), "t", "1.x"), abstract.ErrDenied)
		for _, err := range c.Scheduled(w.Context(), "t") {
			assert.ErrorIs(t, err, abstract.ErrDenied)
		}
	})
}

func TestAMessageThatCouldNotBeCancelledIsDelivered(t *testing.T) {
	inDurableWorld(t, func(w *durableWorld, c *client.TopicClient) {
		w.durable(c, "t", abstract.TopicSettings{})
		got := w.later(c, "t", 1, client.Publishing{Delay: time.Hour})
		w.logs.stuck.Store(true)
		assert.ErrorIs(t, c.CancelScheduled(w.Context(), "t", got.Scheduled), abstract.ErrUnavailable)
		w.logs.stuck.Store(false)
		assert.Equal(t, 1, w.waiting(c, "t"))
		time.Sleep(time.Hour + time.Second)
		assert.Equal(t, `1=1`, w.kept(c, "t"))
	})
}

func TestWhatMayHaveBeenPublishedIsNotCancelled(t *testing.T) {
	inDurableWorld(t, func(w *durableWorld, c *client.TopicClient) {
		w.durable(c, "t", abstract.TopicSettings{Dedup: time.Hour})
		got := w.later(c, "t", 1, client.Publishing{Delay: time.Hour})
		w.logs.silent.Store(true)
		time.Sleep(time.Hour + 100*time.Millisecond) // it is tried again soon
		assert.ErrorIs(t, c.CancelScheduled(w.Context(), "t", got.Scheduled), abstract.ErrNotFound)
		w.logs.silent.Store(false)
		time.Sleep(time.Minute)
		assert.Equal(t, `1=1`, w.kept(c, "t"), "once")
		assert.Zero(t, w.waiting(c, "t"))
	})
}

func TestWhatWasRefusedWhenItWasDueCanBeCancelled(t *testing.T) {
	inDurableWorld(t, func(w *durableWorld, c *client.TopicClient) {
		w.durable(c, "t", abstract.TopicSettings{})
		got := w.later(c, "t", 1, client.Publishing{Delay: time.Hour})
		w.logs.refuses.Store(true)
		time.Sleep(time.Hour + 100*time.Millisecond)
		require.NoError(t, c.CancelScheduled(w.Context(), "t", got.Scheduled))
		w.logs.refuses.Store(false)
		time.Sleep(time.Minute)
		assert.Empty(t, w.kept(c, "t"))
		assert.Zero(t, w.waiting(c, "t"))
	})
}

func TestAPublisherThatTriesAgainGetsTheSameID(t *testing.T) {
	inDurableWorld(t, func(w *durableWorld, c *client.TopicClient) {
		w.durable(c, "t", abstract.TopicSettings{Dedup: time.Hour})
		first := w.later(c, "t", 1, client.Publishing{Delay: time.Minute, ID: "a"})
		again := w.later(c, "t", 1, client.Publishing{Delay: time.Minute, ID: "a"})
		assert.True(t, again.Duplicate)
		assert.Equal(t, first.Scheduled, again.Scheduled)
		require.NoError(t, c.CancelScheduled(w.Context(), "t", again.Scheduled))
		third := w.later(c, "t", 1, client.Publishing{Delay: time.Minute, ID: "a"})
		assert.True(t, third.Duplicate, "the id is remembered")
		assert.Empty(t, third.Scheduled, "and nothing waits")
		time.Sleep(time.Hour)
		assert.Empty(t, w.kept(c, "t"))
	})
}

func TestManyScheduledMessagesAreListed(t *testing.T) {
	inDurableWorld(t, func(w *durableWorld, c *client.TopicClient) {
		w.durable(c, "t", abstract.TopicSettings{})
		const many = 600
		for i := range many {
			w.later(c, "t", i, client.Publishing{Delay: time.Hour})
		}
		list := w.scheduled(c, "t")
		require.Len(t, list, many)
		for i, m := range list {
			assert.Equal(t, fmt.Sprint(i), string(m.Data))
			if i%2 == 0 {
				require.NoError(t, c.CancelScheduled(w.Context(), "t", m.ID))
			}
		}
		assert.Len(t, w.scheduled(c, "t"), many/2)
		for range c.Scheduled(w.Context(), "t") {
			break
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		assert.Zero(t, w.waiting(c, "t"))
		info, err := c.Info(w.Context(), "t")
		require.NoError(t, err)
		assert.EqualValues(t, many/2, info.Last)
	})
}

func TestTheBrokersScheduledMessagesAreBounded(t *testing.T) {
	inDurableWorld(t, func(w *durableWorld, c *client.TopicClient) {
		refused := func(topic string, v any, says string) {
			t.Helper()
			_, err := c.PublishWith(w.Context(), topic, v, client.Publishing{Delay: time.Hour})
			assert.ErrorIs(t, err, abstract.ErrOverloaded)
			assert.ErrorContains(t, err, says)
		}
		later := func(topic string, delay time.Duration) client.Receipt {
			t.Helper()
			return w.later(c, topic, 1, client.Publishing{Delay: delay})
		}
		w.more = []server.Option{server.WithScheduled(3, 1<<20)}
		c = w.restart(0)
		w.durable(c, "a", abstract.TopicSettings{})
		w.durable(c, "b", abstract.TopicSettings{})
		first := later("a", time.Hour)
		later("a", time.Minute)
		later("b", time.Hour)
		refused("b", 1, "limits.scheduled")
		require.NoError(t, c.CancelScheduled(w.Context(), "a", first.Scheduled))
		later("b", time.Hour)
		refused("a", 1, "limits.scheduled")
		time.Sleep(2 * time.Minute)
		later("a", time.Hour)
		refused("a", 1, "3 messages wait")
		require.NoError(t, c.Remove(w.Context(), "b"))
		later("a", time.Hour)
		later("a", time.Hour)
		c = w.restart(time.Second)
		synctest.Wait()
		refused("a", 1, "limits.scheduled")

		w.more = []server.Option{server.WithScheduled(100, 2000)}
		c = w.restart(time.Second)
		synctest.Wait()
		refused("a", string(make([]byte, 1500)), "limits.scheduled_bytes")
		later("a", time.Hour)
		assert.Len(t, w.scheduled(c, "a"), 4)
	})
}
