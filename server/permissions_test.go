package server_test

import (
	"context"
	"encoding/json"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/business/access"
	"trefoil/concrete/message"
	"trefoil/server"
)

// asking is one thing that can be asked of a broker. N is the last segment of a name
// or path in its body.
type asking struct {
	name   string
	verb   access.Verb
	mtype  int32
	body   string
	modern bool   // only peers that said HELLO can ask for it
	about  string // what the permission is for; empty: "room.N", or "/room/N" of a node
	first  string // the permission that who has none is asked for; empty: the same
}

// askings are all that there is.
func askings() []asking {
	const host = `"host":{"ip":"h","port":1},"instance":"x"`
	list := []asking{
		{name: "call", verb: access.Call, mtype: 0, body: `{"method":"room.N","parameters":{}}`},
		{name: "call of an instance", verb: access.Call, mtype: 0, body: `{"method":"room.N","parameters":{},"instance":"x"}`, modern: true},
		{name: "relayed call", verb: access.Call, mtype: 0, body: `{"method":"room.N","parameters":{},"relay":1}`, modern: true},
		{name: "description", verb: access.Call, mtype: 0, body: `{"method":"trefoil.describe","parameters":{"method":"room.N"}}`},
		{name: "relayed description", verb: access.Call, mtype: 0, body: `{"method":"trefoil.describe","parameters":{"method":"nothing","m\u0065thod":"room.N"},"relay":1}`, modern: true},
		{name: "list of methods beside one", verb: access.Call, mtype: 0, body: `{"method":"trefoil.methods","parameters":{"method":"room.N"}}`},
		{name: "register", verb: access.Provide, mtype: 4, body: `{"optype":0,"method":"room.N",` + host + `}`},
		{name: "register many", verb: access.Provide, mtype: 4, body: `{"optype":0,"method":"lobby.a","methods":["lobby.b","room.N"],` + host + `}`, modern: true},
		{name: "heartbeat", verb: access.Provide, mtype: 4, body: `{"optype":16,"method":"room.N",` + host + `}`, modern: true},
		{name: "heartbeat of many", verb: access.Provide, mtype: 4, body: `{"optype":16,"method":"lobby.a","methods":["room.N"],` + host + `}`, modern: true},
		{name: "unregister", verb: access.Provide, mtype: 4, body: `{"optype":3,"method":"room.N",` + host + `}`, modern: true},
		{name: "unregister many", verb: access.Provide, mtype: 4, body: `{"optype":3,"method":"lobby.a","methods":["room.N"],` + host + `}`, modern: true},
		{name: "discover", verb: access.Discover, mtype: 4, body: `{"optype":1,"method":"room.N"}`},
		{name: "discover again", verb: access.Discover, mtype: 4, body: `{"optype":1,"method":"room.N","revision":1}`, modern: true},
		{name: "report", verb: access.Discover, mtype: 4, body: `{"optype":17,"method":"room.N",` + host + `,"reason":"refused"}`, modern: true},
		{name: "report about many", verb: access.Discover, mtype: 4, body: `{"optype":17,"method":"lobby.a","methods":["room.N"],` + host + `}`, modern: true},
		{name: "create topic", verb: access.CreateTopic, mtype: 2, body: `{"optype":0,"topic_key":"room.N"}`},
		{name: "subscribe", verb: access.Subscribe, mtype: 2, body: `{"optype":2,"topic_key":"room.N"}`},
		{name: "cancel", verb: access.Subscribe, mtype: 2, body: `{"optype":3,"topic_key":"room.N"}`},
		{name: "publish", verb: access.Publish, mtype: 2, body: `{"optype":4,"topic_key":"room.N","topic_msg":"intruder"}`},
		{name: "delete messages", verb: access.RemoveTopic, mtype: 2, body: `{"optype":23,"topic_key":"room.N","offsets":[1]}`, modern: true},
		{name: "remove topic", verb: access.RemoveTopic, mtype: 2, body: `{"optype":1,"topic_key":"room.N"}`},
	}
	list = append(list,
		asking{name: "create topic with settings", verb: access.CreateTopic, mtype: 2, body: `{"optype":0,"topic_key":"room.N","settings":{"retain":true}}`, modern: true},
		asking{name: "set topic", verb: access.CreateTopic, mtype: 2, body: `{"optype":16,"topic_key":"room.N","settings":{}}`, modern: true},
		asking{name: "topic info", verb: access.Subscribe, mtype: 2, body: `{"optype":17,"topic_key":"room.N"}`, modern: true},
		asking{name: "read topic", verb: access.Subscribe, mtype: 2, body: `{"optype":21,"topic_key":"room.N"}`, modern: true},
		asking{name: "subscribe to many", verb: access.Subscribe, mtype: 2, body: `{"optype":2,"topic_key":"room.*","sub":"a"}`, modern: true, about: "room.*"},
		asking{name: "subscribe in a group", verb: access.Subscribe, mtype: 2, body: `{"optype":2,"topic_key":"room.N","sub":"b","group":"g"}`, modern: true},
	)
	for _, look := range []string{`"op":"get"`, `"op":"stat"`, `"op":"exists"`, `"op":"ls"`, `"op":"ls","recursive":true,"with_data":true`,
		`"op":"watch","scope":"node"`, `"op":"watch","scope":"children"`, `"op":"watch","scope":"subtree"`} {
		list = append(list, asking{name: look + " of a provider", verb: access.Discover, mtype: 32, body: `{` + look + `,"path":"/services/room.N"}`, modern: true, first: "node_read /services/room.N"})
	}
	for _, node := range []struct {
		name string
		verb access.Verb
		body string
		all  bool // of what is below
	}{
		{"get", access.NodeRead, `{"op":"get","path":"/room/N"}`, false},
		{"linearizable get", access.NodeRead, `{"op":"get","path":"/room/N","linearizable":true}`, false},
		{"stat", access.NodeRead, `{"op":"stat","path":"/room/N"}`, false},
		{"exists", access.NodeRead, `{"op":"exists","path":"/room/N"}`, false},
		{"ls", access.NodeRead, `{"op":"ls","path":"/room/N"}`, false},
		{"ls of all", access.NodeRead, `{"op":"ls","path":"/room/N","recursive":true,"with_data":true,"stat":true}`, false},
		{"watch", access.NodeRead, `{"op":"watch","path":"/room/N","scope":"node"}`, false},
		{"watch children", access.NodeRead, `{"op":"watch","path":"/room/N","scope":"children"}`, true},
		{"watch all", access.NodeRead, `{"op":"watch","path":"/room/N","scope":"subtree"}`, true},
		{"check", access.NodeRead, `{"op":"multi","ops":[{"op":"check","path":"/room/N"}]}`, false},
		{"create", access.NodeWrite, `{"op":"create","path":"/room/N","data":"intruder"}`, false},
		{"create with parents", access.NodeWrite, `{"op":"create","path":"/room/N","parents":true}`, false},
		{"create numbered", access.NodeWrite, `{"op":"create","path":"/room/N","sequential":true}`, false},
		{"create for a session", access.NodeWrite, `{"op":"create","path":"/room/N","session":true}`, false},
		{"set", access.NodeWrite, `{"op":"set","path":"/room/N","data":"intruder"}`, false},
		{"set in a multi", access.NodeWrite, `{"op":"multi","ops":[{"op":"create","path":"/lobby"},{"op":"set","path":"/room/N","data":"intruder"}]}`, false},
		{"delete in a multi", access.NodeWrite, `{"op":"multi","ops":[{"op":"delete","path":"/room/N"}]}`, false},
		{"delete", access.NodeWrite, `{"op":"delete","path":"/room/N"}`, false},
		{"delete all", access.NodeWrite, `{"op":"delete","path":"/room/N","recursive":true}`, true},
	} {
		a := asking{name: node.name, verb: node.verb, mtype: 32, body: node.body, modern: true, about: "/room/N"}
		switch {
		case node.all:
			a.about = "/room/N/**"
		case node.name == "create with parents":
			a.about = "/room"
		case node.name == "set in a multi":
			a.first = "node_write /lobby"
		}
		list = append(list, a)
	}
	for i := range list {
		if strings.Contains(list[i].body, `"lobby.a"`) {
			list[i].first = list[i].verb.String() + " lobby.a"
		}
	}
	return list
}

