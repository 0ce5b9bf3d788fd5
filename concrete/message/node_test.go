package message_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// nodeSamples are node messages and HELLOs with all their fields set, and the
// bodies they have.
func nodeSamples() map[string]abstract.BaseMessage {
	id := message.ID("id")
	stat := &message.NodeStat{Version: 2, Created: 17, Modified: 18, Children: 3, ChildrenModified: 21, Session: "ab", CtimeMs: -5, MtimeMs: 1700000000000, Size: 4}
	const statText = `{"version":2,"created":17,"modified":18,"children":3,"children_modified":21,"session":"ab","ctime_ms":-5,"mtime_ms":1700000000000,"size":4}`
	type action = message.NodeAction
	return map[string]abstract.BaseMessage{
		`{"op":"sync"}`: &message.NodeRequest{Header: id, NodeAction: action{Op: abstract.NodeSync}},
		`{"op":"create","path":"/a/ä","data":"\"text\"\n","session":true,"sequential":true,"parents":true,"key":"k","timeout_ms":5000}`: &message.NodeRequest{
			Header: id, TimeoutMs: 5000,
			NodeAction: action{Op: abstract.NodeCreate, Path: "/a/ä", Data: []byte("\"text\"\n"), Session: true, Sequential: true, Parents: true, Key: "k"}},
		`{"op":"set","path":"/a","data":{"base64":"AP+A"},"version":3,"created":17,"modified":9223372036854775807}`: &message.NodeRequest{
			Header: id, NodeAction: action{Op: abstract.NodeSet, Path: "/a", Data: []byte{0, 0xff, 0x80}, Version: 3, Created: 17, Modified: 1<<63 - 1}},
		`{"op":"set","path":"/a","data":""}`:           &message.NodeRequest{Header: id, NodeAction: action{Op: abstract.NodeSet, Path: "/a", Data: []byte{}}},
		`{"op":"delete","path":"/a","recursive":true}`: &message.NodeRequest{Header: id, NodeAction: action{Op: abstract.NodeDelete, Path: "/a", Recursive: true}},
		`{"op":"get","path":"/a","linearizable":true}`: &message.NodeRequest{Header: id, NodeAction: action{Op: abstract.NodeGet, Path: "/a", Linearizable: true}},
		`{"op":"unwatch","path":"/a","scope":"node"}`:  &message.NodeRequest{Header: id, NodeAction: action{Op: abstract.NodeUnwatch, Path: "/a", Scope: abstract.ScopeNode}},
		`{"op":"check","path":"/a","version":1}`:       &message.NodeRequest{Header: id, NodeAction: action{Op: abstract.NodeCheck, Path: "/a", Version: 1}},
		`{"op":"exists","path":"/"}`:                   &message.NodeRequest{Header: id, NodeAction: action{Op: abstract.NodeExists, Path: "/"}},
		`{"op":"stat","path":"/"}`:                     &message.NodeRequest{Header: id, NodeAction: action{Op: abstract.NodeStat, Path: "/"}},
		`{"op":"ls","path":"/","recursive":true,"stat":true,"with_data":true,"limit":100,"after":"/a"}`: &message.NodeRequest{
			Header: id, NodeAction: action{Op: abstract.NodeList, Path: "/", Recursive: true, Stat: true, WithData: true, Limit: 100, After: "/a"}},
		`{"op":"watch","path":"/a","scope":"subtree","revision":123,"epoch":"e"}`: &message.NodeRequest{
			Header: id, NodeAction: action{Op: abstract.NodeWatch, Path: "/a", Scope: abstract.ScopeSubtree, Revision: 123, Epoch: "e"}},
		`{"op":"multi","ops":[{"op":"check","path":"/a","version":1},{"op":"create","path":"/b","data":"x"},{"op":"delete","path":"/c"}],"timeout_ms":7}`: &message.NodeRequest{
			Header: id, NodeAction: action{Op: abstract.NodeMulti}, TimeoutMs: 7, Ops: []action{
				{Op: abstract.NodeCheck, Path: "/a", Version: 1}, {Op: abstract.NodeCreate, Path: "/b", Data: []byte("x")}, {Op: abstract.NodeDelete, Path: "/c"}}},

		`{"rcode":0}`: &message.NodeResponse{Header: id},
		`{"rcode":28,"message":"m","details":{"op":2},"revision":9,"epoch":"e"}`: &message.NodeResponse{
			Header: id, Code: abstract.Conflict, Message: "m", Details: message.Raw(`{"op":2}`), Revision: 9, Epoch: "e"},
		`{"rcode":0,"path":"/a0000000001","node":{"path":"/a","data":"d","stat":` + statText + `},"exists":true}`: &message.NodeResponse{
			Header: id, Path: "/a0000000001", Node: &message.Node{Path: "/a", Data: []byte("d"), Stat: stat}, Exists: true},
		`{"rcode":0,"node":{}}`:  &message.NodeResponse{Header: id, Node: &message.Node{}},
		`{"rcode":0,"nodes":[]}`: &message.NodeResponse{Header: id, Nodes: []message.Node{}},
		`{"rcode":0,"nodes":[{"path":"/a"},{"path":"/b","data":{"base64":"/w=="}}],"more":true}`: &message.NodeResponse{
			Header: id, Nodes: []message.Node{{Path: "/a"}, {Path: "/b", Data: []byte{0xff}}}, More: true},
		`{"rcode":0,"results":[{"path":"/a","stat":` + statText + `},{"path":"/c"}],"resync":true}`: &message.NodeResponse{
			Header: id, Results: []message.Node{{Path: "/a", Stat: stat}, {Path: "/c"}}, Resync: true},

		`{"path":"/a","scope":"subtree","revision":5,"events":[{"type":"put","path":"/a/b","node":{"data":"","stat":` + statText + `}},{"type":"delete","path":"/a/c"}]}`: &message.NodeEvent{
			Header: id, Path: "/a", Scope: abstract.ScopeSubtree, Revision: 5, Events: []message.NodeChange{
				{Path: "/a/b", Node: &message.Node{Path: "/a/b", Data: []byte{}, Stat: stat}}, {Deleted: true, Path: "/a/c"}}},
		`{"path":"/a","scope":"children","revision":5,"events":[{"type":"put","path":"/a/b","node":{"stat":` + statText + `}}],"truncated":true}`: &message.NodeEvent{
			Header: id, Path: "/a", Scope: abstract.ScopeChildren, Revision: 5, Truncated: true,
			Events: []message.NodeChange{{Path: "/a/b", Node: &message.Node{Path: "/a/b", Stat: stat}}}},
		`{"path":"/a","scope":"node","revision":5,"resync":true}`: &message.NodeEvent{Header: id, Path: "/a", Scope: abstract.ScopeNode, Revision: 5, Resync: true},

		`{"version":1,"max_frame":9,"session":{}}`: &message.Hello{Header: id, Version: 1, MaxFrame: 9, Session: &message.SessionRequest{}},
		`{"version":1,"max_frame":9,"session":{"id":"ab","secret":"cd","sequence":7}}`: &message.Hello{
			Header: id, Version: 1, MaxFrame: 9, Session: &message.SessionRequest{ID: "ab", Secret: "cd", Sequence: 7}},
		`{"rcode":0,"version":1,"max_frame":9,"ping_ms":2,"misses":5,"session":{"id":"ab","secret":"cd","interval_ms":2000,"misses":5}}`: &message.HelloResponse{
			Header: id, Version: 1, MaxFrame: 9, PingMs: 2, Misses: 5, Session: &message.SessionGrant{ID: "ab", Secret: "cd", IntervalMs: 2000, Misses: 5}},
		`{"rcode":0,"version":1,"max_frame":9,"ping_ms":2,"misses":5,"session":{"id":"ab","secret":"cd","interval_ms":2000,"misses":5,"resumed":true,"udp":7700}}`: &message.HelloResponse{
			Header: id, Version: 1, MaxFrame: 9, PingMs: 2, Misses: 5,
			Session: &message.SessionGrant{ID: "ab", Secret: "cd", IntervalMs: 2000, Misses: 5, Resumed: true, UDP: 7700}},
	}
}

