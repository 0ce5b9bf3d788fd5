package registry

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// model is the registry as one would explain it: a list of providers in the
// order in which they came, a list of hosts in the order in which they came
// online, and who has asked about what.
type model struct {
	providers   []offering
	online      []place
	discoverers map[string]map[ConnID]bool
	revisions   map[string]uint64
	marks       map[abstract.Host]abstract.ProviderState
}

type place struct {
	method string
	host   abstract.Host
}

type offering struct {
	conn   ConnID
	method string
	p      message.ProviderHost
	lost   bool
}

func (o offering) place() place { return place{o.method, o.p.Host} }

// same says whether o and other are the same provider.
func (o offering) same(other offering) bool {
	return o.conn == other.conn && o.place() == other.place() && o.p.Instance == other.p.Instance
}

func (m *model) has(o offering) bool { return slices.ContainsFunc(m.providers, o.same) }

// says says whether o is there and says the same of itself.
func (m *model) says(o offering) bool {
	return slices.ContainsFunc(m.providers, func(x offering) bool { return o.same(x) && o.p == x.p })
}

func (m *model) offered(at place) bool {
	return slices.ContainsFunc(m.providers, func(o offering) bool { return o.place() == at })
}

func (m *model) add(o offering) []Notice {
	return m.change(Unknown, func() {
		if i := slices.IndexFunc(m.providers, o.same); i >= 0 {
			m.providers[i].p = o.p
			return
		}
		if !m.offered(o.place()) {
			m.online = append(m.online, o.place())
		}
		m.providers = append(m.providers, o)
	}, o.place())
}

func (m *model) remove(o offering, why Reason) []Notice {
	return m.change(why, func() {
		m.providers = slices.DeleteFunc(m.providers, o.same)
		if !m.offered(o.place()) {
			m.online = slices.DeleteFunc(m.online, func(at place) bool { return at == o.place() })
		}
	}, o.place())
}

// change does something, and returns what discoverers are to be told of places.
func (m *model) change(why Reason, do func(), places ...place) []Notice {
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(strings.Compare(a.method, b.method), cmp.Compare(a.host.Port, b.host.Port))
	})
	places = slices.Compact(places)
	type look struct {
		there bool
		message.ProviderHost
	}
	looks := func() (all []look) {
		for _, at := range places {
			all = append(all, look{m.offered(at), m.face(at)})
		}
		return all
	}
	before := looks()
	do()
	var list []Notice
	for i, now := range looks() {
		was, method := before[i], places[i].method
		n := &News{Method: method, Online: now.there, Before: was.there, Was: was.State, ProviderHost: now.ProviderHost}
		switch {
		case now == was:
			continue
		case !now.there:
			n.Reason, n.ProviderHost = why, was.ProviderHost
		}
		m.revisions[method]++
		n.Revision = m.revisions[method]
		for conn := range ConnID(100) {
			if m.discoverers[method][conn] {
				list = append(list, Notice{conn, n})
			}
		}
		m.tidy(method)
	}
	return list
}

// tidy forgets a method that is of no use to anybody.
func (m *model) tidy(method string) {
	if len(m.discoverers[method]) == 0 && !slices.ContainsFunc(m.online, func(at place) bool { return at.method == method }) {
		delete(m.revisions, method)
	}
}

func (m *model) lose(conn ConnID) []Notice {
	var places []place
	for _, o := range m.providers {
		if o.conn == conn {
			places = append(places, o.place())
		}
	}
	return m.change(Unknown, func() {
		for i := range m.providers {
			if m.providers[i].conn == conn {
				m.providers[i].lost = true
			}
		}
	}, places...)
}

func (m *model) mark(host abstract.Host, s abstract.ProviderState) []Notice {
	var places []place
	for _, at := range m.online {
		if at.host == host {
			places = append(places, at)
		}
	}
	return m.change(Unknown, func() { m.marks[host] = s }, places...)
}

