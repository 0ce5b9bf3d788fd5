package etcd

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"trefoil/concrete/internal/roster"
)

// leases is the lease that registrations are attached to. It is replaced when it is
// lost, and also when a write's fate is unknown: what may still be carried out later
// names the old lease, and fails once that is revoked.
type leases struct {
	mu      sync.Mutex
	current clientv3.LeaseID // 0: there is none now
	ever    bool             // there was one
	there   chan struct{}    // closed while there is one
	problem error            // etcd's last word on why there is none
	suspect chan struct{}    // holds an element when it is to be replaced
	writing sync.Mutex       // one write at a time, so that the last word stays the last
}

func (l *leases) init() {
	l.there, l.suspect = make(chan struct{}), make(chan struct{}, 1)
}

// set makes id the lease; 0: there is none for now.
func (l *leases) set(id clientv3.LeaseID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.current == 0 && id != 0:
		close(l.there)
	case l.current != 0 && id == 0:
		l.there = make(chan struct{})
	}
	l.current, l.problem = id, nil
	l.ever = l.ever || id != 0
}

// fail says why there is no lease, to those who wait for it.
func (l *leases) fail(problem error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current == 0 {
		l.problem = problem
		close(l.there)
		l.there = make(chan struct{})
	}
}

// replace says that the lease is to be replaced.
func (l *leases) replace(id clientv3.LeaseID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current != id || id == 0 {
		return
	}
	l.current = 0
	l.there = make(chan struct{})
	select {
	case l.suspect <- struct{}{}:
	default:
	}
}

// never says that there was no lease yet, and nothing is being written with one.
func (l *leases) never() bool {
	if !l.writing.TryLock() {
		return false
	}
	defer l.writing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.ever
}

// renew replaces the lease that there is, so that nothing stays but what is wanted.
func (l *leases) renew() {
	l.mu.Lock()
	id := l.current
	l.mu.Unlock()
	l.replace(id)
}

// get waits for the lease.
func (l *leases) get(ctx context.Context) (clientv3.LeaseID, error) {
	for {
		l.mu.Lock()
		id, there, problem := l.current, l.there, l.problem
		l.mu.Unlock()
		if id != 0 || problem != nil {
			return id, problem
		}
		select {
		case <-there:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// keep keeps a lease, and on it what is wanted, until Close.
func (r *Registry) keep() {
	var old clientv3.LeaseID
	var said string
	for r.ctx.Err() == nil {
		id, err := r.lease(old)
		old = id
		if err == nil {
			said = ""
			continue
		}
		if refused(err) {
			r.leases.fail(err)
		}
		if text := err.Error(); text != said && r.ctx.Err() == nil {
			r.cfg.Logger.Warn("not registered at etcd now, trying again", "err", err)
			said = text
		}
		r.pause(retryPause)
	}
}

// lease gets a lease, attaches what is wanted to it, and holds it until it is lost or
// to be replaced.
func (r *Registry) lease(old clientv3.LeaseID) (clientv3.LeaseID, error) {
	ctx, cancel := context.WithTimeout(r.ctx, r.cfg.TTL)
	defer cancel()
	client, err := r.connection.get(ctx)
	if err != nil {
		return old, err
	}
	grant, err := client.Grant(ctx, int64(r.cfg.TTL/time.Second))
	if err != nil {
		return old, err
	}
	life, end := context.WithCancel(r.ctx)
	defer end()
	alive, err := client.KeepAlive(life, grant.ID)
	if err != nil {
		return old, err
	}
	r.leases.writing.Lock()
	err = r.attach(ctx, client, grant.ID, r.keys())
	final := refused(err) || errors.Is(err, roster.ErrTaken)
	if err == nil || final {
		r.leases.set(grant.ID)
	}
	r.leases.writing.Unlock()
	if final {
		r.cfg.Logger.Error("not everything is registered at etcd; trying again", "err", err)
		err = nil
	}
	if err != nil {
		r.revoke(client, grant.ID)
		return old, err
	}
	if old != 0 {
		r.revoke(client, old)
	}
	r.hold(client, grant.ID, alive)
	return grant.ID, nil
}

// hold returns when a lease is lost or to be replaced. Now and then it looks whether
// everything still stands there.
func (r *Registry) hold(client *clientv3.Client, id clientv3.LeaseID, alive <-chan *clientv3.LeaseKeepAliveResponse) {
	ticker := time.NewTicker(r.cfg.TTL)
	defer ticker.Stop()
	for {
		select {
		case _, ok := <-alive:
			if !ok {
				r.leases.set(0)
				return
			}
		case <-ticker.C:
			r.check(client, id)
		case <-r.leases.suspect:
			return
		}
	}
}

// check writes again what somebody has removed.
func (r *Registry) check(client *clientv3.Client, id clientv3.LeaseID) {
	r.leases.writing.Lock()
	defer r.leases.writing.Unlock()
	ctx, cancel := context.WithTimeout(r.ctx, r.cfg.TTL/beats)
	defer cancel()
	if err := r.attach(ctx, client, id, r.keys()); err != nil && !errors.Is(err, roster.ErrTaken) && !refused(err) {
		r.leases.replace(id)
	}
}

// revoke ends a lease, so that nothing can be attached to it any more; it ends by
// itself if that fails.
func (r *Registry) revoke(client *clientv3.Client, id clientv3.LeaseID) {
	ctx, cancel := context.WithTimeout(r.ctx, time.Second)
	defer cancel()
	_, _ = client.Revoke(ctx, id)
}

// keys are those that are wanted.
func (r *Registry) keys() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.wanted))
}

