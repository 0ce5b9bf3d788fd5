package message

import (
	"encoding/base64"
	"math"
	"strconv"
	"unsafe"

	"trefoil/abstract"
)

// The members of a NodeAction, and where their values are collected.
var actionNames = []string{
	"op", "path", "data", "session", "sequential", "parents", "key", "version", "created", "modified", "recursive", "linearizable",
	"stat", "with_data", "limit", "after", "scope", "revision", "epoch",
	"ops", "timeout_ms", // of the request itself
}

const (
	actOp = iota
	actPath
	actData
	actSession
	actSequential
	actParents
	actKey
	actVersion
	actCreated
	actModified
	actRecursive
	actLinearizable
	actStat
	actWithData
	actLimit
	actAfter
	actScope
	actRevision
	actEpoch
	actOps
	actTimeout
	actMembers // how many there are
)

type actionValues [actMembers][]byte

func (e *envelope) nodeRequest() abstract.BaseMessage {
	var v actionValues
	if !e.collect(v[:], actionNames...) {
		return nil
	}
	m := &NodeRequest{NodeAction: e.action(&v), TimeoutMs: e.count(v[actTimeout], "timeout_ms", longestMs)}
	if m.Op == abstract.NodeMulti {
		m.Ops = e.actions(v[actOps])
	}
	m.Header = e.head
	return m
}

// actions reads the operations of a multi. A fault's details say which one it is in.
func (e *envelope) actions(raw []byte) []NodeAction {
	if e.head.fault != nil {
		return nil
	}
	var list []NodeAction
	e.elements(raw, "ops", MaxNodeOps, func(element []byte) {
		var v actionValues
		s := scanner{b: element}
		if !s.collect(v[:], actionNames) {
			e.fail(abstract.InvalidMessage, `each of the "ops" of a multi must be an object`)
		}
		a := e.action(&v)
		if !a.Op.InMulti() {
			e.fail(abstract.InvalidOp, `each of the "ops" of a multi needs an "op": create, set, delete or check`)
		}
		if e.head.fault != nil {
			e.head.fault.Details = Raw(`{"op":` + strconv.Itoa(len(list)) + `}`)
		}
		list = append(list, a)
	})
	if len(list) == 0 {
		e.fail(abstract.InvalidMessage, `a multi needs "ops": an array of 1 to `+strconv.Itoa(MaxNodeOps)+` operations`)
	}
	if e.head.fault != nil {
		return nil
	}
	return list
}

func (e *envelope) action(v *actionValues) NodeAction {
	a := NodeAction{
		Op:         e.nodeOp(v[actOp]),
		Session:    flag(v[actSession]),
		Sequential: flag(v[actSequential]),
		Parents:    flag(v[actParents]),
		Recursive:  flag(v[actRecursive]), Linearizable: flag(v[actLinearizable]),
		Stat: flag(v[actStat]), WithData: flag(v[actWithData]),
	}
	if v[actPath] != nil || a.Op != abstract.NodeSync && a.Op != abstract.NodeMulti {
		if a.Path = e.text(v[actPath], "path", MaxNodePath); a.Path == "" {
			e.fail(abstract.InvalidMessage, `the "path" of a node must not be empty; the root is "/"`)
		}
	}
	a.Data = e.data(v[actData])
	if a.Op == abstract.NodeSet && v[actData] == nil {
		e.fail(abstract.InvalidMessage, `a set needs "data"; "" will do`)
	}
	a.Key = e.optional(v[actKey], "key", MaxNodeKey)
	a.Version = e.positive(v[actVersion], "version")
	a.Created = e.positive(v[actCreated], "created")
	a.Modified = e.positive(v[actModified], "modified")
	a.Limit = int(e.count(v[actLimit], "limit", math.MaxInt32))
	a.After = e.optional(v[actAfter], "after", MaxNodePath)
	a.Scope = e.scope(v[actScope], a.Op == abstract.NodeWatch || a.Op == abstract.NodeUnwatch)
	a.Revision = e.count(v[actRevision], "revision", math.MaxInt64)
	a.Epoch = e.optional(v[actEpoch], "epoch", maxName)
	return a
}

// nodeOp reads an operation, as one of the constants: it keeps no frame in memory.
func (e *envelope) nodeOp(raw []byte) abstract.NodeOp {
	for _, op := range []abstract.NodeOp{
		abstract.NodeCreate, abstract.NodeGet, abstract.NodeSet, abstract.NodeDelete, abstract.NodeList, abstract.NodeStat, abstract.NodeExists,
		abstract.NodeMulti, abstract.NodeCheck, abstract.NodeWatch, abstract.NodeUnwatch, abstract.NodeSync,
	} {
		if e.says(raw, string(op)) {
			return op
		}
	}
	e.fail(abstract.InvalidOp, `a node request needs an "op": create, get, set, delete, ls, stat, exists, multi, check, watch, unwatch or sync`)
	return ""
}

