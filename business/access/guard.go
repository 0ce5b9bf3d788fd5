package access

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/abstract"
)

// Guard answers who somebody is and what he may do, by the Policy and the Tokens
// that it was given last. Safe for concurrent use; the answers take no lock.
type Guard struct {
	state atomic.Pointer[state]

	mu       sync.Mutex // held by Reload, and to make accounts
	accounts map[string]*Account
}

type state struct {
	policy *Policy // nil: everything is allowed
	tokens *Tokens // nil: nobody has one
}

// NewGuard makes a Guard. Without a Policy everything is allowed to everybody.
func NewGuard(p *Policy, t *Tokens) *Guard {
	g := &Guard{accounts: make(map[string]*Account)}
	g.state.Store(&state{p, t})
	return g
}

// Reload puts another Policy and other Tokens in place of the old ones, both at
// once; nil means that there are none. It returns the identities, in order, that
// the old ones knew and the new ones do not know: by no token, no rule for
// certificates and no entry of the policy. Connections that are open keep their
// Identity; ask Valid for each, which also finds those whose token alone is gone.
func (g *Guard) Reload(p *Policy, t *Tokens) (vanished []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	next := &state{p, t}
	last := g.state.Swap(next)
	for name, a := range g.accounts {
		a.limit(next.quota(name))
	}
	names := next.names()
	for name := range last.names() {
		if !names[name] {
			vanished = append(vanished, name)
		}
	}
	slices.Sort(vanished)
	return vanished
}

// names are the identities that somebody can have.
func (s *state) names() map[string]bool {
	names := make(map[string]bool)
	if s.tokens != nil {
		for _, e := range s.tokens.table().entries {
			names[e.Identity] = true
		}
	}
	if s.policy != nil {
		for name := range s.policy.known {
			names[name] = true
		}
		for i := range s.policy.certs {
			names[s.policy.certs[i].identity] = true
		}
	}
	delete(names, Anonymous)
	return names
}

func (s *state) quota(identity string) Quota {
	if s.policy == nil {
		return Quota{}
	}
	return s.policy.of(identity).quota
}

// Open reports whether there is no Policy, so that everything is allowed.
func (g *Guard) Open() bool { return g.state.Load().policy == nil }

// Authenticate finds out who a peer is: by its token if it sent one, else by its
// certificate, else it is anonymous. peer is the chain that TLS has verified, the
// peer's own first; nil when there is none. A token that is not known, or no longer,
// is refused with code Denied and never makes anybody anonymous, unless the Guard
// has neither Policy nor Tokens.
func (g *Guard) Authenticate(token Token, peer []*x509.Certificate, now time.Time) (Identity, error) {
	s := g.state.Load()
	if !token.IsZero() && (s.policy != nil || s.tokens != nil) {
		e, ok := s.tokens.lookup(token.Reveal(), now)
		if !ok {
			return Identity{}, abstract.Errorf(abstract.Denied,
				"the token is not known here, or no longer: ask the operator for another one")
		}
		return Identity{name: e.Identity, proof: proof{token: e.sum}}, nil
	}
	if len(peer) == 0 {
		return Identity{}, nil
	}
	c := certificateOf(peer[0])
	name, ok := s.policy.identify(c)
	if !ok {
		return Identity{}, nil
	}
	return Identity{name: name, proof: proof{cert: c}}, nil
}

// Valid reports whether what an identity was proved by still proves it: its token is
// in the file and has not expired, or its certificate is still mapped to it. The
// end of a certificate's own time does not matter once the connection is there.
// Ask after Reload, and now and then for tokens that expire.
func (g *Guard) Valid(id Identity, now time.Time) bool {
	s := g.state.Load()
	switch {
	case id.IsAnonymous():
		return true
	case id.proof.cert != nil:
		name, ok := s.policy.identify(id.proof.cert)
		return ok && name == id.name
	}
	e, ok := s.tokens.find(id.proof.token())
	return ok && e.valid(now) && e.Identity == id.name
}

