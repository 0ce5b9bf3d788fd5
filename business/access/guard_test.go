package access

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

var noon = time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)

func issue(t testing.TB, identity string, expires time.Time) (Token, Entry) {
	t.Helper()
	token, e, err := NewToken(identity, "", expires)
	require.NoError(t, err)
	return token, e
}

func tokens(t testing.TB, entries ...Entry) *Tokens {
	t.Helper()
	list, err := NewTokens(entries...)
	require.NoError(t, err)
	return list
}

func sumOf(e Entry) []byte {
	h := e.sum()
	return h[:]
}

func TestTokenProvesItsIdentity(t *testing.T) {
	token, e := issue(t, "billing", time.Time{})
	short, f := issue(t, "cron", noon)
	g := NewGuard(nil, tokens(t, e, f))
	assert.Regexp(t, `^tfl_[A-Za-z0-9_-]{43}$`, token.Reveal())

	id, err := g.Authenticate(token, nil, noon)
	require.NoError(t, err)
	assert.Equal(t, "billing", id.Name())
	id, err = g.Authenticate(TokenOf(short.Reveal()), nil, noon.Add(-1))
	require.NoError(t, err)
	assert.Equal(t, "cron", id.Name())
	assert.True(t, g.Valid(id, noon.Add(-1)))
	assert.False(t, g.Valid(id, noon), "it has expired")

	for name, bad := range map[string]string{
		"unknown": "tfl_" + strings.Repeat("A", 43), "cut": token.Reveal()[:20], "changed": token.Reveal()[:46] + "!",
		"longer": token.Reveal() + "A", "huge": strings.Repeat("A", 1<<20), "the hash": string(sumOf(e)), "expired": short.Reveal(),
	} {
		_, err := g.Authenticate(TokenOf(bad), nil, noon)
		require.ErrorIs(t, err, abstract.ErrDenied, name)
		assert.NotContains(t, err.Error(), bad)
	}
	id, err = g.Authenticate(Token{}, nil, noon)
	require.NoError(t, err)
	assert.True(t, id.IsAnonymous())
	assert.Equal(t, Anonymous, id.Name())
}

func TestTokenIsRefusedWhereAPolicyKnowsNone(t *testing.T) {
	_, err := NewGuard(parse(t, `{}`), nil).Authenticate(TokenOf("tfl_x"), nil, noon)
	assert.ErrorIs(t, err, abstract.ErrDenied, "it must not fall back to anonymous")
}

func TestFileOfTokensComesBackAsItWas(t *testing.T) {
	_, e, err := NewToken("billing", "made for cron", noon)
	require.NoError(t, err)
	_, f := issue(t, "orders", time.Time{})
	file, err := MarshalTokens([]Entry{e, f})
	require.NoError(t, err)
	list, err := ParseTokens(file)
	require.NoError(t, err)
	again, err := MarshalTokens(list.Entries())
	require.NoError(t, err)
	assert.Equal(t, string(file), string(again))
	assert.Contains(t, string(file), `"note": "made for cron"`)
	assert.Contains(t, string(file), `"expires": "2030-01-02T12:00:00Z"`)
	empty, err := MarshalTokens(nil)
	require.NoError(t, err)
	_, err = ParseTokens(empty)
	require.NoError(t, err)
}

