package client

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// NodeCache is a copy of a node and everything below it that follows the tree. It
// answers at once, and what it shows is the tree as it was at one revision, its
// Revision: a moment behind, and while the broker is away its last state. Safe for
// concurrent use. Close it when it is no longer needed; the Conn's Close ends it.
type NodeCache struct {
	nodes    *NodeClient
	root     string
	watch    *Watch
	onChange func([]NodeChange)
	stop     context.CancelFunc
	done     chan struct{}

	mu       sync.RWMutex
	all      map[string]Node
	revision int64
	err      error // why it follows no longer
}

// Cache fills a NodeCache with path, which need not exist, and what is below it, and
// returns when that is done. onChange, which may be nil, is called after every change
// of the cache, with what changed together; after a reconnect that may be what many
// revisions have changed. Calls come one at a time on a goroutine of the cache; they
// may use the Conn, and must call neither its Close nor the cache's.
func (n *NodeClient) Cache(ctx context.Context, path string, onChange func([]NodeChange)) (*NodeCache, error) {
	watch, err := n.Watch(ctx, path, ScopeSubtree)
	if err != nil {
		return nil, err
	}
	life, stop := context.WithCancel(n.conn.ctx)
	c := &NodeCache{nodes: n, root: path, watch: watch, onChange: onChange, stop: stop, done: make(chan struct{}), all: make(map[string]Node)}
	_, err = c.load(ctx)
	if err == nil && !n.conn.tasks.run(func() { c.follow(life) }) {
		err = n.conn.closedError()
	}
	if err != nil {
		stop()
		_ = watch.Close(ctx)
		return nil, err
	}
	return c, nil
}

// follow applies events until the watch ends.
func (c *NodeCache) follow(ctx context.Context) {
	defer close(c.done)
	for {
		e, err := c.watch.Next(ctx)
		var changes []NodeChange
		switch {
		case err != nil:
		case e.unclear():
			changes, err = c.reload(ctx)
		default:
			changes = c.apply(&e)
		}
		if err != nil {
			if c.nodes.conn.ctx.Err() != nil {
				err = c.nodes.conn.closedError()
			}
			c.mu.Lock()
			c.err = err
			c.mu.Unlock()
			return
		}
		if len(changes) > 0 && c.onChange != nil {
			c.onChange(changes)
		}
	}
}

// unclear says whether an event does not tell all that has changed.
func (e *NodeEvent) unclear() bool {
	return e.Resync || slices.ContainsFunc(e.Changes, func(ch NodeChange) bool { return ch.Truncated })
}

// reload is load until it succeeds, or until there is nothing to follow any more.
func (c *NodeCache) reload(ctx context.Context) ([]NodeChange, error) {
	for try := 0; ; try++ {
		changes, err := c.load(ctx)
		if err == nil || ctx.Err() != nil || c.watch.ended() {
			return changes, err
		}
		c.nodes.conn.report(err)
		select {
		case <-ctx.Done():
		case <-time.After(backoff(&c.nodes.conn.cfg, try)):
		}
	}
}

// load reads everything as it is at one revision, and returns what is different.
func (c *NodeCache) load(ctx context.Context) ([]NodeChange, error) {
	for {
		d := draft{cache: c}
		err := d.read(ctx)
		if err == nil && !d.torn && !d.whole {
			err = d.complete(ctx)
		}
		if err != nil {
			return nil, err
		}
		if !d.torn {
			return c.show(&d), nil
		}
	}
}

// show makes the cache show what was read, and returns what is different.
func (c *NodeCache) show(d *draft) []NodeChange {
	c.mu.Lock()
	defer c.mu.Unlock()
	changes := changesBetween(c.all, d.all)
	c.all, c.revision = d.all, d.revision
	return changes
}

// changesBetween is what leads from one state to another, in the order of the paths.
func changesBetween(was, is map[string]Node) []NodeChange {
	var changes []NodeChange
	for path, n := range is {
		if old, there := was[path]; !there || !same(&old, &n) {
			changes = append(changes, NodeChange{Path: path, Node: n})
		}
	}
	for path := range was {
		if _, there := is[path]; !there {
			changes = append(changes, NodeChange{Path: path, Deleted: true})
		}
	}
	slices.SortFunc(changes, func(a, b NodeChange) int { return strings.Compare(a.Path, b.Path) })
	return changes
}

// same says whether two states of a path are of the same node, and hold the same.
func same(a, b *Node) bool {
	return a.Stat.Modified == b.Stat.Modified && a.Stat.Created == b.Stat.Created && a.Stat.Session == b.Stat.Session &&
		a.Stat.MtimeMs == b.Stat.MtimeMs && bytes.Equal(a.Data, b.Data) // revisions of another epoch may be the same by chance
}

// apply takes an event in and returns its changes; none when they are in already.
func (c *NodeCache) apply(e *NodeEvent) []NodeChange {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.Revision <= c.revision {
		return nil
	}
	c.revision = e.Revision
	for i := range e.Changes {
		e.Changes[i].applyTo(c.all)
	}
	return e.Changes
}

func (ch *NodeChange) applyTo(all map[string]Node) {
	if ch.Deleted {
		delete(all, ch.Path)
		return
	}
	all[strings.Clone(ch.Path)] = kept(ch.Node)
}

// kept is a node that does not hold on to the frame that it came in.
func kept(n Node) Node {
	n.Path, n.Data, n.Stat.Session = strings.Clone(n.Path), bytes.Clone(n.Data), strings.Clone(n.Stat.Session)
	return n
}

// Get returns a node of the cache. Its Data is shared: do not change it. Its counts
// of children are those of when it was changed itself.
func (c *NodeCache) Get(path string) (n Node, there bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	n, there = c.all[path]
	return n, there
}

// List returns the direct children of a node in the order of their paths. It looks
// at the whole cache.
func (c *NodeCache) List(path string) []Node {
	prefix := strings.TrimSuffix(path, "/") + "/"
	c.mu.RLock()
	defer c.mu.RUnlock()
	var list []Node
	for p, n := range c.all {
		if rest, below := strings.CutPrefix(p, prefix); below && rest != "" && !strings.Contains(rest, "/") {
			list = append(list, n)
		}
	}
	slices.SortFunc(list, func(a, b Node) int { return strings.Compare(a.Path, b.Path) })
	return list
}

// All returns a copy of everything, by path.
func (c *NodeCache) All() map[string]Node {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return maps.Clone(c.all)
}

// Revision is that of the tree which the cache shows. Later ones that have changed
// nothing here do not count. It starts anew when the broker has lost the tree.
func (c *NodeCache) Revision() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.revision
}

// Done returns a channel that is closed when the cache follows the tree no longer:
// after its Close or the Conn's, or because the broker does not let it watch any
// more. Err says why.
func (c *NodeCache) Done() <-chan struct{} { return c.done }

// Err returns why the cache follows the tree no longer; nil while it does.
func (c *NodeCache) Err() error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.err
}

// Close ends the following and waits for onChange; what was cached stays readable.
// An error is that of Watch.Close.
func (c *NodeCache) Close(ctx context.Context) error {
	c.stop()
	<-c.done
	return c.watch.Close(ctx)
}
