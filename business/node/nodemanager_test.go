package node

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

type action = message.NodeAction

func TestPathRules(t *testing.T) {
	tests := []struct {
		name, path string
		ok         bool
	}{
		{"root", "/", true},
		{"a node", "/config/db", true},
		{"any letters", "/größe/a b/🌳", true},
		{"dots inside", "/a..b/...", true},
		{"longest segment", "/" + strings.Repeat("x", 255), true},
		{"deepest", strings.Repeat("/x", 64), true},
		{"longest", strings.Repeat("/"+strings.Repeat("x", 255), 4), true},
		{"empty", "", false},
		{"relative", "config", false},
		{"slash at the end", "/config/", false},
		{"two slashes", "/a//b", false},
		{"dot", "/a/./b", false},
		{"dots", "/..", false},
		{"control character", "/a\nb", false},
		{"deletion character", "/a\x7f", false},
		{"no UTF-8", "/a\xff", false},
		{"long segment", "/" + strings.Repeat("x", 256), false},
		{"deep", strings.Repeat("/x", 65), false},
		{"long", strings.Repeat("/"+strings.Repeat("x", 204), 5) + "/", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := CheckPath(tt.path)
			if tt.ok {
				require.NoError(t, err)
				return
			}
			require.Equal(t, abstract.InvalidParams, abstract.CodeOf(err))
		})
	}
}

func TestKeysOfOneParentStandTogether(t *testing.T) {
	assert.Equal(t, "/t/002/userService/info", nodeKey("/userService/info"))
	assert.Equal(t, "/t/002/userService/", levelBelow("/userService", 2))
	assert.Equal(t, "/t/001/", levelBelow("/", 1))
	for _, key := range []string{"/t/001/a", "/t/064" + strings.Repeat("/a", 64), "/seq/", "/seq/a", "/idem/s1/k/ä", "/services/sum/local-1/10.0.0.1:80"} {
		kind, _ := parseKey(key)
		assert.NotEqual(t, otherKey, kind, key)
	}
	for _, key := range []string{"/t/002/a", "/t/000/", "/t/001/", "/t/1/a", "/t/", "/t/001/services", "/t/002/services/a", "/services/", "/services/../x", "/seq", "/idem/", "/idem/s1", "/topics/a", "/sessions/0", ""} {
		kind, _ := parseKey(key)
		assert.Equal(t, otherKey, kind, key)
	}
}

func TestRecordIsReadAsItWasWritten(t *testing.T) {
	tests := []struct {
		name string
		r    record
		line string
	}{
		{"permanent", record{version: 1, ctime: 5, mtime: 6}, `{"version":1,"ctime_ms":5,"mtime_ms":6}`},
		{"session", record{version: 12, session: "0f"}, `{"version":12,"ctime_ms":0,"mtime_ms":0,"session":"0f"}`},
		{"key", record{version: 1, session: "0f", once: "a\"\n"}, `{"version":1,"ctime_ms":0,"mtime_ms":0,"session":"0f","key":"a\"\n"}`},
		{"clock before its time", record{version: 1, ctime: -5, mtime: -1}, `{"version":1,"ctime_ms":-5,"mtime_ms":-1}`},
		{"longest key", record{version: 1, once: strings.Repeat("\x01", message.MaxNodeKey), session: strings.Repeat("f", 32)}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			value := tt.r.value([]byte("data\nmore"))
			r, head := parseRecord(value)
			assert.Equal(t, tt.r, r)
			assert.Equal(t, "data\nmore", string(value[head:]))
			if tt.line != "" {
				assert.Equal(t, tt.line+"\n", string(value[:head]))
			}
		})
	}
	for _, value := range []string{"", "data", "\ndata", "{]\ndata", strings.Repeat("x", maxRecord) + "\n"} {
		r, head := parseRecord([]byte(value))
		assert.Equal(t, record{version: 1}, r, "not ours: a permanent node")
		assert.Zero(t, head)
	}
}