// Check returns nil when an identity may use a verb on a name, else an Error of
// code Denied, which tells what is missing and nothing about whether the name
// exists: so ask before looking. A name to subscribe to that has the wildcards of
// topics is allowed when all that it stands for is.
//
// A name that the policy spells out takes less than 100 ns, and nothing that is
// allowed allocates.
func (g *Guard) Check(identity string, v Verb, name string) error {
	if g.allowed(identity, v, name) {
		return nil
	}
	return denied(identity, v, name)
}

// Visible reports what Check does, without the words: for lists.
func (g *Guard) Visible(identity string, v Verb, name string) bool {
	return g.allowed(identity, v, name)
}

// Filter returns those of names that an identity may use the verb on, in their
// order. It reuses the slice.
func (g *Guard) Filter(identity string, v Verb, names []string) []string {
	return slices.DeleteFunc(names, func(name string) bool { return !g.allowed(identity, v, name) })
}

// CheckBelow is Check for a node and everything below it: for watches of a subtree
// and for deleting one. It is denied when anything there is, or when no single
// pattern allows all of it.
func (g *Guard) CheckBelow(identity string, v Verb, path string) error {
	s := g.state.Load()
	if s.policy == nil {
		return nil
	}
	all := "/**"
	if path != "/" {
		all = path + "/**"
	}
	q := paths.parse(all)
	if v.syntax() == paths && paths.canonical(path) && s.policy.of(identity).rules[v].allowsAll(&q) {
		return nil
	}
	return denied(identity, v, all)
}

// CheckAll is Check for every name that there can be, none of paths: it is denied
// when anything there is, or when no single pattern allows all of it.
func (g *Guard) CheckAll(identity string, v Verb) error {
	s := g.state.Load()
	if s.policy == nil {
		return nil
	}
	q := dotted.parse(dotted.rest)
	if v < verbs && v.syntax() == dotted && s.policy.of(identity).rules[v].allowsAll(&q) {
		return nil
	}
	return denied(identity, v, dotted.rest)
}

func (g *Guard) allowed(identity string, v Verb, name string) bool {
	s := g.state.Load()
	if s.policy == nil {
		return true
	}
	if v >= verbs {
		return false
	}
	r, syn := &s.policy.of(identity).rules[v], v.syntax()
	if v == Subscribe && syn.wild(name) {
		q := syn.parse(name)
		return r.allowsAll(&q)
	}
	return r.allows(syn, name)
}

// wild reports whether a name has a wildcard for a segment.
func (syn syntax) wild(name string) bool {
	for rest, more := name, true; more; {
		var s string
		if s, rest, more = cut(rest, syn.sep); s == anyOne || s == syn.rest && !more {
			return true
		}
	}
	return false
}

// denied is the refusal. It is the same whether the name exists or not.
func denied(identity string, v Verb, name string) error {
	phrase := "use " + v.String() + " on"
	if v < verbs {
		phrase = verbWords[v].phrase
	}
	shown := quote(name)
	return abstract.Errorf(abstract.Denied, "identity %s may not %s %s: ask for the permission %s %s",
		quote(identity), phrase, shown, v, shown[1:len(shown)-1])
}

// Account returns the account of an identity, always the same one: keep it with
// the connection.
func (g *Guard) Account(identity string) *Account {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.accounts[identity]
	if a == nil {
		a = &Account{identity: identity}
		a.limit(g.state.Load().quota(identity))
		g.accounts[identity] = a
	}
	return a
}

// Accounts returns the accounts that were asked for, by the names of their
// identities: for commands that show who uses how much.
func (g *Guard) Accounts() []*Account {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := make([]*Account, 0, len(g.accounts))
	for _, a := range g.accounts {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b *Account) int { return strings.Compare(a.identity, b.identity) })
	return list
}

// String says what the guard goes by.
func (g *Guard) String() string {
	s := g.state.Load()
	return fmt.Sprintf("%v, %v", s.policy, s.tokens)
}

// Format writes what the guard goes by, whatever the verb.
func (g *Guard) Format(f fmt.State, verb rune) { formatWord(f, verb, g.String()) }