func TestNodeMessagesSurviveTheWire(t *testing.T) {
	for body, m := range nodeSamples() {
		text, err := codec.AppendBody([]byte("before"), m)
		require.NoError(t, err)
		assert.Equal(t, "before"+body, string(text))
		back, err := codec.Unmarshal(m.Type(), "id", []byte(body), nil)
		require.NoError(t, err)
		require.NoError(t, back.Check(), body)
		assert.Equal(t, m, back)
	}
}

// TestTruncatedEventsLeaveDataOut: the same message with one flag set is the one
// that fits.
func TestTruncatedEventsLeaveDataOut(t *testing.T) {
	m := &message.NodeEvent{Path: "/a", Scope: abstract.ScopeNode, Revision: 5, Truncated: true,
		Events: []message.NodeChange{{Path: "/a", Node: &message.Node{Path: "/a", Data: []byte("long")}}}}
	text, err := codec.AppendBody(nil, m)
	require.NoError(t, err)
	assert.JSONEq(t, `{"path":"/a","scope":"node","revision":5,"events":[{"type":"put","path":"/a","node":{}}],"truncated":true}`, string(text))
}

func TestNodeRequestsOfAnyLayoutAreTaken(t *testing.T) {
	for name, body := range map[string]string{
		"space and order": " {\"path\" : \"/a\" ,\n\"version\":2.0, \"op\" : \"get\"}",
		"escapes":         `{"o\u0070":"g\u0065t","path":"\/a","version":2e0}`,
		"flag of 1":       `{"op":"get","path":"/a","version":2,"stat":0,"recursive":false,"session":"yes"}`,
		"unknown members": `{"op":"get","path":"/a","version":2,"trace":{"a":[1]},"ops":5}`,
	} {
		t.Run(name, func(t *testing.T) {
			m := read(t, abstract.ReqNode, body).(*message.NodeRequest)
			require.NoError(t, m.Check())
			assert.Equal(t, message.NodeAction{Op: abstract.NodeGet, Path: "/a", Version: 2}, m.NodeAction)
		})
	}
	m := read(t, abstract.ReqNode, `{"op":"set","path":"/a","data":{"x":1,"base64":"YW\u0049="}}`).(*message.NodeRequest)
	require.NoError(t, m.Check())
	assert.Equal(t, "ab", string(m.Data), "base64 of what is text, escaped")
}

