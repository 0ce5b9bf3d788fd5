package etcdstore

import (
	"context"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"trefoil/abstract"
)

// pageSize is how many keys are read at a time: of the largest values, half a GiB
// would be too much for one answer.
const pageSize = 256

// listing is every key at one revision.
type listing struct {
	cluster  uint64
	revision int64
	kvs      []*abstract.KV
}

// list reads all keys, in pages of one and the same revision.
func (s *Store) list(ctx context.Context) (*listing, error) {
	l := new(listing)
	from := s.prefix
	end := clientv3.GetPrefixRangeEnd(s.prefix)
	if s.prefix == "" {
		from, end = "\x00", "\x00" // all there is
	}
	for {
		resp, err := s.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(pageSize), clientv3.WithRev(l.revision))
		if err != nil {
			return nil, err
		}
		if l.revision == 0 {
			l.cluster, l.revision = resp.Header.ClusterId, resp.Header.Revision
		}
		for _, kv := range resp.Kvs {
			l.kvs = append(l.kvs, s.own(kv))
		}
		if !resp.More {
			return l, nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

// own makes our KV of etcd's. The value is not shared with anybody.
func (s *Store) own(kv *mvccpb.KeyValue) *abstract.KV {
	return &abstract.KV{
		Key:            string(kv.Key[len(s.prefix):]),
		Value:          kv.Value,
		CreateRevision: kv.CreateRevision,
		ModRevision:    kv.ModRevision,
	}
}

// relist reads all keys again and tells the followers what is different now.
func (s *Store) relist(ctx context.Context) error {
	l, err := s.list(ctx)
	if err != nil {
		return err
	}
	if err := s.sameHistory(l.cluster, l.revision, s.revisionNow()); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		s.commit(l.revision, s.replace(l))
	}
	return nil
}

// replace makes the keys those of a listing and returns the difference.
func (s *Store) replace(l *listing) []abstract.Event {
	var events []abstract.Event
	listed := make(map[string]struct{}, len(l.kvs))
	for _, kv := range l.kvs {
		listed[kv.Key] = struct{}{}
		if old := s.keys.Get(kv.Key); old == nil || old.ModRevision != kv.ModRevision {
			events = append(events, s.put(kv))
		}
	}
	var gone []string
	for kv := range s.keys.From("") {
		if _, ok := listed[kv.Key]; !ok {
			gone = append(gone, kv.Key)
		}
	}
	for _, key := range gone {
		events = append(events, s.remove(key, l.revision))
	}
	return events
}
