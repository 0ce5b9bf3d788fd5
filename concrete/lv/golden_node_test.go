package lv_test

import (
	"strings"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// goldenNodes are the golden frames of sessions and of the node tree, in our own
// layout: no existing program sends these.
func goldenNodes() map[string]abstract.BaseMessage {
	id := message.ID
	const session, epoch = "0123456789abcdef0123456789abcdef", "5f2c"
	secret := strings.Repeat("a5", 32)
	stat := &message.NodeStat{Version: 1, Created: 17, Modified: 17, Session: session, CtimeMs: 1700000000000, MtimeMs: 1700000000000, Size: 6}
	request := func(name string, a message.NodeAction, ops ...message.NodeAction) *message.NodeRequest {
		return &message.NodeRequest{Header: id(name), NodeAction: a, Ops: ops}
	}
	create := request("n1", message.NodeAction{Op: abstract.NodeCreate, Path: "/lock/n-", Data: []byte("host a"), Session: true, Sequential: true, Key: "k1"})
	create.TimeoutMs = 5000
	hello := func(s message.SessionRequest) *message.Hello {
		return &message.Hello{Header: id("h1"), Version: 1, Agent: "demo/1.0", MaxFrame: 8 << 20, Session: &s}
	}
	return map[string]abstract.BaseMessage{
		"30-req-hello-new-session":    hello(message.SessionRequest{}),
		"31-req-hello-resume-session": hello(message.SessionRequest{ID: session, Secret: secret, Sequence: 41}),
		"32-rsp-hello-session": &message.HelloResponse{
			Header: id("h1"), Version: 1, Agent: "trefoil/0.1", MaxFrame: 8 << 20, PingMs: 2000, Misses: 5,
			Session: &message.SessionGrant{ID: session, Secret: secret, IntervalMs: 2000, Misses: 5, Resumed: true, UDP: 7700}},
		"33-req-node-create": create,
		"34-rsp-node-create": &message.NodeResponse{
			Header: id("n1"), Revision: 17, Epoch: epoch, Path: "/lock/n-0000000001", Node: &message.Node{Path: "/lock/n-0000000001", Stat: stat}},
		"35-req-node-set-binary": request("n2", message.NodeAction{Op: abstract.NodeSet, Path: "/config", Data: []byte{0, 0xff, 0x80}, Version: 3}),
		"36-rsp-node-conflict": &message.NodeResponse{
			Header: id("n2"), Code: abstract.Conflict, Message: "/config is at version 4, not 3; read it again", Revision: 21, Epoch: epoch},
		"37-req-node-multi": request("n3", message.NodeAction{Op: abstract.NodeMulti},
			message.NodeAction{Op: abstract.NodeCheck, Path: "/lock/n-0000000001", Created: 17},
			message.NodeAction{Op: abstract.NodeSet, Path: "/config", Data: []byte{}},
			message.NodeAction{Op: abstract.NodeDelete, Path: "/old", Recursive: true}),
		"38-rsp-node-multi": &message.NodeResponse{
			Header: id("n3"), Revision: 22, Epoch: epoch, Results: []message.Node{{Path: "/lock/n-0000000001"}, {Path: "/config", Stat: stat}, {Path: "/old"}}},
		"39-req-node-watch": request("n4", message.NodeAction{Op: abstract.NodeWatch, Path: "/lock", Scope: abstract.ScopeSubtree, Revision: 17, Epoch: epoch}),
		"40-node-event": &message.NodeEvent{
			Header: id(""), Path: "/lock", Scope: abstract.ScopeSubtree, Revision: 23, Events: []message.NodeChange{
				{Path: "/lock/n-0000000002", Node: &message.Node{Path: "/lock/n-0000000002", Data: []byte("host b"), Stat: stat}},
				{Deleted: true, Path: "/lock/n-0000000001"}}},
		"41-node-event-resync": &message.NodeEvent{Header: id(""), Path: "/lock", Scope: abstract.ScopeSubtree, Revision: 99, Resync: true},
		"42-req-node-ls":       request("n5", message.NodeAction{Op: abstract.NodeList, Path: "/", Stat: true, WithData: true, Limit: 2, After: "/config"}),
		"43-rsp-node-ls": &message.NodeResponse{
			Header: id("n5"), Revision: 23, Epoch: epoch, More: true,
			Nodes: []message.Node{{Path: "/lock", Data: []byte{}, Stat: stat}, {Path: "/old", Data: []byte{0xff}, Stat: stat}}},
	}
}

// nodeContent is content for these messages.
func nodeContent(m abstract.BaseMessage) abstract.BaseMessage {
	switch m := m.(type) {
	case *message.Hello:
		c := *m
		c.Header = message.ID(m.ID())
		return &c
	case *message.HelloResponse:
		c := *m
		c.Header = message.ID(m.ID())
		return &c
	case *message.NodeRequest:
		c := *m
		c.Header = message.ID(m.ID())
		return &c
	case *message.NodeResponse:
		c := *m
		c.Header = message.ID(m.ID())
		return &c
	case *message.NodeEvent:
		c := *m
		c.Header = message.ID(m.ID())
		return &c
	}
	return m
}
