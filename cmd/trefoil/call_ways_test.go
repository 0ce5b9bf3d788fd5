//go:build unix

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCallEveryProvider(t *testing.T) {
	_, broker := startBroker(t)
	_, good := startProvider(t, broker, "who", "echo '\"good\"'")
	f := inProcess(t, "", "call", "who", "--all", "--broker", broker)
	require.Equal(t, exitOK, f.code, f.err)
	assert.Equal(t, good+"\t\"good\"\n", f.out)

	_, bad := startProvider(t, broker, "who", "echo broken >&2; exit 1")
	f = inProcess(t, "", "call", "who", "--all", "--broker", broker)
	assert.Equal(t, exitFailed, f.code)
	assert.Equal(t, good+"\t\"good\"\n", f.out)
	assert.Contains(t, f.err, bad)
	assert.Contains(t, f.err, "broken")
	assert.Contains(t, f.err, "1 of 2 providers of who gave no result")

	f = inProcess(t, "", "call", "who", "--all", "--json", "--broker", broker)
	assert.Equal(t, exitFailed, f.code)
	lines := strings.Split(strings.TrimSpace(f.out), "\n")
	require.Len(t, lines, 2)
	slices.SortFunc(lines, func(a, b string) int { return len(a) - len(b) })
	var out callOutput
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &out))
	assert.JSONEq(t, `"good"`, string(out.Result))
	assert.Equal(t, good, out.Instance)
	out = callOutput{}
	require.NoError(t, json.Unmarshal([]byte(lines[1]), &out))
	require.NotNil(t, out.Error)
	assert.Equal(t, bad, out.Instance)

	f = inProcess(t, "", "call", "nobody", "--all", "--broker", broker)
	assert.Equal(t, exitFailed, f.code)
	assert.Contains(t, f.err, "nobody")

	for range 3 {
		f = inProcess(t, "", "call", "who", "--instance", good, "--broker", broker)
		require.Equal(t, exitOK, f.code, f.err)
		assert.Equal(t, "\"good\"\n", f.out)
	}
	f = inProcess(t, "", "call", "who", "--all", "--oneway", "--broker", broker)
	assert.Equal(t, exitUsage, f.code)
}

func TestCallWithoutAnAnswer(t *testing.T) {
	_, broker := startBroker(t)
	note := filepath.Join(t.TempDir(), "note")
	startProvider(t, broker, "note", "cat > "+note+".new; mv "+note+".new "+note)
	f := inProcess(t, "", "call", "note", `{"a":1}`, "--oneway", "--broker", broker)
	require.Equal(t, exitOK, f.code, f.err)
	assert.Equal(t, "sent\n", f.out)
	require.Eventually(t, func() bool { _, err := os.Stat(note); return err == nil }, patience, 10*time.Millisecond)
	text, err := os.ReadFile(note)
	require.NoError(t, err)
	assert.JSONEq(t, `{"a":1}`, string(text))
}

func TestMetadataFromTheCommandLine(t *testing.T) {
	_, broker := startBroker(t)
	require.Equal(t, exitOK, inProcess(t, "", "topic", "create", "news", "--broker", broker).code)
	sub := start(t, "sub", "news", "--count", "1", "--json", "--broker", broker)
	sub.lineWith(sub.err, "subscribed to news")
	f := inProcess(t, "", "pub", "news", "hi", "--meta", "who=me", "--meta", "for=you=all", "--broker", broker)
	require.Equal(t, exitOK, f.code, f.err)
	var m messageOutput
	require.NoError(t, json.Unmarshal([]byte(sub.line(sub.out)), &m))
	assert.Equal(t, map[string]string{"who": "me", "for": "you=all"}, map[string]string(m.Meta))

	for _, wrong := range []string{"who", "Who=me", "=me"} {
		for _, command := range [][]string{{"pub", "news", "hi"}, {"call", "news"}} {
			f = inProcess(t, "", append(command, "--meta", wrong, "--broker", broker)...)
			assert.Equal(t, exitUsage, f.code, wrong)
			assert.Contains(t, f.err, "--meta")
		}
	}
}
