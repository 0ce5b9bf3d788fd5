package storetest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

func txnAppliesAllOrNothing(t *testing.T, s *bench) {
	s.put("/a", "1", "/b", "1")
	ops := append(puts("/a", "2", "/c", "2"), abstract.Op{Key: "/b", Delete: true})

	res := s.txn(abstract.Txn{If: []abstract.Compare{
		{Key: "/a", Target: abstract.CompareValue, Value: []byte("1")},
		{Key: "/b", Target: abstract.CompareValue, Value: []byte("other")},
	}, Then: ops})
	assert.False(t, res.Succeeded)
	assert.False(t, res.Changed)
	kvs, _ := s.list("/", 0)
	assert.Equal(t, "/a=1 /b=1", text(kvs), "one comparison of two did not hold")

	res = s.txn(abstract.Txn{If: []abstract.Compare{{Key: "/b", Target: abstract.CompareValue, Value: []byte("1")}}, Then: ops})
	assert.True(t, res.Succeeded)
	assert.True(t, res.Changed)
	kvs, _ = s.list("/", 0)
	assert.Equal(t, "/a=2 /c=2", text(kvs))
	for _, kv := range kvs {
		assert.Equal(t, res.Revision, kv.ModRevision, "one transaction, one revision: %s", kv.Key)
	}
}

func txnComparesKeys(t *testing.T, s *bench) {
	created := s.put("/there", "old")
	modified := s.put("/there", "value")
	s.put("/empty", "")
	tests := []struct {
		name  string
		cmp   abstract.Compare
		holds bool
	}{
		{"create revision", abstract.Compare{Key: "/there", Target: abstract.CompareCreate, Rev: created}, true},
		{"another create revision", abstract.Compare{Key: "/there", Target: abstract.CompareCreate, Rev: modified}, false},
		{"there, though it should not be", abstract.Compare{Key: "/there", Target: abstract.CompareCreate}, false},
		{"not there by create revision", abstract.Compare{Key: "/none", Target: abstract.CompareCreate}, true},
		{"not there, though it should be", abstract.Compare{Key: "/none", Target: abstract.CompareCreate, Rev: created}, false},
		{"mod revision", abstract.Compare{Key: "/there", Target: abstract.CompareMod, Rev: modified}, true},
		{"another mod revision", abstract.Compare{Key: "/there", Target: abstract.CompareMod, Rev: created}, false},
		{"not there by mod revision", abstract.Compare{Key: "/none", Target: abstract.CompareMod}, true},
		{"value", abstract.Compare{Key: "/there", Target: abstract.CompareValue, Value: []byte("value")}, true},
		{"beginning of the value", abstract.Compare{Key: "/there", Target: abstract.CompareValue, Value: []byte("val")}, false},
		{"empty value", abstract.Compare{Key: "/empty", Target: abstract.CompareValue}, true},
		{"empty value of a key that is not there", abstract.Compare{Key: "/none", Target: abstract.CompareValue}, false},
		{"beginning of a key", abstract.Compare{Key: "/ther", Target: abstract.CompareCreate}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res, err := s.Txn(context.Background(), abstract.Txn{If: []abstract.Compare{tt.cmp}})
			require.NoError(t, err)
			assert.Equal(t, tt.holds, res.Succeeded)
		})
	}
}

func txnCountsRevisions(t *testing.T, s *bench) {
	_, start := s.list("/", 0)
	assert.Equal(t, start+1, s.put("/a", "1"))
	assert.Equal(t, start+2, s.put("/a", "1"), "the same value again is a change")
	assert.Equal(t, start+3, s.put("/b", "1", "/c", "1"), "two keys, one revision")
	assert.Equal(t, start+4, s.remove("/b"))
	_, rev := s.list("/", 0)
	assert.Equal(t, start+4, rev)
	a := s.get("/a")
	assert.Equal(t, start+1, a.CreateRevision)
	assert.Equal(t, start+2, a.ModRevision)
}

func txnWithoutOperationsChangesNothing(t *testing.T, s *bench) {
	before := s.put("/a", "1")
	tests := []struct {
		name      string
		txn       abstract.Txn
		succeeded bool
	}{
		{"empty", abstract.Txn{}, true},
		{"comparison that holds", abstract.Txn{If: []abstract.Compare{{Key: "/none"}}}, true},
		{"comparison that does not", abstract.Txn{If: []abstract.Compare{{Key: "/a"}}, Then: puts("/a", "2")}, false},
		{"delete of what is not there", abstract.Txn{Then: []abstract.Op{{Key: "/none", Delete: true}}}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res, err := s.Txn(context.Background(), tt.txn)
			require.NoError(t, err)
			assert.Equal(t, abstract.TxnResult{Succeeded: tt.succeeded, Revision: before}, res)
		})
	}
	_, after := s.list("/", 0)
	assert.Equal(t, before, after)
}

