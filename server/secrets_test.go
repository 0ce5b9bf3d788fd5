package server_test

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/client"
	"trefoil/server"
)

// TestSecretsAreInNoLogAndNoAnswer leads tokens and session secrets through everything
// that can go wrong with them, with every log line there is.
func TestSecretsAreInNoLogAndNoAnswer(t *testing.T) {
	var log lines
	guard, tokens := guardBy(t, policy, "all", "some")
	b := serve(t, newBroker(server.WithLogger(log.logger()), server.WithGuard(guard)))
	token, unknown := tokens["all"], "tfl_unknownunknownunknownunknownunknown"
	secrets := map[string]string{"token": token, "another token": tokens["some"], "unknown token": unknown}
	var answers strings.Builder

	owner := newTalker(t, dialTCP(t, b))
	g, _ := grantOf(t, owner.greet(sprintf(`,"token":%q,"session":{}`, token)))
	secrets["session"] = g.Secret
	forged := flipped(g.Secret)
	secrets["wrong secret"] = forged

	hello := func(more string) string { return `{"version":1,"max_frame":8388608` + more + `}` }
	for _, body := range []string{
		hello(sprintf(`,"token":%q`, unknown)),
		hello(sprintf(`,"token":[%q]`, token)),
		hello(sprintf(`,"token":{"a":%q}`, token)),
		hello(sprintf(`,"token":%q,"token":5`, token)),
		hello(sprintf(`,"token":"%s%s"`, token, strings.Repeat("x", 4000))),
		hello(sprintf(`,"token":%q`, token)) + "}",
		hello(sprintf(`,"token":"%s`, token)),
		hello(sprintf(`,"token":"%s\x"`, token)),
		`{"version":0,"max_frame":8388608,"token":"` + token + `"}`,
		`{"version":1,"max_frame":3,"token":"` + token + `"}`,
		`{"version":"` + token + `"}`,
		hello(sprintf(`,"instance":%q,"token":%q`, "other", unknown)),
		hello(sprintf(`,"session":%q`, g.Secret)),
		hello(sprintf(`,"session":{"id":%q,"secret":%q,"sequence":%q}`, g.ID, g.Secret, g.Secret)),
		hello(sprintf(`,"session":{"id":%q,"secret":[%q]}`, g.ID, g.Secret)),
		hello(sprintf(`,"token":%q,"session":{"id":%q,"secret":%q,"sequence":3}`, tokens["some"], g.ID, g.Secret)), // another identity
		hello(sprintf(`,"token":%q,"session":{"id":%q,"secret":%q,"sequence":3}`, token, g.ID, forged)),
		hello(sprintf(`,"token":%q,"session":{"id":%q,"secret":%q,"sequence":3}`, token, g.ID, g.Secret)),
		hello(sprintf(`,"token":%q,"session":{"id":%q,"secret":%q,"sequence":3}`, token, g.ID, g.Secret)), // once more
	} {
		p := newTalker(t, dialTCP(t, b))
		p.write(frame{16, "h", body})
		for f, ok := p.next(); ok && f.rcode() != 0; f, ok = p.next() {
			answers.WriteString(f.body)
		}
		_ = p.nc.Close()
	}
	for _, f := range []frame{
		{0, "", sprintf(`{"method":%q,"parameters":{}}`, token)},
		{0, "", sprintf(`{"method":"open.%s","parameters":{"a":%q}}`, token, token)},
		{0, "", `{"method":` + token + `}`},
		{0, token, `{"method":"open.hello"`},
		{32, token, sprintf(`{"op":%q}`, token)},
		{32, "", sprintf(`{"op":"get","path":"/%s"}`, token)},
		{32, "", `{` + token},
		{77, token, sprintf(`{"a":%q}`, token)},
	} {
		p := newTalker(t, dialTCP(t, b)).hello(token)
		p.write(f)
		_, _ = p.nc.Write(frame{32, "last", `{"op":"sync"}`}.bytes())
		for last := false; !last; { // a peer is told what it has asked for; the log is not
			f, ok := p.next()
			last = !ok || f.id == "last"
		}
		_ = p.nc.Close()
	}
	opts := patiently(client.WithLogger(log.logger()), client.WithToken(unknown))
	_, err := client.Dial(t.Context(), b.Addr().String(), opts...)
	require.Error(t, err)
	answers.WriteString(err.Error())
	_, err = client.Dial(t.Context(), nobodyThere, opts...)
	require.Error(t, err)
	answers.WriteString(err.Error())

	expired := make(chan string, 8) // from a broker whose sessions live for a moment
	short := serve(t, newBroker(server.WithLogger(log.logger()), server.WithGuard(guard), server.WithSessions(50*time.Millisecond, 2), server.WithOnSessionExpired(func(id string) { expired <- id })))
	gone := newTalker(t, dialTCP(t, short))
	g, _ = grantOf(t, gone.greet(sprintf(`,"token":%q,"session":{}`, token)))
	secrets["session that expires"] = g.Secret
	_ = gone.nc.Close()
	assert.Equal(t, g.ID, <-expired)

	conn, err := client.Dial(t.Context(), b.Addr().String(), patiently(client.WithLogger(log.logger()), client.WithToken(token))...)
	require.NoError(t, err)
	guard.Reload(nil, nil)
	b.Reauthorize()
	require.NoError(t, conn.Close())
	answers.WriteString(sprintf("%v %+v %#v", conn, conn, opts))

	for what, secret := range secrets {
		for form, text := range map[string]string{
			"as it is": secret, "its end": secret[len(secret)-20:], "in hexadecimal": hex.EncodeToString([]byte(secret)),
			"in base64": base64.StdEncoding.EncodeToString([]byte(secret))[:20], "in a URL": url.QueryEscape(secret),
		} {
			assert.NotContains(t, answers.String(), text, "%s %s", what, form)
			assert.NotContains(t, log.text(), text, "%s %s", what, form)
		}
	}
	for _, line := range []string{"session not given", "session expired"} {
		assert.Contains(t, log.text(), line, "it has logged at all")
	}
}
