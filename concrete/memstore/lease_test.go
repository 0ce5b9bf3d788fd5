package memstore

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

func bind(t *testing.T, s *Store, key string, id abstract.LeaseID) {
	t.Helper()
	_, err := s.Txn(t.Context(), abstract.Txn{Then: []abstract.Op{{Key: key, Lease: id}}})
	require.NoError(t, err)
}

func grant(t *testing.T, s *Store, ttl time.Duration) abstract.LeaseID {
	t.Helper()
	id, err := s.Grant(t.Context(), ttl)
	require.NoError(t, err)
	return id
}

func TestLeaseEndsExactlyAtItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		defer s.Close()
		start := time.Now()
		gone := map[string]time.Duration{}
		s.Follow("", func(c abstract.Change) {
			for _, e := range c.Events {
				if e.Deleted {
					gone[e.KV.Key] = time.Since(start)
				}
			}
		})
		long, short, kept := grant(t, s, time.Minute), grant(t, s, time.Second), grant(t, s, 10*time.Second)
		bind(t, s, "long", long)
		bind(t, s, "short", short)
		bind(t, s, "kept", kept)
		for range 5 {
			time.Sleep(9 * time.Second) // virtual
			require.NoError(t, s.KeepAlive(t.Context(), kept))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, map[string]time.Duration{"short": time.Second, "kept": 55 * time.Second, "long": time.Minute}, gone)
		assert.Empty(t, s.leases.byID)
		assert.Empty(t, s.leases.byKey)
		assert.Empty(t, s.leases.queue)

		next := grant(t, s, time.Second) // the timer starts again
		bind(t, s, "next", next)
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Contains(t, gone, "next")
	})
}

// TestOwnStallEndsNoLease has the timer come late, as after SIGSTOP: nobody could
// keep a lease alive meanwhile.
func TestOwnStallEndsNoLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		defer s.Close()
		id := grant(t, s, 2*time.Second)
		bind(t, s, "k", id)
		s.mu.Lock()
		s.leases.due = s.leases.due.Add(-5 * time.Second) // as if it had been due long ago
		s.mu.Unlock()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.NoError(t, s.KeepAlive(t.Context(), id))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		assert.ErrorIs(t, s.KeepAlive(t.Context(), id), abstract.ErrNotFound)
	})
}

func TestStoresHaveTheirOwnEpochs(t *testing.T) {
	one, other := New(), New()
	assert.NotEqual(t, one.Epoch(), other.Epoch())
}