func TestCreateSetGetDelete(t *testing.T) {
	b := newBroker(t, Config{})
	rsp := b.create("/a", "1")
	assert.Equal(t, "/a", rsp.Path)
	made := rsp.Revision
	assert.Equal(t, &message.NodeStat{Version: 1, Created: made, Modified: made, CtimeMs: 1000, MtimeMs: 1000, Size: 1}, rsp.Node.Stat)
	b.now = 2000
	rsp = b.act(set("/a", "two"))
	want := message.NodeStat{Version: 2, Created: made, Modified: made + 1, CtimeMs: 1000, MtimeMs: 2000, Size: 3}
	assert.Equal(t, &want, rsp.Node.Stat)
	got := b.read(action{Op: abstract.NodeGet, Path: "/a"})
	assert.Equal(t, &message.Node{Path: "/a", Data: []byte("two"), Stat: &want}, got.Node)
	assert.Equal(t, made+1, got.Revision)
	assert.Equal(t, epoch, got.Epoch)
	assert.Nil(t, b.read(action{Op: abstract.NodeStat, Path: "/a"}).Node.Data)
	b.create("/a/b", "")
	assert.Equal(t, []byte{}, b.read(action{Op: abstract.NodeGet, Path: "/a/b"}).Node.Data, "empty, and told")
	assert.Equal(t, int64(1), b.stat("/a").Children)
	b.act(del("/a/b"))
	want.ChildrenModified = made + 3
	assert.Equal(t, want, b.stat("/a"))
	b.act(del("/a"))
	assert.False(t, b.exists("/a"))
	assert.True(t, b.exists("/"))
	kvs, _, err := b.store.Range(context.Background(), "/", 0)
	require.NoError(t, err)
	assert.Empty(t, kvs, "nothing is left")
	assert.Zero(t, b.m.size)
}

func TestWritesThatAreRefused(t *testing.T) {
	b := newBroker(t, Config{MaxNodes: 7, MaxSessionNodes: 1})
	b.create("/a", "1") // version 1, revision 2
	b.act(set("/a", "2"))
	b.create("/a/b", "")
	b.act(with(create("/s", ""), func(a *action) { a.Session = true }))
	b.txn(abstract.Txn{Then: []abstract.Op{{Key: "/services/sum/local-1/10.0.0.1:80", Value: []byte("{}")}}})
	big := strings.Repeat("x", message.MaxNodeData+1)
	tests := []struct {
		name string
		a    action
		want abstract.RCode
	}{
		{"create without parent", create("/x/y", ""), abstract.NotFound},
		{"create what is there", create("/a", ""), abstract.Exists},
		{"create the root", create("/", ""), abstract.Exists},
		{"create below a session node", create("/s/x", ""), abstract.Denied},
		{"create parents below a session node", with(create("/s/x/y", ""), func(a *action) { a.Parents = true }), abstract.Denied},
		{"create a provider", create("/services/sum", ""), abstract.Denied},
		{"create too much", create("/x", big), abstract.TooLarge},
		{"create at a bad path", create("/x/", ""), abstract.InvalidParams},
		{"create above the limit", create("/x", ""), abstract.Overloaded},
		{"create a session node too many", with(create("/a/s", ""), func(a *action) { a.Session = true }), abstract.Overloaded},
		{"create with too long a name for a number", with(create("/a/"+strings.Repeat("x", 250), ""), func(a *action) { a.Sequential = true }), abstract.InvalidParams},
		{"create with a long key", with(create("/x", ""), func(a *action) { a.Key = strings.Repeat("x", 257) }), abstract.TooLarge},
		{"set what is not there", set("/x", ""), abstract.NotFound},
		{"set nothing", action{Op: abstract.NodeSet, Path: "/a"}, abstract.InvalidParams},
		{"set the root", set("/", ""), abstract.Denied},
		{"set a provider", set("/services/sum/local-1/10.0.0.1:80", ""), abstract.Denied},
		{"set too much", set("/a", big), abstract.TooLarge},
		{"set another version", with(set("/a", ""), func(a *action) { a.Version = 1 }), abstract.Conflict},
		{"set another creation", with(set("/a", ""), func(a *action) { a.Created = 3 }), abstract.Conflict},
		{"set another modification", with(set("/a", ""), func(a *action) { a.Modified = 2 }), abstract.Conflict},
		{"delete what is not there", del("/x"), abstract.NotFound},
		{"delete recursively what is not there", with(del("/x"), func(a *action) { a.Recursive = true }), abstract.NotFound},
		{"delete with children", del("/a"), abstract.NotEmpty},
		{"delete another version", with(del("/a/b"), func(a *action) { a.Version = 2 }), abstract.Conflict},
		{"delete another version recursively", with(del("/a"), func(a *action) { a.Recursive, a.Version = true, 1 }), abstract.Conflict},
		{"delete the root", with(del("/"), func(a *action) { a.Recursive = true }), abstract.Denied},
		{"delete providers", with(del("/services"), func(a *action) { a.Recursive = true }), abstract.Denied},
		{"check what is not there", action{Op: abstract.NodeCheck, Path: "/x"}, abstract.NotFound},
		{"check another version", action{Op: abstract.NodeCheck, Path: "/a", Version: 1}, abstract.Conflict},
		{"check what is implied", action{Op: abstract.NodeCheck, Path: "/services"}, abstract.Denied},
		{"an empty multi", action{Op: abstract.NodeMulti}, abstract.InvalidParams},
		{"a read", action{Op: abstract.NodeGet, Path: "/a"}, abstract.InvalidOp},
		{"nonsense", action{Op: "frob", Path: "/a"}, abstract.InvalidOp},
	}
	before := b.tree()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b.t = t
			assert.Equal(t, tt.want, b.refused(tt.a))
			assert.Equal(t, before, b.tree())
		})
	}
	for _, a := range []action{with(create("/x", ""), func(a *action) { a.Session = true }), with(create("/x", ""), func(a *action) { a.Key = "k" })} {
		_, err := b.m.Plan(0, "", &message.NodeRequest{NodeAction: a})
		assert.Equal(t, abstract.InvalidParams, abstract.CodeOf(err), "without a session")
	}
}

