package access

import (
	"encoding/json"
	"fmt"
	"slices"

	"trefoil/abstract"
)

// Authenticated is the group of every identity but Anonymous. A policy need not
// name its members, and cannot.
const Authenticated = "authenticated"

// Policy is a file of permissions, compiled for each identity. It is never
// changed, and safe for concurrent use.
type Policy struct {
	subjects map[string]*subject
	known    map[string]bool // the identities that the file names
	others   *subject        // who has an identity that the file does not name
	certs    []certRule
}

// subject is what one identity may do.
type subject struct {
	rules [verbs]rules
	quota Quota
}

// rules is what one identity may do with one verb.
type rules struct{ allow, deny set }

// set is patterns, those without wildcards apart.
type set struct {
	exact    map[string]struct{}
	patterns []pattern
}

func (s *set) has(name string) bool {
	if _, ok := s.exact[name]; ok {
		return true
	}
	for i := range s.patterns {
		if s.patterns[i].match(name) {
			return true
		}
	}
	return false
}

// covers reports whether one of the patterns stands for all that q stands for.
func (s *set) covers(q *pattern) bool {
	return slices.ContainsFunc(s.patterns, func(p pattern) bool { return p.covers(q) })
}

// overlaps reports whether the set has any name that q stands for.
func (s *set) overlaps(q *pattern) bool {
	for name := range s.exact {
		if q.match(name) {
			return true
		}
	}
	return slices.ContainsFunc(s.patterns, func(p pattern) bool { return p.overlaps(q) })
}

func (s *set) add(t set) {
	for name := range t.exact {
		if s.exact == nil {
			s.exact = make(map[string]struct{})
		}
		s.exact[name] = struct{}{}
	}
	s.patterns = append(s.patterns, t.patterns...)
}

// allows reports whether the rules allow a name. It does not allocate.
func (r *rules) allows(syn syntax, name string) bool {
	return r.allow.has(name) && syn.canonical(name) && !r.deny.has(name)
}

// allowsAll reports whether the rules allow every name that q stands for: one
// pattern of theirs allows them all, and none is denied.
func (r *rules) allowsAll(q *pattern) bool { return r.allow.covers(q) && !r.deny.overlaps(q) }

// entry is an identity or a group in the file.
type entry struct {
	groups []string
	rules  [verbs]rules
	quota  Quota
}

// file is a policy as it is written.
type file struct {
	identities, groups map[string]*entry
	certs              []certRule
}

// ParsePolicy reads a policy:
//
//	{
//	  "identities": {
//	    "billing":   {"groups": ["services"], "allow": {"publish": ["orders.*"]}, "deny": {"call": ["admin.>"]},
//	                  "quota": {"in_flight": 500}},
//	    "anonymous": {"allow": {"call": ["time.now"]}}
//	  },
//	  "groups": {
//	    "services":      {"allow": {"call": [">"], "node_read": ["/config/**"]}},
//	    "authenticated": {"allow": {"discover": [">"]}}
//	  },
//	  "certificates": [{"uri": "spiffe://corp/ns/*/sa/billing", "identity": "billing"}]
//	}
//
// The keys of allow and deny are the verbs. In names with dots * stands for one
// segment and > for one or more at the end; in paths of nodes * stands for one
// segment, and /a/** for /a and all below it. The first rule of certificates that
// matches counts. Every key may be left out; an unknown one is an error.
func ParsePolicy(data []byte) (*Policy, error) {
	f := &file{identities: make(map[string]*entry), groups: make(map[string]*entry)}
	err := readObject("", data, map[string]reader{
		"identities": f.readEntries(f.identities, true),
		"groups":     f.readEntries(f.groups, false),
		"certificates": func(at string, value json.RawMessage) error {
			return f.readCerts(at, value)
		},
	})
	if err == nil {
		err = f.checkGroups()
	}
	if err != nil {
		return nil, abstract.Errorf(abstract.InvalidParams, "policy: %v", err)
	}
	return f.compile(), nil
}

func (f *file) readEntries(dst map[string]*entry, identities bool) reader {
	return func(at string, value json.RawMessage) error {
		return eachKey(at, value, func(name string, value json.RawMessage) error {
			if err := checkName(name); err != nil {
				return fmt.Errorf("%s: %w", at, err)
			}
			e, err := readPolicyEntry(below(at, name), value, identities)
			dst[name] = e
			return err
		})
	}
}

