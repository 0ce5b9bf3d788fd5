package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/server"
)

func TestAPipelineKeepsTheOrder(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		c, ctx := w.topics(), w.Context()
		require.NoError(t, c.Create(ctx, "t"))
		in, _ := w.subscribe(w.topics(), "t")
		var mu sync.Mutex
		var outcomes []uint64
		p := c.Pipeline("t", 10)
		p.OnOutcome(func(n uint64, r client.Receipt, err error) {
			mu.Lock()
			defer mu.Unlock()
			assert.NoError(t, err)
			assert.Equal(t, n%100 == 0, r.Offset == n, "who asks for a receipt gets one")
			outcomes = append(outcomes, n)
		})
		for i := 1; i <= 1000; i++ {
			var with []client.Publishing
			if i%100 == 0 {
				with = []client.Publishing{{TTL: time.Hour}}
			}
			require.NoError(t, p.Publish(ctx, i, with...))
		}
		require.NoError(t, p.Flush(ctx))
		assert.Equal(t, numbered("t", 1, 1000), in.all())
		assert.Len(t, outcomes, 1000)
		assert.IsIncreasing(t, outcomes)
		require.NoError(t, p.Flush(ctx), "there is nothing to wait for")
	})
}

func TestAPipelineWaitsOnlyWhenItsWindowIsFull(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker(server.WithSubscriberQueue(4 << 10))
		c, machine := w.topicsOn()
		ctx := w.Context()
		require.NoError(t, c.Create(ctx, "t"))
		machine.Stall(true) // answers do not come
		p := c.Pipeline("t", 5)
		for i := range 5 {
			require.NoError(t, p.Publish(ctx, i))
		}
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		begun := time.Now()
		err := p.Publish(short, 5)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, abstract.SentNo, sentOf(t, err))
		assert.Equal(t, time.Second, time.Since(begun))
		assert.ErrorIs(t, p.Flush(short), context.DeadlineExceeded)
		machine.Stall(false)
		require.NoError(t, p.Publish(ctx, 6))
		require.NoError(t, p.Flush(ctx))
		info, err := c.Info(ctx, "t")
		require.NoError(t, err)
		assert.EqualValues(t, 6, info.Last, "the one that found no place was not sent")
	})
}

func TestErrorsOfAPipelineAreNotLost(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		c, ctx := w.topics(), w.Context()
		require.NoError(t, c.CreateWith(ctx, "t", abstract.TopicSettings{Schema: json.RawMessage(`{"type":"integer"}`)}))
		p := c.Pipeline("t", 4)
		for i := range 100 {
			var v any = i
			if i%2 == 1 {
				v = fmt.Sprint(i)
			}
			require.NoError(t, p.Publish(ctx, v))
		}
		err := p.Flush(ctx)
		assert.ErrorIs(t, err, abstract.ErrInvalidParams)
		assert.ErrorContains(t, err, "50 messages were not taken")
		require.NoError(t, p.Flush(ctx), "it was told")
		require.NoError(t, p.Publish(ctx, "x"))
		assert.ErrorContains(t, p.Flush(ctx), "must be integer, not string")
		assert.Equal(t, abstract.SentNo, sentOf(t, p.Publish(ctx, func() {})), "what cannot be JSON takes no place")
		require.NoError(t, p.Flush(ctx))
	})
}

func TestAPipelineGoesOnInOrderAfterACut(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		publisher, machine := w.topicsOn()
		c, ctx := w.topics(), w.Context()
		require.NoError(t, c.Create(ctx, "t"))
		in, _ := w.subscribe(c, "t")
		p := publisher.Pipeline("t", 64)
		var mu sync.Mutex
		failed := map[uint64]abstract.Sent{}
		p.OnOutcome(func(n uint64, _ client.Receipt, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed[n] = sentOf(t, err)
			}
		})
		for i := 1; i <= 2000; i++ {
			if i%200 == 0 {
				machine.Cut()
			}
			require.NoError(t, p.Publish(ctx, i))
		}
		err := p.Flush(ctx)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		got, last := map[int]bool{}, 0
		for _, m := range in.all() {
			var n int
			_, err := fmt.Sscanf(m, "t %d", &n)
			require.NoError(t, err)
			assert.Greater(t, n, last, "in order, and each once")
			got[n], last = true, n
		}
		for n := 1; n <= 2000; n++ {
			sent, bad := failed[uint64(n)]
			assert.True(t, got[n] || bad, "%d is lost, and nobody says so", n)
			assert.True(t, !bad || sent == abstract.SentUnknown, "%d had not left, and could have been sent again", n)
		}
		assert.Equal(t, len(failed) > 0, err != nil)
		assert.Less(t, len(failed), 1000)
	})
}

