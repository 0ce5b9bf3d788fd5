package etcdstore

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

const patience = 2 * time.Minute

// told collects changes.
type told struct {
	mu   sync.Mutex
	list []abstract.Change
}

func (l *told) take(c abstract.Change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, c)
}

func (l *told) all() []abstract.Change {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.list
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func put(t testing.TB, s *Store, key, value string) int64 {
	t.Helper()
	res, err := s.Txn(within(t), abstract.Txn{Then: []abstract.Op{{Key: key, Value: []byte(value)}}})
	require.NoError(t, err)
	return res.Revision
}

func remove(t testing.TB, s *Store, key string) {
	t.Helper()
	res, err := s.Txn(within(t), abstract.Txn{Then: []abstract.Op{{Key: key, Delete: true}}})
	require.NoError(t, err)
	require.True(t, res.Changed)
}

// caughtUp waits until a Store that was cut off reads everything again.
func caughtUp(t testing.TB, s *Store) int64 {
	t.Helper()
	ctx := within(t)
	for pause := (pauses{}); ; {
		rev, err := s.Sync(ctx)
		if err == nil {
			return rev
		}
		require.Equal(t, abstract.Unavailable, abstract.CodeOf(err), "%v", err)
		require.True(t, pause.wait(ctx), "did not catch up: %v", err)
	}
}

func list(t testing.TB, s *Store, prefix string) string {
	t.Helper()
	kvs, _, err := s.Range(within(t), prefix, 0)
	require.NoError(t, err)
	var parts []string
	for _, kv := range kvs {
		parts = append(parts, kv.Key+"="+string(kv.Value))
	}
	return strings.Join(parts, " ")
}

// pair is two Stores on one etcd, of which one stands behind a proxy.
func pair(t *testing.T) (near, far *Store, between *proxy) {
	srv := startServer(t)
	u, err := url.Parse(srv.endpoint)
	require.NoError(t, err)
	between = startProxy(t, u.Host)
	near = open(t, Config{Endpoints: []string{srv.endpoint}})
	far = open(t, Config{Endpoints: []string{between.endpoint()}})
	return near, far, between
}

func TestChangesOfAnOutageAreToldOneRevisionAtATime(t *testing.T) {
	t.Parallel()
	near, far, between := pair(t)
	var changes told
	defer far.Follow("/", changes.take)()
	first := put(t, near, "/k", "before")
	caughtUp(t, far)
	between.setCut(true)
	const n = 500
	for i := range n {
		put(t, near, "/k", fmt.Sprint(i))
	}
	_, _, err := far.Range(within(t), "/", 0)
	require.NoError(t, err, "what is known can be read during an outage")
	between.setCut(false)
	caughtUp(t, far)
	got := changes.all()
	require.Len(t, got, n+1)
	for i, c := range got {
		require.Equal(t, first+int64(i), c.Revision)
	}
	assert.Equal(t, list(t, near, ""), list(t, far, ""))
}

func TestForgottenChangesAreToldAsOneDifference(t *testing.T) {
	t.Parallel()
	near, far, between := pair(t)
	put(t, near, "/stays", "1")
	put(t, near, "/changes", "1")
	put(t, near, "/goes", "1")
	put(t, near, "/again", "1")
	caughtUp(t, far)
	var changes told
	defer far.Follow("/", changes.take)()
	between.setCut(true)
	put(t, near, "/changes", "2")
	remove(t, near, "/goes")
	remove(t, near, "/again")
	again := put(t, near, "/again", "1")
	put(t, near, "/new", "1")
	put(t, near, "/short", "1")
	last := func() int64 { remove(t, near, "/short"); return caughtUp(t, near) }()
	_, err := near.client.Compact(within(t), last)
	require.NoError(t, err)
	between.setCut(false)
	require.Equal(t, last, caughtUp(t, far))
	got := changes.all()
	require.Len(t, got, 1)
	assert.Equal(t, last, got[0].Revision)
	var events []string
	for _, e := range got[0].Events {
		events = append(events, fmt.Sprint(e.KV.Key, "=", string(e.KV.Value), " ", e.Deleted, e.Prev != nil))
		if e.KV.Key == "/again" {
			assert.Equal(t, again, e.KV.CreateRevision)
		}
	}
	assert.ElementsMatch(t, []string{"/changes=2 false true", "/goes= true true", "/again=1 false true", "/new=1 false false"}, events)
	assert.Equal(t, list(t, near, ""), list(t, far, ""))
	next := put(t, near, "/later", "1")
	caughtUp(t, far)
	assert.Equal(t, next, changes.all()[1].Revision, "and it goes on")
}

func TestTxnSaysWhatItKnowsOfItsFate(t *testing.T) {
	t.Parallel()
	near, far, between := pair(t)
	put(t, far, "/k", "before")

	between.setDeaf(true)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_, err := far.Txn(ctx, abstract.Txn{Then: []abstract.Op{{Key: "/k", Value: []byte("unknown")}}})
	assert.Equal(t, abstract.UnknownFate, abstract.CodeOf(err), "%v", err)
	caughtUp(t, near)
	assert.Equal(t, "/k=unknown", list(t, near, "/k"), "here it was done")

	done := make(chan error, 1)
	go func() {
		_, err := far.Txn(within(t), abstract.Txn{Then: []abstract.Op{{Key: "/k", Value: []byte("lost")}}})
		done <- err
	}()
	require.Eventually(t, func() bool { caughtUp(t, near); return list(t, near, "/k") == "/k=lost" }, patience, 10*time.Millisecond)
	between.setCut(true)
	between.setDeaf(false)
	err = <-done
	assert.Equal(t, abstract.UnknownFate, abstract.CodeOf(err), "%v", err)

	soon := func() context.Context {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	_, err = far.Txn(soon(), abstract.Txn{Then: []abstract.Op{{Key: "/k", Value: []byte("never")}}})
	assert.Equal(t, abstract.Unavailable, abstract.CodeOf(err), "%v", err)
	var e *abstract.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, abstract.SentNo, e.Sent)
	_, err = far.Sync(soon())
	assert.Equal(t, abstract.Timeout, abstract.CodeOf(err), "%v", err)
	err = far.KeepAlive(soon(), 1)
	assert.Equal(t, abstract.Unavailable, abstract.CodeOf(err), "%v", err)
	_, err = far.Grant(soon(), time.Minute)
	assert.Equal(t, abstract.Timeout, abstract.CodeOf(err), "%v", err)

	between.setCut(false)
	caughtUp(t, far)
	assert.Equal(t, "/k=lost", list(t, far, "/k"))
	put(t, far, "/k", "after")
}

func TestSyncComesBackWhereOthersWrite(t *testing.T) {
	t.Parallel()
	endpoint := startServer(t).endpoint
	ours := open(t, Config{Endpoints: []string{endpoint}, Prefix: "/trefoil"})
	others := open(t, Config{Endpoints: []string{endpoint}, Prefix: "/other"})
	var changes told
	defer ours.Follow("", changes.take)()
	mine := put(t, ours, "/k", "1")
	theirs := put(t, others, "/k", "1")
	rev, err := ours.Sync(within(t))
	require.NoError(t, err)
	assert.GreaterOrEqual(t, rev, theirs)
	assert.Equal(t, "/k=1", list(t, ours, ""))
	require.Len(t, changes.all(), 1)
	assert.Equal(t, mine, changes.all()[0].Revision)
}

func TestAnotherEtcdAtTheSameAddressIsRefused(t *testing.T) {
	t.Parallel()
	_, far, between := pair(t)
	for i := range 20 {
		put(t, far, "/k", fmt.Sprint(i))
	}
	other := startServer(t)
	u, err := url.Parse(other.endpoint)
	require.NoError(t, err)
	between.setCut(true)
	between.setTo(u.Host)
	between.setCut(false)
	_, err = far.Sync(within(t))
	assert.Equal(t, abstract.Unavailable, abstract.CodeOf(err), "%v", err)
	assert.ErrorContains(t, err, "restart the broker")
	_, err = far.Txn(within(t), abstract.Txn{Then: []abstract.Op{{Key: "/k"}}})
	assert.Equal(t, abstract.Unavailable, abstract.CodeOf(err), "%v", err)
}