func TestChecksThatHold(t *testing.T) {
	b := newBroker(t, Config{})
	made := b.create("/a", "").Revision
	b.txn(abstract.Txn{Then: []abstract.Op{{Key: "/services/sum/local-1/10.0.0.1:80", Value: []byte("{}")}}})
	for _, a := range []action{
		{Path: "/"}, {Path: "/a"}, {Path: "/a", Version: 1}, {Path: "/a", Created: made}, {Path: "/a", Modified: made}, {Path: "/services/sum/local-1/10.0.0.1:80"},
	} {
		a.Op = abstract.NodeCheck
		before := b.m.Applied()
		assert.Equal(t, a.Path, b.act(a).Path)
		assert.Equal(t, before, b.m.Applied())
	}
	b.act(with(set("/a", "1"), func(a *action) { a.Version, a.Created, a.Modified = 1, made, made }))
	b.act(with(del("/a"), func(a *action) { a.Version = 2 }))
}

// A check tells of the node as it is when it holds, and not as it was when it was planned.
func TestACheckTellsOfWhatWasWrittenMeanwhile(t *testing.T) {
	b := newBroker(t, Config{})
	b.create("/a", "")
	plan, err := b.m.Plan(1, "s1", &message.NodeRequest{NodeAction: action{Op: abstract.NodeCheck, Path: "/a"}})
	require.NoError(t, err)
	b.act(set("/a", "longer"))
	now := b.stat("/a")
	require.EqualValues(t, 2, now.Version)
	res := b.txn(plan.Txn)
	require.True(t, res.Succeeded)
	assert.Equal(t, &now, b.m.Response(plan, res.Revision).Node.Stat)
}

func TestParentsAreMadeOnDemand(t *testing.T) {
	b := newBroker(t, Config{})
	b.create("/a", "1")
	rsp := b.act(with(create("/a/b/c/d", "x"), func(a *action) { a.Parents, a.Session = true, true }))
	assert.Equal(t, "/a=1 /a/b /a/b/c /a/b/c/d=x", b.tree())
	assert.Empty(t, b.stat("/a/b/c").Session, "parents are permanent")
	assert.Equal(t, "s1", b.stat("/a/b/c/d").Session)
	assert.Equal(t, rsp.Revision, b.stat("/a/b").Created, "all at one revision")
}

