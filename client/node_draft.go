package client

import (
	"context"
	"strings"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// draft is what a NodeCache is going to show, while it is read. A tree of several
// pages is read at several revisions: events bring all of it to one.
type draft struct {
	cache    *NodeCache
	all      map[string]Node
	pages    []draftPage
	epoch    string
	revision int64 // of the tree that is shown, once the draft is whole; before that the newest that was read
	whole    bool  // all is as it was at revision
	torn     bool  // what was read does not fit together, or events are missing: read again
}

// draftPage is a piece of the list that was read at a revision.
type draftPage struct {
	last     string // its last path
	revision int64
}

// read reads everything.
func (d *draft) read(ctx context.Context) error {
	d.all = make(map[string]Node)
	top, err := d.top(ctx, abstract.NodeGet)
	if err != nil {
		return err
	}
	if top == nil {
		return d.empty(ctx)
	}
	d.all[d.cache.root] = kept(*top)
	found, err := d.list(ctx, true, func(n *Node) { k := kept(*n); d.all[k.Path] = k })
	if err != nil {
		return err
	}
	d.torn = d.torn || !found
	if d.torn || len(d.pages) > 1 {
		return nil
	}
	again, err := d.top(ctx, abstract.NodeStat)
	d.whole = err == nil && alike(top, again)
	return err
}

// empty makes sure that there is nothing, and when.
func (d *draft) empty(ctx context.Context) error {
	rsp, err := d.ask(ctx, message.NodeAction{Op: abstract.NodeExists})
	if err != nil {
		return err
	}
	d.revision, d.whole, d.torn = rsp.Revision, true, d.torn || rsp.Exists
	return nil
}

// ask reads something. Everything has to be of one epoch.
func (d *draft) ask(ctx context.Context, a message.NodeAction) (*message.NodeResponse, error) {
	a.Path, a.Linearizable = d.cache.root, true
	rsp, err := d.cache.nodes.do(ctx, a)
	if err != nil {
		return nil, err
	}
	if d.epoch != "" && d.epoch != rsp.Epoch {
		d.torn = true
	}
	d.epoch = rsp.Epoch
	return rsp, nil
}

// top reads the cache's own node; nil: it is not there.
func (d *draft) top(ctx context.Context, op abstract.NodeOp) (*Node, error) {
	rsp, err := d.ask(ctx, message.NodeAction{Op: op})
	if abstract.CodeOf(err) == abstract.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	n, err := nodeOf(rsp)
	return &n, err
}

func alike(a, b *Node) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Stat.Created == b.Stat.Created && a.Stat.Modified == b.Stat.Modified
}

// list reads everything below, page by page. found is false when the node goes
// meanwhile.
func (d *draft) list(ctx context.Context, data bool, take func(*Node)) (found bool, err error) {
	d.pages = nil
	a := message.NodeAction{Op: abstract.NodeList, Recursive: true, Stat: true, WithData: data}
	for {
		rsp, err := d.ask(ctx, a)
		if abstract.CodeOf(err) == abstract.NotFound {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		for i := range rsp.Nodes {
			n := wholeNode(&rsp.Nodes[i], rsp.Revision)
			take(&n)
			a.After = strings.Clone(n.Path)
		}
		d.pages = append(d.pages, draftPage{a.After, rsp.Revision})
		d.revision = rsp.Revision
		if !rsp.More || len(rsp.Nodes) == 0 {
			return true, nil
		}
	}
}

// complete brings what was read to one revision, that of the last page or later: by
// the events up to one that is not older, or, where nothing happens, by finding
// everything as it was.
func (d *draft) complete(ctx context.Context) error {
	pages, revision := d.pages, d.revision
	for {
		e, ready, err := d.cache.watch.take()
		switch {
		case err != nil:
			return err
		case ready && e.unclear():
			d.torn = true
			return nil
		case ready:
			d.add(&e, pages)
			if d.revision = max(revision, e.Revision); e.Revision >= revision {
				return nil
			}
			continue
		}
		same, err := d.unchanged(ctx)
		d.revision = revision // from then on until the first page of now
		if same || d.torn || err != nil {
			return err
		}
		if err := d.cache.watch.await(ctx); err != nil { // something is different, so there is an event on its way
			return err
		}
	}
}

// add applies an event to those nodes that were read before it.
func (d *draft) add(e *NodeEvent, pages []draftPage) {
	for i := range e.Changes {
		if ch := &e.Changes[i]; e.Revision > d.readAt(ch.Path, pages) {
			ch.applyTo(d.all)
		}
	}
}

// readAt is the revision at which a path was read, or found not to be there.
func (d *draft) readAt(path string, pages []draftPage) int64 {
	if path == d.cache.root {
		return d.all[path].Revision
	}
	for _, p := range pages {
		if compareInTree(path, p.last) <= 0 {
			return p.revision
		}
	}
	return pages[len(pages)-1].revision
}

// compareInTree compares paths as lists are ordered: a node comes before its
// children, and those before its next sibling.
func compareInTree(a, b string) int {
	return strings.Compare(strings.ReplaceAll(a, "/", "\x00"), strings.ReplaceAll(b, "/", "\x00"))
}

// unchanged says whether everything is still as it stands here. Then it was so all
// the time since the last page was read.
func (d *draft) unchanged(ctx context.Context) (bool, error) {
	top, err := d.top(ctx, abstract.NodeStat)
	if err != nil {
		return false, err
	}
	count, different := 0, false
	if was, there := d.all[d.cache.root]; there {
		count++
		different = top == nil || !alike(&was, top)
	} else {
		different = top != nil
	}
	found, err := d.list(ctx, false, func(n *Node) {
		count++
		old, there := d.all[n.Path]
		different = different || !there || !alike(&old, n)
	})
	return found && !different && count == len(d.all), err
}