// TestNodeCheckTellsTheFirstThingThatIsWrong holds the codes that odd node
// messages are answered with.
func TestNodeCheckTellsTheFirstThingThatIsWrong(t *testing.T) {
	const fine = abstract.OK
	long := strings.Repeat("p", 1025)
	ops := func(n int, op string) string {
		return `{"op":"multi","ops":[` + strings.TrimSuffix(strings.Repeat(op+",", n), ",") + `]}`
	}
	const check = `{"op":"check","path":"/a"}`
	big := strings.Repeat("d", message.MaxNodeData)
	for _, c := range []struct {
		name string
		typ  abstract.MType
		body string
		code abstract.RCode
		text string
	}{
		{"nothing", abstract.ReqNode, `{}`, abstract.InvalidOp, `"op"`},
		{"op of nobody", abstract.ReqNode, `{"op":"chmod","path":"/a"}`, abstract.InvalidOp, `"op"`},
		{"op a number", abstract.ReqNode, `{"op":1,"path":"/a"}`, abstract.InvalidOp, `"op"`},
		{"op empty", abstract.ReqNode, `{"op":"","path":"/a"}`, abstract.InvalidOp, `"op"`},
		{"op of another case", abstract.ReqNode, `{"op":"Get","path":"/a"}`, abstract.InvalidOp, `"op"`},
		{"no path", abstract.ReqNode, `{"op":"get"}`, abstract.InvalidMessage, "path"},
		{"path empty", abstract.ReqNode, `{"op":"get","path":""}`, abstract.InvalidMessage, "path"},
		{"path a number", abstract.ReqNode, `{"op":"get","path":5}`, abstract.InvalidMessage, "path"},
		{"path null", abstract.ReqNode, `{"op":"sync","path":null}`, abstract.InvalidMessage, "path"},
		{"path too long", abstract.ReqNode, `{"op":"get","path":"` + long + `"}`, abstract.InvalidMessage, "longer than 1024"},
		{"path as long as may be", abstract.ReqNode, `{"op":"get","path":"` + long[1:] + `"}`, fine, ""},
		{"path that is none is for the tree to say", abstract.ReqNode, `{"op":"get","path":"a//"}`, fine, ""},
		{"set without data", abstract.ReqNode, `{"op":"set","path":"/a"}`, abstract.InvalidMessage, "data"},
		{"create without data", abstract.ReqNode, `{"op":"create","path":"/a"}`, fine, ""},
		{"data a number", abstract.ReqNode, `{"op":"set","path":"/a","data":5}`, abstract.InvalidMessage, "data"},
		{"data null", abstract.ReqNode, `{"op":"create","path":"/a","data":null}`, abstract.InvalidMessage, "data"},
		{"data an empty object", abstract.ReqNode, `{"op":"set","path":"/a","data":{}}`, abstract.InvalidMessage, "data"},
		{"base64 a number", abstract.ReqNode, `{"op":"set","path":"/a","data":{"base64":5}}`, abstract.InvalidMessage, "data"},
		{"base64 that is none", abstract.ReqNode, `{"op":"set","path":"/a","data":{"base64":"#"}}`, abstract.InvalidMessage, "base64"},
		{"base64 without padding", abstract.ReqNode, `{"op":"set","path":"/a","data":{"base64":"/w"}}`, abstract.InvalidMessage, "padding"},
		{"data as large as may be", abstract.ReqNode, `{"op":"set","path":"/a","data":"` + big + `"}`, fine, ""},
		{"data too large", abstract.ReqNode, `{"op":"set","path":"/a","data":"` + big + `d"}`, abstract.TooLarge, "1048577"},
		{"data escaped, as large as may be", abstract.ReqNode, `{"op":"set","path":"/a","data":"` + strings.Repeat(`\n`, message.MaxNodeData) + `"}`, fine, ""},
		{"data far too large", abstract.ReqNode, `{"op":"set","path":"/a","data":"` + strings.Repeat(big, 7) + `"}`, abstract.TooLarge, "1048576"},
		{"base64 as large as may be", abstract.ReqNode, `{"op":"set","path":"/a","data":{"base64":"` + base64.StdEncoding.EncodeToString([]byte(big)) + `"}}`, fine, ""},
		{"base64 one byte too large", abstract.ReqNode, `{"op":"set","path":"/a","data":{"base64":"` + base64.StdEncoding.EncodeToString([]byte(big+"d")) + `"}}`, abstract.TooLarge, "1048577"},
		{"base64 far too large", abstract.ReqNode, `{"op":"set","path":"/a","data":{"base64":"` + base64.StdEncoding.EncodeToString([]byte(big+big)) + `"}}`, abstract.TooLarge, "above"},
		{"key too long", abstract.ReqNode, `{"op":"create","path":"/a","key":"` + long[:257] + `"}`, abstract.InvalidMessage, "key"},
		{"version 0", abstract.ReqNode, `{"op":"set","path":"/a","data":"","version":0}`, abstract.InvalidMessage, "version"},
		{"version -1", abstract.ReqNode, `{"op":"delete","path":"/a","version":-1}`, abstract.InvalidMessage, "version"},
		{"version null", abstract.ReqNode, `{"op":"delete","path":"/a","version":null}`, abstract.InvalidMessage, "version"},
		{"created a string", abstract.ReqNode, `{"op":"delete","path":"/a","created":"1"}`, abstract.InvalidMessage, "created"},
		{"modified above 64 bits", abstract.ReqNode, `{"op":"delete","path":"/a","modified":9223372036854775808}`, abstract.InvalidMessage, "modified"},
		{"limit negative", abstract.ReqNode, `{"op":"ls","path":"/","limit":-1}`, abstract.InvalidMessage, "limit"},
		{"after too long", abstract.ReqNode, `{"op":"ls","path":"/","after":"` + long + `"}`, abstract.InvalidMessage, "after"},
		{"watch without scope", abstract.ReqNode, `{"op":"watch","path":"/"}`, abstract.InvalidMessage, "scope"},
		{"watch of a scope that is none", abstract.ReqNode, `{"op":"watch","path":"/","scope":"all"}`, abstract.InvalidMessage, "scope"},
		{"unwatch without scope", abstract.ReqNode, `{"op":"unwatch","path":"/"}`, abstract.InvalidMessage, "scope"},
		{"revision negative", abstract.ReqNode, `{"op":"watch","path":"/","scope":"node","revision":-1}`, abstract.InvalidMessage, "revision"},
		{"timeout negative", abstract.ReqNode, `{"op":"get","path":"/","timeout_ms":-1}`, abstract.InvalidMessage, "timeout_ms"},
		{"multi", abstract.ReqNode, ops(1, check), fine, ""},
		{"multi without ops", abstract.ReqNode, `{"op":"multi"}`, abstract.InvalidMessage, "ops"},
		{"multi of nothing", abstract.ReqNode, `{"op":"multi","ops":[]}`, abstract.InvalidMessage, "1 to 128"},
		{"multi of an object", abstract.ReqNode, `{"op":"multi","ops":{}}`, abstract.InvalidMessage, "ops"},
		{"multi of numbers", abstract.ReqNode, `{"op":"multi","ops":[1]}`, abstract.InvalidMessage, "object"},
		{"multi of a get", abstract.ReqNode, ops(1, `{"op":"get","path":"/a"}`), abstract.InvalidOp, "create, set, delete or check"},
		{"multi of a multi", abstract.ReqNode, ops(1, ops(1, check)), abstract.InvalidOp, "create, set, delete or check"},
		{"multi of a watch", abstract.ReqNode, ops(1, `{"op":"watch","path":"/a","scope":"node"}`), abstract.InvalidOp, "create, set, delete or check"},
		{"multi as long as may be", abstract.ReqNode, ops(128, check), fine, ""},
		{"multi too long", abstract.ReqNode, ops(129, check), abstract.TooLarge, "128"},
		{"multi far too long", abstract.ReqNode, ops(100_000, check), abstract.TooLarge, "128"},

		{"response without rcode", abstract.RspNode, `{}`, abstract.InvalidMessage, "rcode"},
		{"node a string", abstract.RspNode, `{"rcode":0,"node":"a"}`, abstract.InvalidMessage, "object"},
		{"nodes an object", abstract.RspNode, `{"rcode":0,"nodes":{}}`, abstract.InvalidMessage, "nodes"},
		{"nodes of numbers", abstract.RspNode, `{"rcode":0,"nodes":[1]}`, abstract.InvalidMessage, "object"},
		{"nodes without paths", abstract.RspNode, `{"rcode":0,"nodes":[{}]}`, abstract.InvalidMessage, "path"},
		{"nodes beyond number", abstract.RspNode, `{"rcode":0,"nodes":[{"path":"a"}` + strings.Repeat(`,{"path":"a"}`, 1<<17) + `]}`, abstract.TooLarge, "131072"},
		{"results beyond number", abstract.RspNode, `{"rcode":0,"results":[{"path":"a"}` + strings.Repeat(`,{"path":"a"}`, 128) + `]}`, abstract.TooLarge, "128"},
		{"stat a number", abstract.RspNode, `{"rcode":0,"node":{"stat":1}}`, abstract.InvalidMessage, "stat"},
		{"version negative", abstract.RspNode, `{"rcode":0,"node":{"stat":{"version":-1}}}`, abstract.InvalidMessage, "version"},
		{"ctime a string", abstract.RspNode, `{"rcode":0,"node":{"stat":{"ctime_ms":"now"}}}`, abstract.InvalidMessage, "ctime_ms"},

		{"event without path", abstract.NodeEvent, `{"scope":"node","revision":1,"events":[]}`, abstract.InvalidMessage, "path"},
		{"event without scope", abstract.NodeEvent, `{"path":"/","revision":1,"events":[]}`, abstract.InvalidMessage, "scope"},
		{"event without events", abstract.NodeEvent, `{"path":"/","scope":"node","revision":1}`, abstract.InvalidMessage, "events"},
		{"event of a type that is none", abstract.NodeEvent, `{"path":"/","scope":"node","events":[{"type":"post","path":"/"}]}`, abstract.InvalidMessage, "type"},
		{"put without node", abstract.NodeEvent, `{"path":"/","scope":"node","events":[{"type":"put","path":"/"}]}`, abstract.InvalidMessage, "node"},
		{"event a number", abstract.NodeEvent, `{"path":"/","scope":"node","events":[1]}`, abstract.InvalidMessage, "object"},

		{"session null", abstract.ReqHello, `{"version":1,"session":null}`, abstract.InvalidMessage, "session"},
		{"session true", abstract.ReqHello, `{"version":1,"session":true}`, abstract.InvalidMessage, "session"},
		{"session id a number", abstract.ReqHello, `{"version":1,"session":{"id":1}}`, abstract.InvalidMessage, "id"},
		{"session secret too long", abstract.ReqHello, `{"version":1,"session":{"id":"a","secret":"` + long + `"}}`, abstract.InvalidMessage, "secret"},
		{"session sequence negative", abstract.ReqHello, `{"version":1,"session":{"id":"a","secret":"b","sequence":-1}}`, abstract.InvalidMessage, "sequence"},
		{"granted session a string", abstract.RspHello, `{"rcode":0,"session":"a"}`, abstract.InvalidMessage, "session"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := read(t, c.typ, c.body).Check()
			assert.Equal(t, c.code, abstract.CodeOf(err), err)
			if c.code != fine {
				assert.ErrorContains(t, err, c.text)
			}
		})
	}
}

