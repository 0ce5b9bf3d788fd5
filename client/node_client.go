package client

import (
	"context"
	"fmt"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// NodeClient works on the broker's tree of nodes: small pieces of data under paths
// like /config/db, permanent or bound to the Conn's session. Operations of one
// NodeClient are done in the order of their calls, where the calls do not overlap,
// and a read sees the client's own earlier writes; what others wrote may be seen a
// moment later, but for Linearizable reads. Safe for concurrent use.
type NodeClient struct{ conn *Conn }

// NewNodeClient makes a NodeClient on a connection. All of one Conn's NodeClients
// share its session.
func NewNodeClient(c *Conn) *NodeClient { return &NodeClient{c} }

// Node is one node as it was at Revision.
type Node struct {
	Path     string
	Data     []byte // nil when it was not asked for
	Stat     NodeStat
	Revision int64 // of the tree when the node was read
}

// NodeStat is what is known of a node besides its data: versions, revisions, times
// for show, its session, how many children it has.
type NodeStat = message.NodeStat

// NodeOption changes one operation on a node. An option that means nothing to an
// operation is ignored by it.
type NodeOption func(*message.NodeAction)

// SessionNode makes a node that is deleted when this client's session ends: at the
// Conn's Close, or when the broker has heard nothing for too long.
func SessionNode() NodeOption { return func(a *message.NodeAction) { a.Session = true } }

// Sequential appends a number of ten digits to the path of a created node, which
// grows with every such node of one parent.
func Sequential() NodeOption { return func(a *message.NodeAction) { a.Sequential = true } }

// MakeParents makes the missing parents of a created node, as permanent nodes
// without data.
func MakeParents() NodeOption { return func(a *message.NodeAction) { a.Parents = true } }

// OnceAs gives a creation a name of up to 256 bytes, unique in the session: done
// again under the same name it makes no second node, and has the same outcome. So
// the client repeats it when the connection is lost before the answer.
func OnceAs(key string) NodeOption { return func(a *message.NodeAction) { a.Key = key } }

// IfVersion lets an operation fail with Conflict when the node has another version.
func IfVersion(v int64) NodeOption { return func(a *message.NodeAction) { a.Version = v } }

// IfCreated lets an operation fail with Conflict when the node was created at
// another revision: when it is another node of the same path.
func IfCreated(revision int64) NodeOption {
	return func(a *message.NodeAction) { a.Created = revision }
}

// IfModified lets an operation fail with Conflict when the node was changed last at
// another revision.
func IfModified(revision int64) NodeOption {
	return func(a *message.NodeAction) { a.Modified = revision }
}

// Recursive deletes a node with everything below it, or lists all of that.
func Recursive() NodeOption { return func(a *message.NodeAction) { a.Recursive = true } }

// Linearizable makes a read see everything that anybody was acknowledged before it
// began. It asks the store, and fails when that has no quorum.
func Linearizable() NodeOption { return func(a *message.NodeAction) { a.Linearizable = true } }

// WithData makes List return the nodes' data too.
func WithData() NodeOption { return func(a *message.NodeAction) { a.WithData = true } }

// action makes an operation.
func action(op abstract.NodeOp, path string, data []byte, opts []NodeOption) message.NodeAction {
	a := message.NodeAction{Op: op, Path: path, Data: data}
	for _, opt := range opts {
		opt(&a)
	}
	return a
}

// harmless says whether an operation may be done twice with the outcome of once.
func harmless(a *message.NodeAction) bool {
	switch a.Op {
	case abstract.NodeCreate:
		return a.Key != ""
	case abstract.NodeSet, abstract.NodeDelete, abstract.NodeMulti:
		return false
	}
	return true
}

// do asks the broker.
func (n *NodeClient) do(ctx context.Context, a message.NodeAction, ops ...message.NodeAction) (*message.NodeResponse, error) {
	return n.conn.nodeRequest(ctx, a, ops, nil)
}

// nodeRequest asks for a node operation. see, unless nil, gets an answer without an
// error in order with the events that follow it.
func (c *Conn) nodeRequest(ctx context.Context, a message.NodeAction, ops []message.NodeAction, see func(*message.NodeResponse)) (*message.NodeResponse, error) {
	what := describe(&a)
	if err := ctx.Err(); err != nil {
		return nil, &abstract.Error{Code: abstract.CodeOf(err), Op: what, Message: "the context was over before the request was sent", Sent: abstract.SentNo, Err: err}
	}
	deadline := c.deadline(ctx)
	m, err := c.attempt(ctx, what, deadline, harmless(&a), func(s *session) (abstract.BaseMessage, error) {
		return s.askNode(ctx, deadline, a, ops, see)
	})
	if err != nil {
		return nil, err
	}
	return accepted(what, m, c.addr)
}

// describe says what an operation does, for errors.
func describe(a *message.NodeAction) string {
	if a.Path == "" {
		return string(a.Op)
	}
	return string(a.Op) + " " + a.Path
}

// askNode asks for a node operation on one connection.
func (s *session) askNode(ctx context.Context, deadline time.Time, a message.NodeAction, ops []message.NodeAction, see func(*message.NodeResponse)) (abstract.BaseMessage, error) {
	if !s.modern() {
		return nil, &abstract.Error{Code: abstract.Unsupported, Message: s.name() + " is an existing program without nodes", Sent: abstract.SentNo}
	}
	r := request{want: abstract.RspNode, build: func(id string) abstract.BaseMessage {
		return &message.NodeRequest{Header: message.ID(id), NodeAction: a, Ops: ops, TimeoutMs: budget(time.Until(deadline))}
	}}
	if see != nil {
		r.see = func(m abstract.BaseMessage) {
			if rsp := m.(*message.NodeResponse); rsp.Code == abstract.OK {
				see(rsp)
			}
		}
	}
	return s.ask(ctx, deadline, r)
}

// accepted is the answer to a node operation, or the error that it carries.
func accepted(what string, m abstract.BaseMessage, addr string) (*message.NodeResponse, error) {
	rsp := m.(*message.NodeResponse)
	if rsp.Code != abstract.OK {
		e := refused(what, rsp.Code, rsp.Message, addr)
		e.Details = rsp.Details
		return nil, e
	}
	return rsp, nil
}

// Create makes a node and returns its path, which is path but with Sequential. Its
// parent must be there, and permanent, unless MakeParents is given. Nil data is
// empty. An existing node is an error with code Exists.
func (n *NodeClient) Create(ctx context.Context, path string, data []byte, opts ...NodeOption) (string, error) {
	rsp, err := n.do(ctx, action(abstract.NodeCreate, path, data, opts))
	if err != nil {
		return "", err
	}
	return rsp.Path, nil
}

// Get returns a node with its data. Without it the error is ErrNotFound.
func (n *NodeClient) Get(ctx context.Context, path string, opts ...NodeOption) (Node, error) {
	rsp, err := n.do(ctx, action(abstract.NodeGet, path, nil, opts))
	if err != nil {
		return Node{}, err
	}
	return nodeOf(rsp)
}

// Stat returns a node without its data.
func (n *NodeClient) Stat(ctx context.Context, path string, opts ...NodeOption) (Node, error) {
	rsp, err := n.do(ctx, action(abstract.NodeStat, path, nil, opts))
	if err != nil {
		return Node{}, err
	}
	return nodeOf(rsp)
}

// Exists says whether a node is there.
func (n *NodeClient) Exists(ctx context.Context, path string, opts ...NodeOption) (bool, error) {
	rsp, err := n.do(ctx, action(abstract.NodeExists, path, nil, opts))
	return err == nil && rsp.Exists, err
}

// Set replaces a node's data, and returns what is known of it then.
func (n *NodeClient) Set(ctx context.Context, path string, data []byte, opts ...NodeOption) (Node, error) {
	rsp, err := n.do(ctx, action(abstract.NodeSet, path, some(data), opts))
	if err != nil {
		return Node{}, err
	}
	return nodeOf(rsp)
}

// Delete deletes a node. With children it is an error with code NotEmpty, unless
// Recursive is given; more than a thousand nodes then go in several steps, from
// below, and what is left after an error is a whole tree still.
func (n *NodeClient) Delete(ctx context.Context, path string, opts ...NodeOption) error {
	_, err := n.do(ctx, action(abstract.NodeDelete, path, nil, opts))
	return err
}

// List returns the children of a node in the order of their paths, or with
// Recursive all nodes below it. Longer lists are read in several pages, each as it
// is at its Revision: a Watch that began before tells what changed in between.
func (n *NodeClient) List(ctx context.Context, path string, opts ...NodeOption) ([]Node, error) {
	a := action(abstract.NodeList, path, nil, opts)
	a.Stat = true
	most := a.Limit
	var all []Node
	for {
		rsp, err := n.do(ctx, a)
		if err != nil {
			return nil, err
		}
		for i := range rsp.Nodes {
			all = append(all, wholeNode(&rsp.Nodes[i], rsp.Revision))
		}
		if !rsp.More || len(rsp.Nodes) == 0 || most > 0 && len(all) >= most {
			return all, nil
		}
		a.After = rsp.Nodes[len(rsp.Nodes)-1].Path
	}
}

// Sync returns when this client's reads see everything that anybody was
// acknowledged before the call, and the revision up to which that is.
func (n *NodeClient) Sync(ctx context.Context) (revision int64, err error) {
	rsp, err := n.do(ctx, message.NodeAction{Op: abstract.NodeSync})
	if err != nil {
		return 0, err
	}
	return rsp.Revision, nil
}

// NodeOp is one operation of a Multi.
type NodeOp struct{ action message.NodeAction }

// CreateOp is Create as a part of a Multi.
func CreateOp(path string, data []byte, opts ...NodeOption) NodeOp {
	return NodeOp{action(abstract.NodeCreate, path, data, opts)}
}

// SetOp is Set as a part of a Multi.
func SetOp(path string, data []byte, opts ...NodeOption) NodeOp {
	return NodeOp{action(abstract.NodeSet, path, some(data), opts)}
}

// DeleteOp is Delete as a part of a Multi; Recursive is not possible there.
func DeleteOp(path string, opts ...NodeOption) NodeOp {
	return NodeOp{action(abstract.NodeDelete, path, nil, opts)}
}

// CheckOp changes nothing, and lets a Multi fail when the node is not there or not
// as the options say.
func CheckOp(path string, opts ...NodeOption) NodeOp {
	return NodeOp{action(abstract.NodeCheck, path, nil, opts)}
}

// Multi does all of up to 128 operations at one revision, or none: then the error
// is that of the first which could not be done, and its Details name it, counted
// from 0: {"op":2}. Later operations see what earlier ones have done. It returns
// path and Stat for each.
func (n *NodeClient) Multi(ctx context.Context, ops ...NodeOp) ([]Node, error) {
	actions := make([]message.NodeAction, len(ops))
	for i := range ops {
		actions[i] = ops[i].action
	}
	rsp, err := n.do(ctx, message.NodeAction{Op: abstract.NodeMulti}, actions...)
	if err != nil {
		return nil, err
	}
	results := make([]Node, len(rsp.Results))
	for i := range rsp.Results {
		results[i] = wholeNode(&rsp.Results[i], rsp.Revision)
	}
	return results, nil
}

// nodeOf is the one node of an answer.
func nodeOf(rsp *message.NodeResponse) (Node, error) {
	if rsp.Node == nil {
		return Node{}, &abstract.Error{Code: abstract.InvalidMessage, Message: fmt.Sprintf("the broker's answer at revision %d has no node", rsp.Revision), Sent: abstract.SentYes}
	}
	return wholeNode(rsp.Node, rsp.Revision), nil
}

func wholeNode(m *message.Node, revision int64) Node {
	n := Node{Path: m.Path, Data: m.Data, Revision: revision}
	if m.Stat != nil {
		n.Stat = *m.Stat
	}
	return n
}

// some is data that is there, if only to be empty.
func some(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}
