package topic

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"trefoil/abstract"
)

// model is publish and subscribe as one would explain it: topics, and for each of
// them who is subscribed. Names that are there have an entry.
type model map[string]map[ConnID]bool

// receivers returns who gets what is published, in order.
func (m model) receivers(topic string) []ConnID {
	var list []ConnID
	for conn := range ConnID(100) {
		for filter, subs := range m {
			if filter == topic && subs[conn] {
				list = append(list, conn)
			}
		}
	}
	return list
}

// world is the manager and the model side by side. Transactions wait between
// planning and running, as those of several connections do.
type world struct {
	broker  *broker
	model   model
	tags    map[string]string // "connection tag" to what it is subscribed to
	pending []func(t *rapid.T)
	seen    []snapshot
}

// snapshot is a published list, and who was on it then.
type snapshot struct {
	subs []*Subscription
	want []ConnID
}

func drawName(t *rapid.T) string { return rapid.SampledFrom([]string{"", "a", "a.b"}).Draw(t, "name") }
func drawConn(t *rapid.T) ConnID { return ConnID(rapid.IntRange(1, 6).Draw(t, "conn")) }

func (w *world) create(t *rapid.T) {
	name := drawName(t)
	txn, err := w.broker.tm.PlanCreate(name, Draft{})
	require.NoError(t, err)
	_, exists := w.model[name]
	require.Equal(t, exists, len(txn.Then) == 0)
	w.pending = append(w.pending, func(t *rapid.T) {
		if _, exists := w.model[name]; !exists && len(txn.Then) > 0 {
			w.model[name] = map[ConnID]bool{}
		}
		require.Empty(t, w.broker.run(txn))
	})
}

func (w *world) remove(t *rapid.T) {
	name := drawName(t)
	txn, err := w.broker.tm.PlanRemove(name)
	if _, exists := w.model[name]; !exists {
		require.ErrorIs(t, err, abstract.ErrTopicNotFound)
		return
	}
	require.NoError(t, err)
	created := w.broker.tm.topics[name].created
	w.pending = append(w.pending, func(t *rapid.T) {
		var want []ConnID
		if tp := w.broker.tm.topics[name]; tp != nil && tp.created == created {
			want = w.model.receivers(name)
			for tag, filter := range w.tags {
				if filter == name {
					want = append(want, connOf(tag))
					delete(w.tags, tag)
				}
			}
			delete(w.model, name)
		}
		require.ElementsMatch(t, want, conns(w.broker.run(txn)))
	})
}

func connOf(tag string) (conn ConnID) {
	_, _ = fmt.Sscan(tag, &conn)
	return conn
}

func (w *world) subscribeAs(t *rapid.T) {
	conn, tag := drawConn(t), rapid.SampledFrom([]string{"x", "y"}).Draw(t, "tag")
	filter := rapid.SampledFrom([]string{"", "a", "a.b", "*", ">", "a.*", "a.>"}).Draw(t, "filter")
	sub, err := w.broker.tm.SubscribeAs(conn, tag, filter)
	has, taken := w.tags[fmt.Sprint(conn, tag)]
	_, exists := w.model[filter]
	switch {
	case taken && has != filter:
		require.ErrorIs(t, err, abstract.ErrExists)
	case !taken && !exists && !IsWild(filter):
		require.ErrorIs(t, err, abstract.ErrTopicNotFound)
	default:
		require.NoError(t, err)
		require.Equal(t, filter, sub.Filter)
		w.tags[fmt.Sprint(conn, tag)] = filter
	}
}

func (w *world) cancelAs(t *rapid.T) {
	conn, tag := drawConn(t), rapid.SampledFrom([]string{"x", "y"}).Draw(t, "tag")
	_, err := w.broker.tm.CancelAs(conn, tag)
	if _, taken := w.tags[fmt.Sprint(conn, tag)]; !taken {
		require.ErrorIs(t, err, abstract.ErrTopicNotFound)
		return
	}
	require.NoError(t, err)
	delete(w.tags, fmt.Sprint(conn, tag))
}

// others is what the broker's others says, by Match.
func (w *world) others(topic string) []string {
	var list []string
	for tag, filter := range w.tags {
		if Match(filter, topic) {
			list = append(list, tag)
		}
	}
	slices.Sort(list)
	return list
}

