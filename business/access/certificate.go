package access

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"strings"
)

// certificate is what the rules look at of a verified certificate.
type certificate struct {
	commonName string
	dns        []string
	uris       []string
}

func certificateOf(c *x509.Certificate) *certificate {
	out := &certificate{commonName: c.Subject.CommonName}
	for _, name := range c.DNSNames {
		out.dns = append(out.dns, strings.ToLower(name))
	}
	for _, u := range c.URIs {
		out.uris = append(out.uris, u.String())
	}
	return out
}

// certRule maps certificates to an identity. What is not nil must all match.
type certRule struct {
	identity              string
	commonName, dns, uris matcher
}

// matcher is one pattern, with or without wildcards. nil: there is none.
type matcher func(text string) bool

func (syn syntax) matcher(text string) (matcher, error) {
	p, exact, err := syn.compile(text)
	if err != nil {
		return nil, err
	}
	if exact {
		return func(s string) bool { return s == text }, nil
	}
	return p.match, nil
}

// uriSyntax divides "spiffe://corp/ns/prod/sa/billing" at its slashes.
var uriSyntax = syntax{sep: '/', rest: "**", self: true}

// uriMatcher is the matcher of a URI: the scheme and the host count as segments.
func uriMatcher(text string) (matcher, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || scheme == "" || strings.Contains(scheme, anyOne) {
		return nil, fmt.Errorf("pattern %s is no URI: write it as spiffe://corp/ns/*/sa/billing", quote(text))
	}
	m, err := uriSyntax.matcher("/" + rest)
	if err != nil {
		return nil, err
	}
	return func(s string) bool {
		theirs, rest, ok := strings.Cut(s, "://")
		return ok && strings.EqualFold(theirs, scheme) && uriSyntax.canonical("/"+rest) && m("/"+rest)
	}, nil
}

func (r *certRule) matches(c *certificate) bool {
	return (r.commonName == nil || c.commonName != "" && r.commonName(c.commonName)) &&
		(r.dns == nil || anyOf(c.dns, r.dns)) && (r.uris == nil || anyOf(c.uris, r.uris))
}

func anyOf(names []string, m matcher) bool {
	for _, n := range names {
		if m(n) {
			return true
		}
	}
	return false
}

func readCertRule(at string, raw json.RawMessage) (r certRule, err error) {
	err = readObject(at, raw, map[string]reader{
		"identity":    into(&r.identity, "a name"),
		"common_name": matching(&r.commonName, dotted.matcher),
		"dns":         matching(&r.dns, func(s string) (matcher, error) { return dotted.matcher(strings.ToLower(s)) }),
		"uri":         matching(&r.uris, uriMatcher),
	})
	if err != nil {
		return r, err
	}
	if err := checkIdentity(r.identity); err != nil {
		return r, fmt.Errorf("%s.identity: %w", at, err)
	}
	if r.commonName == nil && r.dns == nil && r.uris == nil {
		return r, fmt.Errorf("%s: say which certificates: common_name, dns or uri", at)
	}
	return r, nil
}

func matching(dst *matcher, compile func(string) (matcher, error)) reader {
	return func(at string, value json.RawMessage) error {
		text, err := decode[string](at, "a pattern", value)
		if err != nil {
			return err
		}
		if *dst, err = compile(text); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		return nil
	}
}