// plain says that nothing is known here that the Store does not know.
func (m *model) plain() bool {
	for _, s := range m.marks {
		if s != abstract.Up {
			return false
		}
	}
	return !slices.ContainsFunc(m.providers, func(o offering) bool { return o.lost })
}

func (m *model) discover(conn ConnID, method string) []message.ProviderHost {
	if m.discoverers[method] == nil {
		m.discoverers[method] = map[ConnID]bool{}
	}
	m.discoverers[method][conn] = true
	var hosts []message.ProviderHost
	for _, at := range m.online {
		if at.method == method {
			hosts = append(hosts, m.face(at))
		}
	}
	return hosts
}

// face is the last modern provider that is not lost, else the last that is not lost,
// else the last.
func (m *model) face(at place) (p message.ProviderHost) {
	rank, best := -1, offering{}
	for _, o := range m.providers {
		r := 0
		switch {
		case o.place() != at:
			continue
		case !o.lost && o.p.Hello:
			r = 2
		case !o.lost:
			r = 1
		}
		if r >= rank {
			rank, best = r, o
		}
	}
	if p = best.p; rank < 0 || p.State != abstract.Up {
		return p
	}
	if p.State = m.marks[at.host]; best.lost {
		p.State = abstract.Lost
	}
	return p
}

func (m *model) forget(conn ConnID) {
	for method, list := range m.discoverers {
		delete(list, conn)
		m.tidy(method)
	}
}

// pending is a request whose transaction has been planned and not yet run: what
// other connections do in between must not matter.
type pending struct {
	txns  []abstract.Txn
	apply func() []Notice // the same in the model
}

// world is the manager and the model side by side.
type world struct {
	broker  *broker
	other   *PDManager // of another broker on the same store
	model   *model
	conns   []ConnID // that live
	held    []ConnID // that are gone, and whose providers are kept
	last    ConnID   // the newest
	pending map[ConnID]pending
	views   map[ConnID]map[string]map[abstract.Host]bool // by connection and method: what a legacy peer has been told
}

func newWorld(t *rapid.T) *world {
	w := &world{
		broker:  newBroker(t, Config{Broker: "a"}),
		other:   NewPDManager(Config{Broker: "b"}),
		model:   &model{discoverers: map[string]map[ConnID]bool{}, revisions: map[string]uint64{}, marks: map[abstract.Host]abstract.ProviderState{}},
		conns:   []ConnID{1, 2, 3, 4},
		last:    4,
		pending: map[ConnID]pending{},
		views:   map[ConnID]map[string]map[abstract.Host]bool{},
	}
	w.broker.store.Follow(Prefix, func(c abstract.Change) { w.other.Apply(c) })
	return w
}

// idle draws a connection that waits for no answer.
func (w *world) idle(t *rapid.T) ConnID {
	conn := rapid.SampledFrom(w.conns).Draw(t, "conn")
	if _, waits := w.pending[conn]; waits {
		t.Skip("waits for an answer")
	}
	return conn
}

func drawMethod(t *rapid.T) string {
	return rapid.SampledFrom([]string{"sum", "a/b"}).Draw(t, "method")
}

// drawOffering draws a provider; connections with odd numbers are modern.
func drawOffering(t *rapid.T, conn ConnID) offering {
	p := at(rapid.IntRange(1, 2).Draw(t, "port"))
	if conn%2 == 1 {
		p.Hello, p.Instance = true, rapid.SampledFrom([]string{"", "i", "j"}).Draw(t, "instance")
		p.State = rapid.SampledFrom([]abstract.ProviderState{abstract.Up, abstract.Up, abstract.Retiring}).Draw(t, "state")
		p.Weight = rapid.IntRange(0, 1).Draw(t, "weight")
	}
	return offering{conn: conn, method: drawMethod(t), p: p}
}

