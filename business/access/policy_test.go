package access

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

const example = `{
  "identities": {
    "billing":   {"groups": ["services"], "allow": {"publish": ["orders", "invoices.*"], "subscribe": ["orders.>", "jobs.*"]},
                  "deny": {"call": ["admin.>"], "subscribe": ["orders.secret"], "node_read": ["/config/keys/**"]}},
    "anonymous": {"allow": {"call": ["time.now"]}},
    "root":      {"allow": {"call": [">"], "provide": [">"], "discover": [">"], "publish": [">"], "subscribe": [">"],
                  "create_topic": [">"], "remove_topic": [">"], "node_read": ["/**"], "node_write": ["/**"], "admin": [">"]}}
  },
  "groups": {
    "services":      {"allow": {"call": [">"], "node_read": ["/config/**"], "node_write": ["/app/*/state"]}},
    "authenticated": {"allow": {"discover": ["math.*"]}}
  }
}`

func parse(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := ParsePolicy([]byte(text))
	require.NoError(t, err)
	return p
}

func TestPolicyDecides(t *testing.T) {
	g := NewGuard(parse(t, example), nil)
	for _, tt := range []struct {
		name, identity string
		verb           Verb
		on             string
		allowed        bool
	}{
		{"own permission", "billing", Publish, "orders", true},
		{"own permission with a star", "billing", Publish, "invoices.eu", true},
		{"not another name", "billing", Publish, "orders2", false},
		{"not another verb", "billing", CreateTopic, "orders", false},
		{"a group's permission", "billing", Call, "math.add", true},
		{"deny wins over a group's allow", "billing", Call, "admin.stop", false},
		{"the group of all who proved something", "billing", Discover, "math.add", true},
		{"who is not named has that group too", "stranger", Discover, "math.add", true},
		{"and nothing else", "stranger", Call, "time.now", false},
		{"anonymous has what is anonymous'", Anonymous, Call, "time.now", true},
		{"anonymous is in no group by itself", Anonymous, Discover, "math.add", false},
		{"a node", "billing", NodeRead, "/config/db", true},
		{"a denied node", "billing", NodeRead, "/config/keys/tls", false},
		{"the denied node itself", "billing", NodeRead, "/config/keys", false},
		{"another way to write a node", "billing", NodeRead, "/config//db", false},
		{"a slash at the end", "billing", NodeRead, "/config/db/", false},
		{"no path at all", "root", NodeRead, "config", false},
		{"a node to write", "billing", NodeWrite, "/app/a/state", true},
		{"reading is not writing", "billing", NodeWrite, "/config/db", false},
		{"a filter inside an allowed one", "billing", Subscribe, "jobs.*", true},
		{"a filter wider than what is allowed", "billing", Subscribe, "*.*", false},
		{"a filter that has a denied name", "billing", Subscribe, "orders.*", false},
		{"a filter that has no denied name", "billing", Subscribe, "orders.eu.>", true},
		{"everything but what is denied", "billing", Subscribe, ">", false},
		{"an empty name", "root", Call, "", false},
		{"an unknown verb", "root", verbs, "a", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := g.Check(tt.identity, tt.verb, tt.on)
			assert.Equal(t, tt.allowed, err == nil)
			assert.Equal(t, tt.allowed, g.Visible(tt.identity, tt.verb, tt.on))
			if !tt.allowed {
				assert.ErrorIs(t, err, abstract.ErrDenied)
			}
		})
	}
}

func TestEachVerbIsAPermissionOfItsOwn(t *testing.T) {
	for _, v := range Verbs() {
		all := `">"`
		if v.syntax() == paths {
			all = `"/**"`
		}
		g := NewGuard(parse(t, `{"identities": {"x": {"allow": {"`+v.String()+`": [`+all+`]}}, "root": {}}}`), nil)
		for _, other := range Verbs() {
			name := "a.b"
			if other.syntax() == paths {
				name = "/a/b"
			}
			assert.Equal(t, v == other, g.Visible("x", other, name), "%v given, %v asked", v, other)
			assert.Error(t, g.Check("root", other, name), "default is to deny")
		}
	}
}

func TestWithoutPolicyEverythingIsAllowed(t *testing.T) {
	g := NewGuard(nil, nil)
	assert.True(t, g.Open())
	for _, v := range Verbs() {
		assert.NoError(t, g.Check(Anonymous, v, "anything at all"))
	}
	require.NoError(t, g.CheckBelow(Anonymous, NodeWrite, "/"))
	id, err := g.Authenticate(TokenOf("tfl_whatever"), nil, time.Now())
	require.NoError(t, err)
	assert.True(t, id.IsAnonymous())
}

func TestAnEmptyPolicyAllowsNothing(t *testing.T) {
	g := NewGuard(parse(t, `{}`), nil)
	assert.False(t, g.Open())
	assert.Error(t, g.Check(Anonymous, Call, "a"))
	assert.Error(t, g.Check("x", Call, "a"))
}