func TestAPipelineWithoutAConnectionGivesUpInTime(t *testing.T) {
	inWorld(t, func(w *world) {
		b := w.broker()
		c, ctx := w.topics(client.WithTimeout(3*time.Second)), w.Context()
		require.NoError(t, c.Create(ctx, "t"))
		b.stop()
		synctest.Wait()
		p := c.Pipeline("t", 10)
		begun := time.Now()
		for i := range 10 {
			require.NoError(t, p.Publish(ctx, i))
		}
		err := p.Flush(ctx)
		assert.ErrorContains(t, err, "10 messages were not taken")
		assert.Equal(t, abstract.SentNo, sentOf(t, err))
		assert.Equal(t, 3*time.Second, time.Since(begun))
	})
}

func TestAPipelineEndsWithItsConn(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		conn := w.dial()
		c, ctx := client.NewTopicClient(conn), w.Context()
		require.NoError(t, c.CreateWith(ctx, "t", abstract.TopicSettings{}))
		p := c.Pipeline("t", 2)
		require.NoError(t, p.Publish(ctx, 1))
		require.NoError(t, conn.Close())
		for range 5 {
			_ = p.Publish(ctx, 2)
		}
		assert.ErrorIs(t, p.Flush(ctx), abstract.ErrDisconnected)
	})
}

func TestAPipelineGoesThroughInterceptors(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		refuses := func(ctx context.Context, op *abstract.Operation, next abstract.Next) error {
			if op.Kind == abstract.OpPublish && string(op.Params.(json.RawMessage)) == "13" {
				return abstract.Errorf(abstract.Denied, "not this one")
			}
			return next(ctx, op)
		}
		c, ctx := w.topics(client.WithInterceptors(refuses)), w.Context()
		require.NoError(t, c.Create(ctx, "t"))
		in, _ := w.subscribe(w.topics(), "t")
		p := c.Pipeline("t", 8)
		for i := 1; i <= 100; i++ {
			require.NoError(t, p.Publish(ctx, i))
		}
		assert.ErrorIs(t, p.Flush(ctx), abstract.ErrDenied)
		assert.Equal(t, append(numbered("t", 1, 12), numbered("t", 14, 100)...), in.all())
	})
}

func TestABatchTellsWhatBecameOfEachMessage(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		c, ctx := w.topics(), w.Context()
		require.NoError(t, c.CreateWith(ctx, "t", abstract.TopicSettings{Dedup: time.Hour, Schema: json.RawMessage(`{"type":"integer"}`)}))
		in, _ := w.subscribe(c, "t")
		once := &client.Publishing{ID: "once"}
		got, err := c.PublishBatch(ctx, "t", []client.Outgoing{
			{Value: 1}, {Value: "x"}, {Value: 2, With: once}, {Value: func() {}}, {Value: 3, With: once}, {Value: 4},
		})
		assert.ErrorContains(t, err, "2 messages were not taken")
		require.Len(t, got, 6)
		assert.ErrorIs(t, got[1].Err, abstract.ErrInvalidParams)
		assert.Equal(t, abstract.SentNo, sentOf(t, got[3].Err))
		assert.Equal(t, client.Receipt{Offset: 2, Subscribers: 1}, got[2].Receipt)
		assert.Equal(t, client.Receipt{Offset: 2, Duplicate: true}, got[4].Receipt)
		for _, i := range []int{0, 2, 4, 5} {
			assert.NoError(t, got[i].Err)
		}
		assert.Equal(t, []string{"t 1", "t 2", "t 4"}, in.all())

		many := make([]client.Outgoing, 5000)
		for i := range many {
			many[i].Value = i + 1
		}
		got, err = c.PublishBatch(ctx, "t", many)
		require.NoError(t, err)
		assert.Len(t, got, 5000)
		assert.Equal(t, numbered("t", 1, 5000), in.all())
		got, err = c.PublishBatch(ctx, "t", nil)
		require.NoError(t, err)
		assert.Empty(t, got)
	})
}

func TestABatchWhoseContextEndsSaysWhatIsNotKnown(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		c, machine := w.topicsOn()
		require.NoError(t, c.Create(w.Context(), "t"))
		machine.Stall(true)
		ctx, cancel := context.WithTimeout(w.Context(), time.Second)
		defer cancel()
		many := make([]client.Outgoing, 1500)
		got, err := c.PublishBatch(ctx, "t", many)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, abstract.SentUnknown, sentOf(t, got[0].Err))
		assert.Equal(t, abstract.SentNo, sentOf(t, got[1499].Err), "it was above the window")
		machine.Stall(false)
	})
}