func txnKeepsItsOwnValues(t *testing.T, s *bench) {
	value := []byte("value")
	s.txn(abstract.Txn{Then: []abstract.Op{{Key: "/a", Value: value}}})
	copy(value, "XXXXX")
	assert.Equal(t, "value", string(s.get("/a").Value), "the caller may use its buffer again")
	before := s.get("/a")
	s.put("/a", "other")
	assert.Equal(t, "value", string(before.Value), "what was read stays as it was read")
}

func txnRefusesWhatIsWrong(t *testing.T, s *bench) {
	before := s.put("/a", "1")
	tests := []struct {
		name string
		txn  abstract.Txn
		code abstract.RCode
	}{
		{"empty key", abstract.Txn{Then: puts("/b", "1", "", "1")}, abstract.InvalidParams},
		{"empty key compared", abstract.Txn{If: []abstract.Compare{{}}, Then: puts("/b", "1")}, abstract.InvalidParams},
		{"unknown comparison", abstract.Txn{If: []abstract.Compare{{Key: "/none", Target: 99}}, Then: puts("/b", "1")}, abstract.InvalidParams},
		{"one key twice", abstract.Txn{Then: puts("/b", "1", "/c", "1", "/b", "2")}, abstract.InvalidParams},
		{"one key put and deleted", abstract.Txn{Then: append(puts("/a", "2"), abstract.Op{Key: "/a", Delete: true})}, abstract.InvalidParams},
		{"long key", abstract.Txn{Then: puts("/b", "1", strings.Repeat("k", abstract.StoreMaxKey+1), "1")}, abstract.TooLarge},
		{"long key compared", abstract.Txn{If: []abstract.Compare{{Key: strings.Repeat("k", abstract.StoreMaxKey+1)}}, Then: puts("/b", "1")}, abstract.TooLarge},
		{"large value", abstract.Txn{Then: puts("/b", "1", "/c", strings.Repeat("v", abstract.StoreMaxValue+1))}, abstract.TooLarge},
		{"large values together", abstract.Txn{Then: puts(repeated("/b/", 9, strings.Repeat("v", 1<<20))...)}, abstract.TooLarge},
		{"large value compared", abstract.Txn{If: []abstract.Compare{{Key: "/a", Target: abstract.CompareValue, Value: make([]byte, abstract.StoreMaxValue+1)}}, Then: puts("/b", "1")}, abstract.TooLarge},
		{"prefix compared by modification", abstract.Txn{If: []abstract.Compare{{Key: "/none", Target: abstract.CompareMod, Prefix: true}}, Then: puts("/b", "1")}, abstract.InvalidParams},
		{"prefix compared with a revision below 0", abstract.Txn{If: []abstract.Compare{{Key: "/none", Rev: -1, Prefix: true}}, Then: puts("/b", "1")}, abstract.InvalidParams},
		{"empty prefix compared", abstract.Txn{If: []abstract.Compare{{Prefix: true}}, Then: puts("/b", "1")}, abstract.InvalidParams},
		{"lease that cannot be", abstract.Txn{Then: []abstract.Op{{Key: "/b", Lease: -1}}}, abstract.InvalidParams},
		{"many operations", abstract.Txn{Then: puts(numbered("/b/", abstract.StoreMaxOps+1)...)}, abstract.TooLarge},
		{"many comparisons", abstract.Txn{If: slices.Repeat([]abstract.Compare{{Key: "/none"}}, abstract.StoreMaxCompares+1), Then: puts("/b", "1")}, abstract.TooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := s.Txn(context.Background(), tt.txn)
			require.Error(t, err)
			assert.Equal(t, tt.code, abstract.CodeOf(err), "%v", err)
		})
	}
	kvs, after := s.list("/", 0)
	assert.Equal(t, "/a=1", text(kvs))
	assert.Equal(t, before, after)
}

func txnTakesTheLargest(t *testing.T, s *bench) {
	key := "/" + strings.Repeat("k", abstract.StoreMaxKey-1)
	value := bytes.Repeat([]byte("v"), abstract.StoreMaxValue)
	s.txn(abstract.Txn{Then: []abstract.Op{{Key: key, Value: value}}})
	assert.Equal(t, value, s.get(key).Value)

	absent := slices.Repeat([]abstract.Compare{{Key: "/none"}}, abstract.StoreMaxCompares)
	res := s.txn(abstract.Txn{If: absent, Then: puts(numbered("/n/", abstract.StoreMaxOps)...)})
	assert.True(t, res.Succeeded)
	kvs, _ := s.list("/n/", 0)
	assert.Len(t, kvs, abstract.StoreMaxOps)

	s.put(repeated("/v/", 8, strings.Repeat("v", 1<<20))...)
	kvs, _ = s.list("/v/", 0)
	assert.Len(t, kvs, 8)
}

