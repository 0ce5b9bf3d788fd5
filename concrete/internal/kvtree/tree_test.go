package kvtree

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"trefoil/abstract"
)

// TestTreeMatchesAMap runs random puts, removes and walks against a plain map,
// enough of them to make buckets split, shrink and join.
func TestTreeMatchesAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var k Tree
		model := map[string]*abstract.KV{}
		for range rapid.IntRange(1, 10).Draw(t, "rounds") {
			first := rapid.IntRange(0, 3000).Draw(t, "first")
			count := rapid.IntRange(1, 800).Draw(t, "count")
			step := rapid.SampledFrom([]int{1, -1, 7}).Draw(t, "step")
			remove := rapid.Bool().Draw(t, "remove")
			for i := range count {
				key := fmt.Sprintf("%05d", max(0, first+i*step))
				if remove {
					require.Same(t, model[key], k.Remove(key), "removed another KV than %s", key)
					delete(model, key)
					continue
				}
				kv := &abstract.KV{CreateRevision: 1, Key: key}
				require.Same(t, model[key], k.Put(kv), "took the place of another KV than %s's", key)
				model[key] = kv
			}
			checkTree(t, &k, model)
		}
	})
}

func checkTree(t *rapid.T, k *Tree, model map[string]*abstract.KV) {
	var want []string
	for key, kv := range model {
		want = append(want, key)
		require.Same(t, kv, k.Get(key), "got another KV than %s", key)
	}
	slices.Sort(want)
	from := rapid.StringMatching("[0-9]{0,5}").Draw(t, "from")
	var above, got []string
	for _, key := range want {
		if key >= from {
			above = append(above, key)
		}
	}
	for kv := range k.From(from) {
		got = append(got, kv.Key)
	}
	require.Equal(t, above, got)
	require.Equal(t, len(above) > 0 && strings.HasPrefix(above[0], from), k.AnyAfter(from, 0), "any key below %q", from)
	require.Equal(t, len(model), k.Len())
	for i, b := range k.buckets {
		require.NotEmpty(t, b.kvs)
		require.LessOrEqual(t, len(b.kvs), bucketSize)
		require.Equal(t, b.kvs[len(b.kvs)-1].Key, b.last)
		if i > 0 {
			require.Less(t, k.buckets[i-1].last, b.kvs[0].Key)
		}
	}
}

// TestDeletingLeavesFewBuckets deletes nearly all keys, in either direction.
func TestDeletingLeavesFewBuckets(t *testing.T) {
	const n, keep = 50_000, 100 // every 100th stays
	for _, direction := range []string{"upwards", "downwards"} {
		t.Run(direction, func(t *testing.T) {
			var k Tree
			for i := range n {
				k.Put(&abstract.KV{Key: fmt.Sprintf("%06d", i)})
			}
			for i := range n {
				if direction == "downwards" {
					i = n - 1 - i
				}
				if i%keep != 0 {
					k.Remove(fmt.Sprintf("%06d", i))
				}
			}
			assert.LessOrEqual(t, len(k.buckets), 2*(n/keep)/(bucketSize/4)+1)
		})
	}
}
