package memstore

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"trefoil/abstract"
	"trefoil/abstract/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStoreBehavesAsEveryDriver(t *testing.T) {
	storetest.Run(t, func(*testing.T) abstract.Store { return New() })
}

func TestEmptyStoreIsAtRevisionOne(t *testing.T) {
	s := New()
	_, rev, err := s.Range(t.Context(), "", 0)
	require.NoError(t, err)
	assert.EqualValues(t, 1, rev)
	res, err := s.Txn(t.Context(), abstract.Txn{Then: []abstract.Op{{Key: "a"}}})
	require.NoError(t, err)
	assert.EqualValues(t, 2, res.Revision)
}

func TestFollowersAreToldBeforeTxnReturns(t *testing.T) {
	s := New()
	var told []int64
	defer s.Follow("a", func(c abstract.Change) { told = append(told, c.Revision) })()
	res, err := s.Txn(t.Context(), abstract.Txn{Then: []abstract.Op{{Key: "a"}}})
	require.NoError(t, err)
	assert.Equal(t, []int64{res.Revision}, told)
}

func TestPanickingFollowerDoesNotLockTheStore(t *testing.T) {
	s := New()
	stop := s.Follow("a", func(abstract.Change) { panic("follower") })
	txn := abstract.Txn{Then: []abstract.Op{{Key: "a"}}}
	require.Panics(t, func() { _, _ = s.Txn(context.Background(), txn) })
	stop()
	res, err := s.Txn(t.Context(), txn)
	require.NoError(t, err)
	assert.EqualValues(t, 3, res.Revision, "the change stood, and so did its revision")
}

func TestErrorsSayWhatToDo(t *testing.T) {
	_, err := New().Txn(t.Context(), abstract.Txn{Then: []abstract.Op{{Key: strings.Repeat("k", abstract.StoreMaxKey+1)}}})
	assert.EqualError(t, err, "txn: too large: a key of 4097 bytes; a store takes 4096")
}

func BenchmarkTxn(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		b.Run(fmt.Sprintf("put-delete/%d-keys", n), func(b *testing.B) {
			s := New()
			list := make([]string, n)
			for i := range list {
				list[i] = fmt.Sprintf("/services/method-%d/local-%d/10.0.0.1:9000", i%50, i)
				put(b, s, list[i])
			}
			defer s.Follow("/services/", func(abstract.Change) {})()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				key := list[i%n]
				_, err := s.Txn(context.Background(), abstract.Txn{Then: []abstract.Op{{Key: key, Delete: true}}})
				require.NoError(b, err)
				put(b, s, key)
			}
		})
	}
}

func put(b *testing.B, s *Store, key string) {
	_, err := s.Txn(context.Background(), abstract.Txn{
		If:   []abstract.Compare{{Key: key}},
		Then: []abstract.Op{{Key: key, Value: []byte(`{"ip":"10.0.0.1","port":9000}`)}},
	})
	require.NoError(b, err)
}
