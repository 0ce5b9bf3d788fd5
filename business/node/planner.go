package node

import (
	"encoding/json"
	"errors"
	"strconv"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// planner puts one transaction together. Operations work on drafts over the index,
// so that later ones see what earlier ones do; what a draft has relied on becomes
// comparisons, how it differs from the index becomes operations.
type planner struct {
	m       *NodeManager
	now     int64
	session string
	by      Maker

	drafts   []*draft // in the order in which they were needed
	byPath   map[string]*draft
	counters []*countdraft
	keys     []onceDraft
	results  []message.Node

	below   []abstract.Compare // of a recursive delete
	deletes []abstract.Op
	more    bool

	owned  bool // something belongs to the session
	made   int  // nodes
	growth int64
	bound  int // session nodes
}

// draft is a node as it is after the operations so far.
type draft struct {
	path  string
	base  *node // in the index, nil for none that a write could mean
	there bool
	record
	data     []byte
	created  int64 // 0: by this transaction
	modified int64 // the same
	children int
	guard    guard
	changed  bool
}

// guard is what a transaction has to compare, because a draft was relied on. A
// higher one holds what a lower one does.
type guard uint8

const (
	unguarded     guard = iota
	guardCreated        // it is there, and the same one, or it is not there
	guardModified       // and nothing has changed it
)

// countdraft is a parent's counter.
type countdraft struct {
	parent *draft
	base   counter
	next   int64
}

type onceDraft struct{ key, path string }

// one plans the one operation of a request, which may delete recursively.
func (p *planner) one(a *message.NodeAction) error {
	if a.Op == abstract.NodeDelete && a.Recursive {
		return p.deleteAll(a)
	}
	return p.operation(a)
}

// part plans an operation of a multi.
func (p *planner) part(a *message.NodeAction) error {
	if a.Op == abstract.NodeDelete && a.Recursive {
		return abstract.Errorf(abstract.InvalidParams, "a multi deletes nothing recursively; delete %.80q in a request of its own, or name each node", a.Path)
	}
	return p.operation(a)
}

func (p *planner) operation(a *message.NodeAction) error {
	if err := CheckPath(a.Path); err != nil {
		return err
	}
	switch a.Op {
	case abstract.NodeCheck:
		return p.check(a)
	case abstract.NodeCreate:
		return p.create(a)
	case abstract.NodeSet:
		return p.set(a)
	case abstract.NodeDelete:
		return p.delete(a)
	}
	return abstract.Errorf(abstract.InvalidOp, "%.40q is no write; give create, set, delete, check or a multi of them", a.Op)
}

// ofOperation adds to an error which operation of a multi it is about.
func ofOperation(i int, err error) error {
	var e *abstract.Error
	if errors.As(err, &e) {
		e.Details = json.RawMessage(`{"op":` + strconv.Itoa(i) + `}`)
	}
	return err
}

// draft returns the draft of a path.
func (p *planner) draft(path string) *draft {
	if d := p.find(path); d != nil {
		return d
	}
	d := &draft{path: path}
	if n := p.m.nodes[path]; n != nil {
		d.children = n.children.count()
		if n.kind != implied || reserved(path) {
			d.base, d.there = n, true
			d.version, d.ctime, d.mtime, d.record.session, d.record.maker = n.version, n.ctime, n.mtime, n.session(), n.maker()
			d.data, d.created, d.modified = n.data(), n.created, n.modified
		}
	}
	p.drafts = append(p.drafts, d)
	if p.byPath != nil {
		p.byPath[path] = d
	}
	return d
}

// find looks through few drafts, and for many in a map.
func (p *planner) find(path string) *draft {
	const few = 8
	if p.byPath == nil && len(p.drafts) > few {
		p.byPath = make(map[string]*draft, 4*few)
		for _, d := range p.drafts {
			p.byPath[d.path] = d
		}
	}
	if p.byPath != nil {
		return p.byPath[path]
	}
	for _, d := range p.drafts {
		if d.path == path {
			return d
		}
	}
	return nil
}

// rely makes the transaction compare that the draft's base is still as it is.
func (d *draft) rely(g guard) { d.guard = max(d.guard, g) }

// writable says why a path is not written to, or nil.
func writable(path string) error {
	switch {
	case path == root:
		return abstract.Errorf(abstract.Denied, "the root is always there and holds nothing; write to a node below it")
	case reserved(path):
		return abstract.Errorf(abstract.Denied, "%q is below %s, where nodes come and go with providers; register instead", path, services)
	}
	return nil
}

// matches checks what an operation says of a node that is there.
func (d *draft) matches(a *message.NodeAction) error {
	const again = "read it again and decide anew"
	switch {
	case a.Version != 0 && a.Version != d.version:
		return abstract.Errorf(abstract.Conflict, "%q has version %d, not %d; %s", d.path, d.version, a.Version, again)
	case a.Created != 0 && a.Created != d.created:
		return abstract.Errorf(abstract.Conflict, "%q was created at revision %d, not %d; %s", d.path, d.created, a.Created, again)
	case a.Modified != 0 && a.Modified != d.modified:
		return abstract.Errorf(abstract.Conflict, "%q was changed last at revision %d, not %d; %s", d.path, d.modified, a.Modified, again)
	}
	return nil
}

// relyOnMatch relies on what matches has looked at.
func (d *draft) relyOnMatch(a *message.NodeAction) {
	if a.Version != 0 || a.Modified != 0 {
		d.rely(guardModified)
		return
	}
	d.rely(guardCreated)
}

func (p *planner) check(a *message.NodeAction) error {
	d := p.draft(a.Path)
	if !d.there {
		return notFound(a.Path)
	}
	if d.base != nil && d.base.kind == implied {
		return abstract.Errorf(abstract.Denied, "%q is there as long as providers below it are; check one of them", a.Path)
	}
	if err := d.matches(a); err != nil {
		return err
	}
	d.relyOnMatch(a)
	p.result(d)
	return nil
}

func (p *planner) set(a *message.NodeAction) error {
	if err := p.takes(a); err != nil {
		return err
	}
	if a.Data == nil {
		return abstract.Errorf(abstract.InvalidParams, "a set of %.80q without data; give some, which may be empty", a.Path)
	}
	d := p.draft(a.Path)
	if !d.there {
		return notFound(a.Path)
	}
	if err := d.matches(a); err != nil {
		return err
	}
	d.rely(guardModified)
	p.growth += int64(len(a.Data) - len(d.data))
	if d.base != nil && d.once == "" {
		r, _ := parseRecord(d.base.value)
		d.once = r.once
	}
	d.version++
	d.mtime, d.data, d.modified, d.changed = p.now, a.Data, 0, true
	p.result(d)
	return p.roomForGrowth()
}

// takes says why a write of data is not done, wherever the tree stands.
func (p *planner) takes(a *message.NodeAction) error {
	if len(a.Data) > message.MaxNodeData {
		return abstract.Errorf(abstract.TooLarge, "data of %d bytes for %.80q; a node takes %d, keep more elsewhere", len(a.Data), a.Path, message.MaxNodeData)
	}
	return writable(a.Path)
}

func (p *planner) delete(a *message.NodeAction) error {
	if err := writable(a.Path); err != nil {
		return err
	}
	d := p.draft(a.Path)
	if !d.there {
		return notFound(a.Path)
	}
	if err := d.matches(a); err != nil {
		return err
	}
	if d.children > 0 {
		return abstract.Errorf(abstract.NotEmpty, "%q has %d children; delete them before, or it recursively", a.Path, d.children)
	}
	d.relyOnMatch(a)
	d.there, d.changed = false, true
	p.draft(parentOf(a.Path)).children--
	p.results = append(p.results, message.Node{Path: a.Path})
	return nil
}

// result adds what an operation answers: the node as it leaves it.
func (p *planner) result(d *draft) {
	s := &message.NodeStat{
		Version: d.version, Created: d.created, Modified: d.modified, Children: int64(d.children),
		Session: d.record.session, CtimeMs: d.ctime, MtimeMs: d.mtime, Size: int64(len(d.data)),
	}
	p.results = append(p.results, message.Node{Path: d.path, Stat: s})
}

// roomForGrowth refuses to let the tree grow above its limits.
func (p *planner) roomForGrowth() error {
	cfg := &p.m.cfg
	switch {
	case p.made > 0 && len(p.m.nodes)+p.made > cfg.MaxNodes:
		return abstract.Errorf(abstract.Overloaded, "the tree has %d nodes, and %d is the limit; delete some", len(p.m.nodes), cfg.MaxNodes)
	case p.growth > 0 && p.m.size+p.growth > cfg.MaxData:
		return abstract.Errorf(abstract.Overloaded, "the tree holds %d bytes, and %d is the limit; delete some nodes", p.m.size, cfg.MaxData)
	}
	return nil
}

// plan puts comparisons and operations together.
func (p *planner) plan(multi bool) (*Plan, error) {
	t := abstract.Txn{If: p.below, Then: p.deletes}
	for _, d := range p.drafts {
		t.If = d.compare(t.If, p.m.applied)
		t.Then = p.change(t.Then, d)
	}
	for _, c := range p.counters {
		t.If, t.Then = c.count(t.If, t.Then)
	}
	t.If, t.Then = p.remember(t.If, t.Then)
	session := 0
	if p.owned {
		session = 1
	}
	if !roomFor(&t, session, session) {
		return nil, abstract.Errorf(abstract.TooLarge, "this takes %d comparisons and %d operations of the store, which takes %d and %d at once; split it",
			len(t.If)+session, len(t.Then)+session, abstract.StoreMaxCompares, abstract.StoreMaxOps)
	}
	return &Plan{Txn: t, Session: p.owned, More: p.more, Made: p.made, multi: multi, results: p.results}, nil
}

// compare adds what was relied on.
func (d *draft) compare(ifs []abstract.Compare, applied int64) []abstract.Compare {
	switch {
	case d.path == root || d.guard == unguarded:
		return ifs
	case d.base == nil:
		return append(ifs, abstract.Compare{Key: nodeKey(d.path), Target: abstract.CompareCreate, Rev: 0})
	case d.guard == guardModified:
		ifs = append(ifs, abstract.Compare{Key: d.base.key(), Target: abstract.CompareMod, Rev: d.base.modified})
	default:
		ifs = append(ifs, abstract.Compare{Key: d.base.key(), Target: abstract.CompareCreate, Rev: d.base.created})
	}
	if d.there || d.base.owner != nil {
		return ifs
	}
	if d.base.children.count() == 0 {
		applied = 0 // there are none, and there must be none
	}
	return append(ifs, noneBelow(d.path, depthOf(d.path)+1, applied))
}

// noneBelow compares that nothing of a depth below path is younger than a revision.
func noneBelow(path string, depth int, since int64) abstract.Compare {
	return abstract.Compare{Key: levelBelow(path, depth), Prefix: true, Target: abstract.CompareCreate, Rev: since}
}

// change adds what leads from the index to a draft. A node that is deleted takes
// the counter of its sequential children along.
func (p *planner) change(ops []abstract.Op, d *draft) []abstract.Op {
	switch {
	case !d.changed || !d.there && d.base == nil:
		return ops
	case d.there:
		return append(ops, abstract.Op{Key: nodeKey(d.path), Value: d.value(d.data)})
	}
	ops = append(ops, abstract.Op{Key: nodeKey(d.path), Delete: true})
	if _, counts := p.m.counters[d.path]; counts {
		ops = append(ops, abstract.Op{Key: sequenceKey(d.path), Delete: true})
	}
	return ops
}
