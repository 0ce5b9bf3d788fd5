package node

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

func (b *broker) watch(conn ConnID, path string, scope abstract.NodeScope) int64 {
	rsp, missed, err := b.m.Watch(conn, &action{Op: abstract.NodeWatch, Path: path, Scope: scope})
	require.NoError(b.t, err)
	require.Empty(b.t, missed)
	require.Equal(b.t, b.m.Applied(), rsp.Revision)
	require.False(b.t, rsp.Resync)
	return rsp.Revision
}

func (b *broker) resume(conn ConnID, path string, scope abstract.NodeScope, revision int64) (*message.NodeResponse, []string) {
	rsp, missed, err := b.m.Watch(conn, &action{Op: abstract.NodeWatch, Path: path, Scope: scope, Revision: revision, Epoch: epoch})
	require.NoError(b.t, err)
	var lines []string
	for _, e := range missed {
		lines = append(lines, describe(e))
	}
	return rsp, lines
}

func TestWatchersAreToldWhatTheirScopeCovers(t *testing.T) {
	b := newBroker(t, Config{})
	for i, scope := range []abstract.NodeScope{abstract.ScopeNode, abstract.ScopeChildren, abstract.ScopeSubtree} {
		b.watch(ConnID(i+1), "/a", scope)
	}
	b.watch(4, "/", abstract.ScopeSubtree)
	b.watch(5, "/", abstract.ScopeChildren)
	b.watch(6, "/", abstract.ScopeNode)
	b.watch(7, "/a/b", abstract.ScopeNode)
	tests := []struct {
		name string
		req  *message.NodeRequest
		want []string
	}{
		{"the node", multi(create("/a", "1")), []string{"node /a: +/a=1", "children /: +/a=1", "subtree /a: +/a=1", "subtree /: +/a=1"}},
		{"a child", multi(create("/a/b", "2")), []string{"node /a/b: +/a/b=2", "children /a: +/a/b=2", "subtree /a: +/a/b=2", "subtree /: +/a/b=2"}},
		{"a grandchild", multi(create("/a/b/c", "")), []string{"subtree /a: +/a/b/c", "subtree /: +/a/b/c"}},
		{"a neighbour", multi(create("/ab", "")), []string{"children /: +/ab", "subtree /: +/ab"}},
		{"a revision is one notice", multi(set("/a", "3"), set("/ab", "4"), del("/a/b/c")), []string{
			"node /a: +/a=3", "children /: +/a=3 +/ab=4", "subtree /a: +/a=3 -/a/b/c", "subtree /: +/a=3 +/ab=4 -/a/b/c",
		}},
		{"deleted", multi(del("/a/b"), del("/a")), []string{"node /a/b: -/a/b", "children /a: -/a/b", "subtree /a: -/a/b -/a", "subtree /: -/a/b -/a", "node /a: -/a", "children /: -/a"}},
		{"made and deleted", multi(create("/x", ""), del("/x")), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, sent, err := b.do("", tt.req)
			require.NoError(t, err)
			assert.Equal(t, tt.want, said(sent))
			for _, n := range sent {
				assert.Equal(t, b.m.Applied(), n.Event.Revision)
				for _, c := range n.Event.Events {
					if !c.Deleted {
						assert.Equal(t, c.Path, c.Node.Path)
						assert.NotNil(t, c.Node.Data)
					}
				}
			}
		})
	}
}