// most is how many operations a transaction of ours has: every etcd takes that many.
const most = 100

// attach writes keys with a lease, as they are wanted now. Those that can be written are,
// when the error is roster.ErrTaken, as a process that came after us keeps its key, or a refusal.
func (r *Registry) attach(ctx context.Context, client *clientv3.Client, id clientv3.LeaseID, keys []string) error {
	var final error
	for part := range slices.Chunk(keys, most) {
		for todo := part; len(todo) > 0; { // what has changed between reading and writing: once more
			again, err := r.attachPart(ctx, client, id, todo)
			switch {
			case errors.Is(err, roster.ErrTaken):
				final = err
			case refused(err):
				final = err
				if len(todo) > 1 { // perhaps only some of them are
					if err := r.attachEach(ctx, client, id, todo); !refused(err) && !errors.Is(err, roster.ErrTaken) {
						return err
					}
				}
			case err != nil:
				return err
			}
			todo = again
		}
	}
	return final
}

func (r *Registry) attachEach(ctx context.Context, client *clientv3.Client, id clientv3.LeaseID, keys []string) error {
	var final error
	for _, key := range keys {
		err := r.attach(ctx, client, id, []string{key})
		if err != nil && !refused(err) && !errors.Is(err, roster.ErrTaken) {
			return err
		}
		if err != nil {
			final = err
		}
	}
	return final
}

func (r *Registry) attachPart(ctx context.Context, client *clientv3.Client, id clientv3.LeaseID, keys []string) (again []string, err error) {
	gets := make([]clientv3.Op, len(keys))
	for i, key := range keys {
		gets[i] = clientv3.OpGet(key)
	}
	found, err := client.Txn(ctx).Then(gets...).Commit()
	if err != nil {
		return nil, err
	}
	var puts []clientv3.Op
	var put []*wanted
	var names []string
	taken := false
	r.mu.Lock()
	for i, key := range keys {
		w := r.wanted[key]
		if w == nil {
			continue
		}
		var seen int64
		value := string(roster.Encode(w.Provider))
		if kvs := found.Responses[i].GetResponseRange().Kvs; len(kvs) > 0 {
			seen = kvs[0].ModRevision
			if other, ok := roster.Decode(w.Method, kvs[0].Value); ok && other.Instance != w.Instance && !w.claim {
				taken = true
				continue
			}
			if string(kvs[0].Value) == value && kvs[0].Lease == int64(id) {
				w.claim = false
				continue
			}
		}
		puts = append(puts, clientv3.OpTxn(
			[]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(key), "=", seen)},
			[]clientv3.Op{clientv3.OpPut(key, value, clientv3.WithLease(id))}, nil))
		put, names = append(put, w), append(names, key)
	}
	r.mu.Unlock()
	if len(puts) > 0 {
		if again, err = r.put(ctx, client, id, puts, put, names); err != nil {
			return nil, err
		}
	}
	if taken {
		return again, roster.ErrTaken
	}
	return again, nil
}

