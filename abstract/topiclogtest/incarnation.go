package topiclogtest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// mustBeGone checks that every method of a log says so.
func mustBeGone(t *testing.T, l *log, durable bool) {
	t.Helper()
	ctx := within(t)
	_, err := l.Append(ctx, texts("late"))
	assert.Equal(t, abstract.TopicNotFound, abstract.CodeOf(err), "append: %v", err)
	_, err = l.Read(ctx, 1, 1, 1)
	assert.Equal(t, abstract.TopicNotFound, abstract.CodeOf(err), "read: %v", err)
	_, _, err = l.Bounds(ctx)
	assert.Equal(t, abstract.TopicNotFound, abstract.CodeOf(err), "bounds: %v", err)
	_, err = l.OffsetAt(ctx, time.Now())
	assert.Equal(t, abstract.TopicNotFound, abstract.CodeOf(err), "offset: %v", err)
	err = l.Delete(ctx, 1)
	assert.Equal(t, abstract.TopicNotFound, abstract.CodeOf(err), "delete: %v", err)
	if !durable {
		return
	}
	_, err = l.Consumer(ctx, "c", abstract.ConsumerConfig{})
	assert.Equal(t, abstract.TopicNotFound, abstract.CodeOf(err), "consumer: %v", err)
	_, err = l.Consumers(ctx)
	assert.Equal(t, abstract.TopicNotFound, abstract.CodeOf(err), "consumers: %v", err)
}

func removedLogIsGone(t *testing.T, b *bench) {
	old, other := b.open("t", "1", plenty), b.open("other", "1", plenty)
	same := b.open("t", "1", plenty)
	old.append("a", "b")
	other.append("o")
	b.remove("t", "1")
	mustBeGone(t, old, b.Durable())
	mustBeGone(t, same, b.Durable())
	b.remove("t", "1")
	b.remove("never", "1")

	again := b.open("t", "1", plenty)
	assert.Empty(t, again.all(0))
	assert.EqualValues(t, 1, again.append("c"))
	mustBeGone(t, old, b.Durable())
	assert.Equal(t, "1=c", show(again.all(0)))
	assert.Equal(t, "1=o", show(other.all(0)))
}

func epochsAreLogsOfTheirOwn(t *testing.T, b *bench) {
	old := b.open("t", "1", plenty)
	old.append("a", "b")
	fresh := b.open("t", "2", plenty)
	assert.EqualValues(t, 1, fresh.append("c"))
	assert.Equal(t, "1=a 2=b", show(old.all(0)))
	names, err := b.List(within(t))
	require.NoError(t, err)
	assert.ElementsMatch(t, []abstract.LogName{{Topic: "t", Epoch: "1"}, {Topic: "t", Epoch: "2"}}, names)
	b.remove("t", "1")
	mustBeGone(t, old, b.Durable())
	assert.Equal(t, "1=c", show(fresh.all(0)))
	names, err = b.List(within(t))
	require.NoError(t, err)
	assert.Equal(t, []abstract.LogName{{Topic: "t", Epoch: "2"}}, names)
}
