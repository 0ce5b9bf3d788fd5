package client

import (
	"context"
	"errors"

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

// lockName begins the names of those who stand in line.
const lockName = "lock-"

// NewLock makes a Lock of the node at path, which is made when it is not there.
func NewLock(n *NodeClient, path string) *Lock { return &Lock{n, path} }

// Held is a lock while it is held. It survives lost connections for as long as the
// session surely does. Safe for concurrent use.
type Held struct {
	place *place
	watch *Watch
	stake *stake
	life  context.Context
	lose  context.CancelCauseFunc
}

var errReleased = &abstract.Error{Code: abstract.Cancelled, Op: "hold a lock", Message: "it was released"}

// Acquire waits until the lock is ours. When ctx ends first we do not stand in line
// any more; when the session is lost first, Acquire stands in line again, at its end.
// An operation for which the broker does not answer within WithTimeout ends it too.
func (l *Lock) Acquire(ctx context.Context) (*Held, error) { return l.acquire(ctx, nil) }

// acquire is Acquire with data that others can read.
func (l *Lock) acquire(ctx context.Context, data []byte) (*Held, error) {
	for try := 0; ; try++ {
		held, err := l.try(ctx, data)
		if err == nil || ctx.Err() != nil || l.nodes.conn.ctx.Err() != nil || !errors.Is(err, abstract.ErrSessionExpired) {
			return held, err
		}
		l.nodes.conn.pause(ctx, try)
	}
}

// try stands in line once.
func (l *Lock) try(ctx context.Context, data []byte) (*Held, error) {
	p, err := l.nodes.take(ctx, within(l.path, lockName), data, Sequential())
	if err != nil {
		return nil, err
	}
	both, stop, ended := p.during(ctx)
	defer stop()
	held, err := l.await(both, p)
	if err != nil {
		p.withdraw()
		if e := ended(); e != nil {
			err = e
		}
		return nil, err
	}
	return held, nil
}

// await waits until a place is the first in the line.
func (l *Lock) await(ctx context.Context, p *place) (*Held, error) {
	for {
		line, err := l.nodes.line(ctx, l.path, lockName, Linearizable())
		if err != nil {
			return nil, err
		}
		before, here := "", false
		for _, n := range line {
			if here = n.Path == p.path && n.Stat.Created == p.created; here {
				break
			}
			before = n.Path
		}
		switch {
		case !here:
			return nil, p.goneError()
		case before == "":
			return p.hold(ctx)
		}
		if err := l.nodes.untilGone(ctx, before); err != nil {
			return nil, err
		}
	}
}

// goneError says that a place is not there any more.
func (p *place) goneError() error {
	return &abstract.Error{Code: abstract.SessionExpired, Op: "hold " + p.path, Message: "it has gone, with its session or because somebody has deleted it", Sent: abstract.SentYes}
}

// hold makes the Held of a place that is the first in the line.
func (p *place) hold(ctx context.Context) (*Held, error) {
	watch, err := p.nodes.Watch(ctx, p.path, ScopeNode)
	if err != nil {
		return nil, err
	}
	h := &Held{place: p, watch: watch}
	h.life, h.lose = context.WithCancelCause(p.nodes.conn.ctx)
	err = h.check(ctx) // its answer shows that the session lives
	if err == nil {
		if h.stake = p.nodes.conn.tenure.stake(p.session, h.lose); h.stake == nil {
			err = p.goneError()
		}
	}
	if err == nil && p.nodes.conn.tasks.run(h.look) {
		return h, nil
	}
	if err == nil {
		err = p.nodes.conn.closedError()
	}
	h.lose(err)
	p.nodes.closeSoon(watch)
	return nil, err
}

// check asks the broker whether we hold it. When we do not, the code is
// SessionExpired.
func (h *Held) check(ctx context.Context) error {
	n, err := h.place.nodes.Stat(ctx, h.place.path, Linearizable())
	if errors.Is(err, abstract.ErrNotFound) || err == nil && n.Stat.Created != h.place.created {
		return h.place.goneError()
	}
	return err
}

// look waits for the loss of the node, and for that of the certainty that it is there.
func (h *Held) look() {
	h.lose(h.watchNode())
	h.place.nodes.conn.tenure.unstake(h.stake)
	h.place.nodes.closeSoon(h.watch)
	if !errors.Is(context.Cause(h.life), errReleased) {
		h.place.withdraw() // the session may live on after all, and we do not hold it any more
	}
}

// watchNode returns why we do not hold the lock any more.
func (h *Held) watchNode() error {
	for try := 0; ; {
		e, err := h.watch.Next(h.life)
		if err != nil {
			return err
		}
		for _, ch := range e.Changes {
			if ch.Deleted || ch.Node.Stat.Created != h.place.created {
				return h.place.goneError()
			}
		}
		for e.Resync && h.life.Err() == nil {
			err := h.check(h.life)
			if err == nil {
				break
			}
			if errors.Is(err, abstract.ErrSessionExpired) {
				return err
			}
			h.place.nodes.conn.pause(h.life, try)
			try++
		}
	}
}

// Token is the fencing token: it grows with every holder of the lock, for as long as
// the broker keeps its tree. What the lock protects is only safe when whoever takes
// writes refuses those of an older token: use Check for nodes, and send the token
// along with what goes elsewhere.
func (h *Held) Token() int64 { return h.place.created }

// Check is an operation for a Multi: with it the others are done only while the lock
// is still held by us; else the Multi's error is ErrNotFound or ErrConflict.
func (h *Held) Check() NodeOp { return CheckOp(h.place.path, IfCreated(h.place.created)) }

// Lost is closed when the lock is no longer ours, or no longer surely ours: it was
// released, its node is gone, or the broker has not answered for three quarters of
// the time after which it ends a session. By our own clock that is before it can have
// given the lock to another one. A process that stood still, or a machine that slept,
// hears of it late; Check does not.
func (h *Held) Lost() <-chan struct{} { return h.life.Done() }

// Context ends when Lost is closed: for what is to be done only while the lock is
// held. Its context.Cause says why.
func (h *Held) Context() context.Context { return h.life }

// Err returns nil while the lock is held, and then why it is not any more.
func (h *Held) Err() error { return context.Cause(h.life) }

// Release gives the lock to the next in the line. Lost is closed before that. A lock
// that is lost already is no error. After an error the lock is not ours either, and
// is given on as soon as the broker can be asked.
func (h *Held) Release(ctx context.Context) error {
	h.lose(errReleased)
	err := h.place.nodes.remove(ctx, h.place.path, h.place.created)
	if err != nil {
		h.place.withdraw()
	}
	return err
}
