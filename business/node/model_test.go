package node

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"trefoil/abstract"
	"trefoil/concrete/memstore"
	"trefoil/concrete/message"
)

// checkIndex checks what must hold inside an index after every step.
func checkIndex(t require.TestingT, m *NodeManager) {
	var size int64
	owned := 0
	for path, n := range m.nodes {
		require.Equal(t, path, n.path)
		require.False(t, n.dirty)
		if path == root {
			continue
		}
		size += nodeCost + int64(len(n.value))
		parent := m.nodes[parentOf(path)]
		require.Same(t, parent, n.parent, path)
		_, _, found := parent.children.locate(path)
		require.True(t, found, path)
		require.True(t, n.kind != implied || n.children != nil, "%s is implied by nothing", path)
		if n.owner != nil {
			owned++
			require.Same(t, m.sessions[n.owner.id], n.owner)
		}
	}
	require.Equal(t, size, m.size)
	for _, n := range m.nodes {
		count := 0
		last := ""
		for c := range n.children.from("") {
			require.Same(t, n, c.parent)
			require.Less(t, last, c.path)
			last = c.path
			count++
		}
		require.Equal(t, n.children.count(), count)
		require.True(t, n.children == nil || count > 0)
	}
	for id, s := range m.sessions {
		count := 0
		for n := s.first; n != nil; n = n.next {
			require.Same(t, s, n.owner)
			count++
		}
		require.Equal(t, s.nodes, count, id)
		require.Len(t, s.order, len(s.once))
		require.Positive(t, count+len(s.order), "%s holds nothing", id)
		owned -= count
	}
	require.Zero(t, owned)
	held := 0
	for _, r := range m.history.past[m.history.first:] {
		held += len(r.changes)
	}
	require.Equal(t, m.history.changes, held)
	require.LessOrEqual(t, held, m.history.maxChanges)
}

// checkStore checks that no child is without parent, and none below a session node.
func checkStore(t require.TestingT, s *memstore.Store) {
	kvs, _, err := s.Range(context.Background(), treeKeys, 0)
	require.NoError(t, err)
	owner := map[string]string{root: ""}
	for _, kv := range kvs { // by depth
		_, path := parseKey(kv.Key)
		parents, there := owner[parentOf(path)]
		require.True(t, there, "%s has no parent", path)
		require.Empty(t, parents, "the parent of %s is a session node", path)
		r, _ := parseRecord(kv.Value)
		owner[path] = r.session
	}
}

// model is the tree as simple as it can be.
type model struct {
	nodes map[string]*modelNode
	once  map[string]string // session and key: path
}

type modelNode struct {
	data             string
	stat             message.NodeStat
	numbers          map[string]bool // given to sequential children
	childrenModified int64
}

func (m *model) children(path string) (n int64) {
	for p := range m.nodes {
		if p != root && parentOf(p) == path {
			n++
		}
	}
	return n
}

func (m *model) clone() *model {
	c := &model{nodes: make(map[string]*modelNode), once: maps.Clone(m.once)}
	for path, n := range m.nodes {
		copied := *n
		copied.numbers = maps.Clone(n.numbers)
		c.nodes[path] = &copied
	}
	return c
}

// do does one action at a revision. path is what a create has really made.
func (m *model) do(a *action, session, path string, rev, now int64) abstract.RCode {
	n := m.nodes[a.Path]
	if a.Op == abstract.NodeCreate {
		return m.create(a, session, path, rev, now)
	}
	switch {
	case n == nil:
		return abstract.NotFound
	case a.Version != 0 && a.Version != n.stat.Version, a.Created != 0 && a.Created != n.stat.Created, a.Modified != 0 && a.Modified != n.stat.Modified:
		return abstract.Conflict
	}
	switch a.Op {
	case abstract.NodeSet:
		n.data = string(a.Data)
		n.stat.Version++
		n.stat.Modified, n.stat.MtimeMs = rev, now
	case abstract.NodeDelete:
		if m.children(a.Path) > 0 && !a.Recursive {
			return abstract.NotEmpty
		}
		for p := range m.nodes {
			if p == a.Path || below(p, a.Path) {
				delete(m.nodes, p)
			}
		}
	}
	return abstract.OK
}

