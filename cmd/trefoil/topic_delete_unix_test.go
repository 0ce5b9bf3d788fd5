//go:build unix

package main

import (
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestSingleMessagesAreDeleted(t *testing.T) {
	topicBroker(t)
	succeed(t, "topic", "create", "t", "--history", "4")
	succeed(t, "pub", "t", "--file", textFile(t, numberedLines(1, 5)))
	assert.Equal(t, "deleted 2 messages of t\n", succeed(t, "topic", "delete", "t", "4", "#3", "4"))
	assert.Equal(t, "line 2\nline 5\n", succeed(t, "sub", "t", "--from", "all", "--count", "2"))
	assert.JSONEq(t, `{"event":"deleted","topic":"t","offsets":[5]}`, succeed(t, "topic", "delete", "t", "5", "--json"))
	assert.Equal(t, "line 2\n", succeed(t, "sub", "t", "--from", "all", "--count", "1"))

	f := inProcess(t, "", "topic", "delete", "t", "1", "2", "9")
	assert.Equal(t, exitFailed, f.code)
	assert.Equal(t, "deleted 1 message of t\n", f.out)
	assert.Contains(t, f.err, "t does not keep 2 offsets of these: it keeps ")
	assert.Contains(t, refused(t, exitFailed, "topic", "delete", "tt", "1"), "did you mean t?")
	f = inProcess(t, "", "topic", "delete", "t", "77", "--json")
	assert.Equal(t, exitFailed, f.code)
	assert.Equal(t, "not found", toldIn(t, f).Code)
	succeed(t, "topic", "create", "plain")
	assert.Contains(t, refused(t, exitFailed, "topic", "delete", "plain", "1"), "it keeps none")
}

func TestGroupsAndConsumersAreCompleted(t *testing.T) {
	topicBroker(t, "--data", t.TempDir())
	succeed(t, "topic", "create", "t", "--durable")
	for _, args := range [][]string{{"--consumer", "billing"}, {"--consumer", "books"}, {"--consumer", "mail"}} {
		sub := start(t, append([]string{"sub", "t"}, args...)...)
		sub.lineWith(sub.err, "subscribed")
	}
	succeed(t, "topic", "create", "plain")
	sub := start(t, "sub", "plain", "--group", "workers")
	sub.lineWith(sub.err, "subscribed")

	assert.ElementsMatch(t, []string{"billing", "books"}, wordsFor(t, "sub", "t", "--consumer", "b"))
	assert.ElementsMatch(t, []string{"billing", "books", "mail"}, wordsFor(t, "topic", "consumers", "rm", "t", ""))
	assert.Equal(t, []string{"mail"}, wordsFor(t, "topic", "consumers", "rm", "t", "m"))
	assert.Equal(t, []string{"workers"}, wordsFor(t, "sub", "plain", "--group", ""))
	assert.Empty(t, wordsFor(t, "sub", "--group", ""), "of which topic is not known yet")
	assert.Empty(t, wordsFor(t, "sub", "nowhere", "--group", ""))
	assert.Empty(t, wordsFor(t, "sub", "t", "--broker", freeAddr(t), "--consumer", ""), "the broker is away")

	sh := &treeShell{app: &app{}, set: &settings{}, watches: map[string]*shellWatch{}, out: io.Discard}
	sh.connect(t, os.Getenv("TREFOIL_BROKER"))
	for line, want := range map[string]string{
		"sub t --consumer m":      "sub t --consumer mail ",
		"sub plain --group ":      "sub plain --group workers ",
		"topic consumers rm t bi": "topic consumers rm t billing ",
		"sub t --count ":          "sub t --count ",
		"sub t --from la":         "sub t --from last ",
	} {
		longer, _ := completer{sh}.complete(line)
		assert.Equal(t, want, longer, line)
	}
}
