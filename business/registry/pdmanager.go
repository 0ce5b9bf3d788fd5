package registry

import (
	"slices"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// ConnID is the number of a connection of this broker. It is never used twice.
type ConnID uint64

// Notice is what one discoverer is to be told: that a host came or went.
type Notice struct {
	Conn     ConnID // the discoverer
	Online   bool   // or offline
	Method   string
	Host     abstract.Host
	Instance string
	Hello    bool
	abstract.Traits
}

// maxOps is how many operations every Store takes in one transaction.
const maxOps = 128

// PDManager knows providers and discoverers: an event goes in, what is to be
// done or sent comes out. It holds no sockets, clocks or goroutines, and the same
// events give the same result every time.
//
// A host is online for a method as long as one connection offers it there,
// however many do: so a provider that reconnects before its old connection is
// noticed dead is neither announced nor lost.
//
// PDManager is not safe for concurrent use: the caller's lock covers a call and
// the queueing of its notices, which is what keeps them in the order of events.
// The Store is not called under that lock, as its followers take it.
type PDManager struct {
	cfg      Config
	applied  int64
	seq      uint64
	methods  map[string]*method
	provided map[ConnID][]*provider // of our own connections, in the order of registration
	asked    map[ConnID][]*method   // mirrors method.discoverers
}

// NewPDManager makes an empty PDManager.
func NewPDManager(cfg Config) *PDManager {
	return &PDManager{
		cfg:      cfg.withDefaults(),
		methods:  make(map[string]*method),
		provided: make(map[ConnID][]*provider),
		asked:    make(map[ConnID][]*method),
	}
}

// PlanRegister returns the transaction that makes conn a provider of a method at
// a host, or changes what it says of itself; one without operations when it is that
// already. A transaction that
// does not succeed has found the provider in the Store: that is no error either.
// The error is InvalidParams, or Overloaded at a limit.
func (m *PDManager) PlanRegister(conn ConnID, name string, p message.ProviderHost) (abstract.Txn, error) {
	e := m.entry(conn, name, p)
	if err := m.cfg.checkProvider(e); err != nil {
		return abstract.Txn{}, err
	}
	known := m.find(e)
	if known != nil && known.same(said{p.Hello, &p.Traits}) {
		return abstract.Txn{}, nil
	}
	if known == nil && len(m.provided[conn]) >= m.cfg.MaxProvidersPerConn {
		return abstract.Txn{}, abstract.Errorf(abstract.Overloaded, "a connection registers at most %d methods and hosts; unregister some or use another connection", m.cfg.MaxProvidersPerConn)
	}
	if mt := m.methods[name]; known == nil && mt != nil && mt.providers >= m.cfg.MaxProvidersPerMethod {
		return abstract.Txn{}, abstract.Errorf(abstract.Overloaded, "method %q has %d providers, which is the limit; try again when some have left", name, mt.providers)
	}
	value, err := e.value(p.Hello, p.Traits)
	if err != nil {
		return abstract.Txn{}, &abstract.Error{Code: abstract.Internal, Op: "register " + name, Err: err}
	}
	key := e.key()
	if known != nil { // its owner's own key: nobody else writes it
		return abstract.Txn{Then: []abstract.Op{{Key: key, Value: value}}}, nil
	}
	return abstract.Txn{
		If:   []abstract.Compare{{Key: key, Target: abstract.CompareCreate, Rev: 0}},
		Then: []abstract.Op{{Key: key, Value: value}},
	}, nil
}

// PlanUnregister returns the transaction that takes a provider of conn back; one
// without operations when conn does not provide it: what was asked for is the
// case. The error is InvalidParams. p.Hello is not looked at.
func (m *PDManager) PlanUnregister(conn ConnID, name string, p message.ProviderHost) (abstract.Txn, error) {
	e := m.entry(conn, name, p)
	if err := m.cfg.checkProvider(e); err != nil {
		return abstract.Txn{}, err
	}
	if m.find(e) == nil {
		return abstract.Txn{}, nil
	}
	return abstract.Txn{Then: []abstract.Op{{Key: e.key(), Delete: true}}}, nil
}

// PlanDisconnect returns the transactions that remove every provider of a
// connection that is gone; none when it provides nothing. They may be run in any
// order. When one fails, call again: what is still there is planned again.
func (m *PDManager) PlanDisconnect(conn ConnID) []abstract.Txn {
	var txns []abstract.Txn
	for part := range slices.Chunk(m.provided[conn], maxOps) {
		ops := make([]abstract.Op, len(part))
		for i, p := range part {
			ops[i] = abstract.Op{Key: p.entry().key(), Delete: true}
		}
		txns = append(txns, abstract.Txn{Then: ops})
	}
	return txns
}

// Made returns which of our connections a change makes providers of something.
func (m *PDManager) Made(change abstract.Change) []ConnID {
	var conns []ConnID
	for i := range change.Events {
		ev := &change.Events[i]
		if e, ok := parseKey(ev.KV.Key); ok && !ev.Deleted && e.owner.broker == m.cfg.Broker && !slices.Contains(conns, e.owner.conn) {
			conns = append(conns, e.owner.conn)
		}
	}
	return conns
}

// PlanAbandoned returns the transactions that remove the providers of other brokers:
// for a broker that has its Store for itself, those are what a run before it has
// left and nobody has taken up again. Otherwise as PlanDisconnect.
func (m *PDManager) PlanAbandoned() []abstract.Txn {
	var txns []abstract.Txn
	for part := range slices.Chunk(m.abandoned(), maxOps) {
		ops := make([]abstract.Op, len(part))
		for i, e := range part {
			ops[i] = abstract.Op{Key: e.key(), Delete: true}
		}
		txns = append(txns, abstract.Txn{Then: ops})
	}
	return txns
}

// Discover makes conn a discoverer of a method, which gets its notices from then
// on, and returns its hosts, each once, in the order in which they came online:
// one step, so that nothing is missed in between. The slice is shared and must
// not be changed.
//
// A conn that is a discoverer already stays one, and one that asks about a
// method nobody provides becomes one, although the error is ServiceNotFound.
// With the errors InvalidParams and Overloaded it does not.
func (m *PDManager) Discover(conn ConnID, name string) ([]message.ProviderHost, error) {
	if err := m.cfg.checkMethod(name); err != nil {
		return nil, err
	}
	mt := m.methods[name]
	if mt == nil || !mt.hasDiscoverer(conn) {
		if len(m.asked[conn]) >= m.cfg.MaxMethodsPerDiscoverer {
			return nil, abstract.Errorf(abstract.Overloaded, "a connection discovers at most %d methods; use another connection", m.cfg.MaxMethodsPerDiscoverer)
		}
		mt = m.method(name)
		mt.addDiscoverer(conn)
		m.asked[conn] = append(m.asked[conn], mt)
	}
	if len(mt.offers) == 0 {
		return nil, abstract.Errorf(abstract.ServiceNotFound, "nobody provides method %q; its providers are announced when they come", name)
	}
	return mt.hosts(), nil
}

// Forget removes a discoverer, silently.
func (m *PDManager) Forget(conn ConnID) {
	for _, mt := range m.asked[conn] {
		mt.removeDiscoverer(conn)
		m.dropIfUnused(mt)
	}
	delete(m.asked, conn)
}

func (m *PDManager) entry(conn ConnID, name string, p message.ProviderHost) entry {
	return entry{method: name, owner: owner{m.cfg.Broker, conn}, instance: p.Instance, host: p.Host}
}

// find returns the provider that e names, or nil.
func (m *PDManager) find(e entry) *provider {
	if mt := m.methods[e.method]; mt != nil {
		if o := mt.offer(e.host); o != nil {
			return o.provider(e.owner, e.instance)
		}
	}
	return nil
}