// of is the request about one name.
func (a *asking) of(name string) string { return strings.ReplaceAll(a.body, "N", name) }

// permission is what a refusal asks for.
func (a *asking) permission(name string) string {
	about := a.about
	if about == "" {
		about = "room.N"
	}
	return a.verb.String() + " " + strings.ReplaceAll(about, "N", name)
}

// oneByOne is a policy with, for each verb, an identity that may do nothing else in
// the room, and one that may do everything else. "owner" may do everything.
func oneByOne(t *testing.T) (policy string, identities []string) {
	t.Helper()
	type rules map[string][]string
	type identity struct {
		Allow rules `json:"allow,omitempty"`
		Deny  rules `json:"deny,omitempty"`
	}
	everywhere, room, lobby := rules{}, rules{}, rules{}
	for _, v := range access.Verbs() {
		everywhere[v.String()], room[v.String()], lobby[v.String()] = []string{">"}, []string{"room.*"}, []string{"lobby.*"}
		if v == access.NodeRead || v == access.NodeWrite {
			everywhere[v.String()], room[v.String()], lobby[v.String()] = []string{"/**"}, []string{"/room/**"}, []string{"/lobby/**"}
		}
	}
	all := map[string]identity{"owner": {Allow: everywhere}}
	identities = append(identities, "owner")
	var certificates []map[string]string
	for _, v := range access.Verbs() {
		only := rules{v.String(): append(append([]string(nil), lobby[v.String()]...), room[v.String()]...)}
		if v == access.Discover {
			only[access.NodeRead.String()] = []string{"/services/**"} // without which it is worth nothing there
		}
		all["only-"+v.String()] = identity{Allow: only}
		all["not-"+v.String()] = identity{Allow: everywhere, Deny: rules{v.String(): room[v.String()]}}
		identities = append(identities, "only-"+v.String(), "not-"+v.String())
	}
	for _, name := range identities {
		certificates = append(certificates, map[string]string{"common_name": name, "identity": name})
	}
	text, err := json.Marshal(map[string]any{"identities": all, "certificates": certificates})
	require.NoError(t, err)
	return string(text), identities
}

