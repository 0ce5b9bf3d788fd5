package registry

import (
	"cmp"
	"slices"
	"strings"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// Apply takes a change of the Store into the index and returns what it says to
// whom, in the order in which it is to be sent. Changes must come in order; one
// that was applied already is ignored, and so are keys that are not ours.
func (m *PDManager) Apply(change abstract.Change) []Notice {
	if change.Revision <= m.applied {
		return nil
	}
	m.applied = change.Revision
	var notices []Notice
	for i := range change.Events {
		ev := &change.Events[i]
		e, ok := parseKey(ev.KV.Key)
		switch {
		case !ok:
		case ev.Deleted:
			notices = m.remove(notices, e)
		default:
			notices = m.put(notices, e, &ev.KV)
		}
	}
	return notices
}

// Applied returns the revision of the last change that is in the index. It is 0
// before the first, and stays behind the Store's where others write to that.
func (m *PDManager) Applied() int64 { return m.applied }

// Load makes the index what the Store held below Prefix at a revision, and
// returns the notices of the difference. Discoverers stay. It is for a Store that
// was not empty when following began, or one that was out of reach: follow first,
// then Range, then Load. It is not ok, and nothing has changed, when the index
// has meanwhile seen a newer revision: Range again.
func (m *PDManager) Load(kvs []abstract.KV, rev int64) (notices []Notice, ok bool) {
	if rev < m.applied {
		return nil, false
	}
	m.applied = rev
	kvs = slices.Clone(kvs)
	slices.SortStableFunc(kvs, func(a, b abstract.KV) int { return cmp.Compare(a.CreateRevision, b.CreateRevision) })
	there := make(map[entry]struct{}, len(kvs))
	for i := range kvs {
		if e, ok := parseKey(kvs[i].Key); ok {
			there[e] = struct{}{}
			notices = m.put(notices, e, &kvs[i])
		}
	}
	for _, e := range m.missing(there) {
		notices = m.remove(notices, e)
	}
	return notices, true
}

// put adds a provider, or changes what it says of itself.
func (m *PDManager) put(notices []Notice, e entry, kv *abstract.KV) []Notice {
	s := parseValue(kv.Value)
	mt := m.method(e.method)
	mt.shown, mt.relays = nil, nil
	o := mt.offer(e.host)
	if o != nil {
		was := m.shown(o.face())
		if p := o.provider(e.owner, e.instance); p != nil {
			if p.rev != kv.ModRevision {
				p.reason = Unknown // it was written since that was planned
			}
			p.said, p.rev = s, kv.ModRevision
		} else {
			m.add(o, e, s, kv.ModRevision)
		}
		return m.compare(notices, o, was)
	}
	m.seq++
	o = &offer{method: mt, host: e.host, seq: m.seq}
	o.providers = o.first[:0]
	mt.addOffer(o)
	return m.tell(notices, o, News{Online: true, ProviderHost: m.shown(m.add(o, e, s, kv.ModRevision))})
}

// compare tells discoverers when what is shown of a host is not what it was: callers
// choose by it, and mean the instance that they know.
func (m *PDManager) compare(notices []Notice, o *offer, was message.ProviderHost) []Notice {
	now := m.shown(o.face())
	if now == was {
		return notices
	}
	return m.tell(notices, o, News{Online: true, Before: true, Was: was.State, ProviderHost: now})
}

func (m *PDManager) add(o *offer, e entry, s said, rev int64) *provider {
	p := &provider{offer: o, owner: e.owner, instance: e.instance, said: s, rev: rev}
	if p.owner.broker == m.cfg.Broker {
		p.owner.broker = m.cfg.Broker // one string for all
		m.provided[p.owner.conn] = append(m.provided[p.owner.conn], p)
	}
	o.providers = append(o.providers, p)
	o.method.providers++
	return p
}

// remove takes a provider out, and its host when nobody else offers it.
func (m *PDManager) remove(notices []Notice, e entry) []Notice {
	p := m.find(e)
	if p == nil {
		return notices
	}
	o, mt := p.offer, p.offer.method
	was := m.shown(o.face())
	mt.shown, mt.relays = nil, nil
	mt.providers--
	o.providers = without(o.providers, p)
	if p.owner.broker == m.cfg.Broker {
		m.disown(p)
	}
	if len(o.providers) > 0 {
		return m.compare(notices, o, was)
	}
	mt.removeOffer(o)
	notices = m.tell(notices, o, News{Before: true, Was: was.State, Reason: p.reason, ProviderHost: was})
	m.dropIfUnused(mt)
	return notices
}

func (m *PDManager) disown(p *provider) {
	left := without(m.provided[p.owner.conn], p)
	if len(left) == 0 {
		delete(m.provided, p.owner.conn)
		delete(m.leaving, p.owner.conn)
		return
	}
	m.provided[p.owner.conn] = left
}

func without(list []*provider, p *provider) []*provider {
	i := slices.Index(list, p)
	return slices.Delete(list, i, i+1)
}

// method returns the method of a name, made when it is new. The name is copied:
// it may be a piece of a received frame.
func (m *PDManager) method(name string) *method {
	mt := m.methods[name]
	if mt == nil {
		mt = &method{name: strings.Clone(name)}
		m.methods[mt.name] = mt
	}
	return mt
}

func (m *PDManager) dropIfUnused(mt *method) {
	if len(mt.offers) == 0 && len(mt.discoverers) == 0 {
		delete(m.methods, mt.name)
	}
}

// missing returns our providers that are not there.
func (m *PDManager) missing(there map[entry]struct{}) []entry {
	return m.entries(func(p *provider) bool {
		_, ok := there[p.entry()]
		return !ok
	})
}

// abandoned returns the providers of other brokers.
func (m *PDManager) abandoned() []entry {
	return m.entries(func(p *provider) bool { return p.owner.broker != m.cfg.Broker })
}

// entries returns the providers that are wanted, in an order that depends on
// nothing else.
func (m *PDManager) entries(wanted func(*provider) bool) []entry {
	var list []entry
	for _, mt := range m.methods {
		for _, o := range mt.offers {
			for _, p := range o.providers {
				if wanted(p) {
					list = append(list, p.entry())
				}
			}
		}
	}
	slices.SortFunc(list, func(a, b entry) int { return strings.Compare(a.key(), b.key()) })
	return list
}
