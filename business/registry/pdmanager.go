package registry

import (
	"slices"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// ConnID is the number of a connection of this broker. It is never used twice.
type ConnID uint64

// Notice is what one discoverer is to be told.
type Notice struct {
	Conn  ConnID // the discoverer
	*News        // one for all discoverers; must not be changed
}

// News is that a host came or went, or is not what it was.
type News struct {
	Method   string
	Revision uint64 // the next number after the discoverer's last notice or answer about the method
	Online   bool   // or offline
	Before   bool   // it was there before
	Was      abstract.ProviderState
	Reason   Reason // why it is offline
	message.ProviderHost
	legacy
}

// Reason is why a provider went offline.
type Reason uint8

// The reasons. That of a provider of another broker is not known.
const (
	Unknown      Reason = iota
	Disconnected        // its connection was lost
	Left                // its connection was closed with a goodbye
	Unregistered        // it was unregistered
	Expired             // its time to live was over
)

// String returns the reason's word on the wire; empty for Unknown.
func (r Reason) String() string {
	return [...]string{"", "lost", "left", "unregistered", "expired"}[r]
}

// MaxOps is how many operations every Store takes in one transaction, and so how many
// methods one request registers or unregisters.
const MaxOps = 128

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
	leaving  map[ConnID]struct{}    // of those, whose removal has been planned
	doubts   map[ConnID]map[entry]wanted
	asked    map[ConnID][]*method // mirrors method.discoverers
	marks    map[abstract.Host]abstract.ProviderState
}

// NewPDManager makes an empty PDManager.
func NewPDManager(cfg Config) *PDManager {
	return &PDManager{
		cfg:      cfg.withDefaults(),
		methods:  make(map[string]*method),
		provided: make(map[ConnID][]*provider),
		leaving:  make(map[ConnID]struct{}),
		doubts:   make(map[ConnID]map[entry]wanted),
		asked:    make(map[ConnID][]*method),
		marks:    make(map[abstract.Host]abstract.ProviderState),
	}
}

// PlanRegister returns the transaction that makes conn a provider of methods at a
// host, or changes what it says of itself, for all of them or none; one without
// operations when it is all that already. The error is InvalidParams, or Overloaded at
// a limit. There may be as many names as operations in a transaction.
//
// The transaction, like that of PlanUnregister and of PlanMend, does not succeed when
// something that it does not know has changed its keys: plan again when the index has
// that. When it has failed so that its fate is unknown, say so with Doubt, else with
// Settle that it has succeeded. Each is to be over before the next is planned for conn.
func (m *PDManager) PlanRegister(conn ConnID, p message.ProviderHost, names ...string) (abstract.Txn, error) {
	var txn abstract.Txn
	fresh := 0
	for _, name := range names {
		e := m.entry(conn, name, p)
		if err := m.cfg.checkProvider(e); err != nil {
			return abstract.Txn{}, err
		}
		known := m.find(e)
		doubtful := m.inDoubt(conn, e)
		if known != nil && !doubtful && known.same(said{hello: p.Hello, traits: &p.Traits}) {
			continue
		}
		if !doubtful && len(m.doubts[conn]) >= m.cfg.MaxProvidersPerConn {
			return abstract.Txn{}, abstract.Errorf(abstract.Overloaded, "%d registrations of this connection may still take effect or not, since the store did not answer in time; use another connection", len(m.doubts[conn]))
		}
		if known == nil {
			if fresh++; len(m.provided[conn])+fresh > m.cfg.MaxProvidersPerConn {
				return abstract.Txn{}, abstract.Errorf(abstract.Overloaded, "a connection registers at most %d methods and hosts; unregister some or use another connection", m.cfg.MaxProvidersPerConn)
			}
			if mt := m.methods[name]; mt != nil && mt.providers >= m.cfg.MaxProvidersPerMethod {
				return abstract.Txn{}, abstract.Errorf(abstract.Overloaded, "method %q has %d providers, which is the limit; try again when some have left", name, mt.providers)
			}
		}
		value, err := e.value(p.Hello, p.Traits)
		if err != nil {
			return abstract.Txn{}, &abstract.Error{Code: abstract.Internal, Op: "register " + name, Err: err}
		}
		guarded(&txn, known, abstract.Op{Key: e.key(), Value: value})
	}
	return txn, nil
}