const (
	treasure = "treasure-7f31" // what nobody may see who may not
	denied   = int(abstract.Denied)
)

func TestEveryVerbNeedsItsPermissionOnEveryRoad(t *testing.T) {
	for _, way := range roads() {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			policy, identities := oneByOne(t)
			guard, tokens := guardBy(t, policy, identities...)
			called := make(chan string, 64)
			b, dial := way.open(t, server.WithGuard(guard), server.WithLogger(quietLog()))
			require.NoError(t, b.HandleFunc(server.Description{Method: "room.there", Result: server.KindAny}, func(context.Context, message.Raw) (any, error) {
				called <- "room.there"
				return treasure, nil
			}))
			r := &rooms{t: t, way: way, dial: dial, tokens: tokens, peers: map[string]*talker{}}
			owner := r.peer("owner", true)
			r.furnish(owner)
			for _, a := range askings() {
				r.refuses(&a)
			}
			r.unchanged(owner)
			assert.Empty(t, called, "nothing was called")
			r.nobodyHears(owner)
			for _, a := range askings() {
				r.serves(&a)
			}
			assert.NotEmpty(t, called)
		})
	}
}

// rooms is what the test of every verb does with one broker.
type rooms struct {
	t      *testing.T
	way    road
	dial   func(string) net.Conn
	tokens map[string]string
	peers  map[string]*talker
}

// peer is somebody who is connected; empty is nobody in particular. A legacy peer has no
// token: where that would say who it is, it is nobody.
func (r *rooms) peer(who string, modern bool) *talker {
	if !modern && !r.way.byCertificate {
		who = ""
	}
	key := sprintf("%s %t", who, modern)
	if p := r.peers[key]; p != nil {
		return p
	}
	name := who
	if name == "" {
		name = "stranger"
	}
	p := newTalker(r.t, r.dial(name))
	if modern && r.way.byCertificate {
		p.hello("")
	} else if modern {
		p.hello(r.tokens[who])
	}
	r.peers[key] = p
	return p
}

