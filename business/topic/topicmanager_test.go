package topic

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"trefoil/abstract"
)

func TestSubscribingTwiceIsOneSubscription(t *testing.T) {
	b := newBroker(t, Config{})
	b.create("news")
	first := b.subscribe(1, "news")
	assert.Equal(t, Subscription{Filter: "news", Conn: 1}, *first)
	assert.Same(t, first, b.subscribe(1, "news"))
	assert.Equal(t, []ConnID{1}, b.publish("news"))
	ended, err := b.tm.Cancel(1, "news")
	require.NoError(t, err)
	assert.Same(t, first, ended)
	assert.Empty(t, b.publish("news"))
	assert.NotSame(t, first, b.subscribe(1, "news"))
}

func TestUnknownTopicIsNotFound(t *testing.T) {
	b := newBroker(t, Config{})
	b.create("news")
	b.subscribe(1, "news")
	tests := []struct {
		name string
		do   func() error
	}{
		{"remove", func() error { _, err := b.tm.PlanRemove("none"); return err }},
		{"subscribe", func() error { _, err := b.tm.Subscribe(1, "none"); return err }},
		{"publish", func() error { _, err := b.tm.Publish("none"); return err }},
		{"cancel", func() error { _, err := b.tm.Cancel(1, "none"); return err }},
		{"cancel what one is not subscribed to", func() error { _, err := b.tm.Cancel(2, "news"); return err }},
		{"another case", func() error { _, err := b.tm.Publish("News"); return err }},
		{"empty name", func() error { _, err := b.tm.Publish(""); return err }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			assert.ErrorIs(t, tt.do(), abstract.ErrTopicNotFound)
			check(t, b.tm)
		})
	}
	assert.Equal(t, []ConnID{1}, b.publish("news"))
}

func TestRemoveEndsSubscriptions(t *testing.T) {
	b := newBroker(t, Config{})
	b.create("news")
	b.create("sport")
	first, second, other := b.subscribe(2, "news"), b.subscribe(1, "news"), b.subscribe(1, "sport")
	assert.Equal(t, []*Subscription{second, first}, b.remove("news"))
	b.create("news")
	assert.Empty(t, b.publish("news"), "who subscribed to the old one is gone")
	assert.Equal(t, []*Subscription{other}, b.tm.Disconnect(1))
}

func TestCreatingAgainKeepsSubscribers(t *testing.T) {
	b := newBroker(t, Config{})
	b.create("news")
	b.subscribe(1, "news")
	txn, err := b.tm.PlanCreate("news", Draft{})
	require.NoError(t, err)
	assert.Empty(t, txn.Then)
	assert.Equal(t, []ConnID{1}, b.publish("news"))
}

func TestCreatingTwiceAtOnceIsOneTopic(t *testing.T) {
	b := newBroker(t, Config{})
	first, err := b.tm.PlanCreate("news", Draft{})
	require.NoError(t, err)
	second, err := b.tm.PlanCreate("news", Draft{})
	require.NoError(t, err)
	b.run(first)
	b.subscribe(1, "news")
	assert.Empty(t, b.run(second))
	assert.Equal(t, []ConnID{1}, b.publish("news"))
}

func TestRemoveDoesNotHitANewerTopic(t *testing.T) {
	b := newBroker(t, Config{})
	b.create("news")
	late, err := b.tm.PlanRemove("news")
	require.NoError(t, err)
	b.remove("news")
	b.create("news")
	b.subscribe(1, "news")
	assert.Empty(t, b.run(late))
	assert.Equal(t, []ConnID{1}, b.publish("news"))
}

func TestDisconnectLeavesNoTrace(t *testing.T) {
	b := newBroker(t, Config{})
	var want []*Subscription
	for _, name := range []string{"c", "a", "b"} {
		b.create(name)
		want = append(want, b.subscribe(1, name))
		b.subscribe(2, name)
	}
	assert.Equal(t, want, b.tm.Disconnect(1))
	check(t, b.tm)
	assert.Equal(t, []ConnID{2}, b.publish("a"))
	assert.Empty(t, b.tm.Disconnect(1))
	assert.Empty(t, b.tm.Disconnect(3), "one that never subscribed")
	b.tm.Disconnect(2)
	assert.Empty(t, b.tm.subscribers)
}