func readPolicyEntry(at string, value json.RawMessage, identity bool) (*entry, error) {
	e := new(entry)
	var note string
	keys := map[string]reader{
		"allow": readRules(e, func(r *rules) *set { return &r.allow }),
		"deny":  readRules(e, func(r *rules) *set { return &r.deny }),
		"quota": e.quota.read,
		"note":  into(&note, "a text"),
	}
	if identity {
		keys["groups"] = into(&e.groups, "a list of names of groups")
	}
	return e, readObject(at, value, keys)
}

func readRules(e *entry, which func(*rules) *set) reader {
	return func(at string, value json.RawMessage) error {
		keys := make(map[string]reader, verbs)
		for _, v := range Verbs() {
			keys[v.String()] = func(at string, value json.RawMessage) error {
				return which(&e.rules[v]).read(v.syntax(), at, value)
			}
		}
		return readObject(at, value, keys)
	}
}

func (s *set) read(syn syntax, at string, value json.RawMessage) error {
	list, err := decode[[]string](at, "a list of patterns", value)
	if err != nil {
		return err
	}
	for i, text := range list {
		p, exact, err := syn.compile(text)
		switch {
		case err != nil:
			return fmt.Errorf("%s[%d]: %w", at, i, err)
		case exact:
			s.add(set{exact: map[string]struct{}{text: {}}})
		default:
			s.patterns = append(s.patterns, p)
		}
	}
	return nil
}

func (f *file) readCerts(at string, value json.RawMessage) error {
	list, err := decode[[]json.RawMessage](at, "a list of objects", value)
	if err != nil {
		return err
	}
	for i, raw := range list {
		r, err := readCertRule(fmt.Sprintf("%s[%d]", at, i), raw)
		if err != nil {
			return err
		}
		f.certs = append(f.certs, r)
	}
	return nil
}

// checkGroups looks whether the groups that identities are in exist.
func (f *file) checkGroups() error {
	for name, e := range f.identities {
		for _, g := range e.groups {
			at := below("identities", name) + ".groups"
			if g == Authenticated {
				return fmt.Errorf("%s: every identity but %q is in %q; leave it out", at, Anonymous, Authenticated)
			}
			if f.groups[g] == nil {
				return fmt.Errorf("%s: there is no group %s", at, quote(g))
			}
		}
	}
	return nil
}

func (f *file) compile() *Policy {
	p := &Policy{subjects: make(map[string]*subject), known: make(map[string]bool), certs: f.certs}
	for name, e := range f.identities {
		p.subjects[name] = f.subject(name, e)
		p.known[name] = true
	}
	if p.subjects[Anonymous] == nil {
		p.subjects[Anonymous] = new(subject)
	}
	p.others = f.subject("", new(entry))
	return p
}

// subject joins what an identity and its groups may do.
func (f *file) subject(name string, e *entry) *subject {
	groups := make([]*entry, 0, len(e.groups)+1)
	for _, g := range e.groups {
		groups = append(groups, f.groups[g])
	}
	if g := f.groups[Authenticated]; g != nil && name != Anonymous {
		groups = append(groups, g)
	}
	s := new(subject)
	for _, from := range append(groups, e) {
		for v := range s.rules {
			s.rules[v].allow.add(from.rules[v].allow)
			s.rules[v].deny.add(from.rules[v].deny)
		}
	}
	s.quota = e.quota.or(groups)
	return s
}

// of returns what an identity may do.
func (p *Policy) of(identity string) *subject {
	if s := p.subjects[identity]; s != nil {
		return s
	}
	return p.others
}

// Identities returns the names of the identities that the policy gives something
// of their own, in order.
func (p *Policy) Identities() []string {
	names := make([]string, 0, len(p.known))
	for name := range p.known {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// identify finds the identity of a certificate.
func (p *Policy) identify(c *certificate) (identity string, ok bool) {
	if p == nil {
		return "", false
	}
	for i := range p.certs {
		if p.certs[i].matches(c) {
			return p.certs[i].identity, true
		}
	}
	return "", false
}

// String says how large the policy is.
func (p *Policy) String() string {
	if p == nil {
		return "no policy: everything is allowed"
	}
	return fmt.Sprintf("policy with %d identities and %d rules for certificates", len(p.known), len(p.certs))
}
