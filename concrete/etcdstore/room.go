package etcdstore

import (
	"context"
	"fmt"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"trefoil/abstract"
)

// After so many revisions, or bytes of keys and values, a member of our own is
// told to forget what lies behind us. Its periodic compaction alone would let a
// few minutes of heavy writing fill the quota.
const (
	compactRevisions = 20_000
	compactBytes     = 64 << 20
	compactTimeout   = 30 * time.Second
)

// compactor decides when to compact. The Store's lock guards it.
type compactor struct {
	due       chan struct{} // nil when the history is not ours to cut
	revisions int
	bytes     int
}

// start makes a goroutine of s that compacts when enough has been counted.
func (c *compactor) start(s *Store) {
	if s.member == nil {
		return
	}
	c.due = make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(context.Background())
	end := s.cancel
	s.cancel = func() { end(); cancel() }
	s.done.Go(func() { s.compactWhenDue(ctx) })
}

// count notes one changed key.
func (c *compactor) count(size int) {
	c.revisions++
	c.bytes += size
	if c.revisions < compactRevisions && c.bytes < compactBytes {
		return
	}
	c.revisions, c.bytes = 0, 0
	select {
	case c.due <- struct{}{}:
	default: // nil, or the last time is not over
	}
}

// compactWhenDue lets the member forget everything that our watch has brought.
func (s *Store) compactWhenDue(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.compact.due:
		}
		limited, cancel := context.WithTimeout(ctx, compactTimeout)
		_, err := s.client.Compact(limited, s.revisionNow())
		cancel()
		if err != nil && ctx.Err() == nil && refusal("compact", err) == nil {
			s.log.Warn("etcd was not compacted", "err", err)
		}
	}
}

// spaceLeft refuses puts while etcd's alarm says that there is no space. It asks
// before anything is sent: only so is it certain that they were not carried out.
func (s *Store) spaceLeft(ctx context.Context, ops []abstract.Op) error {
	puts := slices.ContainsFunc(ops, func(op abstract.Op) bool { return !op.Delete })
	if !puts || !s.full.Load() {
		return nil
	}
	alarmed, err := s.alarmed(ctx)
	if abstract.CodeOf(refusal("txn", err)) == abstract.Denied {
		return nil // not ours to ask: the write will be refused, or not
	}
	if err != nil {
		return writeFault(ctx, "txn", err, false)
	}
	if alarmed {
		return &abstract.Error{Code: abstract.Overloaded, Op: "txn", Sent: abstract.SentNo, Message: quotaFull}
	}
	s.full.Store(false)
	return nil
}

// alarmed reports whether etcd takes no puts for want of space.
func (s *Store) alarmed(ctx context.Context) (bool, error) {
	resp, err := s.client.AlarmList(ctx)
	if err != nil {
		return false, fmt.Errorf("ask for alarms: %w", err)
	}
	noSpace := func(a *pb.AlarmMember) bool { return a.Alarm == pb.AlarmType_NOSPACE }
	return slices.ContainsFunc(resp.Alarms, noSpace), nil
}

// makeRoom brings a member whose quota was full back to work: what was deleted
// since, and a larger quota, only count after this.
func (s *Store) makeRoom(ctx context.Context) error {
	alarmed, err := s.alarmed(ctx)
	if err != nil || !alarmed {
		return err
	}
	return s.clearAlarm(ctx)
}

func (s *Store) clearAlarm(ctx context.Context) error {
	resp, err := s.client.Get(ctx, "/", clientv3.WithCountOnly())
	if err != nil {
		return fmt.Errorf("ask for the revision: %w", err)
	}
	if _, err := s.client.Compact(ctx, resp.Header.Revision, clientv3.WithCompactPhysical()); err != nil && refusal("compact", err) == nil {
		return fmt.Errorf("compact: %w", err)
	}
	endpoint := s.client.Endpoints()[0]
	if _, err := s.client.Defragment(ctx, endpoint); err != nil {
		return fmt.Errorf("defragment: %w", err)
	}
	status, err := s.client.Status(ctx, endpoint)
	if err != nil {
		return fmt.Errorf("ask for the size: %w", err)
	}
	if quota := status.DbSizeQuota; status.DbSize >= quota*9/10 {
		s.log.Error("the store's disk quota is full: only deletes are taken; give it a larger quota", "bytes", status.DbSize, "quota", quota)
		return nil
	}
	if _, err := s.client.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
		return fmt.Errorf("disarm the alarm: %w", err)
	}
	s.log.Info("the store's disk quota was full; it takes puts again", "bytes", status.DbSize)
	return nil
}
