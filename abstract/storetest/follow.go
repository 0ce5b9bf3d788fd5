package storetest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// patience is how long a change may take to be told before a test gives up.
const patience = 2 * time.Minute

// recorder collects what a follower is told.
type recorder struct {
	t    *testing.T
	stop func()

	mu      sync.Mutex
	changes []abstract.Change
	told    chan struct{} // closed and replaced with every change
}

// follow follows what happens from now on.
func (b *bench) follow(prefix string) *recorder {
	b.sync()
	r := &recorder{t: b.t, told: make(chan struct{})}
	r.stop = b.Follow(prefix, r.take)
	b.t.Cleanup(r.stop)
	return r
}

func (r *recorder) take(c abstract.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes = append(r.changes, c)
	close(r.told)
	r.told = make(chan struct{})
}

// all returns what has been told up to now.
func (r *recorder) all() []abstract.Change {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.changes)
}

// until waits for the change of a revision and returns all up to then.
func (r *recorder) until(rev int64) []abstract.Change {
	r.t.Helper()
	late := time.After(patience)
	for {
		r.mu.Lock()
		var last int64
		if n := len(r.changes); n > 0 {
			last = r.changes[n-1].Revision
		}
		told := r.told
		r.mu.Unlock()
		if last >= rev {
			return r.all()
		}
		select {
		case <-told:
		case <-late:
			require.FailNow(r.t, "a change was not told", "waiting for revision %d, told up to %d", rev, last)
		}
	}
}

func followTellsWhatHappened(t *testing.T, s *bench) {
	r := s.follow("/")
	created := s.put("/a", "1")
	modified := s.put("/a", "2")
	deleted := s.remove("/a")
	changes := r.until(deleted)
	first := abstract.KV{Key: "/a", Value: []byte("1"), CreateRevision: created, ModRevision: created}
	second := abstract.KV{Key: "/a", Value: []byte("2"), CreateRevision: created, ModRevision: modified}
	assert.Equal(t, []abstract.Change{
		{Revision: created, Events: []abstract.Event{{KV: first}}},
		{Revision: modified, Events: []abstract.Event{{KV: second, Prev: &first}}},
		{Revision: deleted, Events: []abstract.Event{{Deleted: true, KV: abstract.KV{Key: "/a", ModRevision: deleted}, Prev: &second}}},
	}, changes)
}

func followKeepsToItsPrefix(t *testing.T, s *bench) {
	below, all := s.follow("/a/"), s.follow("")
	s.put("/a", "1")
	s.put("/a0", "1")
	first := s.put("/a/x", "1", "/b/x", "1")
	s.remove("/b/x")
	last := s.remove("/a/x")
	changes := below.until(last)
	require.Len(t, changes, 2)
	assert.Equal(t, first, changes[0].Revision)
	require.Len(t, changes[0].Events, 1, "only what is below the prefix")
	assert.Equal(t, "/a/x", changes[0].Events[0].KV.Key)
	assert.Equal(t, last, changes[1].Revision)
	assert.Len(t, all.until(last), 5)
}

func followTellsATransactionAtOnce(t *testing.T, s *bench) {
	s.put("/a", "1", "/b", "1")
	r := s.follow("/")
	res := s.txn(abstract.Txn{Then: append(puts("/b", "2", "/c", "2"),
		abstract.Op{Key: "/a", Delete: true}, abstract.Op{Key: "/none", Delete: true})})
	changes := r.until(res.Revision)
	require.Len(t, changes, 1)
	var told []string
	for _, e := range changes[0].Events {
		told = append(told, fmt.Sprint(e.KV.Key, "=", string(e.KV.Value), " ", e.Deleted, e.Prev != nil))
		assert.Equal(t, res.Revision, e.KV.ModRevision)
	}
	assert.ElementsMatch(t, []string{"/b=2 false true", "/c=2 false false", "/a= true true"}, told)
}

func followIsSilentAboutWhatDidNotHappen(t *testing.T, s *bench) {
	s.put("/a", "1")
	r := s.follow("/")
	s.txn(abstract.Txn{})
	s.txn(abstract.Txn{Then: []abstract.Op{{Key: "/none", Delete: true}}})
	s.txn(abstract.Txn{If: []abstract.Compare{{Key: "/a"}}, Then: puts("/a", "2")})
	_, err := s.Txn(context.Background(), abstract.Txn{Then: puts("/a", "2", "/a", "3")})
	require.Error(t, err)
	last := s.put("/a", "4")
	changes := r.until(last)
	require.Len(t, changes, 1)
	assert.Equal(t, last, changes[0].Revision)
}

func followStartsWhenCalled(t *testing.T, s *bench) {
	s.put("/a", "1")
	r := s.follow("/")
	next := s.put("/a", "2")
	last := s.put("/a", "3")
	changes := r.until(last)
	require.Len(t, changes, 2, "nothing from before, everything after")
	assert.Equal(t, next, changes[0].Revision)
}

// stopEndsCalls stops a follower while others write.
func stopEndsCalls(t *testing.T, s *bench) {
	var wg sync.WaitGroup
	done := make(chan struct{})
	for i := range 4 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				_, err := s.Txn(context.Background(), abstract.Txn{Then: puts(fmt.Sprint("/", i), strconv.Itoa(n))})
				if !assert.NoError(t, err) {
					return
				}
			}
		})
	}
	stays := s.follow("/")
	for range 20 {
		r := s.follow("/")
		r.until(1) // is being called
		r.stop()
		told := len(r.all())
		stays.until(s.put("/after", "1"))
		assert.Len(t, r.all(), told, "told something after stop")
		r.stop() // again is fine
	}
	close(done)
	wg.Wait()
}

// followersSeeTheSameOrder writes from many goroutines: every follower is told
// every revision once, in order, and who replays them ends with what the Store has.
func followersSeeTheSameOrder(t *testing.T, s *bench) {
	const workers, each = 4, 50
	followers := []*recorder{s.follow("/"), s.follow("/"), s.follow("/k")}
	_, start := s.list("/", 0)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				op := abstract.Op{Key: fmt.Sprint("/k", i%7), Value: fmt.Append(nil, w, " ", i), Delete: i%7 == 6}
				_, err := s.Txn(context.Background(), abstract.Txn{Then: []abstract.Op{op, {Key: fmt.Sprint("/k/own", w), Value: fmt.Append(nil, i)}}})
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
	kvs, end := s.list("/", 0)
	require.Equal(t, start+workers*each, end)
	for _, r := range followers {
		changes := r.until(end)
		require.Len(t, changes, workers*each)
		for i, c := range changes {
			require.Equal(t, start+1+int64(i), c.Revision)
		}
		assert.Equal(t, kvs, replay(t, changes))
		assert.Equal(t, followers[0].all(), changes)
	}
}

// replay applies changes to an empty map and returns it as Range would.
func replay(t *testing.T, changes []abstract.Change) []abstract.KV {
	state := map[string]abstract.KV{}
	for _, c := range changes {
		for _, e := range c.Events {
			prev, was := state[e.KV.Key]
			require.Equal(t, was, e.Prev != nil, "%s at %d", e.KV.Key, c.Revision)
			if was {
				require.Equal(t, prev, *e.Prev)
			}
			if e.Deleted {
				delete(state, e.KV.Key)
				continue
			}
			state[e.KV.Key] = e.KV
		}
	}
	var list []abstract.KV
	for _, kv := range state {
		list = append(list, kv)
	}
	slices.SortFunc(list, func(a, b abstract.KV) int {
		if a.Key < b.Key {
			return -1
		}
		return 1
	})
	return list
}
