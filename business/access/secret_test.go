package access

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// around holds a value where fmt finds it only by reflection, and in other places.
type around struct {
	hidden any
	Shown  any
}

// TestNothingThatIsPrintedShowsASecret prints every exported type in every way, by
// itself and inside of others, and looks for the token and its hash in what comes.
func TestNothingThatIsPrintedShowsASecret(t *testing.T) {
	token, e := issue(t, "billing", noon)
	list := tokens(t, e)
	policy := parse(t, mapping)
	g := NewGuard(policy, list)
	id, err := g.Authenticate(token, nil, noon.Add(-1))
	require.NoError(t, err)
	byCert, err := g.Authenticate(Token{}, []*x509.Certificate{cert("someone", nil)}, noon)
	require.NoError(t, err)
	account := g.Account("billing")
	_, refused := g.Authenticate(TokenOf(token.Reveal()+"x"), nil, noon)
	require.Error(t, refused)

	for name, v := range map[string]any{
		"Token": token, "*Token": &token, "Entry": e, "*Entry": &e, "Tokens": list, "Guard": g, "Identity": id, "*Identity": &id,
		"by certificate": byCert, "Policy": policy, "Account": account, "error": refused, "*Quota": &Quota{}, "Verb": Call, "Resource": Nodes,
		"slice of Token": []Token{token}, "map of Token": map[string]Token{"a": token}, "slice of Entry": []Entry{e},
		"struct with Token": struct{ t Token }{token}, "struct with Entry": struct{ e Entry }{e}, "struct with Identity": struct{ id Identity }{id},
		"struct with *Token": struct{ t *Token }{&token}, "struct with Tokens": struct{ t *Tokens }{list}, "struct with Guard": struct{ g *Guard }{g},
	} {
		t.Run(name, func(t *testing.T) {
			for _, v := range []any{v, around{v, v}, &around{v, v}, []any{v}} {
				for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "% x", "%#x", "%t", "%c", "%o", "%b"} {
					mustHide(t, token, e, fmt.Sprintf(verb, v), verb)
				}
				mustHide(t, token, e, fmt.Sprint(v)+fmt.Sprintln(v), "Print")
				mustHide(t, token, e, logged(v), "slog")
				text, _ := json.Marshal(v)
				if !hasEntry(name) { // its JSON is the line of the file
					mustHide(t, token, e, string(text), "JSON")
				} else {
					assert.NotContains(t, string(text), token.Reveal())
				}
				mustHide(t, token, e, fmt.Errorf("wrapped: %w", errors.New(fmt.Sprint(v))).Error(), "error")
			}
		})
	}
}

func hasEntry(name string) bool { return strings.Contains(name, "Entry") }

func logged(v any) string {
	var b bytes.Buffer
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "v", v)
	handled := b.String()
	b.Reset()
	if _, isEntry := v.(Entry); isEntry || !strings.Contains(fmt.Sprintf("%T %v", v, v), "token of") {
		slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "v", v)
	}
	return handled + b.String()
}

func mustHide(t *testing.T, token Token, e Entry, text, how string) {
	t.Helper()
	secret := token.Reveal()
	decimal := strings.Trim(fmt.Sprintf("%d", sumOf(e)[:6]), "[]")
	comma := strings.Trim(strings.ReplaceAll(fmt.Sprintf("%#v", sumOf(e)[:6]), "[]byte{", ""), "}")
	for _, s := range []string{secret, secret[4:20], hex.EncodeToString([]byte(secret)), hex.EncodeToString([]byte(secret[4:20])),
		hex.EncodeToString(sumOf(e)), strings.ToUpper(hex.EncodeToString(sumOf(e)[:8])), hex.EncodeToString(sumOf(e)[:8]), string(sumOf(e)[:8]), decimal, comma} {
		require.NotContains(t, text, s, how)
	}
}

func TestTokenShowsAPlaceholder(t *testing.T) {
	token := TokenOf("tfl_abc")
	assert.Equal(t, "tfl_(hidden)", fmt.Sprint(token))
	assert.Equal(t, `"tfl_(hidden)"`, fmt.Sprintf("%#v", token))
	assert.Equal(t, `"tfl_(hidden)"`, token.GoString())
	text, err := json.Marshal(token)
	require.NoError(t, err)
	assert.JSONEq(t, `"tfl_(hidden)"`, string(text))
	assert.Empty(t, fmt.Sprint(Token{}))
	assert.Equal(t, "tfl_abc", token.Reveal())
	assert.Empty(t, Token{}.Reveal())
}
