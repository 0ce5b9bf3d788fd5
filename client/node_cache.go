package client

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"trefoil/abstract"
)

// NodeCache is a copy of a node and everything below it that follows the tree. It
// answers at once, is a moment behind, and keeps its last state while the broker is
// away. Safe for concurrent use. Close it when it is no longer needed.
type NodeCache struct {
	nodes    *NodeClient
	root     string
	watch    *Watch
	onChange func([]NodeChange)
	stop     context.CancelFunc
	ended    sync.WaitGroup

	mu       sync.RWMutex
	all      map[string]Node
	revision int64
}

// Cache fills a NodeCache with path and what is below it, and returns when that is
// done. onChange, which may be nil, is called after every change, with what changed
// together; calls come one at a time on a goroutine of the cache.
func (n *NodeClient) Cache(ctx context.Context, path string, onChange func([]NodeChange)) (*NodeCache, error) {
	watch, err := n.Watch(ctx, path, ScopeSubtree)
	if err != nil {
		return nil, err
	}
	life, stop := context.WithCancel(n.conn.ctx)
	c := &NodeCache{nodes: n, root: path, watch: watch, onChange: onChange, stop: stop, all: make(map[string]Node)}
	if _, err := c.load(ctx); err != nil {
		stop()
		_ = watch.Close(ctx)
		return nil, err
	}
	c.ended.Go(func() { c.follow(life) })
	return c, nil
}

// follow applies events until the watch ends.
func (c *NodeCache) follow(ctx context.Context) {
	for {
		e, err := c.watch.Next(ctx)
		if err != nil {
			return
		}
		changes := e.Changes
		if e.Resync || slices.ContainsFunc(changes, func(ch NodeChange) bool { return ch.Truncated }) {
			if changes = c.reload(ctx); ctx.Err() != nil {
				return
			}
		} else {
			changes = c.apply(e)
		}
		if len(changes) > 0 && c.onChange != nil {
			c.onChange(changes)
		}
	}
}

// reload is load until it succeeds.
func (c *NodeCache) reload(ctx context.Context) []NodeChange {
	for try := 0; ; try++ {
		changes, err := c.load(ctx)
		if err == nil {
			return changes
		}
		c.nodes.conn.report(err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(backoff(&c.nodes.conn.cfg, try)):
		}
	}
}

// load reads everything, and returns what is different.
func (c *NodeCache) load(ctx context.Context) ([]NodeChange, error) {
	now := make(map[string]Node)
	root, err := c.nodes.Get(ctx, c.root)
	if err != nil && abstract.CodeOf(err) != abstract.NotFound {
		return nil, err
	}
	var revision int64
	if err == nil {
		now[c.root], revision = root, root.Revision
	}
	below, err := c.nodes.List(ctx, c.root, Recursive(), WithData())
	if err != nil && abstract.CodeOf(err) != abstract.NotFound {
		return nil, err
	}
	for _, n := range below {
		now[n.Path] = n
		revision = max(revision, n.Revision)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	changes := changesBetween(c.all, now)
	c.all, c.revision = now, max(c.revision, revision)
	return changes, nil
}

// changesBetween is what leads from one state to another, in the order of the paths.
func changesBetween(was, is map[string]Node) []NodeChange {
	var changes []NodeChange
	for path, n := range is {
		if old, there := was[path]; !there || old.Stat.Modified != n.Stat.Modified || old.Stat.Created != n.Stat.Created {
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

// apply takes an event in and returns what of it was new: a part may have been read
// with the pages of a load already.
func (c *NodeCache) apply(e NodeEvent) []NodeChange {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revision = max(c.revision, e.Revision)
	var fresh []NodeChange
	for _, ch := range e.Changes {
		old, there := c.all[ch.Path]
		switch {
		case there && old.Stat.Modified >= e.Revision, ch.Deleted && !there:
			continue
		case ch.Deleted:
			delete(c.all, ch.Path)
		default:
			c.all[ch.Path] = ch.Node
		}
		fresh = append(fresh, ch)
	}
	return fresh
}

// Get returns a node of the cache.
func (c *NodeCache) Get(path string) (n Node, there bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	n, there = c.all[path]
	return n, there
}

// List returns the direct children of a node in the order of their paths.
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

// Revision is that of the last change in the cache.
func (c *NodeCache) Revision() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.revision
}

// Close ends the following and waits for onChange; what was cached stays readable.
func (c *NodeCache) Close(ctx context.Context) error {
	c.stop()
	c.ended.Wait()
	return c.watch.Close(ctx)
}