// TestFaultOfAMultiNamesTheOperation as the tree's own faults do.
func TestFaultOfAMultiNamesTheOperation(t *testing.T) {
	m := read(t, abstract.ReqNode, `{"op":"multi","ops":[{"op":"check","path":"/a"},{"op":"set","path":"/a"},{"op":"nothing"}]}`)
	var e *abstract.Error
	require.ErrorAs(t, m.Check(), &e)
	assert.JSONEq(t, `{"op":1}`, string(e.Details))
	assert.Nil(t, m.(*message.NodeRequest).Ops)
}

// TestRefusedMultiTakesLittleMemory: what is above the limit is not made first.
func TestRefusedMultiTakesLittleMemory(t *testing.T) {
	body := []byte(`{"op":"multi","ops":[{"op":"check","path":"/a"}` + strings.Repeat(`,{"op":"check","path":"/a"}`, 100_000) + `]}`)
	allocs := testing.AllocsPerRun(5, func() {
		m, err := codec.Unmarshal(abstract.ReqNode, "1", body, nil)
		require.NoError(t, err)
		require.Error(t, m.Check())
	})
	assert.Less(t, allocs, 100.0)
}

func TestDataSharesTheFrame(t *testing.T) {
	body := []byte(`{"op":"set","path":"/a","data":"` + strings.Repeat("d", 100_000) + `"}`)
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := codec.Unmarshal(abstract.ReqNode, "1", body, nil); err != nil {
			t.Error(err)
		}
	})
	assert.LessOrEqual(t, allocs, 1.0)
}

