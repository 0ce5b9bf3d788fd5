package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"trefoil/abstract"
	"trefoil/concrete/internal/kvtree"
)

// Store is an abstract.Store on etcd. Safe for concurrent use.
//
// All keys are held in memory, too: one watch of etcd feeds them, in the order of
// revisions, and they serve Range and the followers. A change is told shortly
// after its Txn has returned, or shortly before. After a lost connection the watch
// goes on where it was; when etcd has compacted that away, all is read again and
// the difference told as one Change.
//
// Followers are called by one goroutine with the Store locked. So a follower that
// calls the Store, or takes a lock under which somebody else calls it, deadlocks.
//
// Leases last at least two seconds, and whole seconds; their keys go up to about
// a second late, and after etcd was restarted or changed its leader a lease begins
// again with all of its time. Etcd ends at most 1,000 leases a second.
type Store struct {
	prefix string
	log    *slog.Logger
	client *clientv3.Client
	member *member // nil for a cluster somewhere else
	epoch  string
	id     uint64 // of the cluster

	full atomic.Bool // a write was refused for want of space, and none has been let through since

	cancel context.CancelFunc
	done   sync.WaitGroup

	mu        sync.RWMutex
	revision  int64 // up to where keys are known, and followers told
	keys      kvtree.Tree
	followers kvtree.Followers
	moved     chan struct{} // closed when revision moves; nil when nobody waits
	broken    error         // why nothing can be done any more
	compact   compactor
}

var _ abstract.Store = (*Store)(nil)

// Open starts a member in cfg.Dir, or finds the cluster at cfg.Endpoints, reads
// all keys, and returns. It waits for a cluster until ctx ends; a directory that
// another process uses is an error of code Unavailable at once. The caller closes
// the Store.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Store{prefix: cfg.Prefix, log: cfg.Logger}
	endpoints := cfg.Endpoints
	if cfg.Dir != "" {
		if s.member, err = startMember(ctx, cfg); err != nil {
			return nil, err
		}
		endpoints = []string{"unix://" + s.member.socket}
	}
	if s.client, err = newClient(cfg, endpoints); err != nil {
		s.release()
		return nil, fmt.Errorf("connect to etcd: %w", err)
	}
	if err := s.begin(ctx); err != nil {
		s.release()
		return nil, fmt.Errorf("read the keys of etcd: %w", err)
	}
	return s, nil
}

// begin reads all keys and starts the goroutine that keeps them up to date.
func (s *Store) begin(ctx context.Context) error {
	if s.member != nil {
		if err := s.makeRoom(ctx); err != nil {
			return err
		}
	}
	for pause := (pauses{}); ; {
		l, err := s.list(ctx)
		if err == nil {
			s.id, s.epoch, s.revision = l.cluster, fmt.Sprintf("%016x", l.cluster), l.revision
			for _, kv := range l.kvs {
				s.keys.Put(kv)
			}
			break
		}
		if fault := refusal("list", err); fault != nil {
			return fault
		}
		s.log.Info("etcd cannot be read yet", "err", err)
		if !pause.wait(ctx) {
			return unavailable("list", err)
		}
	}
	background, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.compact.start(s)
	s.done.Go(func() { s.feed(background) })
	return nil
}

// Range is abstract.Store's Range: of what the watch has brought so far.
func (s *Store) Range(ctx context.Context, prefix string, limit int) ([]abstract.KV, int64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "range"); err != nil {
		return nil, 0, err
	}
	return s.keys.Range(prefix, limit), s.revision, nil
}

// Instant is abstract.Store's Instant: a transaction waits for a disk at least.
func (s *Store) Instant() bool { return false }

// Epoch is abstract.Store's Epoch: the id of the etcd cluster.
func (s *Store) Epoch() string { return s.epoch }

// Follow is abstract.Store's Follow. stop waits for a change that is being told,
// so it must not be called by fn either.
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

// progressAfter is when Sync begins to ask etcd how far the watch has come: it is
// needed where others write, whose revisions the watch does not bring.
const progressAfter = 50 * time.Millisecond

