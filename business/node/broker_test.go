package node

import (
	"context"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/memstore"
	"trefoil/concrete/message"
)

// broker joins a NodeManager and a Store as a server does, and keeps the notices.
type broker struct {
	t     require.TestingT
	store *memstore.Store
	m     *NodeManager
	sent  []Notice
	now   int64
	late  bool // changes wait in queue
	queue []abstract.Change
}

const epoch = "epoch-1"

func newBroker(t require.TestingT, cfg Config) *broker {
	return newBrokerOn(t, memstore.New(), cfg)
}

func newBrokerOn(t require.TestingT, s *memstore.Store, cfg Config) *broker {
	cfg.Epoch = epoch
	b := &broker{t: t, store: s, m: NewNodeManager(cfg), now: 1000}
	const nobody = ConnID(1 << 60)
	_, _, err := b.m.Watch(nobody, &message.NodeAction{Path: root, Scope: abstract.ScopeNode}) // from here on there is a history
	require.NoError(t, err)
	b.m.Forget(nobody)
	s.Follow(Prefix, func(c abstract.Change) {
		b.queue = append(b.queue, c)
		if !b.late {
			b.catchUp()
		}
	})
	return b
}

// catchUp applies what waits.
func (b *broker) catchUp() {
	for _, c := range b.queue {
		for _, n := range b.m.Apply(c) {
			n.Conns = slices.Clone(n.Conns)
			b.sent = append(b.sent, n)
		}
	}
	b.queue = nil
}

// txn runs a transaction.
func (b *broker) txn(t abstract.Txn) abstract.TxnResult {
	res, err := b.store.Txn(context.Background(), t)
	require.NoError(b.t, err)
	return res
}

// do does a request to the end, and returns what was sent meanwhile.
func (b *broker) do(session string, req *message.NodeRequest) (rsp *message.NodeResponse, sent []Notice, err error) {
	b.sent = nil
	for {
		p, err := b.m.Plan(b.now, session, req)
		if err != nil {
			return nil, b.sent, err
		}
		if p.Done() {
			return b.m.Response(p, 0), b.sent, nil
		}
		res := b.txn(p.Txn)
		b.catchUp()
		if res.Succeeded && !p.More {
			return b.m.Response(p, res.Revision), b.sent, nil
		}
	}
}

// act is do for one action that succeeds.
func (b *broker) act(a message.NodeAction) *message.NodeResponse {
	rsp, _, err := b.do(sessionOf(a), &message.NodeRequest{NodeAction: a})
	require.NoError(b.t, err)
	return rsp
}

// refused is do for one action that does not, and changes nothing.
func (b *broker) refused(a message.NodeAction) abstract.RCode {
	before := b.m.Applied()
	_, _, err := b.do(sessionOf(a), &message.NodeRequest{NodeAction: a})
	require.Error(b.t, err)
	require.Equal(b.t, before, b.m.Applied())
	return abstract.CodeOf(err)
}

// sessionOf is who does what is done for a session when no one is named.
func sessionOf(a message.NodeAction) string {
	if a.Session || a.Key != "" {
		return "s1"
	}
	return ""
}

func (b *broker) create(path, data string) *message.NodeResponse { return b.act(create(path, data)) }

func (b *broker) read(a message.NodeAction) *message.NodeResponse {
	rsp, err := b.m.Read(&a, nil)
	require.NoError(b.t, err)
	return rsp
}

func (b *broker) stat(path string) message.NodeStat {
	return *b.read(message.NodeAction{Op: abstract.NodeStat, Path: path}).Node.Stat
}

func (b *broker) exists(path string) bool {
	return b.read(message.NodeAction{Op: abstract.NodeExists, Path: path}).Exists
}

// tree is everything below the root, "path=data" each.
func (b *broker) tree() string {
	return list(b.read(message.NodeAction{Op: abstract.NodeList, Path: "/", Recursive: true, WithData: true}).Nodes)
}

func list(nodes []message.Node) string {
	var texts []string
	for _, n := range nodes {
		text := n.Path
		if len(n.Data) > 0 {
			text += "=" + string(n.Data)
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, " ")
}

func (b *broker) expire(ids ...string) {
	for {
		t, ok := b.m.PlanExpire(ids...)
		if !ok {
			return
		}
		b.txn(t)
		b.catchUp()
	}
}

func create(path, data string) message.NodeAction {
	return message.NodeAction{Op: abstract.NodeCreate, Path: path, Data: []byte(data)}
}

func set(path, data string) message.NodeAction {
	return message.NodeAction{Op: abstract.NodeSet, Path: path, Data: []byte(data)}
}

func del(path string) message.NodeAction {
	return message.NodeAction{Op: abstract.NodeDelete, Path: path}
}

func multi(ops ...message.NodeAction) *message.NodeRequest {
	return &message.NodeRequest{NodeAction: message.NodeAction{Op: abstract.NodeMulti}, Ops: ops}
}

// with changes an action.
func with(a message.NodeAction, change func(*message.NodeAction)) message.NodeAction {
	change(&a)
	return a
}

// said is notices as text: who is told what.
func said(notices []Notice) []string {
	var lines []string
	for _, n := range notices {
		lines = append(lines, describe(n.Event))
	}
	return lines
}

func describe(e *message.NodeEvent) string {
	text := string(e.Scope) + " " + e.Path + ":"
	if e.Resync {
		return text + " resync"
	}
	for _, c := range e.Events {
		if c.Deleted {
			text += " -" + c.Path
			continue
		}
		text += " +" + c.Path
		if len(c.Node.Data) > 0 {
			text += "=" + string(c.Node.Data)
		}
	}
	return text
}
