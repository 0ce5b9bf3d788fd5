package zookeeper

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"

	"trefoil/abstract"
	"trefoil/concrete/internal/roster"
)

// service is one service that somebody asks about: one watch for all its methods.
type service struct {
	of      *Registry
	path    string
	ctx     context.Context
	cancel  context.CancelFunc
	changed chan struct{} // holds an element when there is something to look at

	mu      sync.Mutex
	methods map[string]*method // by the part of the path
	dirty   map[string]struct{}
	nodes   map[string]node // children by name, as last read

	children []string // of the goroutine that follows
}

// method is one that is asked about.
type method struct {
	name   string
	roster *roster.Roster
	users  int
	alone  abstract.Host // whom only the place names
}

// node is a child of a service.
type node struct {
	data  string
	czxid int64 // when it came
	abstract.Provider
	ok bool // it is a provider
}

// themselves is the name in service.dirty that stands for the children's list.
const themselves = ""

// Discover returns who provides a method now: as it was told last, when it is followed.
func (r *Registry) Discover(ctx context.Context, method string) ([]abstract.Provider, error) {
	known, release, err := r.use(method)
	if err != nil {
		return nil, err
	}
	defer release()
	ctx, cancel := roster.Within(ctx, r.cfg.SessionTimeout)
	defer cancel()
	if err := known.Await(ctx, r.ctx); err != nil {
		return nil, r.fault(ctx, "discover "+method, err)
	}
	return known.List()
}

// Follow calls fn with a method's providers and with every change; see abstract.Discovery.
func (r *Registry) Follow(method string, fn func(abstract.Providers)) (stop func()) {
	known, release, err := r.use(method)
	if err != nil {
		return roster.Refuse(err, fn)
	}
	stopFollowing := known.Follow(fn)
	return func() {
		stopFollowing()
		release()
	}
}

// use returns what is known of a method, and follows its service until everybody who has
// called use has called release.
func (r *Registry) use(name string) (known *roster.Roster, release func(), err error) {
	if err := roster.CheckMethod(name); err != nil {
		return nil, nil, err
	}
	path := r.servicePath(name)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, nil, roster.ErrClosed()
	}
	if !r.lines.begun {
		r.lines.begun = true
		r.ended.Go(r.keepLine)
	}
	s := r.services[path]
	if s == nil {
		s = &service{
			of: r, path: path, changed: make(chan struct{}, 1),
			methods: make(map[string]*method), dirty: make(map[string]struct{}), nodes: make(map[string]node),
		}
		s.ctx, s.cancel = context.WithCancel(r.ctx)
		r.services[path] = s
		r.ended.Go(s.follow)
	}
	m := s.use(name)
	return m.roster, sync.OnceFunc(func() { r.release(s, m) }), nil
}

func (s *service) use(name string) *method {
	_, part := split(name)
	part = escape(part)
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.methods[part]
	if m == nil {
		m = &method{name: name, roster: roster.New()}
		s.methods[part] = m
		s.touch()
	}
	m.users++
	return m
}

// release forgets a method that nobody asks about any more, and its service with it.
func (r *Registry) release(s *service, m *method) {
	r.mu.Lock()
	s.mu.Lock()
	m.users--
	_, part := split(m.name)
	part = escape(part)
	unused := m.users == 0 && s.methods[part] == m
	if unused {
		delete(s.methods, part)
	}
	if len(s.methods) == 0 && r.services[s.path] == s {
		delete(r.services, s.path)
		s.cancel()
	}
	s.mu.Unlock()
	r.mu.Unlock()
	if unused {
		m.roster.Close()
	}
}

func (s *service) close() {
	s.cancel()
	s.mu.Lock()
	methods := s.methods
	s.methods = make(map[string]*method)
	s.mu.Unlock()
	for _, m := range methods {
		m.roster.Close()
	}
}

// changed is told by the library that a node has changed.
func (r *Registry) changed(path string) {
	i := strings.LastIndexByte(path, '/')
	r.mu.Lock()
	children, child := r.services[path], r.services[path[:max(i, 0)]]
	r.mu.Unlock()
	if children != nil {
		children.forget(themselves)
	}
	if child != nil {
		child.forget(path[i+1:])
	}
}

// forget makes the next look read a child again, or the children's list.
func (s *service) forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dirty[name] = struct{}{}
	s.touch()
}

// touch says that there is something to look at.
func (s *service) touch() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// follow reads the service's children, and again after every change, as long as somebody
// asks about it.
func (s *service) follow() {
	for s.ctx.Err() == nil {
		if l := s.of.lines.get(s.ctx); l != nil {
			s.on(l)
		}
	}
}

// on follows the service over one line.
func (s *service) on(l *line) {
	s.forgetAll()
	for {
		var again <-chan time.Time
		if err := s.look(l); err != nil {
			if refused(err) {
				s.fail(err)
			}
			s.forgetAll()
			again = time.After(min(s.of.cfg.SessionTimeout/10, 4*retryPause))
		}
		changed := s.changed
		if again != nil {
			changed = nil
		}
		select {
		case <-s.ctx.Done():
			return
		case <-l.lost:
			return
		case <-changed:
		case <-again:
		}
	}
}

func (s *service) forgetAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.nodes)
	clear(s.dirty)
	s.dirty[themselves] = struct{}{}
}

// looks is how often a changing list is read before what was seen is told.
const looks = 8

