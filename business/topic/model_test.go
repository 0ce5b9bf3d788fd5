package topic

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"trefoil/abstract"
)

// model is publish and subscribe as one would explain it: topics, and for each of
// them who is subscribed. Names that are there have an entry.
type model map[string]map[ConnID]bool

// receivers returns who gets what is published, by Match, in order.
func (m model) receivers(topic string) []ConnID {
	var list []ConnID
	for conn := range ConnID(100) {
		for filter, subs := range m {
			if Match(filter, topic) && subs[conn] {
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
	pending []func(t *rapid.T)
	seen    []snapshot
}

// snapshot is a published list, and who was on it then.
type snapshot struct {
	subs []*Subscription
	want []ConnID
}

func drawName(t *rapid.T) string { return rapid.SampledFrom([]string{"", "a", "a/b"}).Draw(t, "name") }
func drawConn(t *rapid.T) ConnID { return ConnID(rapid.IntRange(1, 6).Draw(t, "conn")) }

func (w *world) create(t *rapid.T) {
	name := drawName(t)
	txn, err := w.broker.tm.PlanCreate(name)
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
			delete(w.model, name)
		}
		require.Equal(t, want, conns(w.broker.run(txn)))
	})
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
}

func (w *world) disconnect(t *rapid.T) {
	conn := drawConn(t)
	got := map[string]bool{}
	for _, sub := range w.broker.tm.Disconnect(conn) {
		require.Equal(t, conn, sub.Conn)
		got[sub.Filter] = true
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
	require.Len(t, kvs, len(w.model))
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
		w := &world{broker: newBroker(t, Config{}), model: model{}}
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
			"disconnect": w.disconnect,
			"reload":     w.reload,
			"":           w.check,
		})
	})
}
