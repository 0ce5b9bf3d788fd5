package topic

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// TestLevelsOfAConnectionsFiltersAreLimited fills what one connection may have of filters
// with wildcards, and frees it in both ways.
func TestLevelsOfAConnectionsFiltersAreLimited(t *testing.T) {
	m := NewTopicManager(Config{MaxWildLevelsPerConn: 10})
	subscribe := func(conn ConnID, tag int, filter string) error {
		_, err := m.SubscribeAs(conn, strconv.Itoa(tag), filter)
		return err
	}
	require.NoError(t, subscribe(1, 1, "a.b.c.*"))
	require.NoError(t, subscribe(1, 2, "a.>"))
	require.NoError(t, subscribe(1, 2, "a.>"), "again is nothing new")
	require.NoError(t, subscribe(1, 3, "a.*.c.d"))
	require.ErrorIs(t, subscribe(1, 4, ">"), abstract.ErrOverloaded)
	require.NoError(t, subscribe(2, 4, ">"), "each connection has its own")
	_, err := m.CancelAs(1, "2")
	require.NoError(t, err)
	require.NoError(t, subscribe(1, 4, ">"))
	require.ErrorIs(t, subscribe(1, 5, "a.*"), abstract.ErrOverloaded)
	assert.Len(t, m.Disconnect(1), 3)
	require.NoError(t, subscribe(1, 6, "1.2.3.4.5.6.7.8.9.*"))
}
