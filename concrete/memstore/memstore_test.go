package memstore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

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

// TestKeysMatchAMap runs random puts, removes and walks against a plain map,
// enough of them to make buckets split, shrink and join.
func TestKeysMatchAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var k keys
		model := map[string]*abstract.KV{}
		for range rapid.IntRange(1, 10).Draw(t, "rounds") {
			first := rapid.IntRange(0, 3000).Draw(t, "first")
			count := rapid.IntRange(1, 800).Draw(t, "count")
			step := rapid.SampledFrom([]int{1, -1, 7}).Draw(t, "step")
			remove := rapid.Bool().Draw(t, "remove")
			for i := range count {
				key := fmt.Sprintf("%05d", max(0, first+i*step))
				if remove {
					require.Same(t, model[key], k.remove(key), "removed another KV than %s", key)
					delete(model, key)
					continue
				}
				kv := &abstract.KV{Key: key}
				k.put(kv)
				model[key] = kv
			}
			checkKeys(t, &k, model)
		}
	})
}

func checkKeys(t *rapid.T, k *keys, model map[string]*abstract.KV) {
	var want []string
	for key, kv := range model {
		want = append(want, key)
		require.Same(t, kv, k.get(key), "got another KV than %s", key)
	}
	slices.Sort(want)
	from := rapid.StringMatching("[0-9]{0,5}").Draw(t, "from")
	var above, got []string
	for _, key := range want {
		if key >= from {
			above = append(above, key)
		}
	}
	for kv := range k.from(from) {
		got = append(got, kv.Key)
	}
	require.Equal(t, above, got)
	for i, b := range k.buckets {
		require.NotEmpty(t, b)
		require.LessOrEqual(t, len(b), bucketSize)
		if i > 0 {
			require.Less(t, k.buckets[i-1][len(k.buckets[i-1])-1].Key, b[0].Key)
		}
	}
}

// TestDeletingLeavesFewBuckets deletes nearly all keys, in either direction.
func TestDeletingLeavesFewBuckets(t *testing.T) {
	const n, keep = 50_000, 100 // every 100th stays
	for _, direction := range []string{"upwards", "downwards"} {
		t.Run(direction, func(t *testing.T) {
			var k keys
			for i := range n {
				k.put(&abstract.KV{Key: fmt.Sprintf("%06d", i)})
			}
			for i := range n {
				if direction == "downwards" {
					i = n - 1 - i
				}
				if i%keep != 0 {
					k.remove(fmt.Sprintf("%06d", i))
				}
			}
			assert.LessOrEqual(t, len(k.buckets), 2*(n/keep)/(bucketSize/4)+1)
		})
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	_, err := New().Txn(t.Context(), abstract.Txn{Then: []abstract.Op{{Key: strings.Repeat("k", maxKey+1)}}})
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