func TestPublishedListIsNotChangedAfterwards(t *testing.T) {
	change := map[string]func(b *broker){
		"subscribe behind": func(b *broker) { b.subscribe(9, "news") },
		"subscribe before": func(b *broker) { b.subscribe(1, "news") },
		"cancel":           func(b *broker) { _, _ = b.tm.Cancel(4, "news") },
		"disconnect":       func(b *broker) { b.tm.Disconnect(2) },
		"remove":           func(b *broker) { b.remove("news") },
		"all of it": func(b *broker) {
			b.subscribe(9, "news")
			b.tm.Disconnect(9)
			b.subscribe(1, "news")
			b.tm.Disconnect(2)
			b.subscribe(8, "news")
		},
	}
	for name, do := range change {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t, Config{})
			b.create("news")
			for _, conn := range []ConnID{2, 4, 6} {
				b.subscribe(conn, "news")
			}
			b.tm.topics["news"].subs = slices.Grow(b.tm.topics["news"].subs, 8) // room to write into
			subs, err := b.tm.Publish("news")
			require.NoError(t, err)
			do(b)
			assert.Equal(t, []ConnID{2, 4, 6}, conns(subs))
			check(t, b.tm)
		})
	}
}

func TestNamesKeepNothingOfTheRequest(t *testing.T) {
	b := newBroker(t, Config{})
	frame := []byte("news")
	name := unsafe.String(&frame[0], len(frame)) // as a decoder makes it
	b.create(name)
	sub := b.subscribe(1, name)
	copy(frame, "XXXX")
	assert.Equal(t, "news", sub.Filter)
	assert.Equal(t, []ConnID{1}, b.publish("news"))
}

func TestLimits(t *testing.T) {
	b := newBroker(t, Config{MaxTopics: 3, MaxSubscriptionsPerConn: 2, MaxTopicName: 4})
	for _, name := range []string{"a", "", "long"} {
		b.create(name)
	}
	b.subscribe(1, "a")
	b.subscribe(1, "")
	create := func(name string) func() error {
		return func() error { _, err := b.tm.PlanCreate(name, Draft{}); return err }
	}
	subscribe := func(conn ConnID, name string) func() error {
		return func() error { _, err := b.tm.Subscribe(conn, name); return err }
	}
	tests := []struct {
		name string
		do   func() error
		want abstract.RCode
	}{
		{"topics", create("more"), abstract.Overloaded},
		{"a topic that exists", create("a"), abstract.OK},
		{"name too long", create("12345"), abstract.InvalidParams},
		{"subscriptions", subscribe(1, "long"), abstract.Overloaded},
		{"a subscription that exists", subscribe(1, ""), abstract.OK},
		{"another subscriber", subscribe(2, "long"), abstract.OK},
		{"subscription to a name too long", subscribe(2, "12345"), abstract.TopicNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.do()
			assert.Equal(t, tt.want, abstract.CodeOf(err), "%v", err)
			check(t, b.tm)
		})
	}
	b.remove("long")
	b.create("more")
}

func TestKeysNameOneTopic(t *testing.T) {
	for name, key := range map[string]string{
		"news":                      "/topics/news",
		"":                          "/topics/",
		"a/b":                       "/topics/a%2Fb",
		"a%2Fb":                     "/topics/a%252Fb",
		"新":                         "/topics/%E6%96%B0",
		"\xff":                      "/topics/%FF",
		" ":                         "/topics/%20",
		strings.Repeat("/", 1024-8): "/topics/" + strings.Repeat("%2F", 1024-8),
	} {
		assert.Equal(t, key, keyOf(name))
	}
	for _, key := range []string{"", "/topics", "/services/a", "/topics/a/b", "/topics/a%2fb", "/topics/%61", "/topics/%", "/topics/新"} {
		_, ok := parseKey(key)
		assert.False(t, ok, key)
	}
	assert.LessOrEqual(t, len(keyOf(strings.Repeat("/", Config{}.withDefaults().MaxTopicName))), 4<<10, "a Store takes no longer key")
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.OneOf(rapid.String(), rapid.StringMatching(`[/%a]{0,4}`)).Draw(t, "name")
		got, ok := parseKey(keyOf(want))
		require.True(t, ok)
		require.Equal(t, want, got)
	})
}