func (w *world) register(t *rapid.T) {
	conn := w.idle(t)
	o := drawOffering(t, conn)
	txn, err := w.broker.pd.PlanRegister(conn, o.p, o.method)
	require.NoError(t, err)
	require.Equal(t, w.model.says(o), len(txn.Then) == 0, "nothing to do only for what is there")
	w.pending[conn] = pending{txns: []abstract.Txn{txn}, apply: func() []Notice { return w.model.add(o) }}
}

func (w *world) unregister(t *rapid.T) {
	conn := w.idle(t)
	o := drawOffering(t, conn)
	txn, err := w.broker.pd.PlanUnregister(conn, Unregistered, o.p, o.method)
	require.NoError(t, err)
	require.Equal(t, w.model.has(o), len(txn.Then) > 0)
	var gone []offering // and with it those at its place that are lost
	if w.model.has(o) {
		for _, x := range w.model.providers {
			if x.lost && x.place() == o.place() && !x.same(o) {
				gone = append(gone, x)
			}
		}
		gone = append(gone, o)
	}
	w.pending[conn] = pending{txns: []abstract.Txn{txn}, apply: func() []Notice {
		var notices []Notice
		for _, x := range gone {
			notices = append(notices, w.model.remove(x, Unregistered)...)
		}
		return notices
	}}
}

func (w *world) discover(t *rapid.T) {
	conn, method := w.idle(t), drawMethod(t)
	got, revision, err := w.broker.pd.Discover(conn, method)
	require.Equal(t, w.model.discover(conn, method), got)
	require.Equal(t, w.model.revisions[method], revision)
	w.view(conn, method, got)
	if len(got) == 0 {
		require.Equal(t, abstract.ServiceNotFound, abstract.CodeOf(err))
		return
	}
	require.NoError(t, err)
	theirs, _, err := w.other.Discover(99, method)
	require.NoError(t, err)
	if w.model.plain() {
		require.Equal(t, got, theirs, "both brokers answer the same")
	}
}

// gone takes a connection out that has ended: it asks for nothing any more, and a new
// one takes its place.
func (w *world) gone(t *rapid.T, conn ConnID) {
	w.model.forget(conn)
	delete(w.views, conn)
	w.broker.pd.Forget(conn)
	w.last++
	require.Less(t, w.last, ConnID(99))
	w.conns[slices.Index(w.conns, conn)] = w.last
}

func (w *world) disconnect(t *rapid.T) {
	conn := w.idle(t)
	w.gone(t, conn)
	w.remove(conn)
}

// remove plans that the providers of a connection go that has ended.
func (w *world) remove(conn ConnID) {
	w.pending[conn] = pending{txns: w.broker.pd.PlanDisconnect(conn, Disconnected), apply: func() []Notice {
		var notices []Notice
		for _, o := range slices.Clone(w.model.providers) {
			if o.conn == conn {
				notices = append(notices, w.model.remove(o, Disconnected)...)
			}
		}
		return notices
	}}
}

// lose ends a connection whose providers are kept, as those of many at once are. It waits
// for no answer: the end of a connection comes behind all that it has asked for.
func (w *world) lose(t *rapid.T) {
	conn := w.idle(t)
	w.gone(t, conn)
	w.held = append(w.held, conn)
	w.told(t, w.model.lose(conn), w.broker.pd.Lose(conn))
}

// lift lets go of one that is held.
func (w *world) lift(t *rapid.T) {
	if len(w.held) == 0 {
		t.Skip("nobody is held")
	}
	i := rapid.IntRange(0, len(w.held)-1).Draw(t, "held")
	conn := w.held[i]
	w.held = slices.Delete(w.held, i, i+1)
	w.remove(conn)
}

func (w *world) mark(t *rapid.T) {
	host := at(rapid.IntRange(1, 2).Draw(t, "port")).Host
	s := rapid.SampledFrom([]abstract.ProviderState{abstract.Up, abstract.Unhealthy}).Draw(t, "state")
	w.told(t, w.model.mark(host, s), w.broker.pd.Mark(host, s))
}

