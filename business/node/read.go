package node

import (
	"trefoil/abstract"
	"trefoil/concrete/message"
)

// Read answers get, stat, exists and ls from the index: what is said is true at
// the answer's Revision. a.Linearizable is not looked at: let the Store Sync and
// the index catch up before. The caller fills in the Header. The error is
// InvalidParams, InvalidOp, or NotFound.
//
// An ls lists a page of the nodes below a path, each before its children, those of
// one parent in the byte order of their names: the direct ones, or with a.Recursive
// all. It begins behind a.After, a path or a name, which need not exist any more.
// Nodes that sees says no of are left out; nil sees all.
func (m *NodeManager) Read(a *message.NodeAction, sees func(path string) bool) (*message.NodeResponse, error) {
	if err := CheckPath(a.Path); err != nil {
		return nil, err
	}
	rsp, n := m.answer(), m.nodes[a.Path]
	switch {
	case a.Op == abstract.NodeExists:
		rsp.Exists = n != nil
		return rsp, nil
	case n == nil:
		return nil, notFound(a.Path)
	case a.Op == abstract.NodeGet || a.Op == abstract.NodeStat:
		rsp.Node = n.told(a.Op == abstract.NodeGet)
		return rsp, nil
	case a.Op == abstract.NodeList:
		return rsp, m.list(rsp, n, a, sees)
	}
	return nil, abstract.Errorf(abstract.InvalidOp, "%.40q is not a read; give get, stat, exists or ls", a.Op)
}

func notFound(path string) error {
	return abstract.Errorf(abstract.NotFound, "there is no node %q", path)
}

// list fills in a page.
func (m *NodeManager) list(rsp *message.NodeResponse, n *node, a *message.NodeAction, sees func(path string) bool) error {
	after, err := behind(a)
	if err != nil {
		return err
	}
	rsp.Nodes = []message.Node{}
	size := 0
	for n := range n.behind(after, a.Recursive) {
		if sees != nil && !sees(n.path) {
			continue
		}
		if size >= m.cfg.MaxPage || a.Limit > 0 && len(rsp.Nodes) == a.Limit {
			rsp.More = true
			break
		}
		told := message.Node{Path: n.path}
		if a.Stat || a.WithData {
			told = *n.told(a.WithData)
		}
		if !a.Stat {
			told.Stat = nil
		}
		m.scratch = message.AppendNode(m.scratch[:0], &told)
		size += len(m.scratch) + 1
		rsp.Nodes = append(rsp.Nodes, told)
	}
	if cap(m.scratch) > 64<<10 {
		m.scratch = nil
	}
	return nil
}

// behind returns the path behind which an ls begins; empty: at the beginning.
func behind(a *message.NodeAction) (string, error) {
	if a.After == "" {
		return "", nil
	}
	after := a.After
	if after[0] != '/' {
		after = join(a.Path, after)
	}
	if !below(after, a.Path) {
		return "", abstract.Errorf(abstract.InvalidParams, "after %.80q is not below %.80q; give the last path of the page before", a.After, a.Path)
	}
	if !a.Recursive && parentOf(after) != a.Path {
		return "", abstract.Errorf(abstract.InvalidParams, "after %.80q is no child of %.80q; give the last path of the page before", a.After, a.Path)
	}
	return after, CheckPath(after)
}