// unknown stands in a path for the number that a failed multi has given.
const unknown = "?"

func (m *model) create(a *action, session, path string, rev, now int64) abstract.RCode {
	if a.Key != "" && m.once[session+" "+a.Key] != "" {
		return abstract.OK
	}
	parent := m.nodes[parentOf(a.Path)]
	switch {
	case parent == nil && !a.Parents:
		return abstract.NotFound
	case parent == nil:
		above := action{Op: abstract.NodeCreate, Path: parentOf(a.Path), Parents: true}
		if code := m.create(&above, "", above.Path, rev, now); code != abstract.OK {
			return code
		}
		parent = m.nodes[parentOf(a.Path)]
	}
	switch {
	case parent.stat.Session != "":
		return abstract.Denied
	case !a.Sequential && m.nodes[a.Path] != nil:
		return abstract.Exists
	}
	if a.Sequential && !strings.Contains(path, unknown) {
		number := path[len(path)-10:]
		if parent.numbers[number] || m.nodes[path] != nil {
			return abstract.Internal // a number was used again
		}
		parent.numbers[number] = true
	}
	n := &modelNode{data: string(a.Data), numbers: map[string]bool{}}
	n.stat = message.NodeStat{Version: 1, Created: rev, Modified: rev, CtimeMs: now, MtimeMs: now}
	if a.Session {
		n.stat.Session = session
	}
	if a.Key != "" {
		m.once[session+" "+a.Key] = path
	}
	m.nodes[path] = n
	return abstract.OK
}

// settle notes whose children have changed since before.
func (m *model) settle(before *model, rev int64) {
	for path, n := range m.nodes {
		if m.family(path) != before.family(path) {
			n.childrenModified = rev
		}
	}
}

// family is which children a node has.
func (m *model) family(path string) string {
	var texts []string
	for p, n := range m.nodes {
		if p != root && parentOf(p) == path {
			texts = append(texts, fmt.Sprint(p, n.stat.Created))
		}
	}
	slices.Sort(texts)
	return strings.Join(texts, " ")
}

func (m *model) expire(session string) {
	maps.DeleteFunc(m.nodes, func(_ string, n *modelNode) bool { return n.stat.Session == session })
	maps.DeleteFunc(m.once, func(k, _ string) bool { return strings.HasPrefix(k, session+" ") })
}

// told is what a listing says of the tree: all but what only the index knows.
func (m *model) told(path string) message.Node {
	n := m.nodes[path]
	s := n.stat
	s.Children, s.ChildrenModified, s.Size = m.children(path), n.childrenModified, int64(len(n.data))
	return message.Node{Path: path, Data: []byte(n.data), Stat: &s}
}

// world is two brokers on one store, of which one hears late, and watchers that
// come and go. It does what they do in the model too, at the moment when it is done.
type world struct {
	model   *model
	here    *broker
	late    *broker
	pending []pending
	clients []*client
	cfg     Config
}

type pending struct {
	b       *broker
	session string
	req     *message.NodeRequest
	plan    *Plan
	now     int64
}

func newWorld(t *rapid.T) *world {
	cfg := Config{MaxHistory: rapid.IntRange(1, 12).Draw(t, "history"), MaxSessionKeys: 1000}
	w := &world{cfg: cfg, model: &model{nodes: map[string]*modelNode{root: {numbers: map[string]bool{}}}, once: map[string]string{}}}
	w.here = newBroker(t, cfg)
	w.late = newBrokerOn(t, w.here.store, cfg)
	w.late.late = true
	for i, part := range []struct {
		path  string
		scope abstract.NodeScope
	}{{"/", abstract.ScopeSubtree}, {"/", abstract.ScopeChildren}, {"/a", abstract.ScopeNode}, {"/a", abstract.ScopeChildren}, {"/a", abstract.ScopeSubtree}, {"/a/b", abstract.ScopeSubtree}} {
		c := &client{conn: ConnID(i), path: part.path, scope: part.scope}
		w.clients = append(w.clients, c)
		c.connect(t, w.here)
	}
	return w
}