// view notes what a legacy peer sees by the answer to a discovery.
func (w *world) view(conn ConnID, method string, hosts []message.ProviderHost) {
	if w.views[conn] == nil {
		w.views[conn] = map[string]map[abstract.Host]bool{}
	}
	seen := map[abstract.Host]bool{}
	for _, h := range ForLegacy(hosts) {
		seen[h.Host] = true
	}
	w.views[conn][method] = seen
}

// told holds notices against those of the model, which knows nothing of legacy peers,
// and shows them to one: it hears of each host's coming and going once, and in the end
// sees those that are well, or else those that are unhealthy.
func (w *world) told(t *rapid.T, want, got []Notice) {
	var modern []Notice
	for _, n := range got {
		seen := w.views[n.Conn][n.Method]
		if online, ok := n.Legacy(); ok {
			require.Equal(t, !online, seen[n.Host], "told what it knows")
			delete(seen, n.Host)
			if online {
				seen[n.Host] = true
			}
		}
		if n.Modern() {
			news := *n.News
			news.legacy = legacy{}
			modern = append(modern, Notice{n.Conn, &news})
		} else {
			require.Zero(t, n.Revision)
		}
	}
	require.Equal(t, want, modern)
	for _, methods := range w.views {
		for method, seen := range methods {
			require.Equal(t, w.model.forLegacy(method), seen)
		}
	}
}

// forLegacy is what a legacy peer is to see.
func (m *model) forLegacy(method string) map[abstract.Host]bool {
	states := map[abstract.ProviderState]map[abstract.Host]bool{}
	for _, at := range m.online {
		if s := m.face(at).State; at.method == method {
			if s == abstract.Lost {
				s = abstract.Up // believed in
			}
			if states[s] == nil {
				states[s] = map[abstract.Host]bool{}
			}
			states[s][at.host] = true
		}
	}
	switch {
	case states[abstract.Up] != nil:
		return states[abstract.Up]
	case states[abstract.Unhealthy] != nil:
		return states[abstract.Unhealthy]
	}
	return map[abstract.Host]bool{}
}

// commit runs a transaction that waits, in any order.
func (w *world) commit(t *rapid.T) {
	if len(w.pending) == 0 {
		t.Skip("nobody waits")
	}
	conn := rapid.SampledFrom(slices.Sorted(maps.Keys(w.pending))).Draw(t, "conn")
	p := w.pending[conn]
	delete(w.pending, conn)
	w.told(t, p.apply(), w.broker.run(p.txns...))
}

// reload loads what the Store holds into the index, which has it already, and
// into a new one, which then knows the same.
func (w *world) reload(t *rapid.T) {
	kvs, rev, err := w.broker.store.Range(context.Background(), Prefix, 0)
	require.NoError(t, err)
	notices, ok := w.broker.pd.Load(kvs, rev)
	require.True(t, ok)
	require.Empty(t, notices)
	fresh := NewPDManager(Config{Broker: "c"})
	_, ok = fresh.Load(kvs, rev)
	require.True(t, ok)
	check(t, fresh)
	for _, method := range []string{"sum", "a/b"} {
		theirs, _, _ := fresh.Discover(1, method)
		ours, _, _ := w.other.Discover(99, method)
		require.ElementsMatch(t, ours, theirs)
	}
}

func TestPDManagerMatchesTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		t.Repeat(map[string]func(*rapid.T){
			"register":   w.register,
			"unregister": w.unregister,
			"discover":   w.discover,
			"disconnect": w.disconnect,
			"lose":       w.lose,
			"lift":       w.lift,
			"mark":       w.mark,
			"commit":     w.commit,
			"commit2":    w.commit, // as often as they are planned
			"reload":     w.reload,
			"": func(t *rapid.T) {
				check(t, w.broker.pd)
				check(t, w.other)
			},
		})
	})
}
