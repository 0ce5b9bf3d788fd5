package session_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/business/session"
	"trefoil/concrete/memstore"
)

// broker is a world on a Store that outlives it.
type broker struct {
	*world
	store abstract.Store
	stop  func()
	told  []session.Ended // by the Store
}

func newBroker(t *testing.T) *broker {
	t.Helper()
	store := memstore.New()
	t.Cleanup(func() { assert.NoError(t, store.Close()) })
	b := &broker{world: newWorld(t), store: store, stop: func() {}}
	b.start()
	return b
}

// start begins a run: follow, range, load.
func (b *broker) start() (unfinished []session.Ended) {
	b.t.Helper()
	b.stop()
	b.restart()
	m := b.m
	b.stop = b.store.Follow(session.Prefix, func(c abstract.Change) { b.told = append(b.told, m.Apply(c, b.now)...) })
	kvs, rev, err := b.store.Range(context.Background(), session.Prefix, 0)
	require.NoError(b.t, err)
	unfinished, ok := b.m.Load(kvs, rev, b.now)
	require.True(b.t, ok)
	require.NoError(b.t, b.m.Consistent())
	return unfinished
}

func (b *broker) run(t abstract.Txn) bool {
	b.t.Helper()
	res, err := b.store.Txn(context.Background(), t)
	require.NoError(b.t, err)
	require.NoError(b.t, b.m.Consistent())
	return res.Succeeded
}

// own makes a key that belongs to a session, as the tree does.
func (b *broker) own(id session.ID, key string) bool {
	b.t.Helper()
	ifs, then, err := b.m.PlanStore(id)
	require.NoError(b.t, err)
	return b.run(abstract.Txn{If: ifs, Then: append(then, abstract.Op{Key: key, Value: []byte("x")})})
}

func (b *broker) keys(prefix string) (keys []string) {
	b.t.Helper()
	kvs, _, err := b.store.Range(context.Background(), prefix, 0)
	require.NoError(b.t, err)
	for _, kv := range kvs {
		keys = append(keys, kv.Key)
	}
	return keys
}

// finish does what a server does with an ended session.
func (b *broker) finish(ended session.Ended, keys ...string) {
	b.t.Helper()
	require.True(b.t, ended.Stored)
	if t, ok := b.m.PlanEnd(ended.ID); ok {
		require.True(b.t, b.run(t))
	}
	for _, key := range keys {
		require.True(b.t, b.run(abstract.Txn{Then: []abstract.Op{{Key: key, Delete: true}}}))
	}
	t, ok := b.m.PlanForget(ended.ID)
	require.True(b.t, ok)
	require.True(b.t, b.run(t))
}

func TestSessionIsStoredWithItsFirstNode(t *testing.T) {
	b := newBroker(t)
	g := b.open(nil)
	assert.Empty(t, b.keys(session.Prefix))
	require.True(t, b.own(g.ID, "/a"))
	assert.Equal(t, []string{session.Key(g.ID)}, b.keys(session.Prefix))
	ifs, then, err := b.m.PlanStore(g.ID)
	require.NoError(t, err)
	assert.Len(t, ifs, 1)
	assert.Empty(t, then, "it is there")
	require.True(t, b.own(g.ID, "/b"))
	s := b.m.Stats()
	assert.Equal(t, 1, s.Stored)
}

func TestStoredSessionKeepsItsSecret(t *testing.T) {
	b := newBroker(t)
	g := b.open(nil)
	require.True(t, b.own(g.ID, "/a"))
	kvs, _, err := b.store.Range(t.Context(), session.Prefix, 0)
	require.NoError(t, err)
	assert.NotContains(t, string(kvs[0].Value), g.Secret.Hex())
	var v map[string]any
	require.NoError(t, json.Unmarshal(kvs[0].Value, &v))
	assert.Len(t, v["secret_sha256"], 64)
	delete(v, "secret_sha256")
	assert.Equal(t, map[string]any{"interval_ms": 100.0, "misses": 5.0, "ending": false}, v)
}

func TestRestartGivesStoredSessionsTheirFullTime(t *testing.T) {
	b := newBroker(t)
	stored, other := b.open(nil), b.open(nil)
	require.True(t, b.own(stored.ID, "/a"))
	b.now += 100 * time.Hour // however long the broker was away
	assert.Empty(t, b.start())
	assert.False(t, b.m.Alive(other.ID), "this one stood in the broker's memory")
	require.Empty(t, b.pass(life-1))
	_, _, ok := b.m.Resume(stored.ID, session.Secret{1}, 0, nil, b.now)
	assert.False(t, ok)
	got, _, ok := b.m.Resume(stored.ID, stored.Secret, 0, nil, b.now)
	require.True(t, ok)
	assert.Equal(t, stored.Secret, got.Secret)
	assert.Equal(t, session.BeatRenewed, b.m.BeatUDP(beater(t, got).Append(nil), b.now), "heartbeats work again")
	require.Empty(t, b.pass(life-1))
	assert.Equal(t, []session.Ended{{ID: stored.ID, Stored: true}}, b.pass(1))
}