var (
	drawPath = rapid.Custom(func(t *rapid.T) string {
		path := ""
		for range rapid.IntRange(1, 3).Draw(t, "depth") {
			path += "/" + rapid.SampledFrom([]string{"a", "b", "a-"}).Draw(t, "name")
		}
		return path
	})
	drawSession = rapid.SampledFrom([]string{"s1", "s2"})
)

func (w *world) drawAction(t *rapid.T, inMulti bool) action {
	a := action{Path: drawPath.Draw(t, "path")}
	a.Op = rapid.SampledFrom([]abstract.NodeOp{abstract.NodeCreate, abstract.NodeCreate, abstract.NodeCreate, abstract.NodeSet, abstract.NodeDelete, abstract.NodeCheck}).Draw(t, "op")
	flag := func(name string, oneIn int) bool { return rapid.IntRange(1, oneIn).Draw(t, name) == 1 }
	switch a.Op {
	case abstract.NodeCreate:
		a.Data = []byte(rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "data"))
		a.Session, a.Sequential, a.Parents = flag("session", 4), flag("sequential", 4), flag("parents", 3)
		if flag("key", 5) {
			a.Key = rapid.SampledFrom([]string{"k1", "k2"}).Draw(t, "key")
		}
	case abstract.NodeSet:
		a.Data = []byte(rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "data"))
	case abstract.NodeDelete:
		a.Recursive = !inMulti && flag("recursive", 3)
	}
	n := w.model.nodes[a.Path]
	if a.Op != abstract.NodeCreate && n != nil && flag("guarded", 3) {
		a.Version = n.stat.Version + int64(rapid.IntRange(0, 1).Draw(t, "off"))
		a.Created, a.Modified = n.stat.Created, n.stat.Modified
	}
	return a
}

// plan plans a request at one of the brokers, which may be behind.
func (w *world) plan(t *rapid.T) {
	p := pending{b: w.here, session: drawSession.Draw(t, "session")}
	if rapid.Bool().Draw(t, "at the late one") {
		p.b = w.late
	}
	p.req = &message.NodeRequest{NodeAction: w.drawAction(t, false)}
	if rapid.IntRange(1, 3).Draw(t, "multi") == 1 {
		p.req = multi(rapid.SliceOfN(rapid.Custom(func(t *rapid.T) action { return w.drawAction(t, true) }), 1, 4).Draw(t, "ops")...)
	}
	w.try(t, p)
}

// try plans, and lets the plan wait. What cannot be done is judged by a broker that
// has caught up.
func (w *world) try(t *rapid.T, p pending) {
	p.b.now++
	p.now = p.b.now
	var err error
	if p.plan, err = p.b.m.Plan(p.now, p.session, p.req); err != nil {
		p.b.catchUp()
		p.plan, err = p.b.m.Plan(p.now, p.session, p.req)
	}
	if err != nil {
		code := w.expect(p, nil, 0)
		if abstract.CodeOf(err) == abstract.InvalidParams { // the one thing that the model can do: delete and make in one multi
			require.Contains(t, err.Error(), "cannot make it again")
			return
		}
		require.Equal(t, code, abstract.CodeOf(err), "%v", err)
		return
	}
	w.pending = append(w.pending, p)
}

// expect does a request in the model: all of it, or nothing.
func (w *world) expect(p pending, rsp *message.NodeResponse, rev int64) abstract.RCode {
	next := w.model.clone()
	ops := p.req.Ops
	if p.req.Op != abstract.NodeMulti {
		ops = []action{p.req.NodeAction}
	}
	for i := range ops {
		path := ops[i].Path
		switch {
		case rsp != nil && p.req.Op == abstract.NodeMulti:
			path = rsp.Results[i].Path
		case rsp != nil:
			path = rsp.Path
		case ops[i].Sequential:
			path += fmt.Sprint(unknown, i)
		}
		if code := next.do(&ops[i], p.session, path, rev, p.now); code != abstract.OK {
			return code
		}
	}
	if rsp != nil {
		next.settle(w.model, rev)
		w.model = next
	}
	return abstract.OK
}