// says reports whether a value is the string word, escaped or not.
func (e *envelope) says(raw []byte, word string) bool {
	if len(raw) < 2 || raw[0] != '"' || len(raw)-2 > 6*len(word) {
		return false
	}
	return unquote(raw[1:len(raw)-1], false) == word
}

func (e *envelope) scope(raw []byte, needed bool) abstract.NodeScope {
	for _, s := range []abstract.NodeScope{abstract.ScopeNode, abstract.ScopeChildren, abstract.ScopeSubtree} {
		if e.says(raw, string(s)) {
			return s
		}
	}
	if raw != nil || needed {
		e.fail(abstract.InvalidMessage, `a watch needs a "scope": node, children or subtree`)
	}
	return ""
}

// positive reads an integer from 1 up; none is 0.
func (e *envelope) positive(raw []byte, name string) int64 {
	if raw == nil {
		return 0
	}
	v, ok := integer(raw)
	if !ok || v < 1 {
		e.fail(abstract.InvalidMessage, `"`+name+`" must be an integer from 1 up; leave it out to check nothing`)
		return 0
	}
	return v
}

// data reads a node's data: text, or base64 of what is no text. It shares the
// frame's memory where the text is the data.
func (e *envelope) data(raw []byte) []byte {
	if raw == nil {
		return nil
	}
	switch raw[0] {
	case '"':
		inner := raw[1 : len(raw)-1]
		if len(inner) <= 6*MaxNodeData { // else it is too long even when all of it is escaped
			if s := unquote(inner, false); len(s) <= MaxNodeData {
				return bytesOf(s)
			}
		}
		e.failData(len(inner))
		return nil
	case '{':
		return e.base64(raw)
	}
	e.fail(abstract.InvalidMessage, `"data" must be a string, or {"base64":"..."}`)
	return nil
}

// bytesOf is the way back of alias. It is not nil for an empty string.
func bytesOf(s string) []byte {
	if s == "" {
		return []byte{}
	}
	return unsafe.Slice(unsafe.StringData(s), len(s))
}

func (e *envelope) base64(raw []byte) []byte {
	var v [1][]byte
	s := scanner{b: raw}
	s.collect(v[:], []string{"base64"})
	if len(v[0]) < 2 || v[0][0] != '"' {
		e.fail(abstract.InvalidMessage, `"data" must be a string, or {"base64":"..."}`)
		return nil
	}
	inner := v[0][1 : len(v[0])-1]
	if len(inner) > 6*base64.StdEncoding.EncodedLen(MaxNodeData) {
		e.failData(base64.StdEncoding.DecodedLen(len(inner)))
		return nil
	}
	text := unquote(inner, false)
	if len(text) > base64.StdEncoding.EncodedLen(MaxNodeData) {
		e.failData(base64.StdEncoding.DecodedLen(len(text)))
		return nil
	}
	data, err := base64.StdEncoding.DecodeString(text)
	switch {
	case err != nil:
		e.fail(abstract.InvalidMessage, `the "base64" of "data" must be base64 with its padding`)
		return nil
	case len(data) > MaxNodeData: // by less than the padding
		e.failData(len(data))
		return nil
	}
	return data
}

func (e *envelope) failData(size int) {
	e.fail(abstract.TooLarge, "data of "+strconv.Itoa(size)+" bytes is above the "+strconv.Itoa(MaxNodeData)+" that a node holds; spread it over several nodes")
}

// elements calls read with each element of an array, until something is wrong or
// there are more than limit.
func (e *envelope) elements(raw []byte, name string, limit int, read func(element []byte)) {
	if KindOf(raw) != Array {
		e.fail(abstract.InvalidMessage, `"`+name+`" must be there, and an array`)
		return
	}
	s := scanner{b: raw} // that it is valid has been seen with the body
	n := 0
	for i := skipSpace(raw, 1); raw[i] != ']' && e.head.fault == nil; n++ {
		if n == limit {
			e.fail(abstract.TooLarge, `"`+name+`" has more than `+strconv.Itoa(limit)+" elements; send several messages")
			return
		}
		end := s.skip(i)
		read(raw[i:end:end])
		if i = skipSpace(raw, end); raw[i] == ',' {
			i = skipSpace(raw, i+1)
		}
	}
}