func TestStoredTermsOutliveAChangeOfConfiguration(t *testing.T) {
	b := newBroker(t)
	g := b.open(nil)
	require.True(t, b.own(g.ID, "/a"))
	kvs, rev, err := b.store.Range(t.Context(), session.Prefix, 0)
	require.NoError(t, err)
	m := session.NewSessionManager(session.Config{Interval: time.Minute, Misses: 3})
	_, ok := m.Load(kvs, rev, 0)
	require.True(t, ok)
	got, _, ok := m.Resume(g.ID, g.Secret, 0, nil, 0)
	require.True(t, ok)
	assert.Equal(t, interval, got.Interval)
	assert.Equal(t, misses, got.Misses)
}

func TestEndedSessionOwnsNothingMore(t *testing.T) {
	b := newBroker(t)
	g := b.open(nil)
	require.True(t, b.own(g.ID, "/a"))
	ifs, then, err := b.m.PlanStore(g.ID) // planned before the end, run after it
	require.NoError(t, err)
	ended := b.pass(life)
	require.Len(t, ended, 1)
	_, _, err = b.m.PlanStore(g.ID)
	require.ErrorIs(t, err, abstract.ErrSessionExpired)
	_, ok := b.m.PlanForget(g.ID)
	assert.False(t, ok, "it is marked first")
	mark, ok := b.m.PlanEnd(g.ID)
	require.True(t, ok)
	require.True(t, b.run(mark))
	_, ok = b.m.PlanEnd(g.ID)
	assert.False(t, ok, "once is enough")
	assert.Equal(t, session.BeatUnknown, b.m.BeatUDP(beater(t, g).Append(nil), b.now))
	assert.False(t, b.run(abstract.Txn{If: ifs, Then: append(then, abstract.Op{Key: "/late"})}))
	b.finish(ended[0], "/a")
	assert.Empty(t, b.keys("/"))
	_, ok = b.m.PlanEnd(g.ID)
	assert.False(t, ok)
	assert.Zero(t, b.m.Stats().Ending)
	assert.Empty(t, b.told, "what began here comes back from the Store as no news")
}

// TestFirstNodeOfAnEndingSession: the transaction that stores the session may win
// or lose against its end, but never slip through between.
func TestFirstNodeOfAnEndingSession(t *testing.T) {
	for name, first := range map[string]bool{"the node is first": true, "the end is first": false} {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t)
			g := b.open(nil)
			ifs, then, err := b.m.PlanStore(g.ID)
			require.NoError(t, err)
			node := abstract.Txn{If: ifs, Then: append(then, abstract.Op{Key: "/a"})}
			ended, ok := b.m.Close(g.ID)
			require.True(t, ok)
			require.True(t, ended.Stored, "it may be")
			mark, ok := b.m.PlanEnd(g.ID)
			require.True(t, ok)
			if first {
				require.True(t, b.run(node))
				require.False(t, b.run(mark), "planned again")
				b.finish(ended, "/a")
			} else {
				require.True(t, b.run(mark))
				require.False(t, b.run(node))
				b.finish(ended)
			}
			assert.Empty(t, b.keys("/"))
			assert.Zero(t, b.m.Stats().Ending)
		})
	}
}

// TestLateTransactionOfAForgottenSession: one whose fate was unknown may take
// effect when all is over. What it makes lives no longer than a session.
func TestLateTransactionOfAForgottenSession(t *testing.T) {
	b := newBroker(t)
	g := b.open(nil)
	ifs, then, err := b.m.PlanStore(g.ID)
	require.NoError(t, err)
	ended, _ := b.m.Close(g.ID)
	b.finish(ended)
	require.True(t, b.run(abstract.Txn{If: ifs, Then: append(then, abstract.Op{Key: "/a"})}))
	require.Empty(t, b.pass(life-1))
	again := b.pass(1)
	require.Len(t, again, 1)
	b.finish(again[0], "/a")
	assert.Empty(t, b.keys("/"))
}

// TestEndGoesOnAfterARestart, wherever it was cut off.
func TestEndGoesOnAfterARestart(t *testing.T) {
	for name, marked := range map[string]bool{"not marked": false, "marked": true} {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t)
			g := b.open(nil)
			require.True(t, b.own(g.ID, "/a"))
			require.Len(t, b.pass(life), 1)
			if marked {
				mark, ok := b.m.PlanEnd(g.ID)
				require.True(t, ok)
				require.True(t, b.run(mark))
			}
			unfinished := b.start()
			if marked {
				assert.Equal(t, []session.Ended{{ID: g.ID, Stored: true}}, unfinished)
				_, _, ok := b.m.Resume(g.ID, g.Secret, 0, nil, b.now)
				assert.False(t, ok, "over is over")
			} else {
				assert.Empty(t, unfinished)
				unfinished = b.pass(life)
				require.Len(t, unfinished, 1)
			}
			b.finish(unfinished[0], "/a")
			assert.Empty(t, b.keys("/"))
			assert.Empty(t, b.start())
		})
	}
}

