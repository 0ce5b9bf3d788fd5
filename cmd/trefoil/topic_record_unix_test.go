//go:build unix

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTopicsAreRecordedAndReplayed(t *testing.T) {
	topicBroker(t)
	path := filepath.Join(t.TempDir(), "orders.jsonl")
	for _, name := range []string{"orders.eu", "orders.us", "copy"} {
		succeed(t, "topic", "create", name, "--history", "200", "--dedup", "10m")
	}
	rec := start(t, "topic", "record", "orders.*", path, "--json")
	rec.lineWith(rec.err, "recording orders.*")
	succeed(t, "pub", "orders.eu", "a", "--meta", "n=1", "--id", "first")
	succeed(t, "pub", "orders.us", "--file", textFile(t, numberedLines(1, 100)))
	succeed(t, "pub", "orders.eu", `{"n": 9007199254740993}`, "--type", "json")
	require.Eventually(t, func() bool { return strings.Count(readText(t, path), "\n") == 103 }, patience, 10*time.Millisecond)
	rec.signal(os.Interrupt)
	require.Equal(t, exitOK, rec.wait(), "an interrupt ends a recording well")
	var made recordOutput
	require.NoError(t, json.Unmarshal([]byte(rec.out.text()), &made))
	assert.Equal(t, 102, made.Messages)
	assert.Zero(t, made.Gaps)

	out := succeed(t, "topic", "replay", path, "--speed", "1000", "--topic", "copy")
	assert.Regexp(t, `^replayed 102 messages in .* at speed 1000: late by .* spacing off by .* %\n$`, out)
	want := "a\n" + numberedLines(1, 100) + `{"n":9007199254740993}` + "\n"
	assert.Equal(t, want, succeed(t, "sub", "copy", "--from", "all", "--count", "102"), "its order is that of the recording")
	assert.Contains(t, succeed(t, "sub", "copy", "--from", "1", "--count", "1", "--json"), `"meta":{"n":"1"},"msg_id":"first"`)

	var again replayOutput
	require.NoError(t, json.Unmarshal([]byte(succeed(t, "topic", "replay", path, "--speed", "0", "--json")), &again))
	assert.Equal(t, 102, again.Messages)
	assert.Equal(t, 1, again.Duplicates, "the one with an id was there before")
	assert.Equal(t, uint64(2), infoOf(t, "orders.eu").Last-1)
	assert.Equal(t, uint64(200), infoOf(t, "orders.us").Last)
}

func TestTruncatedRecordingIsReplayedAndReported(t *testing.T) {
	topicBroker(t)
	succeed(t, "topic", "create", "t", "--history", "10")
	_, text := recorded(t, threeMessages()...)
	lines := strings.SplitAfter(text, "\n")
	for name, tc := range map[string]struct {
		text, out, err string
	}{
		"a message":        {strings.Join(lines[:3], ""), "replayed 2 messages", "it ends behind 2 messages, and 1 more are missing"},
		"half a message":   {strings.Join(lines[:3], "") + lines[3][:8], "replayed 2 messages", "it ends behind 2 messages, and 1 more are missing"},
		"the last line":    {strings.Join(lines[:4], ""), "replayed 3 messages", "it ends behind 3 messages; its last line is missing, but no message"},
		"what nobody knew": {"{\"trefoil_recording\":1}\n" + lines[1], "replayed 1 message", "how many are missing is not known"},
		"a damaged line":   {lines[0] + lines[1] + "nonsense\n" + lines[3], "replayed 1 message", "line 3 of the recording is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			f := inProcess(t, "", "topic", "replay", textFile(t, tc.text), "--topic", "t")
			assert.Equal(t, exitFailed, f.code)
			assert.Contains(t, f.out, tc.out)
			assert.Contains(t, f.err, tc.err)
			assert.Equal(t, 1, strings.Count(f.err, "\n"))
		})
	}
	f := inProcess(t, "", "topic", "replay", textFile(t, text))
	assert.Equal(t, exitFailed, f.code)
	assert.Contains(t, f.err, `line 3 of the recording: there is no topic "t.u"; create it`)
}

func TestRecordingsEndWhenTheyAreTold(t *testing.T) {
	topicBroker(t)
	succeed(t, "topic", "create", "t", "--history", "10")
	succeed(t, "pub", "t", "--file", textFile(t, numberedLines(1, 10)))
	path := filepath.Join(t.TempDir(), "r")
	assert.Regexp(t, `^recorded 4 messages of t in \d+\.\d s\n$`, succeed(t, "topic", "record", "t", path, "--from", "all", "--count", "4"))
	assert.Contains(t, refused(t, exitFailed, "topic", "record", "t", path), "is there already")
	assert.Contains(t, succeed(t, "topic", "record", "t", path+"2", "--from", "7", "--duration", "1ms"), "recorded ")
	assert.Contains(t, refused(t, exitFailed, "topic", "record", "tt", path+"3"), "did you mean t?")
	assert.NoFileExists(t, path+"3", "nothing was recorded")

	f := inProcess(t, "", "topic", "record", "t", "-", "--from", "all", "--count", "10")
	require.Equal(t, exitOK, f.code)
	assert.Contains(t, f.err, "recorded 10 messages")
	f = inProcess(t, f.out, "topic", "replay", "-", "--speed", "0")
	require.Equal(t, exitOK, f.code, f.err)
	assert.Equal(t, uint64(20), infoOf(t, "t").Last)
}

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}
