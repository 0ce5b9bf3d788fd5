package node

import (
	"fmt"
	"math"
	"strconv"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

func (p *planner) create(a *message.NodeAction) error {
	if a.Path == root {
		return exists(root)
	}
	if err := p.takes(a); err != nil {
		return err
	}
	if err := p.checkOwner(a); err != nil {
		return err
	}
	if path := p.madeBefore(a.Key); path != "" {
		p.repeat(path)
		return nil
	}
	parent, err := p.parent(a.Path, a.Parents)
	if err != nil {
		return err
	}
	path := a.Path
	if a.Sequential {
		if path, err = p.number(parent, path); err != nil {
			return err
		}
	}
	d := p.draft(path)
	if d.there {
		return exists(path)
	}
	owner := ""
	if a.Session {
		owner = p.session
		p.bound++
	}
	if a.Key != "" {
		p.keys = append(p.keys, onceDraft{a.Key, path})
	}
	p.owned = p.owned || a.Session || a.Key != ""
	if err := p.make(parent, d, record{session: owner, once: a.Key}, a.Data); err != nil {
		return err
	}
	p.result(d)
	return p.roomForSession()
}

func exists(path string) error {
	return abstract.Errorf(abstract.Exists, "%q is there already; set it, or take another name", path)
}

// checkOwner checks what ties a node to the caller's session.
func (p *planner) checkOwner(a *message.NodeAction) error {
	switch {
	case (a.Session || a.Key != "") && p.session == "":
		return abstract.Errorf(abstract.InvalidParams, "session nodes and idempotency keys need a session; ask for one in HELLO")
	case len(a.Key) > message.MaxNodeKey:
		return abstract.Errorf(abstract.TooLarge, "an idempotency key of %d bytes; give at most %d", len(a.Key), message.MaxNodeKey)
	}
	return nil
}

// madeBefore returns the path that the session has made under an idempotency key.
func (p *planner) madeBefore(key string) string {
	if key == "" {
		return ""
	}
	for _, k := range p.keys {
		if k.key == key {
			return k.path
		}
	}
	if s := p.m.sessions[p.session]; s != nil && s.once[key] != nil {
		return s.once[key].path
	}
	return ""
}

// repeat answers as the creation did that has been done before. The node may have
// gone since.
func (p *planner) repeat(path string) {
	if d := p.draft(path); d.there {
		p.result(d)
		return
	}
	p.results = append(p.results, message.Node{Path: path})
}

// parent returns the draft of a path's parent, which can have children. With fill,
// missing ones are made.
func (p *planner) parent(path string, fill bool) (*draft, error) {
	d := p.draft(parentOf(path))
	switch {
	case d.path == root:
		return d, nil
	case d.there && d.record.session != "":
		return nil, abstract.Errorf(abstract.Denied, "%q is a session node, which has no children; put %q elsewhere", d.path, path)
	case d.there:
		d.rely(guardCreated)
		return d, nil
	case !fill:
		return nil, abstract.Errorf(abstract.NotFound, "there is no node %q to put %q in; create it before, or let parents be made", d.path, path)
	}
	above, err := p.parent(d.path, true)
	if err != nil {
		return nil, err
	}
	return d, p.make(above, d, record{}, nil)
}

// make makes a node.
func (p *planner) make(parent, d *draft, r record, data []byte) error {
	if d.base != nil {
		return abstract.Errorf(abstract.InvalidParams, "a multi that deletes %q cannot make it again; set it, or do it in two requests", d.path)
	}
	r.version, r.ctime, r.mtime, r.maker = 1, p.now, p.now, p.by.Name
	d.record, d.data, d.there, d.changed = r, data, true, true
	d.rely(guardCreated)
	parent.children++
	p.made++
	p.growth += nodeCost + int64(len(data))
	if err := p.roomForMaker(); err != nil {
		return err
	}
	return p.roomForGrowth()
}

// number returns the path of a parent's next sequential child. Numbers that
// somebody has given to a node by hand are left out.
func (p *planner) number(parent *draft, prefix string) (string, error) {
	for c := p.counter(parent); c.next < math.MaxInt64; {
		path := fmt.Sprintf("%s%010d", prefix, c.next)
		c.next++
		if !p.taken(path) {
			return path, CheckPath(path)
		}
	}
	return "", abstract.Errorf(abstract.Overloaded, "%q has had all sequential children that can be numbered; take another parent", parent.path)
}

func (p *planner) taken(path string) bool {
	if d := p.find(path); d != nil {
		return d.there || d.base != nil
	}
	return p.m.nodes[path] != nil
}

func (p *planner) counter(parent *draft) *countdraft {
	for _, c := range p.counters {
		if c.parent == parent {
			return c
		}
	}
	base := p.m.counters[parent.path]
	c := &countdraft{parent, base, base.next}
	if parent.base == nil && parent.path != root {
		c.next = 0 // a new node counts from the beginning
	}
	p.counters = append(p.counters, c)
	return c
}

// count adds what moves a counter on: of two transactions that do, one succeeds.
// A node that is deleted in the end takes its counter along.
func (c *countdraft) count(ifs []abstract.Compare, ops []abstract.Op) ([]abstract.Compare, []abstract.Op) {
	key := sequenceKey(c.parent.path)
	if !c.parent.there && c.parent.path != root {
		return ifs, ops
	}
	ifs = append(ifs, abstract.Compare{Key: key, Target: abstract.CompareMod, Rev: c.base.modified})
	return ifs, append(ops, abstract.Op{Key: key, Value: strconv.AppendInt(nil, c.next, 10)})
}

// remember adds the new idempotency keys, and lets the oldest go for them.
func (p *planner) remember(ifs []abstract.Compare, ops []abstract.Op) ([]abstract.Compare, []abstract.Op) {
	if len(p.keys) == 0 {
		return ifs, ops
	}
	for _, k := range p.keys {
		key := onceKey(p.session, k.key)
		ifs = append(ifs, abstract.Compare{Key: key, Target: abstract.CompareCreate, Rev: 0})
		ops = append(ops, abstract.Op{Key: key, Value: []byte(k.path)})
	}
	if s := p.m.sessions[p.session]; s != nil {
		over := len(s.order) + len(p.keys) - p.m.cfg.MaxSessionKeys
		for _, o := range s.order[:min(max(over, 0), len(s.order))] {
			ops = append(ops, abstract.Op{Key: onceKey(p.session, o.key), Delete: true})
		}
	}
	return ifs, ops
}

// roomForSession refuses to let a session own more than its share.
func (p *planner) roomForSession() error {
	have := 0
	if s := p.m.sessions[p.session]; s != nil {
		have = s.nodes
	}
	if p.bound > 0 && have+p.bound > p.m.cfg.MaxSessionNodes {
		return abstract.Errorf(abstract.Overloaded, "the session has %d nodes, and %d is the limit; delete some, or open another session", have, p.m.cfg.MaxSessionNodes)
	}
	return nil
}
