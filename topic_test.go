package trefoil_test

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil"
	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/schema"
)

var events = trefoil.NewTopic[order]("events.eu", trefoil.Settings(abstract.TopicSettings{
	History: abstract.History{Count: 10}, Dedup: time.Minute,
}))

func TestTopicIsMadeWithItsSettings(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	require.NoError(t, events.Create(ctx, w.topics))
	require.NoError(t, events.Create(ctx, w.topics), "twice is once")
	info, err := w.topics.Info(ctx, events.Name())
	require.NoError(t, err)
	assert.Equal(t, events.Settings(), info.Settings)

	more := trefoil.NewTopic[order](events.Name(), trefoil.Settings(abstract.TopicSettings{History: abstract.History{Count: 20}}))
	require.ErrorIs(t, more.Create(ctx, w.topics), abstract.ErrExists)
	require.NoError(t, more.Set(ctx, w.topics))
	info, err = w.topics.Info(ctx, events.Name())
	require.NoError(t, err)
	assert.Equal(t, more.Settings(), info.Settings)
	require.NoError(t, trefoil.NewTopic[order](events.Name()).Create(ctx, w.topics), "without settings it takes what is there")
}

func TestSchemaOfATopicIsThatOfItsType(t *testing.T) {
	keep := trefoil.Settings(abstract.TopicSettings{Retain: true})
	for name, opts := range map[string][]trefoil.TopicOption{
		"alone": {trefoil.Schema(schema.Of)}, "first": {trefoil.Schema(schema.Of), keep}, "last": {keep, trefoil.Schema(schema.Of)},
	} {
		topic := trefoil.NewTopic[order]("t", opts...)
		var got struct {
			Properties map[string]struct{ Type string }
			Required   []string
		}
		require.NoError(t, json.Unmarshal(topic.Settings().Schema, &got), name)
		assert.Equal(t, "integer", got.Properties["id"].Type, name)
		assert.Equal(t, []string{"id"}, got.Required, name)
		assert.Equal(t, len(opts) == 2, topic.Settings().Retain, name)
	}
}

func TestTypedPublishSaysWhatBecameOfTheMessage(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	require.NoError(t, events.Create(ctx, w.topics))
	got := make(chan trefoil.Message[order], 2)
	sub, err := events.SubscribeFunc(ctx, w.topics, func(_ context.Context, m trefoil.Message[order], err error) {
		assert.NoError(t, err)
		got <- m
	})
	require.NoError(t, err)
	more := abstract.Publishing{ID: "first", Meta: abstract.Metadata{"from": "test"}}
	receipt, err := events.PublishWith(ctx, w.topics, order{1}, more)
	require.NoError(t, err)
	assert.Equal(t, abstract.Receipt{Offset: 1, Subscribers: 1}, receipt)
	receipt, err = events.PublishWith(ctx, w.topics, order{1}, more)
	require.NoError(t, err)
	assert.Equal(t, abstract.Receipt{Offset: 1, Duplicate: true}, receipt)
	_, err = events.PublishWith(ctx, w.topics, order{1}, abstract.Publishing{Delay: time.Second})
	require.ErrorIs(t, err, abstract.ErrUnsupported, "it is not durable")
	require.NoError(t, events.Send(ctx, w.topics, order{2}))

	m := <-got
	assert.Equal(t, order{1}, m.Value)
	assert.Equal(t, abstract.Metadata{"from": "test"}, m.Meta)
	assert.Equal(t, "events.eu", m.Topic)
	assert.Equal(t, uint64(1), m.Offset)
	assert.Equal(t, "first", m.MsgID)
	assert.Equal(t, order{2}, (<-got).Value)
	require.ErrorIs(t, m.Ack(ctx), abstract.ErrInvalidOp, "nobody waits for it")
	require.ErrorIs(t, m.Nack(ctx, 0), abstract.ErrInvalidOp)
	require.ErrorIs(t, m.Fail(ctx), abstract.ErrInvalidOp)
	require.ErrorIs(t, m.Progress(ctx), abstract.ErrInvalidOp)
	require.NoError(t, sub.Cancel(ctx))
}