// PlanUnregister returns the transaction that takes providers of conn back, for a
// reason; one without operations when conn does not provide them: what was asked for
// is the case. The error is InvalidParams. Of p only host and instance are looked at.
func (m *PDManager) PlanUnregister(conn ConnID, why Reason, p message.ProviderHost, names ...string) (abstract.Txn, error) {
	var txn abstract.Txn
	var lost []abstract.Op
	for _, name := range names {
		e := m.entry(conn, name, p)
		if err := m.cfg.checkProvider(e); err != nil {
			return abstract.Txn{}, err
		}
		known := m.find(e)
		if known != nil {
			known.reason = why
			guarded(&txn, known, abstract.Op{Key: e.key(), Delete: true})
			lost = append(lost, lostBeside(known)...)
		} else if m.inDoubt(conn, e) {
			m.doubts[conn][e] = wanted{why: why}
		}
	}
	lost = lost[:min(len(lost), MaxOps-len(txn.Then))]
	txn.Then = append(lost, txn.Then...) // which nobody is told of then
	return txn, nil
}

// lostBeside removes the lost providers at the place of another one: what is left of
// the connections that it had before.
func lostBeside(known *provider) (ops []abstract.Op) {
	for _, p := range known.offer.providers {
		if p.lost && p != known {
			p.reason = known.reason
			ops = append(ops, abstract.Op{Key: p.entry().key(), Delete: true})
		}
	}
	return ops
}

// Provides says whether conn provides a method at a host, as that instance.
func (m *PDManager) Provides(conn ConnID, name string, p message.ProviderHost) bool {
	return m.find(m.entry(conn, name, p)) != nil
}

// PlanDisconnect returns the transactions that remove every provider of a
// connection that is gone, for a reason; none when it provides nothing. They may be run in any
// order. When one fails, call again: what is still there is planned again.
func (m *PDManager) PlanDisconnect(conn ConnID, why Reason) []abstract.Txn {
	ops := make([]abstract.Op, 0, len(m.provided[conn]))
	if cap(ops) > 0 {
		m.leaving[conn] = struct{}{}
	}
	for _, p := range m.provided[conn] {
		p.reason = why
		if why == Left { // so has whoever was there before it and was lost
			for _, op := range lostBeside(p) {
				if !slices.ContainsFunc(ops, func(o abstract.Op) bool { return o.Key == op.Key }) {
					ops = append(ops, op)
				}
			}
		}
		ops = append(ops, abstract.Op{Key: p.entry().key(), Delete: true})
	}
	var txns []abstract.Txn
	for part := range slices.Chunk(ops, MaxOps) {
		txns = append(txns, abstract.Txn{Then: part})
	}
	return txns
}

// Made returns which of our connections a change makes providers of something, and
// whether it makes any of another broker's one.
func (m *PDManager) Made(change abstract.Change) (conns []ConnID, foreign bool) {
	for i := range change.Events {
		ev := &change.Events[i]
		switch e, ok := parseKey(ev.KV.Key); {
		case !ok || ev.Deleted:
		case e.owner.broker != m.cfg.Broker:
			foreign = true
		case !slices.Contains(conns, e.owner.conn):
			conns = append(conns, e.owner.conn)
		}
	}
	return conns, foreign
}

// PlanAbandoned returns the transactions that remove the providers of other brokers:
// for a broker that has its Store for itself, those are what a run before it has
// left and nobody has taken up again. Otherwise as PlanDisconnect.
func (m *PDManager) PlanAbandoned() []abstract.Txn {
	var txns []abstract.Txn
	for part := range slices.Chunk(m.abandoned(), MaxOps) {
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
// not be changed. The revision is what the next notice's follows on; it is also
// given beside ServiceNotFound.
//
// A conn that is a discoverer already stays one, and one that asks about a
// method nobody provides becomes one, although the error is ServiceNotFound.
// With the errors InvalidParams and Overloaded it does not.
func (m *PDManager) Discover(conn ConnID, name string) (hosts []message.ProviderHost, revision uint64, err error) {
	if err := m.cfg.checkMethod(name); err != nil {
		return nil, 0, err
	}
	mt := m.methods[name]
	if mt == nil || !mt.hasDiscoverer(conn) {
		if len(m.asked[conn]) >= m.cfg.MaxMethodsPerDiscoverer {
			return nil, 0, abstract.Errorf(abstract.Overloaded, "a connection discovers at most %d methods; use another connection", m.cfg.MaxMethodsPerDiscoverer)
		}
		mt = m.method(name)
		mt.addDiscoverer(conn)
		m.asked[conn] = append(m.asked[conn], mt)
	}
	if len(mt.offers) == 0 {
		return nil, mt.revision, abstract.Errorf(abstract.ServiceNotFound, "nobody provides method %q; its providers are announced when they come", name)
	}
	return m.hosts(mt), mt.revision, nil
}

// Forget removes a connection that is gone, silently, but for what it provides.
func (m *PDManager) Forget(conn ConnID) {
	delete(m.doubts, conn)
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