// FuzzNode checks what is read of node messages and sessions against encoding/json.
func FuzzNode(f *testing.F) {
	for body := range nodeSamples() {
		f.Add([]byte(body))
	}
	for _, body := range []string{
		`{"op":"multi","ops":[{"op":"set","path":"/a","data":{"base64":""}},{}]}`, `{"op":"multi","ops":[[],{"ops":[{}]}]}`,
		`{"rcode":0,"nodes":[{"path":"/a","stat":{}},{"path":"\u0000"}]}`, `{"path":"/","scope":"node","events":[{"type":"pu\u0074","path":"/","node":{}}]}`,
		"{\"op\":\"set\",\"path\":\"/\xff\",\"data\":\"\xff\\ud800\"}", `{"op":"get","op":"set","path":"/","data":"x","data":"y"}`,
		`{"version":1,"session":{"id":"x","secret":"","sequence":9223372036854775807}}`, `{"rcode":0,"session":{"udp":65536}}`,
	} {
		f.Add([]byte(body))
	}
	types := []abstract.MType{abstract.ReqNode, abstract.RspNode, abstract.NodeEvent, abstract.ReqHello, abstract.RspHello}
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > maxOracle {
			return
		}
		var want map[string]json.RawMessage
		object := json.Unmarshal(body, &want) == nil && want != nil
		for _, typ := range types {
			m, err := codec.Unmarshal(typ, "id", body, nil)
			require.Equal(t, object, err == nil, "%v: %v", typ, err)
			if err == nil && m.Check() == nil {
				checkNodeFields(t, m, want)
				checkWritten(t, m)
			}
		}
	})
}