func TestRefusalNamesWhatIsMissing(t *testing.T) {
	g := NewGuard(parse(t, `{}`), nil)
	for verb, want := range map[Verb]string{
		Publish:   `identity "billing" may not publish to "orders": ask for the permission publish orders`,
		Call:      `identity "billing" may not call "orders": ask for the permission call orders`,
		NodeWrite: `identity "billing" may not write the node "orders": ask for the permission node_write orders`,
	} {
		err := g.Check("billing", verb, "orders")
		var e *abstract.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, want, e.Message)
	}
	err := g.Check("billing", Call, strings.Repeat("x", 100_000)+"\n")
	assert.Less(t, len(err.Error()), 600, "a long name is cut")
	assert.NotContains(t, g.Check("billing", Call, "a\nb").Error(), "\n")
	assert.NotContains(t, g.Check("billing", Call, "tfl_abcdef").Error(), "abcdef")
}

func TestCheckBelowAsksForTheWholeSubtree(t *testing.T) {
	g := NewGuard(parse(t, example), nil)
	for _, tt := range []struct {
		name, path string
		allowed    bool
	}{
		{"something below is denied", "/config", false},
		{"nothing below is denied", "/config/db", true},
		{"denied itself", "/config/keys/tls", false},
		{"above what is allowed", "/", false},
		{"not canonical", "/config/db/", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.allowed, g.CheckBelow("billing", NodeRead, tt.path) == nil)
		})
	}
	require.NoError(t, g.CheckBelow("root", NodeWrite, "/"))
	assert.ErrorContains(t, g.CheckBelow("billing", NodeRead, "/config"), "node_read /config/**")
}

func TestListsAreFiltered(t *testing.T) {
	g := NewGuard(parse(t, example), nil)
	assert.Equal(t, []string{"math.add"}, g.Filter(Anonymous+"x", Discover, []string{"sys.stop", "math.add", "math.a.b"}))
}

func TestPolicyFaultsAreNamed(t *testing.T) {
	for _, tt := range []struct{ name, policy, says string }{
		{"unknown key at the top", `{"identites": {}}`, `unknown key "identites": did you mean "identities"?`},
		{"unknown key of an identity", `{"identities": {"a": {"alow": {}}}}`, `identities.a: unknown key "alow": did you mean "allow"?`},
		{"unknown verb", `{"groups": {"g": {"allow": {"publsh": []}}}}`, `groups.g.allow: unknown key "publsh": did you mean "publish"?`},
		{"nothing like it", `{"zzzzzzzzzz": 1}`, `known are certificates, groups, identities`},
		{"case counts", `{"Groups": {}}`, `did you mean "groups"?`},
		{"a group in a group", `{"groups": {"g": {"groups": ["h"]}}}`, `unknown key "groups"`},
		{"a key twice", `{"identities": {"a": {}, "a": {}}}`, `the key "a" is there twice`},
		{"a group that is not there", `{"identities": {"a": {"groups": ["g"]}}}`, `there is no group "g"`},
		{"the implied group", `{"identities": {"a": {"groups": ["authenticated"]}}}`, "leave it out"},
		{"a bad pattern", `{"identities": {"a": {"deny": {"call": ["x", "a.>.b"]}}}}`, "identities.a.deny.call[1]: pattern"},
		{"no list", `{"identities": {"a": {"allow": {"call": "x"}}}}`, "want a list of patterns"},
		{"null", `{"identities": {"a": {"allow": {"call": null}}}}`, "want a list of patterns"},
		{"a null entry", `{"identities": {"a": null}}`, "identities.a: want an object"},
		{"a bad name", `{"identities": {"a b": {}}}`, "may only have letters"},
		{"a token for a name", `{"identities": {"tfl_secretsecret": {}}}`, "looks like a token"},
		{"a token for a key", `{"tfl_secretsecret": {}}`, "(hidden)"},
		{"not JSON", `{"identities": {"a": {,}}}`, "no valid JSON"},
		{"no object", `[]`, "want an object"},
		{"cut off", `{"identities": {`, "want a value"},
		{"text after it", `{} {}`, "text after the end"},
		{"nothing", ``, "ends too early"},
		{"a quota below 0", `{"groups": {"g": {"quota": {"nodes": -1}}}}`, "want a whole number"},
		{"a broken quota", `{"groups": {"g": {"quota": {"nodes": 1.5}}}}`, "want a whole number"},
		{"an unknown quota", `{"groups": {"g": {"quota": {"conections": 1}}}}`, `did you mean "connections"?`},
		{"a burst alone", `{"groups": {"g": {"quota": {"burst_bytes": 1}}}}`, "belongs to bytes_per_second"},
		{"a rule for no certificate", `{"certificates": [{"identity": "a"}]}`, "say which certificates"},
		{"a rule for nobody", `{"certificates": [{"dns": "a"}]}`, "the name is empty"},
		{"a rule that makes anonymous", `{"certificates": [{"dns": "a", "identity": "anonymous"}]}`, "take another name"},
		{"a URI without scheme", `{"certificates": [{"uri": "a/b", "identity": "a"}]}`, "is no URI"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParsePolicy([]byte(tt.policy))
			require.ErrorContains(t, err, tt.says)
			assert.ErrorIs(t, err, abstract.ErrInvalidParams)
			assert.NotContains(t, err.Error(), "secretsecret")
		})
	}
}

func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte(`{"certificates": [{"uri": "spiffe://a/**", "identity": "x"}], "groups": {"g": {"quota": {"nodes": 1}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParsePolicy(data)
		if err != nil {
			return
		}
		g := NewGuard(p, nil)
		for _, v := range Verbs() {
			for _, name := range []string{"a.b", "/a", "", ">", "/**"} {
				_ = g.Check("billing", v, name)
			}
		}
	})
}