func TestChangesAreAppliedOnce(t *testing.T) {
	m := NewTopicManager(Config{})
	put := abstract.Change{Revision: 5, Events: []abstract.Event{{KV: abstract.KV{Key: keyOf("news"), CreateRevision: 5}}}}
	gone := abstract.Change{Revision: 5, Events: []abstract.Event{{Deleted: true, KV: abstract.KV{Key: keyOf("news")}}}}
	require.Empty(t, m.Apply(put))
	sub, err := m.Subscribe(1, "news")
	require.NoError(t, err)
	assert.Empty(t, m.Apply(gone), "revision 5 has been applied")

	put.Revision = 6
	assert.Empty(t, m.Apply(put), "its value changed, it is the same topic")
	put.Revision, put.Events[0].KV.CreateRevision = 7, 7
	assert.Equal(t, []*Subscription{sub}, m.Apply(put), "another topic of the same name")
	check(t, m)

	gone.Revision = 8
	assert.Empty(t, m.Apply(gone))
	gone.Revision = 9
	assert.Empty(t, m.Apply(gone), "it is not there")
	assert.EqualValues(t, 9, m.Applied())
	assert.Empty(t, m.Apply(abstract.Change{Revision: 10, Events: []abstract.Event{{KV: abstract.KV{Key: "/services/x"}}}}))
	assert.Empty(t, m.topics)
}

func TestLoadEndsWhatIsGone(t *testing.T) {
	b := newBroker(t, Config{})
	for _, name := range []string{"stays", "goes", "again", "also goes"} {
		b.create(name)
	}
	kvs, rev := list(t, b)
	m := NewTopicManager(Config{})
	ended, ok := m.Load(kvs, rev)
	require.True(t, ok)
	assert.Empty(t, ended)
	subs := map[string]*Subscription{}
	for _, name := range []string{"stays", "goes", "again", "also goes"} {
		sub, err := m.Subscribe(1, name)
		require.NoError(t, err)
		subs[name] = sub
	}

	b.remove("goes")
	b.remove("also goes")
	b.remove("again")
	b.create("again")
	b.create("new")
	kvs, rev = list(t, b)
	ended, ok = m.Load(kvs, rev)
	require.True(t, ok)
	assert.Equal(t, []*Subscription{subs["again"], subs["also goes"], subs["goes"]}, ended)
	assert.Equal(t, rev, m.Applied())
	check(t, m)
	_, err := m.Publish("new")
	assert.NoError(t, err)

	_, ok = m.Load(nil, rev-1)
	assert.False(t, ok, "older than the index")
	assert.Equal(t, []*Subscription{subs["stays"]}, m.Disconnect(1))
}

func list(t *testing.T, b *broker) ([]abstract.KV, int64) {
	kvs, rev, err := b.store.Range(t.Context(), Prefix, 0)
	require.NoError(t, err)
	return kvs, rev
}

func TestPublishAllocatesNothing(t *testing.T) {
	b := newBroker(t, Config{})
	b.create("news")
	for conn := range ConnID(1000) {
		b.subscribe(conn, "news")
	}
	name, seen := fmt.Sprint("ne", "ws"), 0
	allocs := testing.AllocsPerRun(100, func() {
		subs, _ := b.tm.Publish(name)
		seen = len(subs)
	})
	assert.Zero(t, allocs)
	assert.Equal(t, 1000, seen)
}

