package memstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"sync"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/internal/kvtree"
)

// Store is an abstract.Store in memory. An empty one is at revision 1, as
// etcd's is, and the first change makes revision 2. Safe for concurrent use.
//
// Followers are called inside Txn and Revoke, before they return, or by the timer
// that ends leases, with the Store locked: that is what keeps revisions in order.
// So a follower that calls the Store, or that takes a lock under which somebody
// else calls the Store, deadlocks. Range is never behind, and Sync does not wait.
//
// Finding a key takes the logarithm of how many there are. A Store does not
// limit their number, nor that of leases; who writes what peers ask for does.
type Store struct {
	epoch string

	mu        sync.RWMutex
	revision  int64
	keys      kvtree.Tree
	followers kvtree.Followers
	leases    leases
	closed    bool
}

var _ abstract.Store = (*Store)(nil)

// New makes an empty Store. Closing it is only needed to end its followers and leases.
func New() *Store { return &Store{epoch: rand.Text(), revision: 1} }

// Txn is abstract.Store's Txn. It either fails before anything has happened
// (never with UnknownFate) or is done, followers told, when it returns.
func (s *Store) Txn(ctx context.Context, t abstract.Txn) (abstract.TxnResult, error) {
	if err := kvtree.CheckTxn(t); err != nil {
		return abstract.TxnResult{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock() // also when a follower panics
	if err := s.usable(ctx, "txn"); err != nil {
		return abstract.TxnResult{}, err
	}
	for i := range t.If {
		if !s.holds(&t.If[i]) {
			return abstract.TxnResult{Revision: s.revision}, nil
		}
	}
	if err := s.leases.check(t.Then); err != nil {
		return abstract.TxnResult{}, err
	}
	changed := s.commit(s.apply(t.Then))
	return abstract.TxnResult{Succeeded: true, Changed: changed, Revision: s.revision}, nil
}

// Range is abstract.Store's Range. It sees all of a transaction or nothing.
func (s *Store) Range(ctx context.Context, prefix string, limit int) ([]abstract.KV, int64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "range"); err != nil {
		return nil, 0, err
	}
	return s.keys.Range(prefix, limit), s.revision, nil
}

// Sync is abstract.Store's Sync. Nothing is ever behind here.
func (s *Store) Sync(ctx context.Context) (int64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.revision, s.usable(ctx, "sync")
}

// Instant is abstract.Store's Instant.
func (s *Store) Instant() bool { return true }

// Epoch is abstract.Store's Epoch: random, as no other Store has this one's history.
func (s *Store) Epoch() string { return s.epoch }

// Follow is abstract.Store's Follow. stop waits for a Txn that is under way, so
// it must not be called by fn either.
func (s *Store) Follow(prefix string, fn func(abstract.Change)) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.followers.Add(prefix, fn)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.followers.Remove(f)
	}
}

// Grant is abstract.Store's Grant. The ttl is kept to as it is.
func (s *Store) Grant(ctx context.Context, ttl time.Duration) (abstract.LeaseID, error) {
	if err := kvtree.CheckTTL(ttl); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, "grant"); err != nil {
		return 0, err
	}
	return s.leases.grant(ttl, s.expire), nil
}

// KeepAlive is abstract.Store's KeepAlive.
func (s *Store) KeepAlive(ctx context.Context, id abstract.LeaseID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, "keep alive"); err != nil {
		return err
	}
	return s.leases.keepAlive(id)
}

// Revoke is abstract.Store's Revoke. Followers have been told when it returns.
func (s *Store) Revoke(ctx context.Context, id abstract.LeaseID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, "revoke"); err != nil {
		return err
	}
	keys, err := s.leases.revoke(id)
	if err != nil {
		return err
	}
	s.commit(s.removeAll(keys))
	return nil
}

// Close ends all followers and frees the keys and leases. Everything answers
// Unavailable from then on. It may be called again.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases.close()
	s.closed, s.keys = true, kvtree.Tree{}
	s.followers.Clear()
	return nil
}

// usable says why nothing can be done, or nil.
func (s *Store) usable(ctx context.Context, op string) error {
	if s.closed {
		return &abstract.Error{Code: abstract.Unavailable, Op: op, Message: "the store is closed"}
	}
	if err := ctx.Err(); err != nil {
		return &abstract.Error{Code: abstract.CodeOf(err), Op: op, Message: "given up before anything was done", Err: err}
	}
	return nil
}

// expire ends the leases whose time is over. Their timer calls it.
func (s *Store) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	for _, keys := range s.leases.expired() {
		s.commit(s.removeAll(keys))
	}
}

// holds says whether a condition is met. A key that is not there has the revisions 0.
func (s *Store) holds(c *abstract.Compare) bool {
	if c.Prefix {
		return !s.keys.AnyAfter(c.Key, c.Rev)
	}
	kv := s.keys.Get(c.Key)
	switch {
	case c.Target == abstract.CompareValue:
		return kv != nil && bytes.Equal(kv.Value, c.Value)
	case kv == nil:
		return c.Rev == 0
	case c.Target == abstract.CompareCreate:
		return kv.CreateRevision == c.Rev
	}
	return kv.ModRevision == c.Rev
}

// apply carries out ops under the next revision, and returns what they changed.
func (s *Store) apply(ops []abstract.Op) []abstract.Event {
	events := make([]abstract.Event, 0, len(ops))
	for i := range ops {
		op := &ops[i]
		s.leases.bind(op)
		if op.Delete {
			events = s.remove(events, op.Key)
			continue
		}
		events = append(events, s.put(op))
	}
	return events
}

// put stores a new KV, so that those handed out before stay as they are.
func (s *Store) put(op *abstract.Op) abstract.Event {
	next := s.revision + 1
	kv := &abstract.KV{Key: op.Key, Value: bytes.Clone(op.Value), CreateRevision: next, ModRevision: next}
	prev := s.keys.Put(kv)
	if prev != nil {
		kv.Key, kv.CreateRevision = prev.Key, prev.CreateRevision
	}
	return abstract.Event{KV: *kv, Prev: prev}
}

// remove deletes a key under the next revision and adds the event, if it was there.
func (s *Store) remove(events []abstract.Event, key string) []abstract.Event {
	prev := s.keys.Remove(key)
	if prev == nil {
		return events
	}
	gone := abstract.KV{Key: prev.Key, ModRevision: s.revision + 1}
	return append(events, abstract.Event{Deleted: true, KV: gone, Prev: prev})
}

func (s *Store) removeAll(keys []string) []abstract.Event {
	events := make([]abstract.Event, 0, len(keys))
	for _, key := range keys {
		events = s.remove(events, key)
	}
	return events
}

// commit makes events, if there are any, the next revision and tells the followers.
func (s *Store) commit(events []abstract.Event) (changed bool) {
	if len(events) == 0 {
		return false
	}
	s.revision++
	s.followers.Tell(abstract.Change{Revision: s.revision, Events: events})
	return true
}
