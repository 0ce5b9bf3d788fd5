package etcdstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"trefoil/abstract"
)

// errCompacted says that etcd has forgotten where the watch was.
var errCompacted = errors.New("compacted")

// feed keeps the keys up to date until ctx ends.
func (s *Store) feed(ctx context.Context) {
	for pause := (pauses{}); ctx.Err() == nil; {
		from := s.revisionNow()
		err := s.watch(ctx, from+1)
		if errors.Is(err, errCompacted) {
			s.log.Warn("etcd has forgotten the changes while it could not be reached; reading all again", "revision", from)
			err = s.relist(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.log.Info("the watch of etcd ended; it begins again", "err", err)
		}
		if s.revisionNow() > from {
			pause = pauses{}
		}
		pause.wait(ctx)
	}
}

func (s *Store) revisionNow() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.revision
}

// watchContext makes the client leave a member that has lost its cluster. Progress
// is asked for under the same, as the client keeps one stream for each.
func watchContext(ctx context.Context) context.Context { return clientv3.WithRequireLeader(ctx) }

// watch takes changes from a revision on until the watch breaks, and says why. The
// client survives lost connections by itself.
func (s *Store) watch(ctx context.Context, from int64) error {
	ctx, cancel := context.WithCancel(watchContext(ctx))
	defer cancel()
	for resp := range s.client.Watch(ctx, s.prefix, clientv3.WithPrefix(), clientv3.WithRev(from),
		clientv3.WithFragment(), clientv3.WithProgressNotify()) {
		if resp.CompactRevision > 0 {
			return errCompacted
		}
		if err := resp.Err(); err != nil {
			return err
		}
		if err := s.sameHistory(resp.Header.ClusterId, resp.Header.Revision, from-1); err != nil {
			return err
		}
		s.take(&resp)
	}
	return ctx.Err()
}

// take applies a response of the watch: whole revisions, in order.
func (s *Store) take(resp *clientv3.WatchResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return
	}
	for list := resp.Events; len(list) > 0; {
		rev := list[0].Kv.ModRevision
		n := 1
		for n < len(list) && list[n].Kv.ModRevision == rev {
			n++
		}
		if rev > s.revision {
			s.commit(rev, s.apply(list[:n]))
		}
		list = list[n:]
	}
	if resp.IsProgressNotify() && resp.Header.Revision > s.revision {
		s.revision = resp.Header.Revision
		s.wake()
	}
}

// apply changes the keys by the events of one revision.
func (s *Store) apply(list []*clientv3.Event) []abstract.Event {
	events := make([]abstract.Event, 0, len(list))
	for _, e := range list {
		kv := s.own(e.Kv)
		if e.Type == clientv3.EventTypeDelete {
			events = append(events, s.remove(kv.Key, kv.ModRevision))
			continue
		}
		events = append(events, s.put(kv))
	}
	return events
}

func (s *Store) put(kv *abstract.KV) abstract.Event {
	s.compact.count(len(kv.Key) + len(kv.Value))
	prev := s.keys.Put(kv)
	if prev != nil {
		kv.Key = prev.Key // one string for both
	}
	return abstract.Event{KV: *kv, Prev: prev}
}

func (s *Store) remove(key string, rev int64) abstract.Event {
	s.compact.count(len(key))
	return abstract.Event{Deleted: true, KV: abstract.KV{Key: key, ModRevision: rev}, Prev: s.keys.Remove(key)}
}

// commit makes rev the revision up to which the keys are known.
func (s *Store) commit(rev int64, events []abstract.Event) {
	s.revision = rev
	if len(events) > 0 {
		s.followers.Tell(abstract.Change{Revision: rev, Events: events})
	}
	s.wake()
}

// pauses counts attempts. Its zero value is before the first.
type pauses struct{ attempts int }

const maxPause = 2 * time.Second

// wait waits before the next attempt, longer each time and by chance; false when ctx ended.
func (p *pauses) wait(ctx context.Context) bool {
	pause := min(maxPause, 20*time.Millisecond<<min(p.attempts, 10))
	p.attempts++
	timer := time.NewTimer(pause/2 + rand.N(pause/2))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