func TestIdenticalWatchesShareOneNotice(t *testing.T) {
	b := newBroker(t, Config{})
	for conn := range ConnID(3) {
		b.watch(conn, "/a", abstract.ScopeNode)
		b.watch(conn, "/a", abstract.ScopeNode) // again is once
	}
	b.watch(9, "/", abstract.ScopeSubtree)
	_, sent, err := b.do("", multi(create("/a", "")))
	require.NoError(t, err)
	require.Len(t, sent, 2)
	assert.Equal(t, []ConnID{0, 1, 2}, sent[0].Conns)
	assert.Same(t, sent[0].Event.Events[0].Node, sent[1].Event.Events[0].Node)
	b.m.Forget(0)
	b.m.Unwatch(1, "/a", abstract.ScopeNode)
	b.m.Unwatch(1, "/a", abstract.ScopeNode)
	b.m.Unwatch(2, "/a", abstract.ScopeChildren)
	b.m.Unwatch(2, "/a", "nonsense")
	_, sent, err = b.do("", multi(set("/a", "1")))
	require.NoError(t, err)
	assert.Equal(t, []ConnID{2}, sent[0].Conns)
	b.m.Forget(2)
	b.m.Forget(9)
	b.m.Forget(77)
	assert.Empty(t, b.m.watches.conns)
	assert.Empty(t, b.m.watches.node)
	assert.Empty(t, b.m.watches.subtree)
}

func TestWatchesThatAreRefused(t *testing.T) {
	b := newBroker(t, Config{MaxWatchesPerConn: 2})
	tests := []struct {
		name string
		a    action
		want abstract.RCode
	}{
		{"bad path", action{Path: "a", Scope: abstract.ScopeNode}, abstract.InvalidParams},
		{"no scope", action{Path: "/a"}, abstract.InvalidParams},
		{"first", action{Path: "/a", Scope: abstract.ScopeNode}, abstract.OK},
		{"second", action{Path: "/a", Scope: abstract.ScopeChildren}, abstract.OK},
		{"the same again", action{Path: "/a", Scope: abstract.ScopeChildren}, abstract.OK},
		{"one too many", action{Path: "/b", Scope: abstract.ScopeNode}, abstract.Overloaded},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := b.m.Watch(1, &tt.a)
			assert.Equal(t, tt.want, abstract.CodeOf(err))
		})
	}
	assert.NotContains(t, b.m.watches.node, "/b")
}

func TestResumedWatchMissesNothing(t *testing.T) {
	b := newBroker(t, Config{MaxHistory: 4})
	b.create("/a", "1") // 2
	b.create("/b", "2") // 3
	b.act(set("/a", "3"))
	b.act(del("/b")) // 5
	tests := []struct {
		name   string
		path   string
		from   int64
		epoch  string
		want   []string
		resync bool
	}{
		{"all", "/", 1, epoch, []string{"subtree /: +/a=1", "subtree /: +/b=2", "subtree /: +/a=3", "subtree /: -/b"}, false},
		{"some", "/", 3, epoch, []string{"subtree /: +/a=3", "subtree /: -/b"}, false},
		{"of one node", "/a", 1, epoch, []string{"subtree /a: +/a=1", "subtree /a: +/a=3"}, false},
		{"nothing", "/", 5, epoch, nil, false},
		{"from a future that was taken back", "/", 9, epoch, nil, true},
		{"another epoch", "/", 5, "epoch-0", nil, true},
		{"no epoch", "/", 5, "", nil, true},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rsp, missed, err := b.m.Watch(ConnID(i), &action{Path: tt.path, Scope: abstract.ScopeSubtree, Revision: tt.from, Epoch: tt.epoch})
			require.NoError(t, err)
			var lines []string
			for _, e := range missed {
				lines = append(lines, describe(e))
				assert.Greater(t, e.Revision, tt.from)
			}
			assert.Equal(t, tt.want, lines)
			assert.Equal(t, tt.resync, rsp.Resync)
			want := min(tt.from, 5)
			if tt.resync {
				want = 5
			}
			assert.Equal(t, want, rsp.Revision)
		})
	}
	b.create("/c", "")
	rsp, _ := b.resume(20, "/", abstract.ScopeSubtree, 1)
	assert.True(t, rsp.Resync, "the oldest was dropped")
	rsp, missed := b.resume(20, "/", abstract.ScopeSubtree, 2)
	assert.False(t, rsp.Resync)
	assert.Len(t, missed, 4)
}