func TestSequentialNodesAreNumbered(t *testing.T) {
	b := newBroker(t, Config{})
	b.create("/p", "")
	next := func(prefix string) string {
		return b.act(with(create(prefix, ""), func(a *action) { a.Sequential = true })).Path
	}
	assert.Equal(t, "/p/a0000000000", next("/p/a"))
	assert.Equal(t, "/p/b0000000001", next("/p/b"), "one counter for all of a parent")
	b.act(del("/p/b0000000001"))
	b.create("/p/a0000000002", "by hand")
	assert.Equal(t, "/p/a0000000003", next("/p/a"), "numbers are not used twice")
	assert.Equal(t, "/a0000000000", next("/a"), "the root counts too")
	b.act(with(del("/p"), func(a *action) { a.Recursive = true }))
	b.create("/p", "")
	assert.Equal(t, "/p/a0000000000", next("/p/a"), "another node counts from the beginning")
	rsp, _, err := b.do("", multi(
		with(create("/p/x", ""), func(a *action) { a.Sequential = true }), with(create("/p/x", ""), func(a *action) { a.Sequential = true }),
		with(create("/q/x", ""), func(a *action) { a.Sequential, a.Parents = true, true }),
	))
	require.NoError(t, err)
	assert.Equal(t, "/p/x0000000001 /p/x0000000002 /q/x0000000000", list(rsp.Results))
}

func TestCreateWithAKeyIsDoneOnce(t *testing.T) {
	b := newBroker(t, Config{MaxSessionKeys: 2})
	a := with(create("/p", "1"), func(a *action) { a.Sequential, a.Key = true, "k1" })
	first := b.act(a)
	again := b.act(a)
	assert.Equal(t, first.Path, again.Path)
	assert.Equal(t, first.Node, again.Node)
	rsp, _, err := b.do("s2", &message.NodeRequest{NodeAction: a})
	require.NoError(t, err)
	assert.Equal(t, "/p0000000001", rsp.Path, "another session's key is another one")
	b.act(set(first.Path, "2"))
	b.act(del(first.Path))
	gone := b.act(a)
	assert.Equal(t, first.Path, gone.Path, "it was made, though it is gone by now")
	assert.Nil(t, gone.Node)
	for _, key := range []string{"k2", "k3"} {
		b.act(with(create("/"+key, ""), func(a *action) { a.Key = key }))
	}
	assert.Equal(t, "/p0000000002", b.act(a).Path, "the oldest key was forgotten")
	b.expire("s1", "s2")
	assert.Empty(t, b.m.sessions)
	assert.Equal(t, "/k2 /k3 /p0000000001=1 /p0000000002=1", b.tree(), "permanent nodes stay")
}

func TestMultiIsAllOrNothing(t *testing.T) {
	check := func(path string, version int64) action {
		return action{Op: abstract.NodeCheck, Path: path, Version: version}
	}
	tests := []struct {
		name   string
		ops    []action
		want   string // the tree after it
		code   abstract.RCode
		failed int
	}{
		{"later ones see earlier ones", []action{create("/x", ""), create("/x/y", "1"), set("/x/y", "2"), check("/x/y", 2)}, "/a=1 /a/b /x /x/y=2", abstract.OK, 0},
		{"a failure undoes all", []action{create("/x", ""), set("/a", "9"), check("/a", 1)}, "", abstract.Conflict, 2},
		{"not there", []action{create("/x", ""), set("/y", "")}, "", abstract.NotFound, 1},
		{"children first", []action{del("/a/b"), del("/a")}, "", abstract.OK, 0},
		{"parent first", []action{del("/a"), del("/a/b")}, "", abstract.NotEmpty, 0},
		{"made and deleted", []action{create("/x", ""), create("/x/y", ""), del("/x/y"), del("/x"), set("/a", "2")}, "/a=2 /a/b", abstract.OK, 0},
		{"deleted and made", []action{del("/a/b"), create("/a/b", "")}, "", abstract.InvalidParams, 1},
		{"deleted and set", []action{del("/a/b"), set("/a/b", "")}, "", abstract.NotFound, 1},
		{"set twice", []action{set("/a", "2"), set("/a", "3"), check("/a", 3)}, "/a=3 /a/b", abstract.OK, 0},
		{"twice the same", []action{create("/x", ""), create("/x", "")}, "", abstract.Exists, 1},
		{"child of what is deleted", []action{del("/a/b"), del("/a"), create("/a/c", "")}, "", abstract.NotFound, 2},
		{"recursive", []action{with(del("/a"), func(a *action) { a.Recursive = true })}, "", abstract.InvalidParams, 0},
		{"a read", []action{set("/a", "2"), {Op: abstract.NodeGet, Path: "/a"}}, "", abstract.InvalidOp, 1},
		{"many", multi(creates(abstract.StoreMaxCompares / 2)...).Ops, "many", abstract.OK, 0},
		{"too many", multi(creates(message.MaxNodeOps + 1)...).Ops, "", abstract.InvalidParams, -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBroker(t, Config{})
			b.create("/a", "1")
			b.create("/a/b", "")
			before := b.m.Applied()
			rsp, _, err := b.do("s1", multi(tt.ops...))
			require.Equal(t, tt.code, abstract.CodeOf(err))
			if err != nil {
				assert.Equal(t, "/a=1 /a/b", b.tree())
				var e *abstract.Error
				require.ErrorAs(t, err, &e)
				if tt.failed >= 0 {
					assert.JSONEq(t, fmt.Sprintf(`{"op":%d}`, tt.failed), string(e.Details))
				}
				return
			}
			assert.Equal(t, before+1, b.m.Applied(), "one revision")
			require.Len(t, rsp.Results, len(tt.ops))
			for i, op := range tt.ops {
				assert.Equal(t, op.Path, rsp.Results[i].Path)
				assert.Equal(t, op.Op != abstract.NodeDelete, rsp.Results[i].Stat != nil)
			}
			if tt.want != "many" {
				assert.Equal(t, tt.want, b.tree())
			}
		})
	}
}

