package memstore

import (
	"cmp"
	"iter"
	"slices"

	"trefoil/abstract"
)

// bucketSize is how many keys a bucket holds at most. Shifting that many
// pointers costs less than the search that comes before it.
const bucketSize = 256

// keys are KVs ordered by key: buckets in order, none empty, each in order. Two
// binary searches find a key. Its zero value is empty.
type keys struct {
	buckets [][]*abstract.KV
}

// locate returns the bucket and the place in it where key is or belongs. The
// bucket is one past the end when there is none.
func (k *keys) locate(key string) (bucket, place int, found bool) {
	bucket, _ = slices.BinarySearchFunc(k.buckets, key, func(b []*abstract.KV, key string) int {
		return cmp.Compare(b[len(b)-1].Key, key)
	})
	if bucket == len(k.buckets) {
		if bucket == 0 {
			return 0, 0, false
		}
		bucket-- // above all others: at the end of the last bucket
	}
	place, found = slices.BinarySearchFunc(k.buckets[bucket], key, func(kv *abstract.KV, key string) int {
		return cmp.Compare(kv.Key, key)
	})
	return bucket, place, found
}

// get returns the KV of a key, or nil.
func (k *keys) get(key string) *abstract.KV {
	b, i, found := k.locate(key)
	if !found {
		return nil
	}
	return k.buckets[b][i]
}

// put adds kv, in place of the one with the same key if there is one.
func (k *keys) put(kv *abstract.KV) {
	b, i, found := k.locate(kv.Key)
	switch {
	case found:
		k.buckets[b][i] = kv
	case b == len(k.buckets):
		k.buckets = append(k.buckets, []*abstract.KV{kv})
	default:
		k.buckets[b] = slices.Insert(k.buckets[b], i, kv)
		if len(k.buckets[b]) > bucketSize {
			k.split(b)
		}
	}
}

// remove takes the KV of a key out and returns it, or nil.
func (k *keys) remove(key string) *abstract.KV {
	b, i, found := k.locate(key)
	if !found {
		return nil
	}
	kv := k.buckets[b][i]
	k.buckets[b] = slices.Delete(k.buckets[b], i, i+1)
	k.shrink(b)
	return kv
}

// split makes two buckets of a full one.
func (k *keys) split(b int) {
	full := k.buckets[b]
	half := len(full) / 2
	upper := slices.Clone(full[half:])
	clear(full[half:])
	k.buckets[b] = full[:half]
	k.buckets = slices.Insert(k.buckets, b+1, upper)
}

// shrink drops a bucket that got empty, and joins one that got small with its
// neighbours, so that deleting leaves no long row of tiny buckets.
func (k *keys) shrink(b int) {
	switch n := len(k.buckets[b]); {
	case n == 0:
		k.buckets = slices.Delete(k.buckets, b, b+1)
	case n <= bucketSize/4:
		k.join(b)
		k.join(b - 1)
	}
}

// join makes one bucket of b and the next, if both exist and there is room to spare.
func (k *keys) join(b int) {
	if b < 0 || b+1 >= len(k.buckets) || len(k.buckets[b])+len(k.buckets[b+1]) > bucketSize/2 {
		return
	}
	k.buckets[b] = append(k.buckets[b], k.buckets[b+1]...)
	k.buckets = slices.Delete(k.buckets, b+1, b+2)
}

// from iterates over the KVs from key upwards. The keys must not change meanwhile.
func (k *keys) from(key string) iter.Seq[*abstract.KV] {
	return func(yield func(*abstract.KV) bool) {
		b, i, _ := k.locate(key)
		for ; b < len(k.buckets); b, i = b+1, 0 {
			for _, kv := range k.buckets[b][i:] {
				if !yield(kv) {
					return
				}
			}
		}
	}
}