// look reads what has changed, and tells the methods. What is read is watched by the
// reading itself, so nothing falls in between. A list that changes while its nodes are
// read is read again: a place may name a provider that came after it.
func (s *service) look(l *line) error {
	settled := false
	for i := 0; i < looks && !settled; i++ {
		if err := s.read(l); err != nil {
			return err
		}
		s.mu.Lock()
		_, outdated := s.dirty[themselves]
		s.mu.Unlock()
		settled = !outdated
	}
	s.take(l, settled)
	return nil
}

func (s *service) read(l *line) error {
	s.mu.Lock()
	_, list := s.dirty[themselves]
	for name := range s.dirty {
		delete(s.nodes, name)
	}
	clear(s.dirty)
	s.mu.Unlock()
	if list {
		var err error
		if s.children, err = s.list(l); err != nil {
			return err
		}
	}
	return s.readNodes(l)
}

// list lists the children. Those of a service that is not there are none, and we are told
// when it comes.
func (s *service) list(l *line) ([]string, error) {
	for {
		children, err := l.children(s.path)
		if !errors.Is(err, zk.ErrNoNode) {
			return children, err
		}
		if there, err := l.awaits(s.path); err != nil || !there {
			return nil, err
		}
	}
}

// readers is how many questions about children are under way at once.
const readers = 16

// readNodes reads the data of those children that are new or have changed, and that
// somebody asks about.
func (s *service) readNodes(l *line) error {
	var missing []string
	s.mu.Lock()
	for _, name := range s.children {
		part, _, _ := strings.Cut(name, "@")
		_, have := s.nodes[name]
		if _, asked := s.methods[part]; asked && !have {
			missing = append(missing, name)
		}
	}
	s.mu.Unlock()
	each := (len(missing) + readers - 1) / readers
	var (
		reading sync.WaitGroup
		errs    [readers]error
	)
	for i := range readers {
		names := missing[min(i*each, len(missing)):min((i+1)*each, len(missing))]
		if len(names) == 0 {
			break
		}
		reading.Go(func() {
			for _, name := range names {
				if errs[i] = s.readNode(l, name); errs[i] != nil {
					return
				}
			}
		})
	}
	reading.Wait()
	return errors.Join(errs[:]...)
}

func (s *service) readNode(l *line, name string) error {
	data, stat, err := l.data(s.path + "/" + name)
	switch {
	case errors.Is(err, zk.ErrNoNode): // it has just gone
		return nil
	case errors.Is(err, zk.ErrNoAuth): // its name says where it is
		data, stat = nil, &zk.Stat{}
	case err != nil:
		return err
	}
	part, addr, named := strings.Cut(name, "@")
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.methods[part]
	if m == nil { // nobody asks any more
		return nil
	}
	n := node{data: string(data), czxid: stat.Czxid}
	switch {
	case !named:
		n.Provider, n.ok = legacyAt(m.name, n.data)
	default:
		if n.Provider, n.ok = roster.Decode(m.name, data); !n.ok { // its name is enough
			n.Provider, n.ok = legacyAt(m.name, addr)
		}
	}
	s.nodes[name] = n
	return nil
}

// take drops the nodes that have gone, and tells the methods.
func (s *service) take(l *line, settled bool) {
	s.mu.Lock()
	there := make(map[string]struct{}, len(s.children))
	for _, name := range s.children {
		there[name] = struct{}{}
	}
	maps.DeleteFunc(s.nodes, func(name string, _ node) bool { _, ok := there[name]; return !ok })
	lists := s.lists(settled)
	s.mu.Unlock()
	hold := l.hold()
	for m, list := range lists {
		m.roster.Set(list, hold)
	}
}

// fail tells those who have no list yet why.
func (s *service) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.methods {
		m.roster.Fail(refusal("discover "+m.name, err))
	}
}

// lists are the providers of each method that is asked about, in the order in which they
// came. What a place says is only believed when the list is settled, or when it has said
// the same before. It is called with the lock held.
func (s *service) lists(settled bool) map[*method][]abstract.Provider {
	found := make(map[*method][]node, len(s.methods))
	for name, n := range s.nodes {
		part, _, named := strings.Cut(name, "@")
		if m := s.methods[part]; m != nil && named && n.ok {
			found[m] = append(found[m], n)
		}
	}
	lists := make(map[*method][]abstract.Provider, len(s.methods))
	for part, m := range s.methods {
		all := found[m]
		alone, ok := s.nodes[part]
		if ok = ok && alone.ok && !slices.ContainsFunc(all, func(n node) bool { return n.Host == alone.Host }); !ok {
			alone.Host = abstract.Host{}
		}
		if settled {
			m.alone = alone.Host
		}
		if ok && m.alone == alone.Host { // of a program that writes only the place
			all = append(all, alone)
		}
		slices.SortFunc(all, func(a, b node) int {
			return cmp.Or(cmp.Compare(a.czxid, b.czxid), strings.Compare(a.Host.IP, b.Host.IP), cmp.Compare(a.Host.Port, b.Host.Port))
		})
		list := make([]abstract.Provider, len(all))
		for i := range all {
			list[i] = all[i].Provider
		}
		lists[m] = list
	}
	return lists
}

// legacyAt is the provider at an address, of which nothing more is known.
func legacyAt(method, addr string) (p abstract.Provider, ok bool) {
	if text, err := url.PathUnescape(addr); err == nil {
		addr = text
	}
	host, err := abstract.ParseHost(addr)
	return abstract.Provider{Method: method, Host: host}, err == nil && host.IP != ""
}