func TestTypedSubscriptionsTakeTheOptionsOfTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		require.NoError(t, events.Create(ctx, w.topics))
		for n := 1; n <= 15; n++ {
			more := abstract.Publishing{Meta: abstract.Metadata{"odd": map[bool]string{true: "yes", false: "no"}[n%2 == 1]}}
			_, err := events.PublishWith(ctx, w.topics, order{n}, more)
			require.NoError(t, err)
		}
		var gaps []client.Gap
		count := func(g client.Gap) { gaps = append(gaps, g) }
		var seen []int
		for v, err := range events.Subscribe(ctx, w.topics, client.FromOffset(3), client.Where(abstract.Metadata{"odd": "yes"}), client.OnGap(count)) {
			require.NoError(t, err)
			if seen = append(seen, v.ID); v.ID == 15 {
				break
			}
		}
		assert.Equal(t, []int{7, 9, 11, 13, 15}, seen, "6 to 15 are kept")
		assert.Equal(t, []client.Gap{{Topic: "events.eu", Unrecovered: true}}, gaps)

		all := trefoil.NewTopic[order]("events.*")
		for m, err := range all.Messages(ctx, w.topics, client.FromLast()) {
			require.NoError(t, err)
			assert.Equal(t, "events.eu", m.Topic, "that it was published to")
			assert.Equal(t, 15, m.Value.ID)
			assert.False(t, m.Time.IsZero())
			break
		}
	})
}

func TestInterceptorsSeeWhatIsKnownOfMessages(t *testing.T) {
	var published []abstract.Publishing
	delivered := make(chan abstract.DeliveryInfo, 1)
	look := func(ctx context.Context, op *abstract.Operation, next abstract.Next) error {
		switch op.Kind {
		case abstract.OpPublish:
			published = append(published, *op.Publishing)
			op.Publishing.ID += "!"
		case abstract.OpDeliver:
			delivered <- op.Delivery
		}
		return next(ctx, op)
	}
	w := newWorld(t, client.WithInterceptors(look))
	ctx := t.Context()
	require.NoError(t, events.Create(ctx, w.topics))
	_, err := events.SubscribeFunc(ctx, w.topics, func(context.Context, trefoil.Message[order], error) {})
	require.NoError(t, err)
	_, err = events.PublishWith(ctx, w.topics, order{1}, abstract.Publishing{ID: "a", TTL: time.Hour})
	require.NoError(t, err)
	assert.Equal(t, []abstract.Publishing{{ID: "a", TTL: time.Hour}}, published)
	assert.Equal(t, uint64(1), (<-delivered).Offset)
	again, err := w.topics.Read(ctx, events.Name(), 1, 0)
	require.NoError(t, err)
	require.Len(t, again, 1)
	assert.Equal(t, "a!", again[0].ID, "what they change counts")
}

// Whoever publishes what does not fit is told which field it is.
func TestMessagesThatDoNotFitTheTypeAreRefused(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	topic := trefoil.NewTopic[purchase]("purchases", trefoil.Schema(schema.Of))
	require.NoError(t, topic.Create(ctx, w.topics))
	for place, text := range map[string]string{
		`"id"`:                `{"id":"7","address":{"street":"a","zip":"b"},"lines":[],"rate":1}`,
		`"address.zip"`:       `{"id":7,"address":{"street":"a","zip":8000},"lines":[],"rate":1}`,
		`"lines[1].sku"`:      `{"id":7,"address":{"street":"a","zip":"b"},"lines":[{"sku":"a"},{"sku":5}],"rate":1}`,
		`"labels.c"`:          `{"id":7,"address":{"street":"a","zip":"b"},"lines":[],"rate":1,"labels":{"c":false}}`,
		`"next.id" (integer)`: `{"id":7,"address":{"street":"a","zip":"b"},"lines":[],"rate":1,"next":{"lines":[],"rate":1}}`,
	} {
		err := w.topics.Publish(ctx, topic.Name(), json.RawMessage(text))
		require.ErrorIs(t, err, abstract.ErrInvalidParams, place)
		assert.ErrorContains(t, err, place)
		assert.ErrorContains(t, err, "purchases")
	}
	require.NoError(t, topic.Publish(ctx, w.topics, purchase{ID: 1, Lines: []item{{SKU: "a"}}}))
	require.NoError(t, topic.Publish(ctx, w.topics, purchase{}), "what encoding/json writes of the type fits")
	_, err := topic.PublishWith(ctx, w.topics, purchase{Lines: []item{{}}}, abstract.Publishing{Meta: abstract.Metadata{"a": "b"}})
	require.NoError(t, err)
}