// Sync is abstract.Store's Sync: it asks etcd for its revision, linearizably, and
// waits for the watch to come that far.
func (s *Store) Sync(ctx context.Context) (int64, error) {
	before, err := s.at(ctx, "sync")
	if err != nil {
		return 0, err
	}
	resp, err := s.get(ctx, s.prefix+"/", clientv3.WithCountOnly())
	if err != nil {
		return 0, readFault(ctx, "sync", err)
	}
	if err := s.sameHistory(resp.Header.ClusterId, resp.Header.Revision, before); err != nil {
		return 0, err
	}
	return s.until(ctx, resp.Header.Revision)
}

// get reads from etcd, again and again until it answers or ctx ends.
func (s *Store) get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	for pause := (pauses{}); ; {
		resp, err := s.client.Get(ctx, key, opts...)
		if err == nil || !tokenExpired(err) && refusal("get", err) != nil {
			return resp, err
		}
		if _, gone := s.at(ctx, "get"); gone != nil || !pause.wait(ctx) {
			return nil, err
		}
	}
}

// until waits for the watch to come to a revision.
func (s *Store) until(ctx context.Context, rev int64) (int64, error) {
	ask := time.NewTimer(progressAfter)
	defer ask.Stop()
	for {
		s.mu.Lock()
		at, err := s.revision, s.usable(ctx, "sync")
		if s.moved == nil {
			s.moved = make(chan struct{})
		}
		moved := s.moved
		s.mu.Unlock()
		if err != nil || at >= rev {
			return at, err
		}
		select {
		case <-moved:
		case <-ctx.Done():
		case <-ask.C:
			_ = s.client.RequestProgress(watchContext(ctx)) // when it fails, the next one may not
			ask.Reset(progressAfter)
		}
	}
}

// at returns how far the watch has come.
func (s *Store) at(ctx context.Context, op string) (int64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.revision, s.usable(ctx, op)
}

// errClosed is what a Store is broken by when it was closed.
var errClosed = errors.New("the store is closed")

// usable says why nothing can be done, or nil.
func (s *Store) usable(ctx context.Context, op string) error {
	if s.broken != nil {
		return &abstract.Error{Code: abstract.Unavailable, Op: op, Sent: abstract.SentNo, Message: s.broken.Error()}
	}
	if err := ctx.Err(); err != nil {
		return &abstract.Error{Code: abstract.CodeOf(err), Op: op, Sent: abstract.SentNo, Message: "given up before anything was done", Err: err}
	}
	return nil
}

// sameHistory refuses answers of a cluster that is not the one we have read, or
// that was set back to an earlier state: nothing we hold would be right, and no
// revision we gave out.
func (s *Store) sameHistory(cluster uint64, rev, known int64) error {
	if cluster == s.id && rev >= known {
		return nil
	}
	err := errors.New("this etcd has another history than before (it was replaced, or restored from a backup): restart the broker")
	s.log.Error("etcd has another history", "cluster", cluster, "before", s.id, "revision", rev, "known", known)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop(err)
	return s.usable(context.Background(), "sync")
}

// Close ends all followers, the connection, and the member if it is ours. It
// waits for all of that, and may be called again.
func (s *Store) Close() error {
	s.mu.Lock()
	first := s.stop(errClosed)
	s.followers.Clear()
	s.keys = kvtree.Tree{}
	s.mu.Unlock()
	s.cancel()
	s.done.Wait()
	if first {
		s.release()
	}
	return nil
}

// stop makes the Store unusable and wakes who waits. It says whether it was closed by this.
func (s *Store) stop(why error) bool {
	if errors.Is(s.broken, errClosed) {
		return false
	}
	s.broken = why
	s.wake()
	return errors.Is(why, errClosed)
}

// wake lets those go on who wait for the watch.
func (s *Store) wake() {
	if s.moved != nil {
		close(s.moved)
		s.moved = nil
	}
}

// release gives back the connection and the member.
func (s *Store) release() {
	if s.client != nil {
		_ = s.client.Close()
	}
	if s.member != nil {
		s.member.close()
	}
}
