package node

import (
	"iter"
	"slices"
	"strings"
)

// bucketSize is how many children a bucket holds at most.
const bucketSize = 256

// children are the nodes below one, in the byte order of their names, which is that
// of their paths: buckets in order, none empty, each in order. So that one parent
// can have very many, one is found by two binary searches, and little is moved.
type children struct {
	buckets [][]*node
	n       int
}

// locate returns the bucket and the place in it where path is or belongs. The
// bucket is one past the end only when there is none.
func (c *children) locate(path string) (bucket, place int, found bool) {
	bucket, _ = slices.BinarySearchFunc(c.buckets, path, func(b []*node, path string) int {
		return strings.Compare(b[len(b)-1].path, path)
	})
	if bucket == len(c.buckets) {
		if bucket == 0 {
			return 0, 0, false
		}
		bucket-- // behind all others: at the end of the last bucket
	}
	place, found = slices.BinarySearchFunc(c.buckets[bucket], path, func(n *node, path string) int {
		return strings.Compare(n.path, path)
	})
	return bucket, place, found
}

// add adds a child that is not there.
func (c *children) add(n *node) {
	b, i, _ := c.locate(n.path)
	c.n++
	if b == len(c.buckets) {
		c.buckets = append(c.buckets, []*node{n})
		return
	}
	c.buckets[b] = slices.Insert(c.buckets[b], i, n)
	if full := c.buckets[b]; len(full) > bucketSize {
		upper := slices.Clone(full[len(full)/2:])
		clear(full[len(full)/2:])
		c.buckets[b] = full[:len(full)/2]
		c.buckets = slices.Insert(c.buckets, b+1, upper)
	}
}

// remove takes a child out that is there.
func (c *children) remove(n *node) {
	b, i, _ := c.locate(n.path)
	c.n--
	c.buckets[b] = slices.Delete(c.buckets[b], i, i+1)
	switch left := len(c.buckets[b]); {
	case left == 0:
		c.buckets = slices.Delete(c.buckets, b, b+1)
	case left <= bucketSize/4:
		c.join(b)
		c.join(b - 1)
	}
}

// join makes one bucket of b and the next, if both exist and there is room to
// spare: removing leaves no long row of tiny buckets.
func (c *children) join(b int) {
	if b < 0 || b+1 >= len(c.buckets) || len(c.buckets[b])+len(c.buckets[b+1]) > bucketSize/2 {
		return
	}
	c.buckets[b] = append(c.buckets[b], c.buckets[b+1]...)
	c.buckets = slices.Delete(c.buckets, b+1, b+2)
}

// from iterates over the children from path on; nil has none. They must not change
// meanwhile.
func (c *children) from(path string) iter.Seq[*node] {
	return func(yield func(*node) bool) {
		if c == nil {
			return
		}
		b, i, _ := c.locate(path)
		for ; b < len(c.buckets); b, i = b+1, 0 {
			for _, n := range c.buckets[b][i:] {
				if !yield(n) {
					return
				}
			}
		}
	}
}

// count is how many there are; nil has none.
func (c *children) count() int {
	if c == nil {
		return 0
	}
	return c.n
}