// commit runs a transaction that waits, in any order.
func (w *world) commit(t *rapid.T) {
	if len(w.pending) == 0 {
		t.Skip("nothing waits")
	}
	i := rapid.IntRange(0, len(w.pending)-1).Draw(t, "which")
	p := w.pending[i]
	w.pending = slices.Delete(w.pending, i, i+1)
	if p.plan.Done() {
		return // of a key that may have expired since: says what was
	}
	w.here.sent = nil
	res := w.here.txn(p.plan.Txn)
	w.deliver(t)
	if !res.Succeeded {
		p.b.catchUp()
		w.try(t, p)
		return
	}
	require.False(t, p.plan.More)
	p.b.catchUp()
	rsp := p.b.m.Response(p.plan, res.Revision)
	require.Equal(t, abstract.OK, w.expect(p, rsp, res.Revision))
	if p.req.Op != abstract.NodeMulti && rsp.Node != nil {
		want := w.model.told(rsp.Path)
		want.Data = nil
		if p.b == w.late {
			want.Stat.ChildrenModified = rsp.Node.Stat.ChildrenModified // it may have been loaded
		}
		require.Equal(t, &want, rsp.Node)
	}
}

func (w *world) expire(t *rapid.T) {
	id := drawSession.Draw(t, "session")
	w.late.catchUp()
	txn, ok := w.late.m.PlanExpire(id)
	if !ok {
		t.Skip("owns nothing")
	}
	w.here.sent = nil
	res := w.here.txn(txn)
	require.True(t, res.Succeeded)
	w.deliver(t)
	before := w.model.clone()
	w.model.expire(id)
	w.model.settle(before, res.Revision)
}

func (w *world) catchUp(*rapid.T) { w.late.catchUp() }

// restart gives the late broker a new index.
func (w *world) restart(t *rapid.T) {
	if slices.ContainsFunc(w.pending, func(p pending) bool { return p.b == w.late }) {
		t.Skip("its plans are under way")
	}
	w.late.m, w.late.queue = NewNodeManager(w.late.m.cfg), nil
	kvs, rev, err := w.here.store.Range(context.Background(), Prefix, 0)
	require.NoError(t, err)
	_, ok := w.late.m.Load(kvs, rev)
	require.True(t, ok)
}

// load loads what the Store holds into the index that has it, and into the late one.
func (w *world) load(t *rapid.T) {
	kvs, rev, err := w.here.store.Range(context.Background(), Prefix, 0)
	require.NoError(t, err)
	notices, ok := w.here.m.Load(kvs, rev)
	require.True(t, ok)
	require.Empty(t, notices)
	_, ok = w.late.m.Load(kvs, rev)
	require.True(t, ok)
}

// deliver gives what was sent to the clients.
func (w *world) deliver(t *rapid.T) {
	for _, n := range w.here.sent {
		for _, conn := range n.Conns {
			i := slices.IndexFunc(w.clients, func(c *client) bool { return c.conn == conn })
			require.GreaterOrEqual(t, i, 0)
			w.clients[i].take(t, w.here, n.Event)
		}
	}
	w.here.sent = nil
}

// client follows a part of the tree.
type client struct {
	conn     ConnID
	path     string
	scope    abstract.NodeScope
	revision int64 // 0: it has never been connected
	away     bool
	nodes    map[string]message.Node
}

// connect begins a watch or goes on with it.
func (c *client) connect(t require.TestingT, b *broker) {
	rsp, missed, err := b.m.Watch(c.conn, &action{Path: c.path, Scope: c.scope, Revision: c.revision, Epoch: epoch})
	require.NoError(t, err)
	if rsp.Resync || c.revision == 0 {
		require.Empty(t, missed)
		c.read(t, b)
	} else {
		require.Equal(t, c.revision, rsp.Revision)
	}
	for _, e := range missed {
		c.take(t, b, e)
	}
	c.revision, c.away = max(c.revision, rsp.Revision), false
}

