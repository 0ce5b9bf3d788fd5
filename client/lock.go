package client

import (
	"context"
	"crypto/rand"
	"strings"

	"trefoil/abstract"
)

// Lock is a lock that all clients of a broker share, held by one of them at a time,
// in the order in which they asked. It is a node whose first child, a session node,
// is the holder (the lock recipe of ZooKeeper: each waits for the one before it, so
// a release wakes one). Safe for concurrent use; each Acquire stands for itself.
type Lock struct {
	nodes *NodeClient
	path  string
}

// NewLock makes a Lock of the node at path, which is made when it is not there.
func NewLock(n *NodeClient, path string) *Lock { return &Lock{n, path} }

// Held is a lock while it is held.
type Held struct {
	nodes *NodeClient
	path  string // of our node
	token int64
	lost  chan struct{}
	watch *Watch
	stop  context.CancelFunc
}

// Acquire waits until the lock is ours. When ctx ends first nothing is held.
func (l *Lock) Acquire(ctx context.Context) (*Held, error) { return l.acquire(ctx, nil) }

// acquire is Acquire with data that others can read.
func (l *Lock) acquire(ctx context.Context, data []byte) (*Held, error) {
	for {
		path, err := l.nodes.Create(ctx, l.path+"/lock-", data, SessionNode(), Sequential(), MakeParents(), OnceAs(rand.Text()))
		if err != nil {
			return nil, err
		}
		held, err := l.await(ctx, path)
		switch {
		case err != nil:
			l.withdraw(path)
			return nil, err
		case held != nil:
			return held, nil
		}
		// our session has expired meanwhile, and the node with it: stand in line again
	}
}

// withdraw takes our place in the line back.
func (l *Lock) withdraw(path string) {
	ctx, cancel := context.WithTimeout(l.nodes.conn.ctx, l.nodes.conn.cfg.timeout)
	defer cancel()
	_ = l.nodes.Delete(ctx, path) // else it ends with the session
}

// await waits until path is the first in the line. It returns nil when path is gone.
func (l *Lock) await(ctx context.Context, path string) (*Held, error) {
	for {
		line, err := l.nodes.List(ctx, l.path)
		if err != nil {
			return nil, err
		}
		before, our := "", Node{}
		for _, n := range line {
			if n.Path == path {
				our = n
				break
			}
			if strings.HasPrefix(n.Path, l.path+"/lock-") {
				before = n.Path
			}
		}
		switch {
		case our.Path == "":
			return nil, nil
		case before == "":
			return l.hold(ctx, our)
		}
		if err := l.nodes.untilGone(ctx, before); err != nil {
			return nil, err
		}
	}
}

// untilGone waits until a node is not there.
func (n *NodeClient) untilGone(ctx context.Context, path string) error {
	watch, err := n.Watch(ctx, path, ScopeNode)
	if err != nil {
		return err
	}
	defer n.closeSoon(watch)
	for {
		there, err := n.Exists(ctx, path)
		if err != nil || !there {
			return err
		}
		if _, err := watch.Next(ctx); err != nil {
			return err
		}
	}
}

// closeSoon closes a watch without anybody waiting for the broker's answer.
func (n *NodeClient) closeSoon(w *Watch) {
	go func() {
		ctx, cancel := context.WithTimeout(n.conn.ctx, n.conn.cfg.timeout)
		defer cancel()
		_ = w.Close(ctx)
	}()
}

// hold makes the Held of a node that is the first in the line.
func (l *Lock) hold(ctx context.Context, our Node) (*Held, error) {
	watch, err := l.nodes.Watch(ctx, our.Path, ScopeNode)
	if err != nil {
		return nil, err
	}
	life, stop := context.WithCancel(l.nodes.conn.ctx)
	h := &Held{nodes: l.nodes, path: our.Path, token: our.Stat.Created, lost: make(chan struct{}), watch: watch, stop: stop}
	if still, err := l.nodes.Exists(ctx, our.Path, IfCreated(h.token)); err != nil || !still {
		h.end()
		return nil, err
	}
	go h.look(life)
	return h, nil
}

// look waits for the loss of the node.
func (h *Held) look(ctx context.Context) {
	defer close(h.lost)
	for {
		e, err := h.watch.Next(ctx)
		if err != nil {
			return
		}
		if e.Resync {
			if there, err := h.nodes.Exists(ctx, h.path, IfCreated(h.token)); err == nil && there {
				continue
			}
			return
		}
		for _, ch := range e.Changes {
			if ch.Deleted || ch.Node.Stat.Created != h.token {
				return
			}
		}
	}
}

// Token grows with every holder of the lock. What the lock protects is only safe
// when whoever takes writes refuses those of an older token: use Check for nodes,
// and send the token along with what goes elsewhere.
func (h *Held) Token() int64 { return h.token }

// Check is an operation for a Multi: with it the others are done only while the lock
// is still held by us.
func (h *Held) Check() NodeOp { return CheckOp(h.path, IfCreated(h.token)) }

// Lost is closed when the lock is no longer ours: released, or lost with the
// session. A process that was stopped hears of it late; Check does not.
func (h *Held) Lost() <-chan struct{} { return h.lost }

// Release gives the lock to the next in the line. A lock that is lost already is no
// error.
func (h *Held) Release(ctx context.Context) error {
	err := h.nodes.Delete(ctx, h.path, IfCreated(h.token))
	h.end()
	if code := abstract.CodeOf(err); code == abstract.NotFound || code == abstract.Conflict {
		return nil
	}
	return err
}

func (h *Held) end() {
	h.stop()
	h.nodes.closeSoon(h.watch)
}
