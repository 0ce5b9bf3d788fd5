package server_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"trefoil/business/access"
	"trefoil/server"
)

// rules are patterns by verb, as a policy has them.
type rules map[string][]string

// member is an identity or a group of a policy.
type member struct {
	Groups []string `json:"groups,omitempty"`
	Allow  rules    `json:"allow,omitempty"`
	Deny   rules    `json:"deny,omitempty"`
}

// statute is a policy, and the slow way to read it: by what docs/security.md says.
type statute struct {
	Identities map[string]member `json:"identities"`
	Groups     map[string]member `json:"groups,omitempty"`
}

// patterns are all that hold for somebody.
func (s *statute) patterns(who, verb string) (allow, deny []string) {
	own := s.Identities[who]
	groups := own.Groups
	if who != "anonymous" {
		groups = append(slices.Clone(groups), "authenticated")
	}
	allow, deny = slices.Clone(own.Allow[verb]), slices.Clone(own.Deny[verb])
	for _, g := range groups {
		allow, deny = append(allow, s.Groups[g].Allow[verb]...), append(deny, s.Groups[g].Deny[verb]...)
	}
	return allow, deny
}

func (s *statute) allows(who, verb, name string) bool {
	allow, deny := s.patterns(who, verb)
	matches := func(p string) bool { return stands(p, name) }
	return slices.ContainsFunc(allow, matches) && !slices.ContainsFunc(deny, matches)
}

// allowsAll says whether one pattern allows all of some names, and nothing denies any.
func (s *statute) allowsAll(who, verb string, names []string) bool {
	allow, deny := s.patterns(who, verb)
	for _, name := range names {
		if slices.ContainsFunc(deny, func(p string) bool { return stands(p, name) }) {
			return false
		}
	}
	return slices.ContainsFunc(allow, func(p string) bool {
		return !slices.ContainsFunc(names, func(name string) bool { return !stands(p, name) })
	})
}

// stands says whether a pattern stands for a name.
func stands(pattern, name string) bool {
	if strings.HasPrefix(pattern, "/") {
		return fits(parts(pattern, "/"), parts(name, "/"), "**", 0)
	}
	return fits(parts(pattern, "."), parts(name, "."), ">", 1)
}

func parts(name, sep string) []string {
	if name = strings.TrimPrefix(name, "/"); name == "" {
		return nil
	}
	return strings.Split(name, sep)
}

// fits compares segment by segment; rest stands for so many segments at least.
func fits(pattern, name []string, rest string, least int) bool {
	switch {
	case len(pattern) == 0:
		return len(name) == 0
	case pattern[0] == rest:
		return len(name) >= least
	case len(name) == 0:
		return false
	}
	return (pattern[0] == "*" || pattern[0] == name[0]) && fits(pattern[1:], name[1:], rest, least)
}

// every is all names of up to depth segments, of which "z" is in no pattern.
func every(depth int, sep string) (names []string) {
	level := []string{""}
	for range depth {
		var next []string
		for _, above := range level {
			for _, s := range []string{"a", "b", "z"} {
				if sep == "." && above == "" {
					next = append(next, s)
				} else {
					next = append(next, above+sep+s)
				}
			}
		}
		names, level = append(names, next...), next
	}
	return names
}

var (
	allNames = every(4, ".")
	allPaths = every(4, "/")
)

// below is a path and all that can be below it.
func below(path string) []string {
	return slices.DeleteFunc(append(slices.Clone(allPaths), "/"), func(p string) bool { return !stands(strings.TrimSuffix(path, "/")+"/**", p) })
}

func aName(sep string, most int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		segments := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b"}), 1, most).Draw(t, "segments")
		if sep == "/" {
			return "/" + strings.Join(segments, sep)
		}
		return strings.Join(segments, sep)
	})
}

func aPattern(sep string) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		segments := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "*"}), 0, 3).Draw(t, "segments")
		rest := ">"
		if sep == "/" {
			rest = "**"
		}
		if len(segments) == 0 || rapid.Bool().Draw(t, "rest") {
			segments = append(segments, rest)
		}
		if sep == "/" {
			return "/" + strings.Join(segments, sep)
		}
		return strings.Join(segments, sep)
	})
}

