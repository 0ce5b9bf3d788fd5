package client

import (
	"context"
	"strings"

	"trefoil/abstract"
)

// Election chooses one of several candidates as their leader: the holder of a Lock,
// with a value that everybody can read. Safe for concurrent use.
type Election struct{ lock *Lock }

// NewElection makes an Election of the node at path, which is made when it is not there.
func NewElection(n *NodeClient, path string) *Election { return &Election{NewLock(n, path)} }

// Campaign waits until we are the leader. value says who we are. Releasing what it
// returns resigns; its Lost says that another one may be the leader.
func (e *Election) Campaign(ctx context.Context, value []byte) (*Held, error) {
	return e.lock.acquire(ctx, some(value))
}

// Leader returns the leader's value, or an error with code NotFound when there is
// none.
func (e *Election) Leader(ctx context.Context, opts ...NodeOption) ([]byte, error) {
	line, err := e.lock.nodes.List(ctx, e.lock.path, append(opts, WithData())...)
	if err != nil {
		return nil, err
	}
	for _, n := range line {
		if strings.HasPrefix(n.Path, e.lock.path+"/lock-") {
			return n.Data, nil
		}
	}
	return nil, &abstract.Error{Code: abstract.NotFound, Op: "look for the leader of " + e.lock.path, Message: "nobody is a candidate"}
}
