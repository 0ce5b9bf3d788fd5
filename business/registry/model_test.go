package registry

import (
	"context"
	"slices"
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
}

type place struct {
	method string
	host   abstract.Host
}

type offering struct {
	conn   ConnID
	method string
	p      message.ProviderHost
}

func (o offering) place() place { return place{o.method, o.p.Host} }

// same says whether o and other are the same provider.
func (o offering) same(other offering) bool {
	return o.conn == other.conn && o.place() == other.place() && o.p.Instance == other.p.Instance
}

func (m *model) has(o offering) bool { return slices.ContainsFunc(m.providers, o.same) }

func (m *model) offered(at place) bool {
	return slices.ContainsFunc(m.providers, func(o offering) bool { return o.place() == at })
}

func (m *model) add(o offering) []Notice {
	if m.has(o) {
		return nil
	}
	first := !m.offered(o.place())
	m.providers = append(m.providers, o)
	if !first {
		return nil
	}
	m.online = append(m.online, o.place())
	return m.notices(o, true)
}

func (m *model) remove(o offering) []Notice {
	i := slices.IndexFunc(m.providers, o.same)
	if i < 0 {
		return nil
	}
	o = m.providers[i]
	m.providers = slices.Delete(m.providers, i, i+1)
	if m.offered(o.place()) {
		return nil
	}
	m.online = slices.DeleteFunc(m.online, func(at place) bool { return at == o.place() })
	return m.notices(o, false)
}

func (m *model) notices(o offering, on bool) []Notice {
	var list []Notice
	for conn := range ConnID(100) {
		if m.discoverers[o.method][conn] {
			n := online(conn, o.method, o.p)
			n.Online = on
			list = append(list, n)
		}
	}
	return list
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

func (m *model) face(at place) (p message.ProviderHost) {
	for _, o := range m.providers { // the last modern one, else the last one
		if o.place() == at && (o.p.Hello || !p.Hello) {
			p = o.p
		}
	}
	return p
}

func (m *model) forget(conn ConnID) {
	for _, list := range m.discoverers {
		delete(list, conn)
	}
}

// pending is a request whose transaction has been planned and not yet run: what
// other connections do in between must not matter.
type pending struct {
	txns  []abstract.Txn
	apply func() []Notice // the same in the model
	gone  bool
}

// world is the manager and the model side by side.
type world struct {
	broker  *broker
	other   *PDManager // of another broker on the same store
	model   *model
	conns   []ConnID
	pending map[ConnID]pending
}

func newWorld(t *rapid.T) *world {
	w := &world{
		broker:  newBroker(t, Config{Broker: "a"}),
		other:   NewPDManager(Config{Broker: "b"}),
		model:   &model{discoverers: map[string]map[ConnID]bool{}},
		conns:   []ConnID{1, 2, 3, 4},
		pending: map[ConnID]pending{},
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
	}
	return offering{conn: conn, method: drawMethod(t), p: p}
}

func (w *world) register(t *rapid.T) {
	conn := w.idle(t)
	o := drawOffering(t, conn)
	txn, err := w.broker.pd.PlanRegister(conn, o.method, o.p)
	require.NoError(t, err)
	require.Equal(t, w.model.has(o), len(txn.Then) == 0, "nothing to do only for what is there")
	w.pending[conn] = pending{txns: []abstract.Txn{txn}, apply: func() []Notice { return w.model.add(o) }}
}

func (w *world) unregister(t *rapid.T) {
	conn := w.idle(t)
	o := drawOffering(t, conn)
	txn, err := w.broker.pd.PlanUnregister(conn, o.method, o.p)
	require.NoError(t, err)
	require.Equal(t, w.model.has(o), len(txn.Then) == 1)
	w.pending[conn] = pending{txns: []abstract.Txn{txn}, apply: func() []Notice { return w.model.remove(o) }}
}

func (w *world) discover(t *rapid.T) {
	conn, method := w.idle(t), drawMethod(t)
	got, err := w.broker.pd.Discover(conn, method)
	require.Equal(t, w.model.discover(conn, method), got)
	if len(got) == 0 {
		require.Equal(t, abstract.ServiceNotFound, abstract.CodeOf(err))
		return
	}
	require.NoError(t, err)
	theirs, err := w.other.Discover(99, method)
	require.NoError(t, err)
	require.Equal(t, got, theirs, "both brokers answer the same")
}

func (w *world) disconnect(t *rapid.T) {
	conn := w.idle(t)
	w.model.forget(conn)
	w.broker.pd.Forget(conn)
	w.pending[conn] = pending{txns: w.broker.pd.PlanDisconnect(conn), gone: true, apply: func() []Notice {
		var notices []Notice
		for _, o := range slices.Clone(w.model.providers) {
			if o.conn == conn {
				notices = append(notices, w.model.remove(o)...)
			}
		}
		return notices
	}}
}

// commit runs the transaction of a connection that waits, in any order.
func (w *world) commit(t *rapid.T) {
	conn := rapid.SampledFrom(w.conns).Draw(t, "conn")
	p, waits := w.pending[conn]
	if !waits {
		t.Skip("does not wait")
	}
	delete(w.pending, conn)
	require.Equal(t, p.apply(), w.broker.run(p.txns...))
	if p.gone { // another connection takes its place
		i := slices.Index(w.conns, conn)
		w.conns[i] = slices.Max(w.conns) + 1
		require.Less(t, w.conns[i], ConnID(99))
	}
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
		theirs, _ := fresh.Discover(1, method)
		ours, _ := w.other.Discover(99, method)
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