func aMember(groups ...string) *rapid.Generator[member] {
	return rapid.Custom(func(t *rapid.T) member {
		m := member{Allow: rules{}, Deny: rules{}}
		for _, v := range access.Verbs() {
			sep := "."
			if v == access.NodeRead || v == access.NodeWrite {
				sep = "/"
			}
			if list := rapid.SliceOfN(aPattern(sep), 0, 2).Draw(t, v.String()); len(list) > 0 {
				m.Allow[v.String()] = list
			}
			if list := rapid.SliceOfN(aPattern(sep), 0, 1).Draw(t, "not "+v.String()); len(list) > 0 {
				m.Deny[v.String()] = list
			}
		}
		for _, g := range groups {
			if rapid.Bool().Draw(t, "in "+g) {
				m.Groups = append(m.Groups, g)
			}
		}
		return m
	})
}

// anAct is something that is asked for, and whether the model allows it.
func anAct(t *rapid.T, s *statute, who string) (f frame, allowed bool) {
	name, path := aName(".", 3).Draw(t, "name"), aName("/", 3).Draw(t, "path")
	may := func(verb string) bool { return s.allows(who, verb, name) }
	reads := func(p string) bool { return s.allows(who, "node_read", p) }
	writes := func(p string) bool { return s.allows(who, "node_write", p) }
	const host = `"host":{"ip":"h","port":1}`
	switch kind := rapid.IntRange(0, 16).Draw(t, "kind"); kind {
	case 0:
		return frame{0, "", sprintf(`{"method":%q,"parameters":{}}`, name)}, may("call")
	case 1:
		return frame{4, "", sprintf(`{"optype":1,"method":%q}`, name)}, may("discover")
	case 2:
		return frame{4, "", sprintf(`{"optype":17,"method":%q,%s}`, name, host)}, may("discover")
	case 3, 4, 5: // register, heartbeat, unregister: of several, all or nothing
		more := rapid.SliceOfN(aName(".", 3), 0, 3).Draw(t, "more")
		list, err := json.Marshal(append([]string{}, more...))
		require.NoError(t, err)
		op := []int{0, 16, 3}[kind-3]
		all := may("provide")
		for _, m := range more {
			all = all && s.allows(who, "provide", m)
		}
		return frame{4, "", sprintf(`{"optype":%d,"method":%q,"methods":%s,%s}`, op, name, list, host)}, all
	case 6:
		return frame{2, "", sprintf(`{"optype":0,"topic_key":%q}`, name)}, may("create_topic")
	case 7:
		return frame{2, "", sprintf(`{"optype":1,"topic_key":%q}`, name)}, may("remove_topic")
	case 8:
		return frame{2, "", sprintf(`{"optype":4,"topic_key":%q,"topic_msg":1}`, name)}, may("publish")
	case 9: // where a name may have wildcards
		name = aPattern(".").Draw(t, "pattern")
		return frame{2, "", sprintf(`{"optype":%d,"topic_key":%q}`, rapid.IntRange(2, 3).Draw(t, "op"), name)},
			s.allowsAll(who, "subscribe", slices.DeleteFunc(slices.Clone(allNames), func(n string) bool { return !stands(name, n) }))
	case 10:
		op := rapid.SampledFrom([]string{"get", "stat", "exists", "ls"}).Draw(t, "op")
		return frame{32, "", sprintf(`{"op":%q,"path":%q}`, op, path)}, reads(path)
	case 11:
		scope := rapid.SampledFrom([]string{"node", "children", "subtree"}).Draw(t, "scope")
		ok := reads(path)
		if scope != "node" {
			ok = s.allowsAll(who, "node_read", below(path))
		}
		return frame{32, "", sprintf(`{"op":"watch","path":%q,"scope":%q}`, path, scope)}, ok
	case 12:
		return frame{32, "", sprintf(`{"op":"set","path":%q,"data":"x"}`, path)}, writes(path)
	case 13:
		ok := writes(path)
		for p := path; p != ""; p = p[:strings.LastIndexByte(p, '/')] {
			ok = ok && writes(p)
		}
		return frame{32, "", sprintf(`{"op":"create","path":%q,"parents":true}`, path)}, ok
	case 14:
		return frame{32, "", sprintf(`{"op":"delete","path":%q,"recursive":true}`, path)}, s.allowsAll(who, "node_write", below(path))
	case 15:
		other := aName("/", 3).Draw(t, "other")
		return frame{32, "", sprintf(`{"op":"multi","ops":[{"op":"check","path":%q},{"op":"delete","path":%q}]}`, path, other)}, reads(path) && writes(other)
	}
	method := name
	return frame{32, "", sprintf(`{"op":"get","path":"/services/%s"}`, method)}, reads("/services/"+method) && may("discover")
}