func (e *envelope) nodeResponse() abstract.BaseMessage {
	var v [12][]byte
	if !e.collect(v[:], "rcode", "message", "details", "revision", "epoch", "path", "node", "exists", "nodes", "more", "results", "resync") {
		return nil
	}
	m := &NodeResponse{
		Code: e.rcode(v[0]), Message: e.optional(v[1], "message", maxWords), Details: v[2],
		Revision: e.count(v[3], "revision", math.MaxInt64), Epoch: e.optional(v[4], "epoch", maxName),
		Path:   e.optional(v[5], "path", MaxNodePath),
		Exists: flag(v[7]), More: flag(v[9]), Resync: flag(v[11]),
	}
	if v[6] != nil {
		m.Node = e.node(v[6])
	}
	m.Nodes = e.nodes(v[8], "nodes", maxNodes)
	m.Results = e.nodes(v[10], "results", MaxNodeOps)
	m.Header = e.head
	return m
}

// nodes reads an array of nodes, each of which has a path; nil where there is none.
func (e *envelope) nodes(raw []byte, name string, limit int) []Node {
	if raw == nil {
		return nil
	}
	list := []Node{}
	e.elements(raw, name, limit, func(element []byte) {
		n := e.node(element)
		if n.Path == "" {
			e.fail(abstract.InvalidMessage, `each of the "`+name+`" needs a "path"`)
		}
		list = append(list, *n)
	})
	if e.head.fault != nil {
		return nil
	}
	return list
}

func (e *envelope) node(raw []byte) *Node {
	var v [3][]byte
	s := scanner{b: raw}
	if !s.collect(v[:], []string{"path", "data", "stat"}) {
		e.fail(abstract.InvalidMessage, `a node must be an object`)
	}
	return &Node{Path: e.optional(v[0], "path", MaxNodePath), Data: e.data(v[1]), Stat: e.stat(v[2])}
}

func (e *envelope) stat(raw []byte) *NodeStat {
	if raw == nil {
		return nil
	}
	var v [9][]byte
	s := scanner{b: raw}
	if !s.collect(v[:], []string{"version", "created", "modified", "children", "children_modified", "session", "ctime_ms", "mtime_ms", "size"}) {
		e.fail(abstract.InvalidMessage, `"stat" must be an object`)
	}
	const most = math.MaxInt64
	return &NodeStat{
		Version: e.count(v[0], "version", most), Created: e.count(v[1], "created", most), Modified: e.count(v[2], "modified", most),
		Children: e.count(v[3], "children", most), ChildrenModified: e.count(v[4], "children_modified", most),
		Session: e.optional(v[5], "session", maxName),
		CtimeMs: e.whole(v[6], "ctime_ms"), MtimeMs: e.whole(v[7], "mtime_ms"),
		Size: e.count(v[8], "size", most),
	}
}

// whole reads an integer of 64 bits; none is 0.
func (e *envelope) whole(raw []byte, name string) int64 {
	v, ok := integer(raw)
	if !ok && raw != nil {
		e.fail(abstract.InvalidMessage, `"`+name+`" must be an integer of 64 bits at most`)
	}
	return v
}

func (e *envelope) nodeEvent() abstract.BaseMessage {
	var v [6][]byte
	if !e.collect(v[:], "path", "scope", "revision", "events", "truncated", "resync") {
		return nil
	}
	m := &NodeEvent{
		Path: e.text(v[0], "path", MaxNodePath), Scope: e.scope(v[1], true), Revision: e.count(v[2], "revision", math.MaxInt64),
		Truncated: flag(v[4]), Resync: flag(v[5]),
	}
	if v[3] != nil || !m.Resync {
		m.Events = e.changes(v[3])
	}
	m.Header = e.head
	return m
}

func (e *envelope) changes(raw []byte) []NodeChange {
	var list []NodeChange
	e.elements(raw, "events", maxNodes, func(element []byte) { list = append(list, e.change(element)) })
	if e.head.fault != nil {
		return nil
	}
	return list
}

func (e *envelope) change(raw []byte) NodeChange {
	var v [3][]byte
	s := scanner{b: raw}
	if !s.collect(v[:], []string{"type", "path", "node"}) {
		e.fail(abstract.InvalidMessage, `each of the "events" must be an object`)
	}
	c := NodeChange{Deleted: e.says(v[0], "delete"), Path: e.text(v[1], "path", MaxNodePath)}
	switch {
	case c.Deleted:
	case !e.says(v[0], "put"):
		e.fail(abstract.InvalidMessage, `the "type" of an event must be put or delete`)
	case v[2] == nil:
		e.fail(abstract.InvalidMessage, `an event of type put needs a "node"`)
	default:
		c.Node = e.node(v[2])
		c.Node.Path = c.Path
	}
	return c
}