func recreatedKeyHasANewCreateRevision(t *testing.T, s *bench) {
	first := s.put("/a", "1")
	s.remove("/a")
	kvs, _ := s.list("/a", 0)
	assert.Empty(t, kvs)
	second := s.put("/a", "2")
	a := s.get("/a")
	assert.Equal(t, second, a.CreateRevision)
	assert.Equal(t, second, a.ModRevision)

	guarded := s.txn(abstract.Txn{
		If:   []abstract.Compare{{Key: "/a", Target: abstract.CompareCreate, Rev: first}},
		Then: []abstract.Op{{Key: "/a", Delete: true}},
	})
	assert.False(t, guarded.Succeeded, "a guard by the first key's revision does not hit the second")
}

// compareAndSwapLosesNothing counts up from many goroutines.
func compareAndSwapLosesNothing(t *testing.T, s *bench) {
	const workers, each = 8, 25
	s.put("/n", "0")
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				if err := increment(s.Store, "/n"); !assert.NoError(t, err) {
					return
				}
			}
		})
	}
	wg.Wait()
	assert.Equal(t, strconv.Itoa(workers*each), string(s.get("/n").Value))
}

// increment repeats read, compare and write until nobody came in between.
func increment(s abstract.Store, key string) error {
	for {
		if _, err := s.Sync(context.Background()); err != nil {
			return err
		}
		kvs, _, err := s.Range(context.Background(), key, 1)
		if err != nil || len(kvs) != 1 {
			return fmt.Errorf("range of %q: %d keys, %w", key, len(kvs), err)
		}
		n, err := strconv.Atoi(string(kvs[0].Value))
		if err != nil {
			return err
		}
		res, err := s.Txn(context.Background(), abstract.Txn{
			If:   []abstract.Compare{{Key: key, Target: abstract.CompareMod, Rev: kvs[0].ModRevision}},
			Then: puts(key, strconv.Itoa(n+1)),
		})
		if err != nil || res.Succeeded {
			return err
		}
	}
}

func cancelledContextDoesNothing(t *testing.T, s *bench) {
	before := s.put("/a", "1")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := s.Txn(ctx, abstract.Txn{Then: puts("/a", "2")})
	assert.Equal(t, abstract.Cancelled, abstract.CodeOf(err), "%v", err)
	_, _, err = s.Range(ctx, "/", 0)
	assert.Equal(t, abstract.Cancelled, abstract.CodeOf(err), "%v", err)
	_, err = s.Sync(ctx)
	assert.Equal(t, abstract.Cancelled, abstract.CodeOf(err), "%v", err)
	_, err = s.Grant(ctx, time.Minute)
	assert.Equal(t, abstract.Cancelled, abstract.CodeOf(err), "%v", err)
	kvs, after := s.list("/", 0)
	assert.Equal(t, "/a=1", text(kvs))
	assert.Equal(t, before, after)
}

func closedStoreRefuses(t *testing.T, s *bench) {
	r := s.follow("/")
	require.NoError(t, s.Close())
	_, err := s.Txn(context.Background(), abstract.Txn{Then: puts("/a", "2")})
	assert.Equal(t, abstract.Unavailable, abstract.CodeOf(err), "%v", err)
	_, _, err = s.Range(context.Background(), "/", 0)
	assert.Equal(t, abstract.Unavailable, abstract.CodeOf(err), "%v", err)
	_, err = s.Sync(context.Background())
	assert.Equal(t, abstract.Unavailable, abstract.CodeOf(err), "%v", err)
	_, err = s.Grant(context.Background(), time.Minute)
	assert.Equal(t, abstract.Unavailable, abstract.CodeOf(err), "%v", err)
	err = s.KeepAlive(context.Background(), 1)
	assert.Equal(t, abstract.Unavailable, abstract.CodeOf(err), "%v", err)
	err = s.Revoke(context.Background(), 1)
	assert.Equal(t, abstract.Unavailable, abstract.CodeOf(err), "%v", err)
	r.stop()
	s.Follow("/", func(abstract.Change) { t.Error("called after Close") })()
	assert.Empty(t, r.all())
	assert.NoError(t, s.Close(), "closing again is fine")
}

// numbered returns n keys with their numbers as values, as puts takes them.
func numbered(prefix string, n int) []string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("%s%05d", prefix, i), strconv.Itoa(i))
	}
	return list
}

// repeated returns n keys with one value, as puts takes them.
func repeated(prefix string, n int, value string) []string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("%s%05d", prefix, i), value)
	}
	return list
}