func TestHistoryIsBounded(t *testing.T) {
	b := newBroker(t, Config{MaxHistoryBytes: 20_000})
	for i := range 1000 {
		b.create(fmt.Sprintf("/%d", i), strings.Repeat("x", i%100))
		assert.LessOrEqual(t, b.m.history.bytes, 20_000)
		assert.LessOrEqual(t, cap(b.m.history.past), 1000)
	}
	assert.Greater(t, b.m.history.changes, 10)
	b.create("/big", strings.Repeat("x", 30_000))
	assert.Zero(t, b.m.history.changes)
	rsp, _ := b.resume(1, "/", abstract.ScopeSubtree, b.m.Applied()-1)
	assert.True(t, rsp.Resync)
	rsp, _ = b.resume(1, "/", abstract.ScopeSubtree, b.m.Applied())
	assert.False(t, rsp.Resync)
}

func TestSeveralRevisionsInOneEndTheHistory(t *testing.T) {
	b := newBroker(t, Config{})
	b.create("/a", "1")
	b.watch(1, "/", abstract.ScopeSubtree)
	r := record{version: 7}
	notices := b.m.Apply(abstract.Change{Revision: 20, Events: []abstract.Event{
		{KV: abstract.KV{Key: nodeKey("/b"), Value: r.value(nil), CreateRevision: 11, ModRevision: 17}},
		{Deleted: true, KV: abstract.KV{Key: nodeKey("/a"), ModRevision: 20}},
	}})
	assert.Equal(t, []string{"subtree /: +/b -/a"}, said(notices), "who stayed is told the difference")
	assert.Equal(t, message.NodeStat{Version: 7, Created: 11, Modified: 17}, b.stat("/b"))
	rsp, _ := b.resume(2, "/", abstract.ScopeSubtree, 15)
	assert.True(t, rsp.Resync, "who has seen a part of it elsewhere is not")
}

func TestHugeRevisionsAreToldAsResync(t *testing.T) {
	b := newBroker(t, Config{MaxNotice: 3})
	b.watch(1, "/", abstract.ScopeSubtree)
	b.watch(2, "/n001", abstract.ScopeNode)
	_, sent, err := b.do("", multi(creates(4)...))
	require.NoError(t, err)
	assert.Equal(t, []string{"subtree /: resync", "node /n001: +/n001"}, said(sent))
	assert.Equal(t, b.m.Applied(), sent[0].Event.Revision)
}

func TestEventsGetSmaller(t *testing.T) {
	b := newBroker(t, Config{})
	b.watch(1, "/", abstract.ScopeSubtree)
	_, sent, err := b.do("", multi(create("/a", "1")))
	require.NoError(t, err)
	e := sent[0].Event
	small := Smaller(e)
	assert.Equal(t, &message.NodeEvent{Path: "/", Scope: abstract.ScopeSubtree, Revision: e.Revision, Events: e.Events, Truncated: true}, small)
	assert.False(t, e.Truncated, "the first stays as it is")
	least := &message.NodeEvent{Path: "/", Scope: abstract.ScopeSubtree, Revision: e.Revision, Resync: true}
	assert.Equal(t, least, Smaller(small))
	assert.Equal(t, least, Smaller(least))
}

func TestThereIsNoHistoryBeforeTheFirstWatch(t *testing.T) {
	b := newBroker(t, Config{})
	b.m = NewNodeManager(Config{Epoch: epoch})
	b.create("/a", "1")
	b.create("/b", "2")
	assert.Empty(t, b.m.history.past)
	rsp, missed, err := b.m.Watch(1, &message.NodeAction{Path: "/", Scope: abstract.ScopeSubtree, Revision: b.m.Applied() - 1, Epoch: epoch})
	require.NoError(t, err)
	assert.True(t, rsp.Resync, "what was before is not known")
	assert.Empty(t, missed)
	b.act(set("/a", "3"))
	assert.Len(t, b.sent, 1)
	b.m.Forget(1)
	before := b.m.Applied()
	b.act(set("/a", "4"))
	_, missed, err = b.m.Watch(2, &message.NodeAction{Path: "/a", Scope: abstract.ScopeNode, Revision: before, Epoch: epoch})
	require.NoError(t, err)
	assert.Len(t, missed, 1, "it goes on while nobody watches, for who comes back")
}