// furnish makes everything that the names with "there" are.
func (r *rooms) furnish(owner *talker) {
	for _, f := range []frame{
		{4, "", `{"optype":0,"method":"room.there","host":{"ip":"treasure-7f31","port":7},"instance":"mine","metadata":{"k":"treasure-7f31"}}`},
		{2, "", `{"optype":0,"topic_key":"room.there"}`},
		{32, "", `{"op":"create","path":"/room/there","parents":true,"data":"treasure-7f31"}`},
		{32, "", `{"op":"create","path":"/room/there/below","data":"treasure-7f31"}`},
	} {
		require.Zero(r.t, owner.ask(f.mtype, f.body).rcode(), f.body)
	}
}

// refuses asks for something as everybody who may not.
func (r *rooms) refuses(a *asking) {
	for _, modern := range []bool{true, false} {
		if a.modern && !modern {
			continue
		}
		for _, who := range []string{"not-" + a.verb.String(), ""} {
			p := r.peer(who, modern)
			there, gone := p.ask(a.mtype, a.of("there")), p.ask(a.mtype, a.of("gone"))
			what := sprintf("%s by %q, modern %t", a.name, who, modern)
			want := denied
			if !modern {
				want = int(abstract.Denied.Legacy())
			}
			assert.Equal(r.t, want, there.rcode(), what)
			assert.NotEqual(r.t, 0, there.rcode(), what)
			assert.Equal(r.t, strings.ReplaceAll(there.body, "there", "gone"), gone.body, "%s: a refusal does not tell what there is", what)
			permission := a.permission("there")
			if who == "" && a.first != "" {
				permission = strings.ReplaceAll(a.first, "N", "there")
			}
			assert.Contains(r.t, there.body, "ask for the permission "+permission, what)
		}
	}
}

// unchanged looks whether everything is as furnish made it, and nothing more.
func (r *rooms) unchanged(owner *talker) {
	f := owner.ask(4, `{"optype":1,"method":"room.there"}`)
	hosts, _ := f.field("host").([]any)
	assert.Len(r.t, hosts, 1, "a provider came or went: %s", f.body)
	for _, body := range []string{`{"optype":1,"method":"room.gone"}`, `{"optype":1,"method":"lobby.a"}`} {
		assert.Equal(r.t, int(abstract.ServiceNotFound), owner.ask(4, body).rcode(), body)
	}
	f = owner.ask(32, `{"op":"ls","path":"/","recursive":true,"with_data":true}`)
	nodes, _ := f.field("nodes").([]any)
	assert.Len(r.t, nodes, 3+4, "ours, and the registry's: %s", f.body)
	assert.NotContains(r.t, f.body, "intruder")
	assert.NotZero(r.t, owner.ask(2, `{"optype":4,"topic_key":"room.gone","topic_msg":1}`).rcode(), "the topic is not there")
}

// nobodyHears lets things happen of which only those are told who may know of them.
func (r *rooms) nobodyHears(owner *talker) {
	for _, f := range []frame{
		{2, "", `{"optype":4,"topic_key":"room.there","topic_msg":"treasure-7f31"}`},
		{32, "", `{"op":"set","path":"/room/there","data":"treasure-7f31"}`},
	} {
		require.Zero(r.t, owner.ask(f.mtype, f.body).rcode(), f.body)
	}
	other := newTalker(r.t, r.dial("owner"))
	if r.way.byCertificate {
		other.hello("")
	} else {
		other.hello(r.tokens["owner"])
	}
	require.Zero(r.t, other.ask(4, `{"optype":0,"method":"room.there","host":{"ip":"treasure-7f31","port":8},"instance":"other"}`).rcode())
	for key, p := range r.peers {
		if p == owner {
			f, ok := p.next()
			require.True(r.t, ok)
			assert.Equal(r.t, "room.there", f.field("method"), "who has discovered is told")
			continue
		}
		p.ask(2, `{"optype":9,"topic_key":"x"}`) // whose answer is the next thing that comes
		assert.NotContains(r.t, p.all(), treasure, key)
		assert.NotContains(r.t, p.all(), `"ip"`, key)
	}
}

