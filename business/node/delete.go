package node

import (
	"trefoil/abstract"
	"trefoil/concrete/message"
)

// deleteAll plans a recursive delete, or the next part of it: as many nodes as fit
// into a transaction, those below before those above. It compares that nothing has
// been made at those depths that we do not know of, so that no child is left behind.
func (p *planner) deleteAll(a *message.NodeAction) error {
	if err := CheckPath(a.Path); err != nil {
		return err
	}
	d := p.draft(a.Path)
	if d.children == 0 {
		return p.delete(a)
	}
	if err := writable(a.Path); err != nil {
		return err
	}
	if d.there {
		if err := d.matches(a); err != nil {
			return err
		}
		d.relyOnMatch(a)
	}
	s := sweep{m: p.m, top: p.m.nodes[a.Path]}
	p.more = !s.node(s.top, depthOf(a.Path))
	p.deletes = s.ops
	for depth := s.highest + 1; depth <= min(s.lowest+1, MaxDepth); depth++ {
		p.below = append(p.below, noneBelow(a.Path, depth, p.m.applied))
	}
	p.results = append(p.results, message.Node{Path: a.Path})
	return nil
}

// sweep collects what one transaction of a recursive delete deletes.
type sweep struct {
	m               *NodeManager
	top             *node
	ops             []abstract.Op
	highest, lowest int // depths of the nodes
}

// node adds what is below a node, and then the node. It returns false when there
// was no room for all.
func (s *sweep) node(n *node, depth int) bool {
	for c := range n.children.from("") {
		if !s.node(c, depth+1) {
			return false
		}
	}
	if len(s.ops)+2 > abstract.StoreMaxOps {
		return false
	}
	if s.ops == nil {
		s.highest, s.lowest = depth, depth
	}
	s.highest, s.lowest = min(s.highest, depth), max(s.lowest, depth)
	if n.kind == stored {
		s.ops = append(s.ops, abstract.Op{Key: n.key(), Delete: true})
	}
	if _, counts := s.m.counters[n.path]; counts {
		s.ops = append(s.ops, abstract.Op{Key: sequenceKey(n.path), Delete: true})
	}
	return true
}
