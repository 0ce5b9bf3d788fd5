package topic

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/memstore"
)

// broker joins a TopicManager and a Store as a server does, and keeps the
// subscriptions that ended.
type broker struct {
	t     require.TestingT
	store *memstore.Store
	tm    *TopicManager
	ended []*Subscription
}

func newBroker(t require.TestingT, cfg Config) *broker {
	b := &broker{t: t, store: memstore.New(), tm: NewTopicManager(cfg)}
	b.store.Follow(Prefix, func(c abstract.Change) { b.ended = append(b.ended, b.tm.Apply(c)...) })
	return b
}

// run runs a transaction and returns the subscriptions that it ended.
func (b *broker) run(txn abstract.Txn) []*Subscription {
	b.ended = nil
	if len(txn.Then) > 0 {
		_, err := b.store.Txn(context.Background(), txn)
		require.NoError(b.t, err)
	}
	check(b.t, b.tm)
	return b.ended
}

func (b *broker) create(name string) {
	txn, err := b.tm.PlanCreate(name, Draft{})
	require.NoError(b.t, err)
	require.Empty(b.t, b.run(txn), "creating ends nothing")
}

func (b *broker) remove(name string) []*Subscription {
	txn, err := b.tm.PlanRemove(name)
	require.NoError(b.t, err)
	return b.run(txn)
}

func (b *broker) subscribe(conn ConnID, name string) *Subscription {
	sub, err := b.tm.Subscribe(conn, name)
	require.NoError(b.t, err)
	return sub
}

// publish returns the connections that get what is published.
func (b *broker) publish(name string) []ConnID {
	subs, err := b.tm.Publish(name)
	require.NoError(b.t, err)
	return conns(subs)
}

// others returns the tags of those who get what is published besides, with their
// connections, in order.
func (b *broker) others(name string) []string {
	var list []string
	for _, sub := range b.tm.Others(nil, name) {
		list = append(list, fmt.Sprint(sub.Conn, sub.Tag))
	}
	slices.Sort(list)
	return list
}

func conns(subs []*Subscription) []ConnID {
	var list []ConnID
	for _, sub := range subs {
		list = append(list, sub.Conn)
	}
	return list
}

// check holds the index against its own rules: every mapping has its mirror, and
// nothing empty is kept.
func check(t require.TestingT, m *TopicManager) {
	subs := 0
	for name, tp := range m.topics {
		require.Equal(t, name, tp.name)
		require.True(t, slices.IsSortedFunc(tp.subs, func(a, b *Subscription) int { return int(a.Conn) - int(b.Conn) }))
		for _, sub := range slices.Concat(tp.subs, tp.tagged) {
			require.Equal(t, name, sub.Filter)
			require.True(t, slices.Contains(m.subscribers[sub.Conn], sub))
		}
		subs += len(tp.subs) + len(tp.tagged)
	}
	subs += m.wild.size
	for conn, list := range m.subscribers {
		require.NotEmpty(t, list)
		for _, sub := range list {
			require.Equal(t, conn, sub.Conn)
			tp := m.topics[sub.Filter]
			switch {
			case sub.wild:
				require.Contains(t, m.wild.match(nil, strings.NewReplacer(anyOne, "x", anyRest, "y").Replace(sub.Filter)), sub)
			case sub.Tag != "":
				require.Contains(t, tp.tagged, sub)
			default:
				require.NotNil(t, tp)
				i, found := tp.search(conn)
				require.True(t, found)
				require.Same(t, sub, tp.subs[i])
			}
		}
		subs -= len(list)
	}
	require.Zero(t, subs, "topics and subscribers do not mirror each other")
}