func creates(n int) []action {
	var ops []action
	for i := range n {
		ops = append(ops, create(fmt.Sprintf("/n%03d", i), ""))
	}
	return ops
}

func TestTransactionsThatAreTooLargeAreRefused(t *testing.T) {
	b := newBroker(t, Config{})
	deep := func(i int) action {
		return with(create(fmt.Sprintf("/n%d", i)+strings.Repeat("/x", 63), ""), func(a *action) { a.Parents = true })
	}
	var ops []action
	for i := range message.MaxNodeOps {
		ops = append(ops, deep(i))
	}
	_, _, err := b.do("", multi(ops...))
	assert.Equal(t, abstract.TooLarge, abstract.CodeOf(err))
	b.act(deep(0))
	assert.Equal(t, 65, b.m.Len())
}

// TestGuardsHoldAgainstWhoWasFaster plans, lets somebody else do something, and
// runs the plan: it may succeed only when that makes no difference.
func TestGuardsHoldAgainstWhoWasFaster(t *testing.T) {
	recursive := with(del("/a"), func(a *action) { a.Recursive = true })
	sequential := with(create("/a/n", ""), func(a *action) { a.Sequential = true })
	withKey := with(create("/a/k", ""), func(a *action) { a.Key = "k" })
	session := with(create("/s", ""), func(a *action) { a.Session = true })
	tests := []struct {
		name   string
		plan   []action
		other  []action
		passes bool
	}{
		{"creates under one parent", []action{create("/a/x", "")}, []action{create("/a/y", ""), del("/a/c"), set("/a", "2")}, true},
		{"the same create", []action{create("/a/x", "")}, []action{create("/a/x", "")}, false},
		{"create, parent deleted", []action{create("/b/x", "")}, []action{del("/b")}, false},
		{"create, parent made anew", []action{create("/b/x", "")}, []action{del("/b"), create("/b", "")}, false},
		{"create with parents, one made", []action{with(create("/x/y", ""), func(a *action) { a.Parents = true })}, []action{create("/x", "")}, false},
		{"delete, child made", []action{del("/b")}, []action{create("/b/x", "")}, false},
		{"delete, child of a neighbour made", []action{del("/b")}, []action{create("/bb", ""), create("/bb/x", "")}, true},
		{"delete, set", []action{del("/b")}, []action{set("/b", "2")}, true},
		{"delete of a version, set", []action{with(del("/b"), func(a *action) { a.Version = 1 })}, []action{set("/b", "2")}, false},
		{"delete, made anew", []action{del("/b")}, []action{del("/b"), create("/b", "")}, false},
		{"delete of a session node, neighbour made", []action{del("/s")}, []action{create("/s2", "")}, true},
		{"recursive, child made", []action{recursive}, []action{create("/a/x", "")}, false},
		{"recursive, grandchild made", []action{recursive}, []action{create("/a/c/x", "")}, false},
		{"recursive, child set", []action{recursive}, []action{set("/a/c", "2")}, true},
		{"recursive, child deleted", []action{recursive}, []action{del("/a/c")}, true},
		{"recursive, made elsewhere", []action{recursive}, []action{create("/ab", ""), create("/ab/x", ""), create("/b/x", "")}, true},
		{"recursive, made anew", []action{recursive}, []action{recursive, create("/a", "")}, false},
		{"set, set", []action{set("/b", "1")}, []action{set("/b", "2")}, false},
		{"set, child made", []action{set("/b", "1")}, []action{create("/b/x", "")}, true},
		{"set, deleted", []action{set("/b", "1")}, []action{del("/b")}, false},
		{"set, made anew", []action{set("/b", "1")}, []action{del("/b"), create("/b", "")}, false},
		{"check, set", []action{{Op: abstract.NodeCheck, Path: "/b", Version: 1}, set("/a", "1")}, []action{set("/b", "2")}, false},
		{"check of being there, set", []action{{Op: abstract.NodeCheck, Path: "/b"}, set("/a", "1")}, []action{set("/b", "2")}, true},
		{"check of being there, deleted", []action{{Op: abstract.NodeCheck, Path: "/b"}, set("/a", "1")}, []action{del("/b")}, false},
		{"children and parent, another child made", []action{del("/a/c"), del("/a")}, []action{create("/a/x", "")}, false},
		{"sequential, sequential", []action{sequential}, []action{sequential}, false},
		{"sequential, create", []action{sequential}, []action{create("/a/x", "")}, true},
		{"the same key", []action{withKey}, []action{with(withKey, func(a *action) { a.Path = "/a/other" })}, false},
		{"below what becomes a session node", []action{create("/b/x", "")}, []action{del("/b"), with(session, func(a *action) { a.Path = "/b" })}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBroker(t, Config{})
			for _, a := range []action{create("/a", ""), create("/a/c", ""), create("/b", ""), session} {
				b.act(a)
			}
			req := multi(tt.plan...)
			if len(tt.plan) == 1 {
				req = &message.NodeRequest{NodeAction: tt.plan[0]}
			}
			p, err := b.m.Plan(0, "s1", req)
			require.NoError(t, err)
			for _, a := range tt.other {
				b.act(a)
			}
			assert.Equal(t, tt.passes, b.txn(p.Txn).Succeeded)
			checkIndex(t, b.m)
			checkStore(t, b.store)
		})
	}
}

