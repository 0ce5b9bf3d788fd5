package storetest

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// grant makes a lease that lives as long as a test.
func (b *bench) grant(ttl time.Duration) abstract.LeaseID {
	b.t.Helper()
	id, err := b.Grant(context.Background(), ttl)
	require.NoError(b.t, err)
	require.Positive(b.t, id)
	return id
}

// bind puts keys with a lease, all in one transaction, and returns its revision.
func (b *bench) bind(id abstract.LeaseID, keysAndValues ...string) int64 {
	b.t.Helper()
	ops := puts(keysAndValues...)
	for i := range ops {
		ops[i].Lease = id
	}
	res := b.txn(abstract.Txn{Then: ops})
	require.True(b.t, res.Changed)
	return res.Revision
}

func (b *bench) revoke(id abstract.LeaseID) {
	b.t.Helper()
	require.NoError(b.t, b.Revoke(context.Background(), id))
}

func revokeDeletesTheLeasesKeys(t *testing.T, s *bench) {
	first, second, empty := s.grant(time.Hour), s.grant(time.Hour), s.grant(time.Hour)
	require.NotEqual(t, first, second)
	s.bind(first, "/a", "1", "/c", "1")
	s.bind(second, "/b", "1")
	last := s.put("/d", "1")
	r := s.follow("/")
	s.revoke(first)
	kvs, rev := s.list("/", 0)
	assert.Equal(t, "/b=1 /d=1", text(kvs))
	assert.Equal(t, last+1, rev, "all keys of a lease at one revision")
	changes := r.until(rev)
	require.Len(t, changes, 1)
	require.Len(t, changes[0].Events, 2)
	for _, e := range changes[0].Events {
		assert.True(t, e.Deleted)
		assert.Equal(t, rev, e.KV.ModRevision)
		require.NotNil(t, e.Prev)
		assert.Equal(t, "1", string(e.Prev.Value))
	}
	s.revoke(empty)
	assert.Equal(t, rev, s.sync(), "a lease without keys changes nothing")
	s.revoke(second)
	kvs, _ = s.list("/", 0)
	assert.Equal(t, "/d=1", text(kvs))
}

func lastPutDecidesTheLease(t *testing.T, s *bench) {
	first, second := s.grant(time.Hour), s.grant(time.Hour)
	s.bind(first, "/stays", "1", "/moved", "1", "/detached", "1", "/again", "1", "/rebound", "1")
	s.bind(second, "/moved", "2")
	s.put("/detached", "2")
	s.remove("/again")
	s.put("/again", "2")
	s.bind(second, "/rebound", "2")
	s.bind(first, "/rebound", "3")
	s.revoke(first)
	kvs, _ := s.list("/", 0)
	assert.Equal(t, "/again=2 /detached=2 /moved=2", text(kvs))
	s.revoke(second)
	kvs, _ = s.list("/", 0)
	assert.Equal(t, "/again=2 /detached=2", text(kvs))
}

func leaseThatIsGoneIsRefused(t *testing.T, s *bench) {
	ctx := context.Background()
	id := s.grant(time.Hour)
	require.NoError(t, s.KeepAlive(ctx, id))
	before := s.put("/a", "1")
	s.revoke(id)
	assert.Equal(t, abstract.NotFound, abstract.CodeOf(s.KeepAlive(ctx, id)))
	assert.Equal(t, abstract.NotFound, abstract.CodeOf(s.Revoke(ctx, id)))
	ops := append(puts("/a", "2"), abstract.Op{Key: "/b", Value: []byte("2"), Lease: id})
	_, err := s.Txn(ctx, abstract.Txn{Then: ops})
	assert.Equal(t, abstract.NotFound, abstract.CodeOf(err), "%v", err)
	res := s.txn(abstract.Txn{If: []abstract.Compare{{Key: "/a"}}, Then: ops})
	assert.False(t, res.Succeeded, "what is not done needs no lease")
	res = s.txn(abstract.Txn{Then: []abstract.Op{{Key: "/none", Delete: true, Lease: id}}})
	assert.True(t, res.Succeeded, "nor does a delete")
	kvs, rev := s.list("/", 0)
	assert.Equal(t, "/a=1", text(kvs))
	assert.Equal(t, before, rev)
}

// leaseExpiresUnlessKeptAlive has two leases and keeps one of them alive until
// well after the other is gone.
func leaseExpiresUnlessKeptAlive(t *testing.T, s *bench) {
	const ttl = 5 * time.Second // a machine may stand still for a while
	kept := s.grant(ttl)
	s.bind(kept, "/kept", "1")
	r := s.follow("/dropped")
	granted := time.Now()
	dropped := s.grant(ttl)
	rev := s.bind(dropped, "/dropped/a", "1", "/dropped/b", "1")
	keepAliveUntil(t, s, kept, func() bool { return len(r.all()) == 2 })
	assert.GreaterOrEqual(t, time.Since(granted), ttl, "gone too early")
	changes := r.all()
	assert.Equal(t, rev, changes[0].Revision)
	require.Len(t, changes[1].Events, 2, "all keys at once")
	assert.True(t, changes[1].Events[0].Deleted)
	again := time.Now()
	keepAliveUntil(t, s, kept, func() bool { return time.Since(again) > ttl/2 })
	kvs, _ := s.list("/", 0)
	assert.Equal(t, "/kept=1", text(kvs))
	assert.Equal(t, abstract.NotFound, abstract.CodeOf(s.KeepAlive(context.Background(), dropped)))
	assert.Equal(t, abstract.NotFound, abstract.CodeOf(s.Revoke(context.Background(), dropped)))
}

func keepAliveUntil(t *testing.T, s *bench, id abstract.LeaseID, done func() bool) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for !done() {
		require.NoError(t, s.KeepAlive(context.Background(), id))
		select {
		case <-tick.C:
		case <-late:
			require.FailNow(t, "it did not happen in time")
		}
	}
}

func grantRefusesWhatIsWrong(t *testing.T, s *bench) {
	for _, ttl := range []time.Duration{0, -time.Second, math.MaxInt64, abstract.StoreMaxTTL + 1} {
		_, err := s.Grant(context.Background(), ttl)
		assert.Equal(t, abstract.InvalidParams, abstract.CodeOf(err), "%v", ttl)
	}
	s.revoke(s.grant(abstract.StoreMaxTTL))
}