// serves asks for something as somebody who may do that and nothing else.
func (r *rooms) serves(a *asking) {
	for _, modern := range []bool{true, false} {
		if !modern && (a.modern || !r.way.byCertificate) {
			continue
		}
		who := "only-" + a.verb.String()
		p := newTalker(r.t, r.dial(who))
		switch {
		case modern && r.way.byCertificate:
			p.hello("")
		case modern:
			p.hello(r.tokens[who])
		}
		f := p.ask(a.mtype, a.of("there"))
		want := denied
		if !modern {
			want = int(abstract.Denied.Legacy())
		}
		assert.NotEqual(r.t, want, f.rcode(), "%s, modern %t: %s", a.name, modern, f.body)
	}
}

func TestRegistryInTheTreeShowsWhatMayBeDiscovered(t *testing.T) {
	guard, tokens := guardBy(t, `{"identities": {
		"owner": {"allow": {"provide": [">"], "node_read": ["/**"], "node_write": ["/**"], "discover": [">"]}},
		"other": {"allow": {"node_read": ["/**"], "discover": ["open.*"]}}}}`, "owner", "other")
	b := serve(t, newBroker(server.WithLogger(quietLog()), server.WithGuard(guard)))
	dial := func(who string) *talker {
		nc, err := net.Dial("tcp", b.Addr().String())
		require.NoError(t, err)
		return newTalker(t, nc).hello(tokens[who])
	}
	owner, other := dial("owner"), dial("other")
	for _, method := range []string{"open.a", "secret.a", "open/%2e"} {
		require.Zero(t, owner.ask(4, sprintf(`{"optype":0,"method":%q,"host":{"ip":"h","port":1}}`, method)).rcode())
	}
	list := func(p *talker, path string) string {
		return p.ask(32, sprintf(`{"op":"ls","path":%q,"recursive":true}`, path)).body
	}
	for _, path := range []string{"/", "/services"} {
		assert.Contains(t, list(owner, path), "secret.a")
		assert.Contains(t, list(other, path), "/services/open.a/")
		assert.NotContains(t, list(other, path), "secret")
		assert.NotContains(t, list(other, path), "%252e", "a name is the method's and not its escaped one")
	}
	for _, scope := range []string{"children", "subtree"} {
		f := other.ask(32, sprintf(`{"op":"watch","path":"/services","scope":%q}`, scope))
		assert.Equal(t, denied, f.rcode())
		assert.Contains(t, f.body, "ask for the permission discover >")
		assert.Zero(t, owner.ask(32, sprintf(`{"op":"watch","path":"/services","scope":%q}`, scope)).rcode())
	}
	assert.Equal(t, denied, other.ask(32, `{"op":"watch","path":"/","scope":"subtree"}`).rcode())
	assert.Zero(t, other.ask(32, `{"op":"watch","path":"/","scope":"children"}`).rcode())
	assert.Zero(t, other.ask(32, `{"op":"watch","path":"/services/open.a","scope":"subtree"}`).rcode())
	assert.Equal(t, denied, other.ask(32, `{"op":"multi","ops":[{"op":"check","path":"/services/secret.a"}]}`).rcode())
}

func TestCommandsNeedAPermissionOfTheirOwn(t *testing.T) {
	guard, tokens := guardBy(t, `{"identities": {
		"caller": {"allow": {"call": [">"], "provide": [">"], "discover": [">"]}},
		"operator": {"allow": {"admin": ["trefoil.registry.*"]}}}}`, "caller", "operator")
	b := serve(t, newBroker(server.WithLogger(quietLog()), server.WithGuard(guard)))
	for _, relay := range []string{"", `,"relay":1`} {
		for _, method := range []string{server.MethodRegistryStatus, server.MethodRegistryLift} {
			body := sprintf(`{"method":%q,"parameters":{}%s}`, method, relay)
			f := newTalker(t, dialTCP(t, b)).hello(tokens["caller"]).ask(0, body)
			assert.Equal(t, denied, f.rcode())
			assert.Contains(t, f.body, "ask for the permission admin "+method)
			f = newTalker(t, dialTCP(t, b)).hello("").ask(0, body)
			assert.Equal(t, denied, f.rcode())
			f = newTalker(t, dialTCP(t, b)).hello(tokens["operator"]).ask(0, body)
			assert.Zero(t, f.rcode(), f.body)
		}
	}
}