func TestPlanSaysWhatNeedsTheSession(t *testing.T) {
	b := newBroker(t, Config{})
	tests := []struct {
		name string
		a    action
		want bool
	}{
		{"permanent", create("/a", ""), false},
		{"session", with(create("/a", ""), func(a *action) { a.Session = true }), true},
		{"key", with(create("/a", ""), func(a *action) { a.Key = "k" }), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := b.m.Plan(0, "s1", &message.NodeRequest{NodeAction: tt.a})
			require.NoError(t, err)
			assert.Equal(t, tt.want, p.Session)
		})
	}
	var ops []action
	for i := range abstract.StoreMaxCompares {
		ops = append(ops, create(fmt.Sprintf("/n%d", i), ""))
	}
	if len(ops) <= message.MaxNodeOps {
		_, err := b.m.Plan(0, "s1", multi(ops...))
		require.NoError(t, err)
		ops[0].Session = true
		_, err = b.m.Plan(0, "s1", multi(ops...))
		assert.Equal(t, abstract.TooLarge, abstract.CodeOf(err), "no room is left for the session")
	}
}

func TestRecursiveDeleteOfALargeTreeLeavesWholeTrees(t *testing.T) {
	b := newBroker(t, Config{})
	b.create("/a", "")
	for i := range 50 {
		b.create(fmt.Sprintf("/a/%02d", i), "")
		for j := range 50 {
			b.create(fmt.Sprintf("/a/%02d/%02d", i, j), "")
		}
		b.act(with(create(fmt.Sprintf("/a/%02d/n", i), ""), func(a *action) { a.Sequential = true }))
	}
	require.Equal(t, 2+50*52, b.m.Len())
	req := &message.NodeRequest{NodeAction: with(del("/a"), func(a *action) { a.Recursive = true })}
	parts := 0
	for more := true; more; parts++ {
		p, err := b.m.Plan(0, "", req)
		require.NoError(t, err)
		require.True(t, b.txn(p.Txn).Succeeded)
		checkStore(t, b.store)
		more = p.More
		require.Equal(t, more, b.exists("/a"))
	}
	assert.Equal(t, 3, parts)
	kvs, _, err := b.store.Range(context.Background(), "/", 0)
	require.NoError(t, err)
	assert.Empty(t, kvs, "nor counters")

	b.create("/a", "")
	for i := range 1000 {
		b.create(fmt.Sprintf("/a/%d", i), "")
	}
	p, err := b.m.Plan(0, "", req)
	require.NoError(t, err)
	assert.False(t, p.More, "a thousand go in one transaction")
}

