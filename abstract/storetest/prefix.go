package storetest

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

func nothingBelow(prefix string) abstract.Compare { return abstract.Compare{Key: prefix, Prefix: true} }

func txnComparesPrefixes(t *testing.T, s *bench) {
	s.put("/a", "1", "/a/x/y", "1", "/b0", "1", "/c\xff\xff", "1")
	tests := []struct {
		name, prefix string
		holds        bool
	}{
		{"something below", "/a/", false},
		{"the key itself", "/a/x/y", false},
		{"beginning of a key", "/a/x/", false},
		{"all", "/", false},
		{"nothing below, something beside", "/b/", true},
		{"nothing below its own key", "/b0/", true},
		{"nothing above all", "/d", true},
		{"nothing below all", "!", true},
		{"highest byte", "/c\xff", false},
		{"nothing at the highest byte", "\xff\xff", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res, err := s.Txn(context.Background(), abstract.Txn{If: []abstract.Compare{nothingBelow(tt.prefix)}})
			require.NoError(t, err)
			assert.Equal(t, tt.holds, res.Succeeded)
		})
	}
	s.put(numbered("/many/", 600)...)
	res := s.txn(abstract.Txn{If: []abstract.Compare{nothingBelow("/many/")}, Then: puts("/d", "1")})
	assert.False(t, res.Succeeded, "many keys below")
	s.remove("/a/x/y")
	res = s.txn(abstract.Txn{If: []abstract.Compare{nothingBelow("/a/")}, Then: puts("/d", "1")})
	assert.True(t, res.Succeeded, "the only key below was deleted")
}

func txnComparesTheAgeBelowPrefixes(t *testing.T, s *bench) {
	s.put("/a/1", "1")
	s.put("/b", "1")
	kvs, _ := s.list("/a/1", 1)
	first := kvs[0].CreateRevision
	s.put("/a/2", "1")
	kvs, _ = s.list("/a/2", 1)
	second := kvs[0].CreateRevision
	s.put("/a/1", "changed, and as old as before")
	for _, tt := range []struct {
		name   string
		prefix string
		since  int64
		holds  bool
	}{
		{"all older or as old", "/a/", second, true},
		{"one younger", "/a/", second - 1, false},
		{"one younger than the first", "/a/", first, false},
		{"all younger", "/a/", first - 1, false},
		{"changed meanwhile", "/a/1", first, true},
		{"nothing below", "/c/", 1, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res, err := s.Txn(context.Background(), abstract.Txn{If: []abstract.Compare{{Key: tt.prefix, Prefix: true, Rev: tt.since}}})
			require.NoError(t, err)
			assert.Equal(t, tt.holds, res.Succeeded)
		})
	}
	s.put(numbered("/many/", 600)...)
	_, rev := s.list("/many/", 1)
	res := s.txn(abstract.Txn{If: []abstract.Compare{{Key: "/many/", Prefix: true, Rev: rev}}, Then: puts("/d", "1")})
	assert.True(t, res.Succeeded, "many as old")
	s.put("/many/one more", "1")
	res = s.txn(abstract.Txn{If: []abstract.Compare{{Key: "/many/", Prefix: true, Rev: rev}}, Then: puts("/d", "1")})
	assert.False(t, res.Succeeded, "one of many is younger")
}

// prefixGuardLeavesNoOrphan lets one delete a parent while others create children.
func prefixGuardLeavesNoOrphan(t *testing.T, s *bench) {
	const rounds, creators = 40, 3
	for round := range rounds {
		parent := fmt.Sprintf("/p/%d", round)
		s.put(parent, "parent")
		start := make(chan struct{})
		var wg sync.WaitGroup
		var deleted bool
		created := make([]bool, creators)
		for i := range creators {
			wg.Go(func() {
				<-start
				created[i] = try(t, s, abstract.Txn{
					If:   []abstract.Compare{{Key: parent, Target: abstract.CompareValue, Value: []byte("parent")}},
					Then: puts(fmt.Sprintf("/c%s/%d", parent, i), "child"),
				})
			})
		}
		wg.Go(func() {
			<-start
			deleted = try(t, s, abstract.Txn{
				If:   []abstract.Compare{nothingBelow("/c" + parent + "/")},
				Then: []abstract.Op{{Key: parent, Delete: true}},
			})
		})
		close(start)
		wg.Wait()
		children, _ := s.list("/c"+parent+"/", 0)
		parents, _ := s.list(parent, 1)
		want := 0
		for _, done := range created {
			if done {
				want++
			}
		}
		require.Len(t, children, want)
		require.Equal(t, deleted, len(parents) == 0)
		require.Equal(t, deleted, want == 0, "either the parent went or children came")
	}
}

func try(t *testing.T, s *bench, txn abstract.Txn) bool {
	res, err := s.Txn(context.Background(), txn)
	assert.NoError(t, err)
	return res.Succeeded
}

// syncShowsWhatWasAcknowledged reads without any help after Sync.
func syncShowsWhatWasAcknowledged(t *testing.T, s *bench) {
	r := s.follow("/")
	for i := range 50 {
		rev := s.put("/a", fmt.Sprint(i))
		synced := s.sync()
		require.GreaterOrEqual(t, synced, rev)
		kvs, at, err := s.Range(context.Background(), "/a", 0)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint("/a=", i), text(kvs))
		require.GreaterOrEqual(t, at, rev)
		told := r.all()
		require.Len(t, told, i+1, "followers have it, too")
		require.Equal(t, rev, told[i].Revision)
	}
	before := s.sync()
	assert.Equal(t, before, s.sync(), "it changes nothing")
}

func epochStaysTheSame(t *testing.T, s *bench) {
	epoch := s.Epoch()
	assert.NotEmpty(t, epoch)
	s.put("/a", "1")
	assert.Equal(t, epoch, s.Epoch())
}