// put runs the transactions of attachPart and notes what stands.
func (r *Registry) put(ctx context.Context, client *clientv3.Client, id clientv3.LeaseID, puts []clientv3.Op, put []*wanted, names []string) (again []string, err error) {
	done, err := client.Txn(ctx).Then(puts...).Commit()
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, w := range put {
		if !done.Responses[i].GetResponseTxn().Succeeded {
			again = append(again, names[i])
			continue
		}
		w.claim = false
	}
	return again, nil
}

// settle makes keys what is wanted of them now: there, with our lease, or gone.
func (r *Registry) settle(ctx context.Context, op string, keys []string) error {
	ctx, cancel := roster.Within(ctx, r.cfg.TTL)
	defer cancel()
	defer context.AfterFunc(r.ctx, cancel)()
	taken := error(nil)
	for _, key := range keys {
		err := r.settleKey(ctx, key)
		if errors.Is(err, roster.ErrTaken) {
			taken = err
		} else if err != nil {
			return r.fault(ctx, op, err)
		}
	}
	return r.fault(ctx, op, taken)
}

func (r *Registry) settleKey(ctx context.Context, key string) error {
	for {
		client, err := r.connection.get(ctx)
		if err != nil {
			return err
		}
		id, err := r.leases.get(ctx)
		if err != nil {
			return err
		}
		err = r.write(ctx, client, id, key)
		if err == nil || refused(err) || errors.Is(err, roster.ErrTaken) {
			return err
		}
		r.leases.replace(id) // it is gone, or what we have written may still come
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
	}
}

// write writes what is wanted of a key on a lease.
func (r *Registry) write(ctx context.Context, client *clientv3.Client, id clientv3.LeaseID, key string) error {
	r.leases.writing.Lock()
	defer r.leases.writing.Unlock()
	r.mu.Lock()
	w := r.wanted[key]
	r.mu.Unlock()
	if w != nil {
		return r.attach(ctx, client, id, []string{key})
	}
	return r.remove(ctx, client, id, key)
}

// remove removes a key that is attached to our lease. It says goodbye in a revision of
// its own first, so that watchers tell it from a provider that was lost.
func (r *Registry) remove(ctx context.Context, client *clientv3.Client, id clientv3.LeaseID, key string) error {
	ours := clientv3.Compare(clientv3.LeaseValue(key), "=", id)
	for _, op := range []clientv3.Op{clientv3.OpPut(key, leaving, clientv3.WithLease(id)), clientv3.OpDelete(key)} {
		done, err := client.Txn(ctx).If(ours).Then(op).Commit()
		if err != nil || !done.Succeeded {
			return err
		}
	}
	return nil
}

// leaving is the value of a provider that is about to be removed on purpose.
const leaving = "{}"

// leave says goodbye for everything and revokes the lease.
func (r *Registry) leave() {
	ctx, cancel := context.WithTimeout(r.ctx, time.Second)
	defer cancel()
	r.mu.Lock()
	if !r.entered {
		r.mu.Unlock()
		return
	}
	keys := make([]string, 0, len(r.wanted))
	for key := range r.wanted {
		keys = append(keys, key)
	}
	clear(r.wanted)
	r.mu.Unlock()
	client, err := r.connection.get(ctx)
	if err != nil {
		return
	}
	id, err := r.leases.get(ctx)
	if err != nil {
		return
	}
	r.leases.writing.Lock()
	defer r.leases.writing.Unlock()
	for part := range slices.Chunk(keys, most) {
		ops := make([]clientv3.Op, len(part))
		for i, key := range part {
			ops[i] = clientv3.OpTxn(
				[]clientv3.Cmp{clientv3.Compare(clientv3.LeaseValue(key), "=", id)},
				[]clientv3.Op{clientv3.OpPut(key, leaving, clientv3.WithLease(id))}, nil)
		}
		if _, err := client.Txn(ctx).Then(ops...).Commit(); err != nil {
			return
		}
	}
	_, _ = client.Revoke(ctx, id)
}
