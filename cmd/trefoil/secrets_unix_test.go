//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestNoTokenIsPrinted goes, with everything logged, through what fails, and through
// what people do wrong with tokens.
func TestNoTokenIsPrinted(t *testing.T) {
	cert, key := certificate(t)
	dir := t.TempDir()
	policy, tokens, logFile := filepath.Join(dir, "policy.json"), filepath.Join(dir, "tokens.json"), filepath.Join(dir, "log", "broker.log")
	require.NoError(t, os.WriteFile(policy, []byte(`{"identities": {"reader": {"allow": {"node_read": ["/**"]}}}}`), 0o600))
	f := inProcess(t, "", "token", "new", "reader", "--file", tokens)
	require.Equal(t, exitOK, f.code, f.err)
	token := strings.TrimSpace(f.out)
	const unknown = "tfl_unknownunknownunknownunknown"
	stored, err := os.ReadFile(tokens)
	require.NoError(t, err)
	_, hash, _ := strings.Cut(string(stored), `"sha256": "`)
	hash, _, _ = strings.Cut(hash, `"`)
	require.Len(t, hash, 64)

	broker, addr := startBroker(t, "--listen", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key, "--policy", policy, "--tokens", tokens,
		"--log-level", "debug", "--log-file", logFile)
	var printed strings.Builder
	try := func(env string, args ...string) {
		t.Helper()
		t.Setenv(tokenEnv, env)
		f := inProcess(t, "", args...)
		printed.WriteString(f.out + f.err + "\n")
	}
	at := []string{"--broker", addr, "--tls-ca", cert, "--log-level", "debug"}
	with := func(args ...string) []string { return append(args, at...) }
	try(token, with("node", "ls", "/")...)
	try(token, with("node", "create", "/x", "y")...)
	try(unknown, with("node", "ls", "/")...)
	try(token+"x", with("call", "m", "{}")...)
	try(token, "node", "ls", "/", "--broker", addr, "--log-level", "debug") // in clear text
	try("", with("node", "ls", "/", "--token-file", token)...)
	try("", with("node", "ls", "/", "--token-file", filepath.Join(dir, "none"))...)
	try("", with("node", "ls", "/", "--token", token)...)
	try("", with("node", token)...)
	try("", with("node", "get", "/"+token)...)
	try("", with("pub", token, token)...)
	try("", with(token)...)
	try("", with("call", token, "{")...)
	try("", with("call", token, token)...)
	try("", "token", "new", token, "--file", tokens)
	try("", "token", "new", "reader", "--file", tokens, "--note", token)
	try("", "token", "new", "reader", "--file", token+"/x")
	try("", "broker", "--listen", token)
	try("", "broker", "--tokens", token)
	try("", "broker", "--log-level", token)
	try("", "broker", "--policy", fileWith(t, `{"`+token+`": 1}`))
	try("", "broker", "--tokens", fileWith(t, `{"tokens": [{"identity": "reader", "sha256": "`+token+`"}]}`))
	for _, text := range []string{`{"` + token + `": 1}`, `{"access": {"tokens": "` + token + `"}}`, `{"listen": "` + token + `"}`, token} {
		try("", "config", "check", fileWith(t, text))
		try("", "config", "check", fileWith(t, text), "--json")
		try("", "broker", "--config", fileWith(t, text))
	}
	try(token, "config", "show")
	require.NoError(t, os.WriteFile(policy, []byte(`{"identities": {"`+token+`": {}}}`), 0o600))
	broker.signal(syscall.SIGHUP)
	broker.signal(syscall.SIGTERM)
	<-broker.ended
	logged, err := os.ReadFile(logFile)
	require.NoError(t, err)
	assert.Contains(t, string(logged), "the token is not known here", "it has logged what failed")
	for where, text := range map[string]string{"the broker's log": string(logged), "the broker's output": broker.err.text() + broker.out.text(), "the commands": printed.String()} {
		for what, secret := range map[string]string{"the token": token[:20], "its end": token[len(token)-12:], "another token": unknown[:20], "its hash": hash[:20]} {
			for _, line := range strings.Split(text, "\n") {
				assert.NotContains(t, line, secret, "%s in %s", what, where)
			}
		}
	}
}
