package memstore

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"

	"trefoil/abstract"
)

// Store is an abstract.Store in memory. An empty one is at revision 1, as
// etcd's is, and the first change makes revision 2. Safe for concurrent use.
//
// Followers are called inside Txn, before it returns, with the Store locked:
// that is what keeps revisions in order. So a follower that calls the Store, or
// that takes a lock under which somebody else calls the Store, deadlocks.
//
// Finding a key takes the logarithm of how many there are. A Store does not
// limit their number; who writes what peers ask for does.
type Store struct {
	mu        sync.RWMutex
	revision  int64
	keys      keys
	followers []*follower
	closed    bool
}

var _ abstract.Store = (*Store)(nil)

type follower struct {
	prefix string
	fn     func(abstract.Change)
}

// New makes an empty Store. Closing it is only needed to end its followers.
func New() *Store { return &Store{revision: 1} }

// Txn is abstract.Store's Txn. It either fails before anything has happened
// (never with UnknownFate) or is done, followers told, when it returns. A key
// may have 4 KiB, a value 1 MiB, a transaction 128 comparisons and 128
// operations; more is TooLarge.
func (s *Store) Txn(ctx context.Context, t abstract.Txn) (abstract.TxnResult, error) {
	if err := checkTxn(t); err != nil {
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
	events := s.apply(t.Then)
	if len(events) > 0 {
		s.revision++
		s.tell(events)
	}
	return abstract.TxnResult{Succeeded: true, Changed: len(events) > 0, Revision: s.revision}, nil
}

// Range is abstract.Store's Range. It sees all of a transaction or nothing.
func (s *Store) Range(ctx context.Context, prefix string, limit int) ([]abstract.KV, int64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "range"); err != nil {
		return nil, 0, err
	}
	var list []abstract.KV
	for kv := range s.keys.from(prefix) {
		if !strings.HasPrefix(kv.Key, prefix) || limit > 0 && len(list) == limit {
			break
		}
		list = append(list, *kv)
	}
	return list, s.revision, nil
}

// Follow is abstract.Store's Follow. stop waits for a Txn that is under way, so
// it must not be called by fn either.
func (s *Store) Follow(prefix string, fn func(abstract.Change)) (stop func()) {
	f := &follower{prefix: prefix, fn: fn}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.followers = append(s.followers, f)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.followers = slices.DeleteFunc(s.followers, func(other *follower) bool { return other == f })
	}
}

// Close ends all followers and frees the keys. Txn and Range answer Unavailable
// from then on. It may be called again.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed, s.followers, s.keys = true, nil, keys{}
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

// holds says whether a condition is met. A key that is not there has the revisions 0.
func (s *Store) holds(c *abstract.Compare) bool {
	kv := s.keys.get(c.Key)
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
		if op.Delete {
			if prev := s.keys.remove(op.Key); prev != nil {
				gone := abstract.KV{Key: prev.Key, ModRevision: s.revision + 1}
				events = append(events, abstract.Event{Deleted: true, KV: gone, Prev: prev})
			}
			continue
		}
		kv, prev := s.put(op)
		events = append(events, abstract.Event{KV: *kv, Prev: prev})
	}
	return events
}

// put stores a new KV, so that those handed out before stay as they are, and
// returns it with the one it takes the place of.
func (s *Store) put(op *abstract.Op) (kv, prev *abstract.KV) {
	next := s.revision + 1
	kv = &abstract.KV{Key: op.Key, Value: bytes.Clone(op.Value), CreateRevision: next, ModRevision: next}
	if prev = s.keys.get(op.Key); prev != nil {
		kv.Key, kv.CreateRevision = prev.Key, prev.CreateRevision
	}
	s.keys.put(kv)
	return kv, prev
}

// tell calls the followers with what happened below their prefixes.
func (s *Store) tell(events []abstract.Event) {
	for _, f := range s.followers {
		if below := eventsBelow(f.prefix, events); len(below) > 0 {
			f.fn(abstract.Change{Revision: s.revision, Events: below})
		}
	}
}

// eventsBelow returns the events below a prefix: the same slice when that is all.
func eventsBelow(prefix string, events []abstract.Event) []abstract.Event {
	outside := func(e abstract.Event) bool { return !strings.HasPrefix(e.KV.Key, prefix) }
	if !slices.ContainsFunc(events, outside) {
		return events
	}
	var below []abstract.Event
	for _, e := range events {
		if !outside(e) {
			below = append(below, e)
		}
	}
	return below
}
