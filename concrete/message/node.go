package message

import "trefoil/abstract"

// What a node request may hold. More is refused before memory is spent on it.
const (
	MaxNodePath = 1024    // bytes of a path
	MaxNodeData = 1 << 20 // bytes of a node's data
	MaxNodeOps  = 128     // operations of a multi
	MaxNodeKey  = 256     // bytes of an idempotency key
)

// maxNodes is how many nodes or events we take in one message. The least that
// one of them takes of a frame is a sixth of what it takes in memory.
const maxNodes = 1 << 17

// NodeRequest asks for one operation on the tree, or for several that are done
// all or not at all.
type NodeRequest struct {
	Header
	NodeAction
	Ops       []NodeAction // "ops" of a multi; 1 to MaxNodeOps
	TimeoutMs int64        // what is left of the caller's patience; 0: no limit
}

// Type returns REQ_NODE.
func (*NodeRequest) Type() abstract.MType { return abstract.ReqNode }

// NodeAction is one operation with all that any of them may say. What the
// operation has no use for is not looked at. As no version and no revision is 0,
// 0 is where nothing is asked.
type NodeAction struct {
	Op   abstract.NodeOp
	Path string // no empty one, but in a sync or a multi; its form is checked by who serves it
	Data []byte // "data"; nil: none was given, which is not the same as empty. A string on the wire, or {"base64":".."} where it is no UTF-8

	Session    bool   // "session": the node belongs to the caller's session
	Sequential bool   // "sequential": a number is appended to the path
	Parents    bool   // "parents": missing parents are made
	Key        string // "key": a create that is repeated with the same key is done once

	Version  int64 // "version": the node must have it; 0: not checked
	Created  int64 // "created": the revision that must have made the node; 0: not checked
	Modified int64 // "modified": the revision that must have changed the node last; 0: not checked

	Recursive    bool               // "recursive": a delete or an ls of everything below
	Linearizable bool               // "linearizable": a read that sees what anybody was acknowledged before it
	Stat         bool               // "stat": an ls tells the stat of each node
	WithData     bool               // "with_data": and the data
	Limit        int                // "limit" of an ls; 0: as many as fit a page
	After        string             // "after": an ls begins behind this path
	Scope        abstract.NodeScope // "scope" of a watch or an unwatch
	Revision     int64              // "revision": a watch tells what came after it
	Epoch        string             // "epoch" in which Revision counts
}

// NodeResponse answers a NodeRequest.
type NodeResponse struct {
	Header
	Code     abstract.RCode
	Message  string // "message": the error in words; left out when empty
	Details  Raw    // "details": {"op":2} names the operation of a multi that failed; left out when empty
	Revision int64  // "revision" at which the answer is true; 0: none
	Epoch    string // "epoch" in which revisions count
	Path     string // "path" of the node that a create made
	Node     *Node  // "node" that was asked for
	Exists   bool   // "exists"; left out when false
	Nodes    []Node // "nodes" of an ls
	More     bool   // "more": the ls is not at its end; go on behind the last of Nodes. Left out when false
	Results  []Node // "results" of a multi: path and stat for each of its operations
	Resync   bool   // "resync": changes before Revision cannot be told any more, read first. Left out when false
}

// Type returns RSP_NODE.
func (*NodeResponse) Type() abstract.MType { return abstract.RspNode }

// Node is one node of the tree, as far as it was asked for.
type Node struct {
	Path string
	Data []byte    // nil: not told
	Stat *NodeStat // nil: not told
}

// NodeStat is what is known of a node besides its data.
type NodeStat struct {
	Version          int64  // 1 when it is made, 1 more with each set
	Created          int64  // the revision that made it
	Modified         int64  // the revision of its last set, or Created
	Children         int64  // how many direct children it has
	ChildrenModified int64  // the revision at which one came or went last; 0: none ever has
	Session          string // the session it belongs to; empty for a permanent node
	CtimeMs          int64  // wall clock at the broker when it was made, Unix milliseconds; for show
	MtimeMs          int64  // and when it was set last
	Size             int64  // bytes of its data
}

// NodeEvent tells the watchers of a part of the tree what one revision changed in
// it: all of it, so a multi is seen whole. It has no id, so it has the same bytes
// for all of them.
type NodeEvent struct {
	Header
	Path      string             // "path" and
	Scope     abstract.NodeScope // "scope" name the watch
	Revision  int64
	Events    []NodeChange // "events"; empty when Resync is set
	Truncated bool         // "truncated": data was left out, as it would not have fitted a frame; read the nodes
	Resync    bool         // "resync": events up to Revision may be missing; read again
}

// Type returns NODE_EVENT.
func (*NodeEvent) Type() abstract.MType { return abstract.NodeEvent }

// NodeChange is one changed node.
type NodeChange struct {
	Deleted bool   // "type" is "delete", else "put"
	Path    string // "path"
	Node    *Node  // "node" as it is now; nil for a deleted one. Its Path is that of the change
}
