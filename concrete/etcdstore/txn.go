package etcdstore

import (
	"context"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"trefoil/abstract"
	"trefoil/concrete/internal/kvtree"
)

// manyBelow is how many keys below a prefix make it worth asking first whether any
// is there. Etcd looks at all of them to compare a prefix, and stands still meanwhile.
const manyBelow = 128

// Txn is abstract.Store's Txn. It does not wait for the watch. Without a
// connection it waits for one until ctx ends, so give it a deadline.
func (s *Store) Txn(ctx context.Context, t abstract.Txn) (abstract.TxnResult, error) {
	if err := kvtree.CheckTxn(t); err != nil {
		return abstract.TxnResult{}, err
	}
	if _, err := s.at(ctx, "txn"); err != nil {
		return abstract.TxnResult{}, err
	}
	if res, settled, err := s.askFirst(ctx, t); settled || err != nil {
		return res, err
	}
	if err := s.spaceLeft(ctx, t.Then); err != nil {
		return abstract.TxnResult{}, err
	}
	ctx, mark := marked(ctx)
	compares, ops := s.compares(t.If), s.ops(t.Then)
	resp, err := s.client.Txn(ctx).If(compares...).Then(ops...).Commit()
	if tokenExpired(err) {
		resp, err = s.client.Txn(ctx).If(compares...).Then(ops...).Commit()
	}
	if err != nil {
		if is(err, rpctypes.ErrNoSpace) {
			s.full.Store(true)
		}
		return abstract.TxnResult{}, writeFault(ctx, "txn", err, mark.Load())
	}
	return abstract.TxnResult{
		Succeeded: resp.Succeeded,
		Changed:   resp.Succeeded && changes(t.Then, resp),
		Revision:  resp.Header.Revision,
	}, nil
}

// askFirst settles a transaction that cannot succeed because many keys stand below
// a prefix where none may be.
func (s *Store) askFirst(ctx context.Context, t abstract.Txn) (res abstract.TxnResult, settled bool, err error) {
	for i := range t.If {
		c := &t.If[i]
		if !c.Prefix || c.Rev != 0 || !s.manyBelow(c.Key) {
			continue
		}
		resp, err := s.get(ctx, s.prefix+c.Key, clientv3.WithPrefix(), clientv3.WithLimit(1), clientv3.WithKeysOnly())
		if err != nil {
			return res, false, writeFault(ctx, "txn", err, false)
		}
		if len(resp.Kvs) > 0 {
			return abstract.TxnResult{Revision: resp.Header.Revision}, true, nil
		}
	}
	return res, false, nil
}

func (s *Store) manyBelow(prefix string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.keys.Count(prefix, manyBelow) == manyBelow
}

func (s *Store) compares(list []abstract.Compare) []clientv3.Cmp {
	cmps := make([]clientv3.Cmp, len(list))
	for i := range list {
		cmps[i] = s.compare(&list[i])
	}
	return cmps
}

func (s *Store) compare(c *abstract.Compare) clientv3.Cmp {
	key := s.prefix + c.Key
	switch {
	case c.Prefix:
		return clientv3.Compare(clientv3.CreateRevision(key), "<", c.Rev+1).WithPrefix()
	case c.Target == abstract.CompareValue:
		return clientv3.Compare(clientv3.Value(key), "=", string(c.Value))
	case c.Target == abstract.CompareMod:
		return clientv3.Compare(clientv3.ModRevision(key), "=", c.Rev)
	}
	return clientv3.Compare(clientv3.CreateRevision(key), "=", c.Rev)
}

func (s *Store) ops(list []abstract.Op) []clientv3.Op {
	ops := make([]clientv3.Op, len(list))
	for i := range list {
		op := &list[i]
		switch key := s.prefix + op.Key; {
		case op.Delete:
			ops[i] = clientv3.OpDelete(key)
		case op.Lease != 0:
			ops[i] = clientv3.OpPut(key, string(op.Value), clientv3.WithLease(clientv3.LeaseID(op.Lease)))
		default:
			ops[i] = clientv3.OpPut(key, string(op.Value))
		}
	}
	return ops
}

// changes reports whether operations that were carried out changed anything.
func changes(ops []abstract.Op, resp *clientv3.TxnResponse) bool {
	for i := range ops {
		if !ops[i].Delete || resp.Responses[i].GetResponseDeleteRange().GetDeleted() > 0 {
			return true
		}
	}
	return false
}
