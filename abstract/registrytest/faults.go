package registrytest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// CloseReturns closes a registry whose server is spoilt, which it does itself unless spoil
// is nil, and sees that nothing hangs. What is asked of the server waits for short.
func CloseReturns(t testing.TB, r abstract.Registry, spoil func(away bool), short time.Duration) {
	t.Helper()
	stop := r.Follow("a.get", func(abstract.Providers) {})
	if spoil != nil {
		require.NoError(t, r.Register(Within(t), Provider("a.get", 1)))
		spoil(true)
		defer spoil(false)
	}
	ctx, cancel := context.WithTimeout(context.Background(), short)
	defer cancel()
	_ = r.Register(ctx, Provider("a.get", 2))
	closed := make(chan error, 1)
	go func() { closed <- r.Close() }()
	select {
	case err := <-closed:
		require.NoError(t, err)
	case <-time.After(patience):
		require.FailNow(t, "Close hangs")
	}
	stop()
	require.ErrorIs(t, r.Register(Within(t), Provider("a.get", 2)), abstract.ErrDisconnected)
}

// Killed kills the server, which stays away for longer than sessions live, and runs it
// again: what was asked for meanwhile is done then, and nobody else has gone.
func Killed(t testing.TB, open func() abstract.Registry, kill, run func(), life time.Duration) {
	t.Helper()
	r, other := open(), open()
	require.NoError(t, r.Register(Within(t), Provider("a.get", 1), Provider("a.get", 2)))
	f := Follow(t, other, "a.get")
	f.UntilPorts(1, 2)
	kill()
	long, cancel := context.WithTimeout(context.Background(), 2*life)
	defer cancel()
	require.ErrorIs(t, r.Unregister(long, Provider("a.get", 1)), abstract.ErrTimeout)
	short, cancel := context.WithTimeout(context.Background(), life/10)
	defer cancel()
	require.ErrorIs(t, r.Register(short, Provider("a.get", 3)), abstract.ErrTimeout)
	list, err := other.Discover(Within(t), "a.get")
	require.NoError(t, err)
	assert.Len(t, list, 2, "the last list stays")
	run()
	f.UntilPorts(2, 3)
	for _, p := range f.Gone() {
		assert.Equal(t, 1, p.Host.Port, "the others were never gone")
	}
	Follow(t, open(), "a.get").UntilPorts(2, 3)
}
