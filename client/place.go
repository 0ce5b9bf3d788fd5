package client

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// place is a session node that the recipes have made: somebody's place in a line,
// in a group or at a barrier.
type place struct {
	nodes   *NodeClient
	path    string
	created int64
	session string
	life    context.Context // of the session
}

// take makes a session node. After an error there is none, or it goes as soon as the
// broker can be asked. The code is SessionExpired when the session is over already.
func (n *NodeClient) take(ctx context.Context, path string, data []byte, opts ...NodeOption) (*place, error) {
	id, life := n.conn.tenure.current()
	a := action(abstract.NodeCreate, path, data, append(opts, SessionNode(), MakeParents(), OnceAs(rand.Text())))
	rsp, err := n.do(ctx, a)
	if err != nil {
		if undecided(err) {
			n.conn.persist(func(ctx context.Context) error { return n.undo(ctx, id, a) })
		}
		return nil, err
	}
	p := &place{nodes: n, path: strings.Clone(rsp.Path), session: id, life: life}
	if rsp.Node != nil && rsp.Node.Stat != nil {
		p.created = rsp.Node.Stat.Created
		p.session = strings.Clone(rsp.Node.Stat.Session)
	}
	if now, life := n.conn.tenure.current(); now == p.session && p.created != 0 {
		p.life = life
		return p, nil
	}
	p.withdraw() // it was made on another session than that of now, or has gone
	return nil, &abstract.Error{Code: abstract.SessionExpired, Op: "create " + path, Message: "the session ended meanwhile; try again", Sent: abstract.SentYes}
}

// undecided says whether a request may have been done although it failed.
func undecided(err error) bool {
	e := asError(err)
	if e.FromPeer {
		return e.Code == abstract.UnknownFate
	}
	return e.Sent != abstract.SentNo
}

// undo takes back a creation whose fate is not known: done again it says what it has
// made.
func (n *NodeClient) undo(ctx context.Context, session string, a message.NodeAction) error {
	if n.conn.SessionID() != session {
		return nil // it has gone with its session
	}
	rsp, err := n.do(ctx, a)
	switch {
	case hopeless(err): // it was refused, so there is nothing to take back
		return nil
	case err == nil && rsp.Node != nil && rsp.Node.Stat != nil:
		return n.remove(ctx, rsp.Path, rsp.Node.Stat.Created)
	}
	return err
}

// hopeless says whether a request was refused in a way that trying again does not
// change.
func hopeless(err error) bool {
	e := asError(err)
	return e.FromPeer && e.Code != abstract.UnknownFate && e.Code != abstract.Overloaded
}

// remove deletes the node that was created at a revision, if it is still there.
func (n *NodeClient) remove(ctx context.Context, path string, created int64) error {
	err := n.Delete(ctx, path, IfCreated(created))
	if code := abstract.CodeOf(err); code == abstract.NotFound || code == abstract.Conflict {
		return nil
	}
	return err
}

// withdraw gives the place up, without waiting for it.
func (p *place) withdraw() {
	p.nodes.conn.persist(func(ctx context.Context) error { return p.nodes.remove(ctx, p.path, p.created) })
}

// persist runs do on a goroutine of its own, again and again until it has succeeded
// or the Conn is closed, with which all that a session owns ends.
func (c *Conn) persist(do func(context.Context) error) {
	c.tasks.run(func() {
		for try := 0; c.ctx.Err() == nil; try++ {
			ctx, cancel := context.WithTimeout(c.ctx, c.cfg.timeout)
			err := do(ctx)
			cancel()
			if err == nil {
				return
			}
			c.pause(c.ctx, try)
		}
	})
}

// pause waits before something is tried again, or until ctx ends.
func (c *Conn) pause(ctx context.Context, try int) {
	timer := time.NewTimer(backoff(&c.cfg, try))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// during returns a context that ends with ctx and with the place's session. After it
// has ended, ended says what by: nil when that was not the session.
func (p *place) during(ctx context.Context) (both context.Context, stop func(), ended func() error) {
	both, cancel := context.WithCancel(ctx)
	unlink := context.AfterFunc(p.life, cancel)
	return both, func() { unlink(); cancel() }, func() error {
		if over := p.life.Err() != nil; over && ctx.Err() == nil {
			return context.Cause(p.life)
		}
		return nil
	}
}

// line returns the nodes below dir whose names begin with prefix, in the order in
// which they were made.
func (n *NodeClient) line(ctx context.Context, dir, prefix string, opts ...NodeOption) ([]Node, error) {
	all, err := n.List(ctx, dir, opts...)
	if err != nil {
		return nil, err
	}
	start := within(dir, prefix)
	all = slices.DeleteFunc(all, func(c Node) bool { return !strings.HasPrefix(c.Path, start) })
	slices.SortStableFunc(all, func(a, b Node) int { return int(a.Stat.Created - b.Stat.Created) })
	return all, nil
}

// within is the path of a child.
func within(dir, name string) string { return strings.TrimSuffix(dir, "/") + "/" + name }

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
	n.conn.tasks.run(func() {
		ctx, cancel := context.WithTimeout(n.conn.ctx, n.conn.cfg.timeout)
		defer cancel()
		_ = w.Close(ctx) // which sees to it
	})
}
