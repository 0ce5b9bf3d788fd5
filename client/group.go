package client

import (
	"context"
	"strings"
	"sync"
	"time"

	"trefoil/abstract"
)

// Group is a set of members that everybody can see: the children of a node, each a
// session node. Safe for concurrent use.
type Group struct {
	nodes *NodeClient
	path  string
}

// NewGroup makes a Group of the node at path, which is made when it is not there.
func NewGroup(n *NodeClient, path string) *Group { return &Group{n, path} }

// Member is one member of a group, made by Join.
type Member struct {
	group *Group
	path  string
	data  []byte
	watch *Watch
	stop  context.CancelFunc
	ended sync.WaitGroup
}

// Join makes us a member under a name, with data that others can read, until Leave
// or the Conn's Close. When the session is lost the member joins again by itself. A
// name that is taken is an error with code Exists.
func (g *Group) Join(ctx context.Context, name string, data []byte) (*Member, error) {
	life, stop := context.WithCancel(g.nodes.conn.ctx)
	m := &Member{group: g, path: g.path + "/" + name, data: some(data), stop: stop}
	var err error
	if m.watch, err = g.nodes.Watch(ctx, m.path, ScopeNode); err != nil {
		stop()
		return nil, err
	}
	if err := m.enter(ctx); err != nil {
		stop()
		g.nodes.closeSoon(m.watch)
		return nil, err
	}
	m.ended.Go(func() { m.stay(life) })
	return m, nil
}

func (m *Member) enter(ctx context.Context) error {
	_, err := m.group.nodes.Create(ctx, m.path, m.data, SessionNode(), MakeParents())
	return err
}

// stay joins again whenever our node is gone.
func (m *Member) stay(ctx context.Context) {
	for try := 0; ; {
		e, err := m.watch.Next(ctx)
		if err != nil {
			return
		}
		gone := e.Resync
		for _, ch := range e.Changes {
			gone = ch.Deleted
		}
		for gone && ctx.Err() == nil {
			if err := m.enter(ctx); err == nil || abstract.CodeOf(err) == abstract.Exists {
				break
			}
			try++
			select {
			case <-ctx.Done():
			case <-time.After(backoff(&m.group.nodes.conn.cfg, try)):
			}
		}
	}
}

// Leave ends the membership.
func (m *Member) Leave(ctx context.Context) error {
	m.stop()
	m.ended.Wait()
	m.group.nodes.closeSoon(m.watch)
	err := m.group.nodes.Delete(ctx, m.path)
	if abstract.CodeOf(err) == abstract.NotFound {
		return nil
	}
	return err
}

// Members returns the names of the members with their data. A group that nobody has
// joined yet is empty. To follow it, Cache the group's path.
func (g *Group) Members(ctx context.Context, opts ...NodeOption) (map[string][]byte, error) {
	list, err := g.nodes.List(ctx, g.path, append(opts, WithData())...)
	if err != nil && abstract.CodeOf(err) != abstract.NotFound {
		return nil, err
	}
	members := make(map[string][]byte, len(list))
	for _, n := range list {
		members[strings.TrimPrefix(n.Path, g.path+"/")] = n.Data
	}
	return members, nil
}
