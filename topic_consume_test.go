package trefoil_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil"
	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/jetstream"
	"trefoil/concrete/mem"
	"trefoil/server"
)

// durableTopics is a client of a broker that keeps messages on disk.
func durableTopics(t *testing.T, opts ...client.Option) *client.TopicClient {
	t.Helper()
	logs, err := jetstream.Open(context.Background(), jetstream.Config{Dir: t.TempDir(), Sync: jetstream.SyncOS, Logger: quiet})
	require.NoError(t, err)
	network := mem.NewNetwork()
	broker := server.NewBroker("broker", server.WithTransport(network.Server), server.WithLogger(quiet), server.WithTopicLog(logs), server.WithPing(time.Minute, 5))
	require.NoError(t, broker.Listen())
	ended := make(chan error, 1)
	go func() { ended <- broker.Serve() }()
	opts = append([]client.Option{client.WithTransport(network.Client), client.WithLogger(quiet), client.WithTimeout(2 * time.Minute)}, opts...)
	conn, err := client.Dial(t.Context(), "broker", opts...)
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, conn.Close())
		assert.NoError(t, broker.Shutdown(context.Background()))
		assert.NoError(t, <-ended)
		assert.NoError(t, logs.Close())
	})
	return client.NewTopicClient(conn)
}

var kept = trefoil.NewTopic[order]("orders.kept", trefoil.Settings(abstract.TopicSettings{Durable: true, MaxDeliver: 2}))

// What a consumer fails with comes again, and then ends as a dead letter, and so does what
// is no message of the topic's type. It holds up nobody, and interceptors see it.
func TestConsumeDeliversUntilItIsDone(t *testing.T) {
	var mu sync.Mutex
	var outcomes []string
	look := func(ctx context.Context, op *abstract.Operation, next abstract.Next) error {
		err := next(ctx, op)
		if op.Kind == abstract.OpDeliver && op.Name == "orders.kept" {
			mu.Lock()
			defer mu.Unlock()
			outcomes = append(outcomes, fmt.Sprint(op.Delivery.Offset, " ", op.Delivery.Delivered, " ", err != nil))
		}
		return err
	}
	topics := durableTopics(t, client.WithInterceptors(look))
	ctx := t.Context()
	require.NoError(t, kept.Create(ctx, topics))
	for n := 1; n <= 2; n++ {
		require.NoError(t, kept.Publish(ctx, topics, order{n}))
	}
	require.NoError(t, topics.Publish(ctx, kept.Name(), "no order"))
	require.NoError(t, kept.Publish(ctx, topics, order{4}))

	letters, err := topics.Subscribe(ctx, "orders.kept.*", nil) // before it is there
	require.NoError(t, err)
	done := make(chan string, 10)
	sub, err := kept.Consume(ctx, topics, "billing", func(_ context.Context, m trefoil.Message[order]) error {
		if m.Value.ID == 2 {
			return errors.New("no")
		}
		done <- fmt.Sprint(m.Value.ID, " ", m.Delivered)
		return nil
	}, client.FromAll())
	require.NoError(t, err)
	assert.Equal(t, "1 1", <-done)
	assert.Equal(t, "4 1", <-done, "nobody waits for the second")

	dead := map[string]bool{}
	for m, err := range letters.Messages(ctx) {
		require.NoError(t, err)
		assert.Equal(t, "orders.kept.dead", m.Topic)
		assert.Equal(t, "billing", m.Meta["trefoil-dead-consumer"])
		assert.Equal(t, "2", m.Meta["trefoil-dead-deliveries"])
		if dead[string(m.Data)] = true; len(dead) == 2 {
			break
		}
	}
	assert.Equal(t, map[string]bool{`{"id":2}`: true, `"no order"`: true}, dead)
	require.NoError(t, sub.Cancel(ctx))
	mu.Lock()
	defer mu.Unlock()
	assert.ElementsMatch(t, []string{"1 1 false", "2 1 true", "2 2 true", "3 1 true", "3 2 true", "4 1 false"}, outcomes)
}

// Whoever wants to say by hand what has become of a message can.
func TestTypedMessagesAreAcknowledgedByHand(t *testing.T) {
	topics := durableTopics(t)
	ctx := t.Context()
	require.NoError(t, kept.Create(ctx, topics))
	for n := 1; n <= 2; n++ {
		require.NoError(t, kept.Publish(ctx, topics, order{n}))
	}
	var seen []string
	for m, err := range kept.Messages(ctx, topics, client.Consumer("billing"), client.ManualAck(), client.FromAll(), client.Window(1)) {
		require.NoError(t, err)
		require.NoError(t, m.Progress(ctx))
		seen = append(seen, fmt.Sprint(m.Value.ID, " ", m.Delivered))
		if len(seen) == 1 {
			require.NoError(t, m.Nack(ctx, 0))
			continue
		}
		require.NoError(t, m.Ack(ctx))
		if len(seen) == 3 {
			break
		}
	}
	assert.ElementsMatch(t, []string{"1 1", "1 2", "2 1"}, seen)
}

// A consumer is something that only durable topics have.
func TestConsumeNeedsADurableTopic(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, orders.Create(t.Context(), w.topics))
	_, err := orders.Consume(t.Context(), w.topics, "billing", func(context.Context, trefoil.Message[order]) error { return nil })
	require.ErrorIs(t, err, abstract.ErrUnsupported)
	require.ErrorIs(t, trefoil.NewTopic[order]("t", trefoil.Settings(abstract.TopicSettings{Durable: true})).Create(t.Context(), w.topics), abstract.ErrUnsupported)
}