func TestPagesOfAList(t *testing.T) {
	b := newBroker(t, Config{})
	for _, path := range []string{"/a", "/a/x", "/a/x/1", "/a/x/2", "/a-b", "/a-b/z", "/b", "/c"} {
		b.create(path, "d")
	}
	tests := []struct {
		name string
		a    action
		want string
		more bool
	}{
		{"direct", action{Path: "/"}, "/a /a-b /b /c", false},
		{"all, what is below a node behind it", action{Path: "/", Recursive: true}, "/a /a/x /a/x/1 /a/x/2 /a-b /a-b/z /b /c", false},
		{"below a node", action{Path: "/a", Recursive: true}, "/a/x /a/x/1 /a/x/2", false},
		{"no children", action{Path: "/c"}, "", false},
		{"limit", action{Path: "/", Limit: 2}, "/a /a-b", true},
		{"as many as there are", action{Path: "/", Limit: 4}, "/a /a-b /b /c", false},
		{"after a path", action{Path: "/", After: "/a-b"}, "/b /c", false},
		{"after a name", action{Path: "/", After: "a", Limit: 1}, "/a-b", true},
		{"after what is not there", action{Path: "/", After: "aa"}, "/b /c", false},
		{"after all", action{Path: "/", After: "x"}, "", false},
		{"deep after a node", action{Path: "/", Recursive: true, After: "/a/x/1", Limit: 3}, "/a/x/2 /a-b /a-b/z", true},
		{"deep after what has children", action{Path: "/", Recursive: true, After: "/a", Limit: 2}, "/a/x /a/x/1", true},
		{"deep after what is not there", action{Path: "/", Recursive: true, After: "/a/x/10/y", Limit: 2}, "/a/x/2 /a-b", true},
		{"deep after what is not there with its parent", action{Path: "/", Recursive: true, After: "/a-/q"}, "/a-b /a-b/z /b /c", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b.t = t
			tt.a.Op = abstract.NodeList
			rsp := b.read(tt.a)
			assert.Equal(t, tt.want, list(rsp.Nodes))
			assert.Equal(t, tt.more, rsp.More)
			assert.NotNil(t, rsp.Nodes)
		})
	}
	for _, a := range []action{{Path: "/a", After: "/b"}, {Path: "/", After: "/a/x"}, {Path: "/", After: "a/"}, {Path: "/", After: "..", Recursive: true}} {
		a.Op = abstract.NodeList
		_, err := b.m.Read(&a, nil)
		assert.Equal(t, abstract.InvalidParams, abstract.CodeOf(err), "after %q", a.After)
	}
	_, err := b.m.Read(&action{Op: abstract.NodeList, Path: "/x"}, nil)
	assert.Equal(t, abstract.NotFound, abstract.CodeOf(err))
	with := b.read(action{Op: abstract.NodeList, Path: "/", Stat: true}).Nodes[0]
	assert.Equal(t, int64(1), with.Stat.Children)
	assert.Nil(t, with.Data)
	with = b.read(action{Op: abstract.NodeList, Path: "/", WithData: true}).Nodes[0]
	assert.Nil(t, with.Stat)
	assert.Equal(t, "d", string(with.Data))
}

func TestPagesEndBySize(t *testing.T) {
	b := newBroker(t, Config{MaxPage: 1000})
	for i := range 10 {
		b.create(fmt.Sprintf("/%d", i), strings.Repeat("x", 400))
	}
	rsp := b.read(action{Op: abstract.NodeList, Path: "/", WithData: true})
	assert.Len(t, rsp.Nodes, 3)
	assert.True(t, rsp.More)
	b.act(set("/0", strings.Repeat("x", 5000)))
	assert.Len(t, b.read(action{Op: abstract.NodeList, Path: "/", WithData: true}).Nodes, 1, "one at least")
	assert.Len(t, b.read(action{Op: abstract.NodeList, Path: "/"}).Nodes, 10)
}

