package node

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

func (b *broker) createFor(session, path string) {
	_, _, err := b.do(session, &message.NodeRequest{NodeAction: with(create(path, ""), func(a *action) { a.Session = true })})
	require.NoError(b.t, err)
}

func TestSessionNodesGoWithTheirSession(t *testing.T) {
	b := newBroker(t, Config{})
	b.create("/p", "")
	for i := range 300 {
		b.createFor("s1", fmt.Sprintf("/p/a%d", i))
	}
	b.createFor("s2", "/p/b")
	b.act(with(create("/p/k", ""), func(a *action) { a.Key = "k" }))
	b.watch(1, "/p", abstract.ScopeChildren)
	assert.Len(t, b.m.SessionNodes("s1"), 300)
	assert.Equal(t, "/p/a0", b.m.SessionNodes("s1")[0])
	assert.Equal(t, []string{"s1"}, b.m.Orphans(func(id string) bool { return id != "s1" }))
	b.sent = nil
	b.expire("s1", "unknown")
	assert.Equal(t, "/p /p/b /p/k", b.tree())
	deleted := 0
	for _, n := range b.sent {
		deleted += len(n.Event.Events)
	}
	assert.Equal(t, 300, deleted)
	assert.LessOrEqual(t, len(b.sent), 3, "in few transactions")
	assert.Empty(t, b.m.SessionNodes("s1"))
	assert.Empty(t, b.m.Orphans(func(id string) bool { return id == "s2" }))
	_, ok := b.m.PlanExpire("s1")
	assert.False(t, ok)
}

func TestExpiryLeavesWhatSomebodyElseHasMade(t *testing.T) {
	b := newBroker(t, Config{})
	b.createFor("s1", "/lock")
	b.createFor("s1", "/other")
	txn, ok := b.m.PlanExpire("s1")
	require.True(t, ok)
	b.act(del("/lock"))
	b.createFor("s2", "/lock")
	require.False(t, b.txn(txn).Succeeded)
	b.expire("s1")
	assert.Equal(t, "/lock", b.tree())
	assert.Equal(t, "s2", b.stat("/lock").Session)
}

func TestSetLeavesTheOwner(t *testing.T) {
	b := newBroker(t, Config{})
	b.act(with(create("/a", ""), func(a *action) { a.Session, a.Key = true, "k" }))
	b.act(set("/a", "1"))
	b.act(set("/a", "2"))
	assert.Equal(t, "s1", b.stat("/a").Session)
	kvs, _, err := b.store.Range(context.Background(), treeKeys, 0)
	require.NoError(t, err)
	r, _ := parseRecord(kvs[0].Value)
	assert.Equal(t, record{version: 3, ctime: 1000, mtime: 1000, session: "s1", once: "k"}, r)
}

func TestNodeThatIsMadeAnewBySomebodyElseChangesHands(t *testing.T) {
	b := newBroker(t, Config{})
	b.createFor("s1", "/a")
	r := record{version: 1, session: "s2"}
	b.m.Apply(abstract.Change{Revision: 99, Events: []abstract.Event{{KV: abstract.KV{Key: nodeKey("/a"), Value: r.value(nil), CreateRevision: 98, ModRevision: 98}}}})
	assert.Empty(t, b.m.SessionNodes("s1"))
	assert.Equal(t, []string{"/a"}, b.m.SessionNodes("s2"))
	checkIndex(t, b.m)
}
