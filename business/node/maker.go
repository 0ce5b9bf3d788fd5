package node

// Maker is who makes nodes, for quotas. The zero value is nobody in particular.
type Maker struct {
	Name string // letters, digits and . _ - / @ :
	// Room says, with the number of nodes that there would be of the maker, why there
	// cannot be so many; nil: there can. Nil stands for no limit.
	Room func(nodes int) error
}

// maker is what the index knows of one.
type maker struct {
	name  string
	nodes int
}

// credit notes who has made a node that has a key.
func (m *NodeManager) credit(n *node, name string) {
	if n.by != nil {
		if n.by.name == name {
			return
		}
		if n.by.nodes--; n.by.nodes == 0 {
			delete(m.makers, n.by.name)
		}
		n.by = nil
	}
	if name == "" {
		return
	}
	by := m.makers[name]
	if by == nil {
		by = &maker{name: name}
		m.makers[name] = by
	}
	by.nodes++
	n.by = by
}

// MadeBy returns how many nodes there are of a maker.
func (m *NodeManager) MadeBy(name string) int {
	if by := m.makers[name]; by != nil {
		return by.nodes
	}
	return 0
}

// roomForMaker refuses to let a maker have more than its share.
func (p *planner) roomForMaker() error {
	if p.by.Room == nil {
		return nil
	}
	return p.by.Room(p.m.MadeBy(p.by.Name) + p.made)
}
