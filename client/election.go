package client

import (
	"context"
	"iter"

	"trefoil/abstract"
)

// Election chooses one of several candidates as their leader: the holder of a Lock,
// with a value that everybody can read. Safe for concurrent use.
type Election struct{ lock *Lock }

// NewElection makes an Election of the node at path, which is made when it is not there.
func NewElection(n *NodeClient, path string) *Election { return &Election{NewLock(n, path)} }

// Leader is who leads.
type Leader struct {
	Value []byte // what it has campaigned with; do not change it
	Token int64  // of its Held; grows with every leader. 0: there is no leader
}

// Campaign waits until we are the leader. value says who we are. Releasing what it
// returns resigns; its Context ends when we lead no longer, before another one does.
func (e *Election) Campaign(ctx context.Context, value []byte) (*Held, error) {
	return e.lock.acquire(ctx, some(value))
}

// Leader returns who leads, or an error with code NotFound when nobody does. It may
// be a moment old; with Linearizable it was true after the call began.
func (e *Election) Leader(ctx context.Context, opts ...NodeOption) (Leader, error) {
	line, err := e.lock.nodes.line(ctx, e.lock.path, lockName, append(opts, WithData())...)
	if err != nil {
		return Leader{}, err
	}
	if len(line) == 0 {
		return Leader{}, &abstract.Error{Code: abstract.NotFound, Op: "look for the leader of " + e.lock.path, Message: "nobody is a candidate", Sent: abstract.SentYes}
	}
	return Leader{line[0].Data, line[0].Stat.Created}, nil
}

// Follow returns who leads, and again whenever that is somebody else, until ctx ends
// or the loop is left; nobody, with Token 0, when there is no candidate. Leaders of a
// short time may be left out. The last pair carries the error, if there is one. It
// survives reconnects.
func (e *Election) Follow(ctx context.Context) iter.Seq2[Leader, error] {
	return func(yield func(Leader, error) bool) {
		nodes := e.lock.nodes
		watch, err := nodes.Watch(ctx, e.lock.path, ScopeChildren)
		if err != nil {
			yield(Leader{}, err)
			return
		}
		defer nodes.closeSoon(watch)
		for last := int64(-1); ; {
			leader, err := e.Leader(ctx)
			if abstract.CodeOf(err) == abstract.NotFound {
				err = nil
			}
			if (err != nil || leader.Token != last) && !yield(leader, err) || err != nil {
				return
			}
			last = leader.Token
			if _, err := watch.Next(ctx); err != nil {
				yield(Leader{}, err)
				return
			}
		}
	}
}
