package node

import (
	"iter"
	"strings"

	"trefoil/concrete/message"
)

// node is one entry of the index. Many are held: it is kept small, and path and
// value are pieces of what the Store holds.
type node struct {
	path     string
	value    []byte // as in the Store, first line and all
	parent   *node  // nil for the root, and for a node that is no longer in the tree
	children *children
	owner    *session // nil for a permanent node
	by       *maker   // nil when nobody has said who has made it

	next, prev *node // of the owner's

	version          int64
	created          int64
	modified         int64
	childrenModified int64
	ctime, mtime     int64

	round uint32 // the last Load that has seen it
	head  uint16 // how long the first line of value is
	kind  kind
	dirty bool // stands in NodeManager.dirty
}

// kind is how a node came to be.
type kind uint8

const (
	implied  kind = iota // by nodes below it: it has no key, and goes with the last of them
	stored               // by a write to the tree
	provided             // by registering
	top                  // the root is always there
)

// data returns the node's data, never nil.
func (n *node) data() []byte {
	if n.value == nil {
		return []byte{}
	}
	return n.value[n.head:]
}

// key is where the node stands in the Store; the root and implied nodes do nowhere.
func (n *node) key() string {
	if n.kind == provided {
		return n.path
	}
	return nodeKey(n.path)
}

func (n *node) maker() string {
	if n.by == nil {
		return ""
	}
	return n.by.name
}

func (n *node) session() string {
	if n.owner == nil {
		return ""
	}
	return n.owner.id
}

func (n *node) stat() message.NodeStat {
	return message.NodeStat{
		Version: n.version, Created: n.created, Modified: n.modified,
		Children: int64(n.children.count()), ChildrenModified: n.childrenModified,
		Session: n.session(), CtimeMs: n.ctime, MtimeMs: n.mtime, Size: int64(len(n.value) - int(n.head)),
	}
}

// told returns the node as it is now, in one piece of memory.
func (n *node) told(withData bool) *message.Node {
	t := &struct {
		message.Node
		stat message.NodeStat
	}{message.Node{Path: n.path}, n.stat()}
	t.Stat = &t.stat
	if withData {
		t.Data = n.data()
	}
	return &t.Node
}

// behind iterates over what is below a node and comes after a path, which is below
// it too; empty: over all. Without deep it iterates over the children only, with it
// each is followed by what is below that. The tree must not change meanwhile.
func (n *node) behind(after string, deep bool) iter.Seq[*node] {
	return func(yield func(*node) bool) { n.walk(after, deep, yield) }
}

// walk returns false when yield did.
func (n *node) walk(after string, deep bool, yield func(*node) bool) bool {
	first := ""
	if after != "" {
		first = n.childTowards(after)
	}
	for c := range n.children.from(first) {
		rest := ""
		switch {
		case c.path != first:
			if !yield(c) {
				return false
			}
		case c.path != after: // it comes before, but not all that is below it
			rest = after
		}
		if deep && !c.walk(rest, deep, yield) {
			return false
		}
	}
	return true
}

// childTowards returns the path of the child on the way to a path below n.
func (n *node) childTowards(path string) string {
	begin := len(n.path) + 1
	if n.path == root {
		begin = 1
	}
	if i := strings.IndexByte(path[begin:], '/'); i >= 0 {
		return path[:begin+i]
	}
	return path
}