// checkNodeFields compares what a message without fault says with what
// encoding/json reads.
func checkNodeFields(t *testing.T, m abstract.BaseMessage, want map[string]json.RawMessage) {
	switch m := m.(type) {
	case *message.NodeRequest:
		checkAction(t, &m.NodeAction, want)
		if m.Op == abstract.NodeMulti {
			list := objects(t, want["ops"])
			require.Len(t, m.Ops, len(list))
			for i := range list {
				checkAction(t, &m.Ops[i], list[i])
			}
		}
	case *message.NodeResponse:
		require.Equal(t, integerOf(want["rcode"]).String(), fmt.Sprint(int64(m.Code)))
		checkInteger(t, want["revision"], m.Revision)
		require.Equal(t, stringOf(want["path"]), m.Path)
		checkNodes(t, want["nodes"], m.Nodes)
		checkNodes(t, want["results"], m.Results)
	case *message.NodeEvent:
		require.Equal(t, stringOf(want["path"]), m.Path)
		require.Equal(t, stringOf(want["scope"]), string(m.Scope))
		checkInteger(t, want["revision"], m.Revision)
		list := objects(t, want["events"])
		require.Len(t, m.Events, len(list))
		for i, c := range m.Events {
			require.Equal(t, stringOf(list[i]["path"]), c.Path)
			require.Equal(t, map[bool]string{true: "delete", false: "put"}[c.Deleted], stringOf(list[i]["type"]))
		}
	case *message.Hello:
		if m.Session != nil {
			s := fields(t, want["session"])
			require.Equal(t, stringOf(s["id"]), m.Session.ID)
			require.Equal(t, stringOf(s["secret"]), m.Session.Secret)
			checkInteger(t, s["sequence"], int64(m.Session.Sequence))
		}
	case *message.HelloResponse:
		if m.Session != nil {
			s := fields(t, want["session"])
			require.Equal(t, stringOf(s["id"]), m.Session.ID)
			require.Equal(t, stringOf(s["secret"]), m.Session.Secret)
		}
	}
}

