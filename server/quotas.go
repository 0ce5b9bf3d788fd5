package server

import (
	"trefoil/business/access"
	"trefoil/business/node"
)

// acquire takes one of what the peer's identity may have several of, or returns why it
// may not.
func (c *conn) acquire(r access.Resource) error {
	if b := c.badge.Load(); b != nil {
		return b.account.Acquire(r)
	}
	return nil
}

// release gives back what acquire has taken.
func (c *conn) release(r access.Resource) {
	if b := c.badge.Load(); b != nil {
		b.account.Release(r)
	}
}

// maker is the peer as one who makes nodes.
func (s *NodeServer) maker(c *conn) node.Maker {
	b := c.badge.Load()
	if b == nil {
		return node.Maker{}
	}
	name := b.who.Name()
	return node.Maker{Name: name, Room: func(nodes int) error { // with the index's lock held
		return b.account.Admit(access.Nodes, int64(nodes+s.making[name]))
	}}
}

// reserve counts, with the lock held, nodes that are going to be made.
func (s *NodeServer) reserve(by node.Maker, nodes int) {
	if by.Room != nil && nodes > 0 {
		s.making[by.Name] += nodes
	}
}

// settle ends what reserve has begun: the nodes are in the index, or will not be there.
func (s *NodeServer) settle(by node.Maker, nodes int) {
	if by.Room == nil || nodes == 0 {
		return
	}
	s.index.Lock()
	defer s.index.Unlock()
	if s.making[by.Name] -= nodes; s.making[by.Name] == 0 {
		delete(s.making, by.Name)
	}
}