// TestSessionDeletedInTheStoreIsOver: by hand, or by restoring a backup.
func TestSessionDeletedInTheStoreIsOver(t *testing.T) {
	b, c := newBroker(t), &conn{}
	g := b.open(c)
	require.True(t, b.own(g.ID, "/a"))
	require.True(t, b.run(abstract.Txn{Then: []abstract.Op{{Key: session.Key(g.ID), Delete: true}}}))
	require.Equal(t, []session.Ended{{ID: g.ID, Conn: c, Stored: true}}, b.told)
	assert.False(t, b.m.Alive(g.ID))
	b.finish(b.told[0], "/a")
	assert.Empty(t, b.keys("/"))
}

func TestSessionEndedInTheStoreIsOver(t *testing.T) {
	b := newBroker(t)
	g := b.open(nil)
	require.True(t, b.own(g.ID, "/a"))
	kvs, _, err := b.store.Range(t.Context(), session.Prefix, 0)
	require.NoError(t, err)
	var v map[string]any
	require.NoError(t, json.Unmarshal(kvs[0].Value, &v))
	v["ending"] = true
	text, err := json.Marshal(v)
	require.NoError(t, err)
	require.True(t, b.run(abstract.Txn{Then: []abstract.Op{{Key: kvs[0].Key, Value: text}}}))
	require.Len(t, b.told, 1)
	b.finish(b.told[0], "/a")
	assert.Empty(t, b.keys("/"))
}

func TestLoadFindsWhatWasMissed(t *testing.T) {
	b := newBroker(t)
	gone, stays, memory := b.open(nil), b.open(nil), b.open(nil)
	require.True(t, b.own(gone.ID, "/a"))
	require.True(t, b.own(stays.ID, "/b"))
	b.stop() // out of reach
	require.True(t, b.run(abstract.Txn{Then: []abstract.Op{{Key: session.Key(gone.ID), Delete: true}}}))
	kvs, rev, err := b.store.Range(t.Context(), session.Prefix, 0)
	require.NoError(t, err)
	_, ok := b.m.Load(kvs, b.m.Applied()-1, b.now)
	assert.False(t, ok, "older than what is known")
	ended, ok := b.m.Load(kvs, rev, b.now)
	require.True(t, ok)
	assert.Equal(t, []session.Ended{{ID: gone.ID, Stored: true}}, ended)
	assert.True(t, b.m.Alive(stays.ID))
	assert.True(t, b.m.Alive(memory.ID), "the Store never knew it")
	assert.Equal(t, rev, b.m.Applied())
}

// TestStrangeValuesDoNotLiveForEver: nobody can resume them, so they expire.
func TestStrangeValuesDoNotLiveForEver(t *testing.T) {
	for name, value := range map[string]string{
		"empty": "", "no JSON": "{", "no object": "[]", "nothing": "{}", "other kinds": `{"secret_sha256":5,"misses":"x"}`,
		"short hash": `{"secret_sha256":"ab"}`, "mad times": `{"interval_ms":9223372036854775807,"misses":9223372036854775807}`,
		"negative times": `{"interval_ms":-1,"misses":-1}`,
	} {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t)
			id := session.ID{7}
			require.True(t, b.run(abstract.Txn{Then: []abstract.Op{
				{Key: session.Key(id), Value: []byte(value)},
				{Key: session.Prefix + "no id", Value: []byte(value)},
			}}))
			require.True(t, b.m.Alive(id))
			for _, secret := range []session.Secret{{}, {1}} {
				_, _, ok := b.m.Resume(id, secret, 0, nil, b.now)
				assert.False(t, ok)
			}
			assert.Equal(t, []session.Ended{{ID: id, Stored: true}}, b.pass(1000*time.Hour))
		})
	}
}

func TestAppliedChangesAreIgnored(t *testing.T) {
	w := newWorld(t)
	id := session.ID{7}
	put := abstract.Change{Revision: 5, Events: []abstract.Event{{KV: abstract.KV{Key: session.Key(id), Value: []byte("{}"), ModRevision: 5}}}}
	w.m.Apply(put, w.now)
	require.True(t, w.m.Alive(id))
	del := abstract.Change{Revision: 5, Events: []abstract.Event{{Deleted: true, KV: abstract.KV{Key: session.Key(id), ModRevision: 5}}}}
	assert.Empty(t, w.m.Apply(del, w.now))
	assert.True(t, w.m.Alive(id))
}