func TestReadsThatAreRefused(t *testing.T) {
	b := newBroker(t, Config{})
	for op, want := range map[abstract.NodeOp]abstract.RCode{
		abstract.NodeGet: abstract.NotFound, abstract.NodeStat: abstract.NotFound, abstract.NodeList: abstract.NotFound, abstract.NodeSet: abstract.NotFound,
	} {
		_, err := b.m.Read(&action{Op: op, Path: "/x"}, nil)
		assert.Equal(t, want, abstract.CodeOf(err), op)
	}
	_, err := b.m.Read(&action{Op: abstract.NodeSet, Path: "/"}, nil)
	assert.Equal(t, abstract.InvalidOp, abstract.CodeOf(err))
	_, err = b.m.Read(&action{Op: abstract.NodeExists, Path: "x"}, nil)
	assert.Equal(t, abstract.InvalidParams, abstract.CodeOf(err))
}

func TestProvidersShowInTheTree(t *testing.T) {
	b := newBroker(t, Config{})
	b.watch(1, "/services", abstract.ScopeSubtree)
	key := func(method string, conn int) string {
		return fmt.Sprintf("/services/%s/local-%d/10.0.0.1:80", method, conn)
	}
	put := func(key string) []string {
		b.sent = nil
		b.txn(abstract.Txn{Then: []abstract.Op{{Key: key, Value: []byte("{}")}}})
		return said(b.sent)
	}
	drop := func(key string) []string {
		b.sent = nil
		b.txn(abstract.Txn{Then: []abstract.Op{{Key: key, Delete: true}}})
		return said(b.sent)
	}
	assert.Equal(t, []string{"subtree /services: +/services +/services/sum +/services/sum/local-1 +/services/sum/local-1/10.0.0.1:80={}"}, put(key("sum", 1)))
	assert.Equal(t, []string{"subtree /services: +/services/sum/local-2 +/services/sum/local-2/10.0.0.1:80={}"}, put(key("sum", 2)))
	assert.Empty(t, put("/services/a%2Fb/.."), "what is no path does not show")
	got := b.read(action{Op: abstract.NodeGet, Path: key("sum", 1)})
	assert.Equal(t, "{}", string(got.Node.Data))
	assert.Equal(t, int64(2), b.stat("/services/sum").Children)
	assert.Equal(t, []string{"subtree /services: -/services/sum/local-1/10.0.0.1:80 -/services/sum/local-1"}, drop(key("sum", 1)))
	assert.Equal(t, []string{"subtree /services: -/services/sum/local-2/10.0.0.1:80 -/services/sum/local-2 -/services/sum -/services"}, drop(key("sum", 2)))
	assert.False(t, b.exists("/services"))
}

func TestJumpingWallClockShowsAndDecidesNothing(t *testing.T) {
	b := newBroker(t, Config{})
	const hour = 3_600_000
	b.create("/a", "1")
	for _, jump := range []int64{hour, -2 * hour, hour} {
		b.now += jump
		before := b.stat("/a")
		after := b.act(set("/a", "2")).Node.Stat
		assert.Equal(t, before.Version+1, after.Version)
		assert.Greater(t, after.Modified, before.Modified)
		assert.Equal(t, before.CtimeMs, after.CtimeMs)
		assert.Equal(t, b.now, after.MtimeMs)
	}
}

// TestUsualPathsAreFaultless: the short way finds nothing right that the rules do not.
func TestUsualPathsAreFaultless(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.SampledFrom([]string{"/", "/", "a", "b.c", ".", "..", " ", "\n", "\x7f", "\xff", "ä", "/x/x/x/x/x/x/x/x", "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"}), 0, 12).Draw(t, "parts")
		path := strings.Join(parts, "")
		if usual(path) {
			require.Empty(t, unusualFault(path), path)
		}
	})
	assert.True(t, usual("/services/sum/local-1/10.0.0.1:80"))
	assert.False(t, usual(strings.Repeat("/x", 65)))
}
