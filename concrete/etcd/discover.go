package etcd

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"trefoil/abstract"
	"trefoil/concrete/internal/roster"
)

// followed is one method that somebody asks about.
type followed struct {
	of     *Registry
	method string
	roster *roster.Roster
	ctx    context.Context
	cancel context.CancelFunc
	users  int // with the Registry's lock

	// Of the goroutine that follows.
	there map[string]entry
	lost  []time.Time // when providers vanished without a goodbye, of late
}

type entry struct {
	abstract.Provider
	ok      bool // it is one
	created int64
}

// Discover returns who provides a method now: as it was told last, when it is followed.
func (r *Registry) Discover(ctx context.Context, method string) ([]abstract.Provider, error) {
	m, err := r.use(method)
	if err != nil {
		return nil, err
	}
	defer r.release(m)
	ctx, cancel := roster.Within(ctx, r.cfg.TTL)
	defer cancel()
	if err := m.roster.Await(ctx, r.ctx); err != nil {
		return nil, r.fault(ctx, "discover "+method, err)
	}
	return m.roster.List()
}

// Follow calls fn with a method's providers and with every change; see abstract.Discovery.
func (r *Registry) Follow(method string, fn func(abstract.Providers)) (stop func()) {
	m, err := r.use(method)
	if err != nil {
		return roster.Refuse(err, fn)
	}
	stopFollowing := m.roster.Follow(fn)
	release := sync.OnceFunc(func() { r.release(m) })
	return func() {
		stopFollowing()
		release()
	}
}

// use follows a method until everybody who has called use has called release.
func (r *Registry) use(method string) (*followed, error) {
	if err := roster.CheckMethod(method); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, roster.ErrClosed()
	}
	if !r.pulse.begun {
		r.pulse.begun = true
		r.ended.Go(r.feel)
	}
	m := r.methods[method]
	if m == nil {
		m = &followed{of: r, method: method, roster: roster.New(), there: make(map[string]entry)}
		m.ctx, m.cancel = context.WithCancel(r.ctx)
		r.methods[method] = m
		r.ended.Go(m.run)
	}
	m.users++
	return m, nil
}

func (r *Registry) release(m *followed) {
	r.mu.Lock()
	m.users--
	unused := m.users == 0
	if unused && r.methods[m.method] == m {
		delete(r.methods, m.method)
	}
	r.mu.Unlock()
	if unused {
		m.cancel()
		m.roster.Close()
	}
}

// run reads the method's providers and watches them from that revision on. Whenever
// the watch ends it begins again: nothing is missed in between.
func (m *followed) run() {
	for first := true; m.ctx.Err() == nil; {
		client, err := m.of.connection.get(m.ctx)
		var rev int64
		if err == nil {
			rev, err = m.read(client, first)
		}
		if err == nil {
			first = false
			m.watch(client, rev)
		} else if m.ctx.Err() == nil && (refused(err) || first) {
			m.roster.Fail(m.of.fault(m.ctx, "discover "+m.method, err))
		}
		select {
		case <-m.ctx.Done():
		case <-time.After(retryPause):
		}
	}
}

// read takes the list as it is now. After a watch has ended we do not know how those
// went that are missing.
func (m *followed) read(client *clientv3.Client, first bool) (rev int64, err error) {
	ctx, cancel := context.WithTimeout(m.ctx, m.of.cfg.TTL)
	defer cancel()
	got, err := client.Get(ctx, m.of.methodPrefix(m.method), clientv3.WithPrefix())
	if err != nil {
		return 0, err
	}
	m.there = make(map[string]entry, len(got.Kvs))
	for _, kv := range got.Kvs {
		if string(kv.Value) != leaving {
			m.there[string(kv.Key)] = m.entry(kv)
		}
	}
	hold := m.of.belief()
	if first {
		hold = 0
	}
	m.roster.Set(m.list(), hold)
	return got.Header.Revision, nil
}

func (m *followed) watch(client *clientv3.Client, rev int64) {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(m.ctx))
	defer cancel()
	for rsp := range client.Watch(ctx, m.of.methodPrefix(m.method), clientv3.WithPrefix(), clientv3.WithRev(rev+1)) {
		if rsp.Err() != nil { // the revision was compacted, or there is no leader
			return
		}
		m.apply(rsp.Events)
	}
}

// apply takes what changed in one step. Those who have said goodbye are gone at once.
func (m *followed) apply(events []*clientv3.Event) {
	now := time.Now()
	before := len(m.there)
	for _, ev := range events {
		key := string(ev.Kv.Key)
		if ev.Type == clientv3.EventTypePut {
			m.put(key, ev.Kv)
			continue
		}
		if _, ok := m.there[key]; ok {
			m.lost = append(m.lost, now)
			delete(m.there, key)
		}
	}
	m.roster.Set(m.list(), m.hold(now, before))
}

func (m *followed) entry(kv *mvccpb.KeyValue) entry {
	p, ok := roster.Decode(m.method, kv.Value)
	return entry{p, ok, kv.CreateRevision}
}

// put notes what a key says now.
func (m *followed) put(key string, kv *mvccpb.KeyValue) {
	if string(kv.Value) != leaving {
		m.there[key] = m.entry(kv)
		return
	}
	if _, ok := m.there[key]; ok {
		delete(m.there, key)
		m.roster.Set(m.list(), 0)
	}
}

// hold is how long those are believed in that have vanished without a goodbye. When etcd
// was silent, or when most have vanished within one TTL, it is rather etcd that has lost
// their leases than they that have died: they get the time to come back.
func (m *followed) hold(now time.Time, before int) time.Duration {
	ttl := m.of.cfg.TTL
	m.lost = slices.DeleteFunc(m.lost, func(at time.Time) bool { return now.Sub(at) > ttl })
	if n := len(m.lost); n > 1 && 2*n > max(before, n) {
		return m.of.belief()
	}
	return m.of.pulse.hold(now, ttl, m.of.belief())
}

// list is the method's providers, in the order in which they came.
func (m *followed) list() []abstract.Provider {
	all := make([]entry, 0, len(m.there))
	for _, e := range m.there {
		if e.ok {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.created, b.created), strings.Compare(a.Host.IP, b.Host.IP), cmp.Compare(a.Host.Port, b.Host.Port))
	})
	list := make([]abstract.Provider, len(all))
	for i := range all {
		list[i] = all[i].Provider
	}
	return list
}
