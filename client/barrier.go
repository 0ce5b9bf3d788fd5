package client

import (
	"context"
	"crypto/rand"
	"strings"

	"trefoil/abstract"
)

// Barrier holds up those who come to it until there are enough of them. It is for
// one use: once open it stays open, until its node is deleted. Safe for concurrent
// use.
type Barrier struct {
	nodes *NodeClient
	path  string
	size  int
}

// NewBarrier makes a Barrier for size participants of the node at path, which is
// made when it is not there.
func NewBarrier(n *NodeClient, path string, size int) *Barrier { return &Barrier{n, path, size} }

// Wait waits until as many participants wait as the barrier is for. One whose
// session ends does not count any more, unless the barrier has opened before.
func (b *Barrier) Wait(ctx context.Context) error {
	open := b.path + "/open"
	our, err := b.nodes.Create(ctx, b.path+"/at-", nil, SessionNode(), Sequential(), MakeParents(), OnceAs(rand.Text()))
	if err != nil {
		return err
	}
	watch, err := b.nodes.Watch(ctx, b.path, ScopeChildren)
	if err != nil {
		return err
	}
	defer b.nodes.closeSoon(watch)
	for {
		waiting, err := b.nodes.List(ctx, b.path)
		if err != nil {
			return err
		}
		n, here := 0, false
		for _, w := range waiting {
			if w.Path == open {
				return nil
			}
			if strings.HasPrefix(w.Path, b.path+"/at-") {
				n++
			}
			here = here || w.Path == our
		}
		switch {
		case !here:
			return &abstract.Error{Code: abstract.SessionExpired, Op: "wait at " + b.path, Message: "the session ended meanwhile; wait again"}
		case n >= b.size:
			if _, err := b.nodes.Create(ctx, open, nil); err != nil && abstract.CodeOf(err) != abstract.Exists {
				return err
			}
			return nil
		}
		if _, err := watch.Next(ctx); err != nil {
			return err
		}
	}
}
