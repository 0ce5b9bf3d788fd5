package etcdstore

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"trefoil/abstract"
	"trefoil/concrete/internal/kvtree"
)

// minTTL is the shortest lease, in seconds: what etcd makes of a shorter one with
// its default settings.
const minTTL = 2

// Grant is abstract.Store's Grant. A ttl becomes whole seconds, at least two. A
// lease that was granted though the answer got lost ends by itself.
func (s *Store) Grant(ctx context.Context, ttl time.Duration) (abstract.LeaseID, error) {
	if err := kvtree.CheckTTL(ttl); err != nil {
		return 0, err
	}
	if _, err := s.at(ctx, "grant"); err != nil {
		return 0, err
	}
	seconds := max(minTTL, int64((ttl+time.Second-1)/time.Second))
	resp, err := s.client.Grant(ctx, seconds)
	if tokenExpired(err) {
		resp, err = s.client.Grant(ctx, seconds)
	}
	if err != nil {
		return 0, readFault(ctx, "grant", err)
	}
	return abstract.LeaseID(resp.ID), nil
}

// KeepAlive is abstract.Store's KeepAlive. Etcd does not write anything for it.
func (s *Store) KeepAlive(ctx context.Context, id abstract.LeaseID) error {
	if _, err := s.at(ctx, "keep alive"); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream
	err := s.keepAlive(ctx, int64(id))
	if tokenExpired(err) {
		err = s.keepAlive(ctx, int64(id))
	}
	if err != nil {
		return readFault(ctx, "keep alive", err)
	}
	return nil
}

// keepAlive asks once. The client's own KeepAliveOnce asks again and again, without
// a pause, for as long as etcd cannot be reached.
func (s *Store) keepAlive(ctx context.Context, id int64) error {
	stream, err := pb.NewLeaseClient(s.client.ActiveConnection()).LeaseKeepAlive(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil {
		return err
	}
	resp, err := stream.Recv()
	if err != nil {
		return err
	}
	if resp.GetTTL() <= 0 {
		return rpctypes.ErrLeaseNotFound
	}
	return nil
}

// Revoke is abstract.Store's Revoke. It does not wait for the watch.
func (s *Store) Revoke(ctx context.Context, id abstract.LeaseID) error {
	if _, err := s.at(ctx, "revoke"); err != nil {
		return err
	}
	ctx, mark := marked(ctx)
	_, err := s.client.Revoke(ctx, clientv3.LeaseID(id))
	if tokenExpired(err) {
		_, err = s.client.Revoke(ctx, clientv3.LeaseID(id))
	}
	if err != nil {
		return writeFault(ctx, "revoke", err, mark.Load())
	}
	return nil
}