func checkAction(t *testing.T, a *message.NodeAction, want map[string]json.RawMessage) {
	for name, got := range map[string]string{
		"op": string(a.Op), "path": a.Path, "key": a.Key, "after": a.After, "scope": string(a.Scope), "epoch": a.Epoch,
	} {
		require.Equal(t, stringOf(want[name]), got, name)
	}
	for name, got := range map[string]int64{"version": a.Version, "created": a.Created, "modified": a.Modified, "revision": a.Revision} {
		checkInteger(t, want[name], got)
	}
	checkData(t, want["data"], a.Data)
}

func checkNodes(t *testing.T, want json.RawMessage, got []message.Node) {
	list := objects(t, want)
	require.Len(t, got, len(list))
	for i, n := range got {
		require.Equal(t, stringOf(list[i]["path"]), n.Path)
		checkData(t, list[i]["data"], n.Data)
	}
}

func checkData(t *testing.T, want json.RawMessage, got []byte) {
	if want == nil {
		require.Nil(t, got)
		return
	}
	var text string
	if json.Unmarshal(want, &text) != nil {
		data, err := base64.StdEncoding.DecodeString(stringOf(fields(t, want)["base64"]))
		require.NoError(t, err)
		text = string(data)
	}
	require.NotNil(t, got)
	require.Equal(t, text, string(got))
}

func checkInteger(t *testing.T, want json.RawMessage, got int64) {
	if want == nil {
		require.Zero(t, got)
		return
	}
	if v := integerOf(want); v != nil {
		require.Equal(t, v.String(), fmt.Sprint(got))
	}
}

func objects(t *testing.T, raw json.RawMessage) (list []map[string]json.RawMessage) {
	if raw != nil {
		require.NoError(t, json.Unmarshal(raw, &list))
	}
	return list
}

func fields(t *testing.T, raw json.RawMessage) (v map[string]json.RawMessage) {
	require.NoError(t, json.Unmarshal(raw, &v))
	return v
}