// TestBrokerDoesWhatThePolicySays asks for random things under random policies, and
// compares the answers with those of a model that tries all names there are.
func TestBrokerDoesWhatThePolicySays(t *testing.T) {
	seen := map[bool]int{}
	rapid.Check(t, func(rt *rapid.T) {
		s := &statute{
			Identities: map[string]member{"u": aMember("g", "h").Draw(rt, "u"), "anonymous": aMember("h").Draw(rt, "anonymous")},
			Groups:     map[string]member{"g": aMember().Draw(rt, "g"), "h": aMember().Draw(rt, "h"), "authenticated": aMember().Draw(rt, "authenticated")},
		}
		text, err := json.Marshal(s)
		require.NoError(rt, err)
		guard, tokens := guardBy(t, string(text), "u")
		_, dial := memRoad(t, server.WithGuard(guard), server.WithLogger(quietLog()))
		for _, who := range []string{"u", "anonymous"} {
			p := newTalker(t, dial("")).hello(tokens[who])
			for range 25 {
				f, allowed := anAct(rt, s, who)
				answer := p.answer(f.mtype, f.body)
				seen[allowed]++
				require.Equal(rt, allowed, answer.rcode() != denied, "%s by %s under %s: %s", f.body, who, text, answer.body)
			}
		}
	})
	assert.Greater(t, seen[true], 100, "a test that allows nothing shows nothing")
	assert.Greater(t, seen[false], 100)
}

// TestListsShowWhatThePolicySays builds a tree and a registry, and compares what
// somebody sees of them with the model.
func TestListsShowWhatThePolicySays(t *testing.T) {
	names := every(2, ".")
	rapid.Check(t, func(rt *rapid.T) {
		s := &statute{Identities: map[string]member{
			"owner": {Allow: rules{"node_read": {"/**"}, "node_write": {"/**"}, "provide": {">"}, "discover": {">"}}},
			"u":     aMember().Draw(rt, "u"),
		}}
		u := s.Identities["u"]
		u.Allow["node_read"] = append(u.Allow["node_read"], "/", "/services/**") // else there is no list at all
		delete(u.Deny, "node_read")
		if rapid.Bool().Draw(rt, "deny") {
			u.Deny["node_read"] = []string{aPattern("/").Filter(func(p string) bool { return !stands(p, "/") }).Draw(rt, "but")}
		}
		text, err := json.Marshal(s)
		require.NoError(rt, err)
		guard, tokens := guardBy(t, string(text), "owner", "u")
		_, dial := memRoad(t, server.WithGuard(guard), server.WithLogger(quietLog()))
		owner, p := newTalker(t, dial("")).hello(tokens["owner"]), newTalker(t, dial("")).hello(tokens["u"])
		for _, path := range every(2, "/") {
			require.Zero(rt, owner.ask(32, sprintf(`{"op":"create","path":%q}`, path)).rcode())
		}
		for _, name := range names {
			require.Zero(rt, owner.ask(4, sprintf(`{"optype":0,"method":%q,"host":{"ip":"h","port":1}}`, name)).rcode())
		}
		paths := func(p *talker) (list []string) {
			nodes, _ := p.ask(32, `{"op":"ls","path":"/","recursive":true}`).field("nodes").([]any)
			for _, n := range nodes {
				path, ok := n.(string)
				if !ok {
					path = n.(map[string]any)["path"].(string)
				}
				list = append(list, path)
			}
			return list
		}
		all := paths(owner)
		require.Greater(rt, len(all), 12+2*len(names))
		var want []string
		for _, path := range all {
			ok := s.allows("u", "node_read", path)
			if rest, registered := strings.CutPrefix(path, "/services/"); registered {
				ok = ok && s.allows("u", "discover", strings.Split(rest, "/")[0])
			}
			if ok {
				want = append(want, path)
			}
		}
		require.Equal(rt, want, paths(p), "%s", text)
	})
}
