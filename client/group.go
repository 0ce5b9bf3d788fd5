package client

import (
	"context"
	"path"
	"slices"
	"sync"

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

// Member is one member of a group, made by Join. Safe for concurrent use.
type Member struct {
	group *Group
	name  string
	data  []byte
	watch *Watch
	life  context.Context
	stop  context.CancelFunc
	ended chan struct{}

	mu    sync.Mutex
	place *place
}

// Join makes us a member under a name, with data that others can read, until Leave
// or the Conn's Close. When the session is lost, or somebody deletes the node, the
// member joins again by itself; while another one has its name it waits for that to
// go, and OnProblem tells of it. A name that is taken is an error with code Exists.
func (g *Group) Join(ctx context.Context, name string, data []byte) (*Member, error) {
	m := &Member{group: g, name: name, data: some(data), ended: make(chan struct{})}
	m.life, m.stop = context.WithCancel(g.nodes.conn.ctx)
	var err error
	if m.watch, err = g.nodes.Watch(ctx, within(g.path, name), ScopeNode); err != nil {
		m.stop()
		return nil, err
	}
	err = m.enter(ctx)
	if err == nil && !g.nodes.conn.tasks.run(m.stay) {
		err = g.nodes.conn.closedError()
	}
	if err != nil {
		m.stop()
		g.nodes.closeSoon(m.watch)
		return nil, err
	}
	return m, nil
}

func (m *Member) enter(ctx context.Context) error {
	p, err := m.group.nodes.take(ctx, within(m.group.path, m.name), m.data)
	if err == nil {
		m.mu.Lock()
		m.place = p
		m.mu.Unlock()
	}
	return err
}

// stay joins again whenever our node is not there.
func (m *Member) stay() {
	defer close(m.ended)
	conn := m.group.nodes.conn
	for {
		if _, err := m.watch.Next(m.life); err != nil {
			if m.life.Err() == nil {
				conn.report(err) // the broker does not let us watch any more
			}
			return
		}
		for try := 0; m.life.Err() == nil; try++ {
			err := m.renew()
			if err == nil {
				break
			}
			if m.life.Err() == nil {
				conn.report(err)
			}
			if abstract.CodeOf(err) == abstract.Exists {
				break // the watch tells when that one is gone
			}
			conn.pause(m.life, try)
		}
	}
}

// renew joins again if our node is gone.
func (m *Member) renew() error {
	m.mu.Lock()
	p := m.place
	m.mu.Unlock()
	n, err := m.group.nodes.Stat(m.life, p.path)
	switch {
	case err == nil && n.Stat.Created == p.created:
		return nil
	case err != nil && abstract.CodeOf(err) != abstract.NotFound:
		return err
	}
	return m.enter(m.life)
}

// Leave ends the membership. After an error it ends as soon as the broker can be
// asked.
func (m *Member) Leave(ctx context.Context) error {
	m.stop()
	<-m.ended
	m.group.nodes.closeSoon(m.watch)
	err := m.group.nodes.remove(ctx, m.place.path, m.place.created)
	if err != nil {
		m.place.withdraw()
	}
	return err
}

// Members returns the names of the members with their data. A group that nobody has
// joined yet is empty. It may be a moment old; with Linearizable it was true after
// the call began.
func (g *Group) Members(ctx context.Context, opts ...NodeOption) (map[string][]byte, error) {
	list, err := g.nodes.List(ctx, g.path, append(opts, WithData())...)
	if err != nil && abstract.CodeOf(err) != abstract.NotFound {
		return nil, err
	}
	return membersOf(list), nil
}

func membersOf(list []Node) map[string][]byte {
	members := make(map[string][]byte, len(list))
	for i := range list {
		members[path.Base(list[i].Path)] = list[i].Data
	}
	return members
}

// GroupChange is a change of a group.
type GroupChange struct {
	Members map[string][]byte // all of them after it, with their data; do not change that
	Joined  []string          // names, in order; who was there before and is here again has joined, too
	Left    []string
}

// Follow calls fn for the members there are, if there are any, and then for each
// change, until the returned cache of the group's nodes is closed. Calls come one at
// a time, and may use the Conn; they must call neither its Close nor the cache's.
// When many changes come together, as after a reconnect, who has come and gone
// meanwhile is left out.
func (g *Group) Follow(ctx context.Context, fn func(GroupChange)) (*NodeCache, error) {
	f := groupFollower{group: g, fn: fn, known: make(map[string]int64), ready: make(chan struct{})}
	cache, err := g.nodes.Cache(ctx, g.path, f.changed)
	if err != nil {
		return nil, err
	}
	f.cache = cache
	f.tell() // nothing is told beside it, as the cache's goroutine waits
	close(f.ready)
	return cache, nil
}

// groupFollower turns the changes of a cache into those of a group.
type groupFollower struct {
	group *Group
	fn    func(GroupChange)
	cache *NodeCache
	known map[string]int64 // names, and when their nodes were created
	ready chan struct{}
}

func (f *groupFollower) changed([]NodeChange) {
	<-f.ready
	f.tell()
}

// tell tells what is different from what was told last.
func (f *groupFollower) tell() {
	list := f.cache.List(f.group.path)
	change := GroupChange{Members: membersOf(list)}
	for i := range list {
		name, created := path.Base(list[i].Path), list[i].Stat.Created
		if f.known[name] != created {
			f.known[name] = created
			change.Joined = append(change.Joined, name)
		}
	}
	for name := range f.known {
		if _, there := change.Members[name]; !there {
			delete(f.known, name)
			change.Left = append(change.Left, name)
		}
	}
	slices.Sort(change.Left)
	if len(change.Joined)+len(change.Left) > 0 {
		f.fn(change)
	}
}
