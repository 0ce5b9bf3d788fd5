package client

import (
	"context"

	"trefoil/abstract"
)

// Barrier holds up those who come to it until there are enough of them. It is for
// one use: once open it stays open, until its node is deleted. Safe for concurrent
// use; each Wait stands for a participant of its own.
type Barrier struct {
	nodes *NodeClient
	path  string
	size  int
}

// The names of those who wait at a barrier begin with barrierName; barrierOpen is
// there once it is open.
const (
	barrierName = "at-"
	barrierOpen = "open"
)

// NewBarrier makes a Barrier for size participants of the node at path, which is
// made when it is not there.
func NewBarrier(n *NodeClient, path string, size int) *Barrier { return &Barrier{n, path, size} }

// Wait waits until as many participants wait as the barrier is for. Who gives up or
// whose session ends does not count any more, unless the barrier has opened before.
// The error is SessionExpired when our session ended: wait again.
func (b *Barrier) Wait(ctx context.Context) error {
	p, err := b.enter(ctx)
	if p != nil {
		p.withdraw()
	}
	return err
}

// enter is Wait, and leaves us at the barrier. p is nil when we are not there.
func (b *Barrier) enter(ctx context.Context) (p *place, err error) {
	p, err = b.nodes.take(ctx, within(b.path, barrierName), nil, Sequential())
	if err != nil {
		return nil, err
	}
	both, stop, ended := p.during(ctx)
	defer stop()
	err = b.nodes.until(both, b.path, func() (bool, error) { return b.isOpen(both, p) })
	if e := ended(); err != nil && e != nil {
		err = e
	}
	return p, err
}

// until waits until done says so, which is asked now and after every change of a
// node's children.
func (n *NodeClient) until(ctx context.Context, path string, done func() (bool, error)) error {
	watch, err := n.Watch(ctx, path, ScopeChildren)
	if err != nil {
		return err
	}
	defer n.closeSoon(watch)
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		if _, err := watch.Next(ctx); err != nil {
			return err
		}
	}
}

// isOpen says whether the barrier is open, and opens it when all are there.
func (b *Barrier) isOpen(ctx context.Context, p *place) (bool, error) {
	open := within(b.path, barrierOpen)
	there, err := b.nodes.Exists(ctx, open)
	if there || err != nil {
		return there, err
	}
	line, err := b.nodes.line(ctx, b.path, barrierName)
	if err != nil {
		return false, err
	}
	here := false
	for i := range line {
		here = here || line[i].Path == p.path && line[i].Stat.Created == p.created
	}
	switch {
	case !here && p.life.Err() == nil && len(line) < b.size:
		return false, p.goneError()
	case len(line) < b.size:
		return false, nil
	}
	_, err = b.nodes.Create(ctx, open, nil, OnceAs(p.path))
	if abstract.CodeOf(err) == abstract.Exists {
		err = nil
	}
	return err == nil, err
}

// DoubleBarrier lets participants begin together and end together: nobody goes on
// before all have come, and nobody is done before all are. It is for one use. Safe
// for concurrent use; each Enter stands for a participant of its own.
type DoubleBarrier struct{ barrier Barrier }

// NewDoubleBarrier makes a DoubleBarrier for size participants of the node at path,
// which is made when it is not there.
func NewDoubleBarrier(n *NodeClient, path string, size int) *DoubleBarrier {
	return &DoubleBarrier{Barrier{n, path, size}}
}

// Entered is a participant that has entered a DoubleBarrier.
type Entered struct {
	barrier *DoubleBarrier
	place   *place
}

// Enter waits until all have come, as Barrier.Wait does.
func (d *DoubleBarrier) Enter(ctx context.Context) (*Entered, error) {
	p, err := d.barrier.enter(ctx)
	if err != nil {
		if p != nil {
			p.withdraw()
		}
		return nil, err
	}
	return &Entered{d, p}, nil
}

// Leave says that we are done, and waits until all others have left or their
// sessions have ended. After an error it may be called again.
func (e *Entered) Leave(ctx context.Context) error {
	b := &e.barrier.barrier
	if err := b.nodes.remove(ctx, e.place.path, e.place.created); err != nil {
		return err
	}
	return b.nodes.until(ctx, b.path, func() (bool, error) {
		line, err := b.nodes.line(ctx, b.path, barrierName)
		return len(line) == 0, err
	})
}
