package storetest

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

func rangeOrdersAndLimits(t *testing.T, s *bench) {
	// Not in order, one at a time; '-' and '.' sort before '/', '0' after it.
	for _, key := range []string{"/a/2", "/b", "/a/10", "/a", "/a-", "/a/1", "/a0", "/a/\xff", "/a/\xff\xff", "/A", "/a/1/x", "z"} {
		s.put(key, "v")
	}
	tests := []struct {
		name, prefix string
		limit        int
		want         []string
	}{
		{"directory", "/a/", 0, []string{"/a/1", "/a/1/x", "/a/10", "/a/2", "/a/\xff", "/a/\xff\xff"}},
		{"the key itself belongs to its prefix", "/a/1", 0, []string{"/a/1", "/a/1/x", "/a/10"}},
		{"whole key", "/a/2", 0, []string{"/a/2"}},
		{"case counts", "/A", 0, []string{"/A"}},
		{"all", "", 0, []string{"/A", "/a", "/a-", "/a/1", "/a/1/x", "/a/10", "/a/2", "/a/\xff", "/a/\xff\xff", "/a0", "/b", "z"}},
		{"nothing in between", "/aa", 0, nil},
		{"nothing above", "zz", 0, nil},
		{"nothing below", "+", 0, nil},
		{"highest byte", "/a/\xff", 0, []string{"/a/\xff", "/a/\xff\xff"}},
		{"nothing above the highest byte", "\xff", 0, nil},
		{"limit", "/a/", 2, []string{"/a/1", "/a/1/x"}},
		{"limit that is exact", "/a/1", 3, []string{"/a/1", "/a/1/x", "/a/10"}},
		{"limit above", "/a/1", 4, []string{"/a/1", "/a/1/x", "/a/10"}},
		{"limit below 0 is none", "/a/1", -1, []string{"/a/1", "/a/1/x", "/a/10"}},
	}
	s.sync()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			kvs, _, err := s.Range(t.Context(), tt.prefix, tt.limit)
			require.NoError(t, err)
			assert.Equal(t, tt.want, keysOf(kvs))
		})
	}
}

// rangeOfManyKeys puts and deletes enough to make any index split and join.
func rangeOfManyKeys(t *testing.T, s *bench) {
	const n = 2000
	pairs := numbered("/many/", n)
	rnd := rand.New(rand.NewPCG(1, 2)) // the same order every time
	order := rnd.Perm(n)
	for part := range slices.Chunk(order, 100) {
		var ops []abstract.Op
		for _, i := range part {
			ops = append(ops, puts(pairs[2*i], pairs[2*i+1])...)
		}
		s.txn(abstract.Txn{Then: ops})
	}
	kvs, _ := s.list("/many/", 0)
	require.Len(t, kvs, n)
	require.True(t, slices.IsSorted(keysOf(kvs)))

	rnd.Shuffle(n, func(i, j int) { order[i], order[j] = order[j], order[i] })
	for part := range slices.Chunk(order[:n-10], 100) {
		var ops []abstract.Op
		for _, i := range part {
			ops = append(ops, abstract.Op{Key: pairs[2*i], Delete: true})
		}
		s.txn(abstract.Txn{Then: ops})
	}
	var want []string
	for _, i := range order[n-10:] {
		want = append(want, pairs[2*i]+"="+pairs[2*i+1])
	}
	slices.Sort(want)
	kvs, _ = s.list("/many/", 0)
	assert.Equal(t, strings.Join(want, " "), text(kvs))
}

func keysOf(kvs []abstract.KV) []string {
	var list []string
	for _, kv := range kvs {
		list = append(list, kv.Key)
	}
	return list
}