func (c *client) take(t require.TestingT, b *broker, e *message.NodeEvent) {
	require.Greater(t, e.Revision, c.revision, "in order, and once")
	require.Equal(t, c.path, e.Path)
	require.Equal(t, c.scope, e.Scope)
	require.False(t, e.Resync)
	require.NotEmpty(t, e.Events)
	c.revision = e.Revision
	for _, ch := range e.Events {
		if ch.Deleted {
			delete(c.nodes, ch.Path)
			continue
		}
		c.nodes[ch.Path] = *ch.Node
	}
}

// read reads all that the watch is about.
func (c *client) read(t require.TestingT, b *broker) { c.nodes = listing(t, b.m, c.path, c.scope) }

func listing(t require.TestingT, m *NodeManager, path string, scope abstract.NodeScope) map[string]message.Node {
	nodes := make(map[string]message.Node)
	if scope != abstract.ScopeChildren && path != root {
		if rsp, err := m.Read(&action{Op: abstract.NodeGet, Path: path}, nil); err == nil {
			nodes[path] = *rsp.Node
		}
	}
	if scope == abstract.ScopeNode {
		return nodes
	}
	after := ""
	for {
		rsp, err := m.Read(&action{Op: abstract.NodeList, Path: path, Recursive: scope == abstract.ScopeSubtree, Stat: true, WithData: true, After: after, Limit: 3}, nil)
		if err != nil {
			require.Equal(t, abstract.NotFound, abstract.CodeOf(err))
			return nodes
		}
		for _, n := range rsp.Nodes {
			require.NotContains(t, nodes, n.Path)
			nodes[n.Path] = n
		}
		if !rsp.More {
			return nodes
		}
		after = rsp.Nodes[len(rsp.Nodes)-1].Path
	}
}

// leave cuts a client off.
func (w *world) leave(t *rapid.T) {
	c := rapid.SampledFrom(w.clients).Draw(t, "client")
	if c.away {
		t.Skip("is away")
	}
	w.here.m.Forget(c.conn)
	c.away = true
	c.conn += 100
}

func (w *world) back(t *rapid.T) {
	c := rapid.SampledFrom(w.clients).Draw(t, "client")
	if !c.away {
		t.Skip("is there")
	}
	c.connect(t, w.here)
}

// check compares everything with everything.
func (w *world) check(t *rapid.T) {
	checkIndex(t, w.here.m)
	checkIndex(t, w.late.m)
	checkStore(t, w.here.store)
	all := listing(t, w.here.m, root, abstract.ScopeSubtree)
	require.Len(t, all, len(w.model.nodes)-1)
	for path, n := range all {
		require.Equal(t, w.model.told(path), n)
	}
	require.Equal(t, w.model.nodes[root].childrenModified, w.here.stat(root).ChildrenModified)
	for _, c := range w.clients {
		if c.away {
			continue
		}
		fresh := listing(t, w.here.m, c.path, c.scope)
		require.Equal(t, plain(fresh), plain(c.nodes), "%v %s", c.scope, c.path)
	}
	if w.late.m.Applied() == w.here.m.Applied() {
		require.Equal(t, plain(all), plain(listing(t, w.late.m, root, abstract.ScopeSubtree)))
	}
}

// plain leaves out what is told of children, which no event is sent for.
func plain(nodes map[string]message.Node) map[string]string {
	texts := make(map[string]string)
	for path, n := range nodes {
		s := *n.Stat
		s.Children, s.ChildrenModified = 0, 0
		texts[path] = fmt.Sprintf("%s %q %+v", n.Path, n.Data, s)
	}
	return texts
}

func TestNodeManagerMatchesTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		t.Repeat(map[string]func(*rapid.T){
			"plan":     w.plan,
			"plan2":    w.plan,
			"commit":   w.commit,
			"commit2":  w.commit,
			"expire":   w.expire,
			"catch up": w.catchUp,
			"load":     w.load,
			"restart":  w.restart,
			"leave":    w.leave,
			"back":     w.back,
			"":         w.check,
		})
	})
}