// commit runs one of the waiting transactions.
func (w *world) commit(t *rapid.T) {
	if len(w.pending) == 0 {
		t.Skip("nothing waits")
	}
	i := rapid.IntRange(0, len(w.pending)-1).Draw(t, "which")
	run := w.pending[i]
	w.pending = append(w.pending[:i:i], w.pending[i+1:]...)
	run(t)
}

func (w *world) subscribe(t *rapid.T) {
	conn, name := drawConn(t), drawName(t)
	sub, err := w.broker.tm.Subscribe(conn, name)
	subs, exists := w.model[name]
	if !exists {
		require.ErrorIs(t, err, abstract.ErrTopicNotFound)
		return
	}
	require.NoError(t, err)
	require.Equal(t, conn, sub.Conn)
	require.Equal(t, name, sub.Filter)
	subs[conn] = true
}

func (w *world) cancel(t *rapid.T) {
	conn, name := drawConn(t), drawName(t)
	sub, err := w.broker.tm.Cancel(conn, name)
	if !w.model[name][conn] {
		require.ErrorIs(t, err, abstract.ErrTopicNotFound)
		return
	}
	require.NoError(t, err)
	require.Equal(t, conn, sub.Conn)
	require.Equal(t, name, sub.Filter)
	delete(w.model[name], conn)
}

func (w *world) publish(t *rapid.T) {
	name := drawName(t)
	subs, err := w.broker.tm.Publish(name)
	if _, exists := w.model[name]; !exists {
		require.ErrorIs(t, err, abstract.ErrTopicNotFound)
		return
	}
	require.NoError(t, err)
	want := w.model.receivers(name)
	require.Equal(t, want, conns(subs))
	w.seen = append(w.seen, snapshot{subs, want})
	require.Equal(t, w.others(name), w.broker.others(name))
}

func (w *world) disconnect(t *rapid.T) {
	conn := drawConn(t)
	got := map[string]bool{}
	for _, sub := range w.broker.tm.Disconnect(conn) {
		require.Equal(t, conn, sub.Conn)
		if sub.Tag != "" {
			require.Equal(t, sub.Filter, w.tags[fmt.Sprint(conn, sub.Tag)])
			delete(w.tags, fmt.Sprint(conn, sub.Tag))
			continue
		}
		got[sub.Filter] = true
	}
	for tag := range w.tags {
		require.NotEqual(t, conn, connOf(tag), "a trace of the connection is left")
	}
	want := map[string]bool{}
	for name, subs := range w.model {
		if subs[conn] {
			want[name] = true
			delete(subs, conn)
		}
	}
	require.Equal(t, want, got)
}

// reload loads what the Store holds into the index, which has it already.
func (w *world) reload(t *rapid.T) {
	kvs, rev, err := w.broker.store.Range(context.Background(), Prefix, 0)
	require.NoError(t, err)
	topics := slices.DeleteFunc(slices.Clone(kvs), func(kv abstract.KV) bool { return kv.Key == endedKey })
	require.Len(t, topics, len(w.model))
	ended, ok := w.broker.tm.Load(kvs, rev)
	require.True(t, ok)
	require.Empty(t, ended)
}

func (w *world) check(t *rapid.T) {
	check(t, w.broker.tm)
	require.Len(t, w.broker.tm.topics, len(w.model))
	for _, s := range w.seen {
		require.Equal(t, s.want, conns(s.subs), "a published list changed")
	}
}

func TestTopicManagerMatchesTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{broker: newBroker(t, Config{}), model: model{}, tags: map[string]string{}}
		t.Repeat(map[string]func(*rapid.T){
			"create":     w.create,
			"remove":     w.remove,
			"commit":     w.commit,
			"commit2":    w.commit, // as often as they are planned
			"subscribe":  w.subscribe,
			"subscribe2": w.subscribe,
			"subscribe3": w.subscribe,
			"cancel":     w.cancel,
			"publish":    w.publish,
			"as":         w.subscribeAs,
			"as2":        w.subscribeAs,
			"cancelAs":   w.cancelAs,
			"disconnect": w.disconnect,
			"reload":     w.reload,
			"":           w.check,
		})
	})
}