func TestFaultsOfTokensAreNamedWithoutThem(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	for _, tt := range []struct{ name, file, says string }{
		{"unknown key", `{"tokens": [{"identiti": "a"}]}`, `did you mean "identity"?`},
		{"no hash", `{"tokens": [{"identity": "a"}]}`, "tokens[0].sha256: want 64 hex digits"},
		{"a short hash", `{"tokens": [{"identity": "a", "sha256": "abcd"}]}`, "want 64 hex digits"},
		{"a long hash", `{"tokens": [{"identity": "a", "sha256": "` + sum + `ab"}]}`, "want 64 hex digits"},
		{"the token in place of the hash", `{"tokens": [{"identity": "a", "sha256": "tfl_secretsecret"}]}`, "the token itself"},
		{"the token in place of the name", `{"tokens": [{"identity": "tfl_secretsecret", "sha256": "` + sum + `"}]}`, "looks like a token"},
		{"the token as a note", `{"tokens": [{"identity": "a", "sha256": "` + sum + `", "note": "it is tfl_secretsecret"}]}`, "looks like a token"},
		{"the token as a key", `{"tfl_secretsecret": []}`, "hidden"},
		{"the token as a list", `{"tokens": "tfl_secretsecret"}`, "want a list"},
		{"the token bare", `tfl_secretsecret`, "no valid JSON"},
		{"anonymous", `{"tokens": [{"identity": "anonymous", "sha256": "` + sum + `"}]}`, "take another name"},
		{"a bad time", `{"tokens": [{"identity": "a", "sha256": "` + sum + `", "expires": "tomorrow"}]}`, "want a time like"},
		{"twice", `{"tokens": [{"identity": "a", "sha256": "` + sum + `"}, {"identity": "b", "sha256": "` + sum + `"}]}`, "there twice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseTokens([]byte(tt.file))
			require.ErrorContains(t, err, tt.says)
			assert.NotContains(t, err.Error(), "secretsecret")
			assert.NotContains(t, err.Error(), sum)
		})
	}
	_, _, err := NewToken(Anonymous, "", time.Time{})
	require.ErrorIs(t, err, abstract.ErrInvalidParams)
	_, _, err = NewToken("a", "tfl_x", time.Time{})
	require.ErrorIs(t, err, abstract.ErrInvalidParams)
}

func cert(cn string, dns []string, uris ...string) *x509.Certificate {
	c := &x509.Certificate{Subject: pkix.Name{CommonName: cn}, DNSNames: dns}
	for _, text := range uris {
		u, err := url.Parse(text)
		if err != nil {
			panic(err)
		}
		c.URIs = append(c.URIs, u)
	}
	return c
}

const mapping = `{"certificates": [
  {"uri": "spiffe://corp/ns/*/sa/billing", "identity": "billing"},
  {"uri": "spiffe://corp/ops/**", "common_name": "admin", "identity": "root"},
  {"dns": "*.Web.corp", "identity": "web"},
  {"common_name": "*", "identity": "named"}
]}`

func TestCertificatesAreMapped(t *testing.T) {
	g := NewGuard(parse(t, mapping), nil)
	for _, tt := range []struct {
		name string
		cert *x509.Certificate
		want string
	}{
		{"by URI", cert("", nil, "spiffe://corp/ns/prod/sa/billing"), "billing"},
		{"by one of its URIs", cert("", nil, "https://x/", "SPIFFE://corp/ns/prod/sa/billing"), "billing"},
		{"not by a longer URI", cert("", nil, "spiffe://corp/ns/prod/sa/billing/x"), Anonymous},
		{"not by a URI that steps aside", cert("", nil, "spiffe://corp/ns//sa/billing"), Anonymous},
		{"not by another trust domain", cert("", nil, "spiffe://corp.evil/ns/prod/sa/billing"), Anonymous},
		{"by both", cert("admin", nil, "spiffe://corp/ops/a/b"), "root"},
		{"not by one of two", cert("", nil, "spiffe://corp/ops/a/b"), Anonymous},
		{"by DNS name, whatever its case", cert("", []string{"other", "a.wEB.corp"}), "web"},
		{"not by a deeper DNS name", cert("", []string{"a.b.web.corp"}), Anonymous},
		{"by common name", cert("someone", nil), "named"},
		{"not without one", cert("", nil), Anonymous},
		{"the first rule counts", cert("admin", []string{"a.web.corp"}), "web"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, err := g.Authenticate(Token{}, []*x509.Certificate{tt.cert}, noon)
			require.NoError(t, err)
			assert.Equal(t, tt.want, id.Name())
			assert.True(t, g.Valid(id, noon))
		})
	}
}

func TestTokenGoesBeforeCertificate(t *testing.T) {
	token, e := issue(t, "billing", time.Time{})
	g := NewGuard(parse(t, mapping), tokens(t, e))
	peer := []*x509.Certificate{cert("someone", nil)}
	id, err := g.Authenticate(token, peer, noon)
	require.NoError(t, err)
	assert.Equal(t, "billing", id.Name())
	_, err = g.Authenticate(TokenOf("tfl_x"), peer, noon)
	assert.ErrorIs(t, err, abstract.ErrDenied, "a bad token is not made good by a certificate")
}

