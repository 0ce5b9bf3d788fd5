package topic

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheStoreSaysWhenATopicEndedLast(t *testing.T) {
	b := newBroker(t, Config{})
	last := func() int64 {
		kvs, _, err := b.store.Range(t.Context(), Prefix, 0)
		require.NoError(t, err)
		return LastEnd(kvs)
	}
	b.create("a")
	b.create("b")
	assert.Zero(t, last())
	for _, name := range []string{"a", "b"} {
		b.remove(name)
		assert.Equal(t, b.tm.Applied(), last())
	}
	b.create("c")
	assert.Equal(t, b.tm.Applied()-1, last())
}
