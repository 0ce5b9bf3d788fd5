package node

import (
	"trefoil/abstract"
	"trefoil/concrete/message"
)

// Plan is what a write comes to.
type Plan struct {
	// Txn is to be run by the Store. When it has not succeeded somebody was
	// faster: plan again as soon as the index has applied its revision.
	Txn abstract.Txn
	// Session says that something is made to belong to the caller's session: what
	// SessionManager.PlanStore returns, one comparison and one operation at most,
	// has to be added to Txn.
	Session bool
	// More says that this is not the end of a large recursive delete: when it has
	// succeeded and is applied, plan the same request again.
	More bool

	// Made is how many nodes it makes.
	Made int

	multi   bool
	results []message.Node // Created, Modified and ChildrenModified 0: the revision of Txn
}

// Done says that there is nothing to run: the request was done before.
func (p *Plan) Done() bool { return len(p.Txn.If)+len(p.Txn.Then) == 0 }

// Plan returns the transaction that does what a request asks for: create, set,
// delete, check, or a multi of those. now is the wall clock in Unix milliseconds,
// for show; session is the caller's, as in its keys, or empty.
//
// The error, judged by the index, answers the request; where others write to the
// Store too and the index may be behind, let the Store Sync and plan once more
// before. For a multi its Details name the operation. It is one of
//
//   - InvalidParams, InvalidOp, TooLarge: it cannot be done, ever;
//   - NotFound, Exists, NotEmpty, Conflict: the tree is not as it should be;
//   - Denied: the root, what is below /services, children of a session node;
//   - Overloaded: at a limit.
//
// A recursive delete of up to some 1,000 nodes is one transaction. A larger one is
// several, from below, each of which leaves a whole tree: see More. It is not
// possible in a multi.
func (m *NodeManager) Plan(now int64, session string, req *message.NodeRequest) (*Plan, error) {
	return m.PlanBy(Maker{}, now, session, req)
}

// PlanBy is Plan for a maker. What its Room says answers the request too.
func (m *NodeManager) PlanBy(by Maker, now int64, session string, req *message.NodeRequest) (*Plan, error) {
	p := &planner{m: m, now: now, session: session, by: by}
	if req.Op != abstract.NodeMulti {
		if err := p.one(&req.NodeAction); err != nil {
			return nil, err
		}
		return p.plan(false)
	}
	if len(req.Ops) == 0 || len(req.Ops) > message.MaxNodeOps {
		return nil, abstract.Errorf(abstract.InvalidParams, "a multi of %d operations; give 1 to %d", len(req.Ops), message.MaxNodeOps)
	}
	for i := range req.Ops {
		if err := p.part(&req.Ops[i]); err != nil {
			return nil, ofOperation(i, err)
		}
	}
	return p.plan(true)
}

// Response answers a request whose last Plan is done: it was Done, or its
// transaction has succeeded at a revision that the index has applied. The caller
// fills in the Header.
func (m *NodeManager) Response(p *Plan, revision int64) *message.NodeResponse {
	rsp := m.answer()
	if revision != 0 {
		rsp.Revision = revision
	}
	for i := range p.results {
		if s := p.results[i].Stat; s != nil {
			if !p.multi && s.Modified != 0 { // a check, which relies on no more than it was asked for
				m.renew(p.results[i].Path, s)
			}
			m.complete(p.results[i].Path, s, revision)
		}
	}
	if p.multi {
		rsp.Results = p.results
		return rsp
	}
	rsp.Path = p.results[0].Path
	if p.results[0].Stat != nil {
		rsp.Node = &p.results[0]
	}
	return rsp
}

// renew makes what was known of a node before the transaction what is known now, in which
// somebody else may have written it.
func (m *NodeManager) renew(path string, s *message.NodeStat) {
	if n := m.nodes[path]; n != nil && n.created == s.Created {
		*s = n.stat()
	}
}

// complete fills in what was not known before the transaction: its revision, and
// the children that others made and deleted meanwhile.
func (m *NodeManager) complete(path string, s *message.NodeStat, revision int64) {
	if s.Created == 0 {
		s.Created = revision
	}
	if s.Modified == 0 {
		s.Modified = revision
	}
	if n := m.nodes[path]; n != nil && n.created == s.Created {
		s.Children, s.ChildrenModified = int64(n.children.count()), n.childrenModified
	}
}
