package trefoil_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil"
	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/schema"
)

// bulk is a topic that refuses what does not fit its type's schema.
var bulk = trefoil.NewTopic[any]("bulk", trefoil.Settings(abstract.TopicSettings{
	History: abstract.History{Count: 1000}, Dedup: time.Minute, Schema: []byte(`{"type":"integer"}`),
}))

// keptIn are the messages that a topic keeps, in order.
func keptIn[T any](t *testing.T, w *world, topic *trefoil.Topic[T], n int) (all []T) {
	t.Helper()
	for m, err := range topic.Messages(t.Context(), w.topics, client.FromAll()) {
		require.NoError(t, err)
		assert.EqualValues(t, len(all)+1, m.Offset)
		if all = append(all, m.Value); len(all) == n {
			break
		}
	}
	return all
}

func TestTypedBatchIsPublishedInOrderWithOutcomes(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	topic := trefoil.NewTopic[order]("orders", trefoil.Schema(schema.Of), trefoil.Settings(events.Settings()))
	require.NoError(t, topic.Create(ctx, w.topics))
	once := &abstract.Publishing{ID: "once"}
	got, err := topic.PublishBatch(ctx, w.topics, []trefoil.Outgoing[order]{{Value: order{1}}, {Value: order{2}, With: once}, {Value: order{2}, With: once}, {Value: order{3}}})
	require.NoError(t, err)
	require.Len(t, got, 4)
	assert.Equal(t, abstract.Receipt{Offset: 2}, got[1].Receipt)
	assert.Equal(t, abstract.Receipt{Offset: 2, Duplicate: true}, got[2].Receipt)
	assert.Equal(t, []order{{1}, {2}, {3}}, keptIn(t, w, topic, 3))

	got, err = topic.PublishBatch(ctx, w.topics, nil)
	require.NoError(t, err)
	assert.Empty(t, got)
}

func TestTypedBatchSaysWhatWasNotTaken(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	require.NoError(t, bulk.Create(ctx, w.topics))
	got, err := bulk.PublishBatch(ctx, w.topics, []trefoil.Outgoing[any]{{Value: 1}, {Value: "two"}, {Value: func() {}}, {Value: 3}})
	assert.ErrorContains(t, err, "2 messages were not taken")
	require.Len(t, got, 4)
	assert.NoError(t, got[0].Err)
	assert.ErrorIs(t, got[1].Err, abstract.ErrInvalidParams)
	assert.ErrorContains(t, got[2].Err, "JSON")
	assert.NoError(t, got[3].Err)
	assert.Equal(t, []any{json.Number("1"), json.Number("3")}, keptIn(t, w, bulk, 2))
}

func TestTypedPipelineKeepsTheOrder(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	require.NoError(t, events.Create(ctx, w.topics))
	got := make(chan order, 100)
	sub, err := events.SubscribeFunc(ctx, w.topics, func(_ context.Context, m trefoil.Message[order], err error) {
		assert.NoError(t, err)
		got <- m.Value
	})
	require.NoError(t, err)
	line := events.Pipeline(w.topics, 8)
	receipts := make(chan abstract.Receipt, 100)
	line.OnOutcome(func(n uint64, r abstract.Receipt, err error) {
		assert.NoError(t, err)
		if r.Offset != 0 {
			assert.Equal(t, n, r.Offset)
			receipts <- r
		}
	})
	for n := 1; n <= 100; n++ {
		var with []abstract.Publishing
		if n == 50 {
			with = []abstract.Publishing{{ID: "fifty"}}
		}
		require.NoError(t, line.Publish(ctx, order{n}, with...))
	}
	require.NoError(t, line.Flush(ctx))
	assert.Equal(t, abstract.Receipt{Offset: 50, Subscribers: 1}, <-receipts)
	for n := 1; n <= 100; n++ {
		assert.Equal(t, order{n}, <-got)
	}
	require.NoError(t, sub.Cancel(ctx))
}

func TestTypedPipelineTellsOfWhatWasNotTaken(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	require.NoError(t, bulk.Create(ctx, w.topics))
	line := bulk.Pipeline(w.topics, 4)
	require.NoError(t, line.Publish(ctx, "one"))
	require.NoError(t, line.Publish(ctx, 2))
	require.ErrorContains(t, line.Publish(ctx, func() {}), "JSON")
	require.ErrorIs(t, line.Flush(ctx), abstract.ErrInvalidParams)
	require.NoError(t, line.Flush(ctx), "it was told")
	over, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, line.Publish(over, 3), context.Canceled)
	assert.Equal(t, []any{json.Number("2")}, keptIn(t, w, bulk, 1))
}