func TestReloadReportsWhoVanished(t *testing.T) {
	one, e := issue(t, "billing", time.Time{})
	two, f := issue(t, "billing", time.Time{})
	gone, h := issue(t, "orders", time.Time{})
	g := NewGuard(parse(t, mapping), tokens(t, e, f, h))
	ids := make(map[string]Identity)
	for name, token := range map[string]Token{"one": one, "two": two, "gone": gone} {
		id, err := g.Authenticate(token, nil, noon)
		require.NoError(t, err)
		ids[name] = id
	}
	web, err := g.Authenticate(Token{}, []*x509.Certificate{cert("", []string{"a.web.corp"})}, noon)
	require.NoError(t, err)

	vanished := g.Reload(parse(t, `{"certificates": [{"common_name": "*", "identity": "named"}]}`), tokens(t, f))
	assert.Equal(t, []string{"orders", "root", "web"}, vanished)
	assert.False(t, g.Valid(ids["one"], noon), "the token was withdrawn, though its identity has another")
	assert.True(t, g.Valid(ids["two"], noon))
	assert.False(t, g.Valid(ids["gone"], noon))
	assert.False(t, g.Valid(web, noon))
	assert.True(t, g.Valid(Identity{}, noon))

	assert.Equal(t, []string{"billing", "named"}, g.Reload(nil, nil))
	assert.False(t, g.Valid(ids["two"], noon))
}

// TestReloadIsSeenWhole switches between two policies that each allow one of two
// names, and looks whether anybody sees none or both.
func TestReloadIsSeenWhole(t *testing.T) {
	a := parse(t, `{"identities": {"x": {"allow": {"call": ["a"]}}}}`)
	b := parse(t, `{"identities": {"x": {"allow": {"call": ["b"]}}}}`)
	g := NewGuard(a, nil)
	var wg sync.WaitGroup
	stop := make(chan bool)
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					s := g.state.Load()
					assert.NotEqual(t, s.policy.of("x").rules[Call].allows(dotted, "a"), s.policy.of("x").rules[Call].allows(dotted, "b"))
					_ = g.Check("x", Call, "a")
				}
			}
		})
	}
	for range 1000 {
		g.Reload(b, nil)
		g.Reload(a, nil)
	}
	close(stop)
	wg.Wait()
	assert.NoError(t, g.Check("x", Call, "a"))
}

func TestPermissionChangesWithReload(t *testing.T) {
	g := NewGuard(parse(t, example), nil)
	require.NoError(t, g.Check("billing", Publish, "orders"))
	g.Reload(parse(t, strings.Replace(example, `"publish": ["orders", `, `"publish": [`, 1)), nil)
	assert.Error(t, g.Check("billing", Publish, "orders"))
}

func TestAllowedNamesDoNotAllocate(t *testing.T) {
	g := NewGuard(parse(t, example), nil)
	for _, tt := range []struct {
		verb Verb
		name string
	}{{Publish, "orders"}, {Publish, "invoices.eu"}, {Call, "math.add"}, {NodeRead, "/config/db/url"}, {Discover, "math.add"}} {
		assert.Zero(t, testing.AllocsPerRun(100, func() {
			if g.Check("billing", tt.verb, tt.name) != nil {
				panic("denied")
			}
		}), "%v %s", tt.verb, tt.name)
	}
}

func BenchmarkCheck(b *testing.B) {
	many := make([]string, 200)
	for i := range many {
		many[i] = "svc" + strings.Repeat("x", i%7) + ".*.m" + strings.Repeat("y", i%11)
	}
	list, _ := json.Marshal(many)
	p := parse(b, strings.Replace(example, `"publish": ["orders", `, `"create_topic": `+string(list)+`, "publish": ["orders", `, 1))
	g := NewGuard(p, nil)
	for _, c := range []struct {
		name string
		verb Verb
		on   string
	}{{"exact", Publish, "orders"}, {"star", Publish, "invoices.eu"}, {"rest and deny", Call, "math.add"},
		{"path", NodeRead, "/config/db/url"}, {"filter", Subscribe, "orders.eu.>"}, {"denied of 200 patterns", CreateTopic, "other.a.b"}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				g.Visible("billing", c.verb, c.on)
			}
		})
	}
	b.Run("open", func(b *testing.B) {
		open := NewGuard(nil, nil)
		for b.Loop() {
			_ = open.Check(Anonymous, Call, "math.add")
		}
	})
}