func TestSettingsChangeAndTheIncarnationStays(t *testing.T) {
	b := newBroker(t, Config{})
	first := abstract.TopicSettings{Retain: true}
	txn, err := b.tm.PlanCreate("news", Draft{Epoch: "e1", Settings: &first})
	require.NoError(t, err)
	b.run(txn)
	info, ok := b.tm.Topic("news")
	require.True(t, ok)
	assert.Equal(t, "e1", info.Epoch)
	assert.Equal(t, first, info.Settings)

	txn, err = b.tm.PlanCreate("news", Draft{Epoch: "e2", Settings: &abstract.TopicSettings{Retain: true}})
	require.NoError(t, err)
	assert.Empty(t, txn.Then, "it is there, and the same")
	_, err = b.tm.PlanCreate("news", Draft{Epoch: "e2", Settings: &abstract.TopicSettings{}})
	require.ErrorIs(t, err, abstract.ErrExists)
	txn, err = b.tm.PlanCreate("news", Draft{Epoch: "e2"})
	require.NoError(t, err, "an existing program does not mind")
	assert.Empty(t, txn.Then)

	sub := b.subscribe(1, "news")
	txn, err = b.tm.PlanSet("news", abstract.TopicSettings{MaxBytes: 9})
	require.NoError(t, err)
	stale, err := b.tm.PlanSet("news", abstract.TopicSettings{MaxBytes: 10})
	require.NoError(t, err)
	assert.Empty(t, b.run(txn), "subscriptions stay")
	res, err := b.store.Txn(t.Context(), stale)
	require.NoError(t, err)
	assert.False(t, res.Succeeded, "somebody else was faster")
	info, _ = b.tm.Topic("news")
	assert.Equal(t, 9, info.Settings.MaxBytes)
	assert.Equal(t, "e1", info.Epoch)
	assert.Equal(t, []*Subscription{sub}, b.tm.Disconnect(1))

	_, err = b.tm.PlanSet("news", abstract.TopicSettings{Durable: true})
	require.ErrorIs(t, err, abstract.ErrInvalidOp)
	_, err = b.tm.PlanSet("gone", abstract.TopicSettings{})
	require.ErrorIs(t, err, abstract.ErrTopicNotFound)
	_, err = b.tm.PlanCreate("a.*", Draft{Settings: &first})
	require.ErrorIs(t, err, abstract.ErrInvalidParams)
}

func TestTagsAreAConnectionsOwn(t *testing.T) {
	b := newBroker(t, Config{})
	b.create("news")
	one, err := b.tm.SubscribeAs(1, "x", "news")
	require.NoError(t, err)
	again, err := b.tm.SubscribeAs(1, "x", "news")
	require.NoError(t, err)
	assert.Same(t, one, again)
	_, err = b.tm.SubscribeAs(1, "x", "new.*")
	require.ErrorIs(t, err, abstract.ErrExists)
	_, err = b.tm.SubscribeAs(2, "x", "news")
	require.NoError(t, err)
	_, err = b.tm.SubscribeAs(1, "y", "gone")
	require.ErrorIs(t, err, abstract.ErrTopicNotFound)
	_, err = b.tm.SubscribeAs(1, "z", strings.Repeat("*.", 100)+"a")
	require.ErrorIs(t, err, abstract.ErrInvalidParams)
	_, err = b.tm.CancelAs(3, "x")
	require.ErrorIs(t, err, abstract.ErrTopicNotFound)
	assert.Equal(t, []string{"1x", "2x"}, b.others("news"))
	assert.Len(t, b.remove("news"), 2, "both end with their topic")
	check(t, b.tm)
}

func TestTopicsAreListedByFilter(t *testing.T) {
	b := newBroker(t, Config{})
	for _, name := range []string{"a.b", "a.c", "b", "a.b.c"} {
		b.create(name)
	}
	assert.ElementsMatch(t, []string{"a.b", "a.c"}, b.tm.Topics("a.*", ""))
	assert.ElementsMatch(t, []string{"a.b", "a.c", "b", "a.b.c"}, b.tm.Topics(">", ""))
	assert.ElementsMatch(t, []string{"a.c", "b"}, b.tm.Topics(">", "a.b.c"), "those behind a name")
}

func TestRecordsOfOlderAndNewerBrokersAreTopics(t *testing.T) {
	for _, value := range []string{`{}`, `{"epoch":"e","settings":{"unheard":1}}`, `nothing`} {
		_, s := decodeRecord([]byte(value))
		assert.Equal(t, abstract.TopicSettings{}, s)
	}
}

// There may be a million of them.
func TestSubscriptionFillsACacheLine(t *testing.T) {
	assert.LessOrEqual(t, unsafe.Sizeof(Subscription{}), uintptr(64))
}
