// Package kvtree is what the drivers of abstract.Store share: keys in order, the
// limits of a transaction, and the list of followers. None of it locks.
package kvtree

import (
	"iter"
	"slices"
	"sort"
	"strings"

	"trefoil/abstract"
)

// bucketSize is how many keys a bucket holds at most. Shifting that many
// pointers costs less than the search that comes before it.
const bucketSize = 256

// Tree holds KVs ordered by key: buckets in order, none empty, each in order. Two
// binary searches find a key. Its zero value is empty. Not safe for concurrent
// use while something changes it.
type Tree struct {
	buckets []bucket
	n       int
}

// bucket is some of the KVs. The key of the last one stands here too: the search for
// the bucket meets no KV, which would not be in the processor's cache.
type bucket struct {
	last string
	kvs  []*abstract.KV
}

// now makes kvs the bucket's KVs.
func (b *bucket) now(kvs []*abstract.KV) {
	if b.kvs = kvs; len(kvs) > 0 {
		b.last = kvs[len(kvs)-1].Key
	}
}

// Len returns how many keys there are.
func (t *Tree) Len() int { return t.n }

// locate returns the bucket and the place in it where key is or belongs. The
// bucket is one past the end when there is none.
func (t *Tree) locate(key string) (bucket, place int, found bool) {
	bucket = sort.Search(len(t.buckets), func(i int) bool { return t.buckets[i].last >= key })
	if bucket == len(t.buckets) {
		if bucket == 0 {
			return 0, 0, false
		}
		bucket-- // above all others: at the end of the last bucket
	}
	kvs := t.buckets[bucket].kvs
	place = sort.Search(len(kvs), func(i int) bool { return kvs[i].Key >= key })
	return bucket, place, place < len(kvs) && kvs[place].Key == key
}

// Get returns the KV of a key, or nil.
func (t *Tree) Get(key string) *abstract.KV {
	b, i, found := t.locate(key)
	if !found {
		return nil
	}
	return t.buckets[b].kvs[i]
}

// AnyAfter reports whether a key that begins with prefix was made after a revision.
// With 0 it is found at once, otherwise it looks at all of them.
func (t *Tree) AnyAfter(prefix string, revision int64) bool {
	for kv := range t.From(prefix) {
		if !strings.HasPrefix(kv.Key, prefix) {
			return false
		}
		if kv.CreateRevision > revision {
			return true
		}
	}
	return false
}

// Count returns how many keys begin with prefix, at most limit.
func (t *Tree) Count(prefix string, limit int) int {
	n := 0
	for kv := range t.From(prefix) {
		if n == limit || !strings.HasPrefix(kv.Key, prefix) {
			break
		}
		n++
	}
	return n
}

// Put adds kv, and returns the KV with the same key that it takes the place of, or nil.
func (t *Tree) Put(kv *abstract.KV) (prev *abstract.KV) {
	b, i, found := t.locate(kv.Key)
	if found {
		kvs := t.buckets[b].kvs
		prev, kvs[i] = kvs[i], kv
		return prev
	}
	t.n++
	if b == len(t.buckets) {
		t.buckets = append(t.buckets, bucket{kv.Key, []*abstract.KV{kv}})
		return nil
	}
	to := &t.buckets[b]
	to.now(slices.Insert(to.kvs, i, kv))
	if len(to.kvs) > bucketSize {
		t.split(b)
	}
	return nil
}

// Remove takes the KV of a key out and returns it, or nil.
func (t *Tree) Remove(key string) *abstract.KV {
	b, i, found := t.locate(key)
	if !found {
		return nil
	}
	t.n--
	from := &t.buckets[b]
	kv := from.kvs[i]
	from.now(slices.Delete(from.kvs, i, i+1))
	t.shrink(b)
	return kv
}

// split makes two buckets of a full one.
func (t *Tree) split(b int) {
	lower := &t.buckets[b]
	half := len(lower.kvs) / 2
	upper := bucket{lower.last, slices.Clone(lower.kvs[half:])}
	clear(lower.kvs[half:])
	lower.now(lower.kvs[:half])
	t.buckets = slices.Insert(t.buckets, b+1, upper)
}

// shrink drops a bucket that got empty, and joins one that got small with its
// neighbours, so that deleting leaves no long row of tiny buckets.
func (t *Tree) shrink(b int) {
	switch n := len(t.buckets[b].kvs); {
	case n == 0:
		t.buckets = slices.Delete(t.buckets, b, b+1)
	case n <= bucketSize/4:
		t.join(b)
		t.join(b - 1)
	}
}

// join makes one bucket of b and the next, if both exist and there is room to spare.
func (t *Tree) join(b int) {
	if b < 0 || b+1 >= len(t.buckets) || len(t.buckets[b].kvs)+len(t.buckets[b+1].kvs) > bucketSize/2 {
		return
	}
	t.buckets[b].now(append(t.buckets[b].kvs, t.buckets[b+1].kvs...))
	t.buckets = slices.Delete(t.buckets, b+1, b+2)
}

// From iterates over the KVs from key upwards. The tree must not change meanwhile.
func (t *Tree) From(key string) iter.Seq[*abstract.KV] {
	return func(yield func(*abstract.KV) bool) {
		b, i, _ := t.locate(key)
		for ; b < len(t.buckets); b, i = b+1, 0 {
			for _, kv := range t.buckets[b].kvs[i:] {
				if !yield(kv) {
					return
				}
			}
		}
	}
}

// Range returns what is below prefix, in order, at most limit when that is above 0.
func (t *Tree) Range(prefix string, limit int) []abstract.KV {
	var list []abstract.KV
	for kv := range t.From(prefix) {
		if !strings.HasPrefix(kv.Key, prefix) || limit > 0 && len(list) == limit {
			break
		}
		list = append(list, *kv)
	}
	return list
}
