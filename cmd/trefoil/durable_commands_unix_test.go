//go:build unix

package main

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestConsumersGoOnWhereTheyWere(t *testing.T) {
	topicBroker(t, "--data", t.TempDir())
	succeed(t, "topic", "create", "orders", "--durable")
	succeed(t, "pub", "orders", "--file", textFile(t, numberedLines(1, 10)))
	// One at a time: what a member that leaves gives back comes again in any order.
	consume := func(flags ...string) string {
		t.Helper()
		return succeed(t, append([]string{"sub", "orders", "--consumer", "billing", "--window", "1", "--from", "all"}, flags...)...)
	}
	assert.Equal(t, numberedLines(1, 3), consume("--count", "3"))
	assert.Equal(t, numberedLines(4, 6), consume("--count", "3", "--ack"))
	assert.Equal(t, numberedLines(7, 7), consume("--count", "1", "--ack=false"))
	assert.Equal(t, numberedLines(7, 8), consume("--count", "2"), "it was not acknowledged")
	assert.Equal(t, numberedLines(1, 1), succeed(t, "sub", "orders", "--group", "shipping", "--from", "all", "--count", "1"), "a group of a durable topic is a consumer")
	require.Eventually(t, func() bool {
		return strings.Contains(succeed(t, "topic", "info", "orders"), "  consumer billing: 0 members, acknowledged up to offset 8, 2 messages left")
	}, patience, 10*time.Millisecond)
	var names []string
	for _, c := range infoOf(t, "orders").Consumers {
		names = append(names, c.Name)
	}
	assert.ElementsMatch(t, []string{"billing", "shipping"}, names)

	assert.Contains(t, refused(t, exitFailed, "topic", "consumers", "rm", "orders", "biling"), `has no consumer "biling"; did you mean billing?`)
	assert.Contains(t, refused(t, exitFailed, "topic", "consumers", "rm", "order", "billing"), "did you mean orders?")
	member := start(t, "sub", "orders", "--consumer", "billing")
	member.lineWith(member.err, "subscribed")
	assert.JSONEq(t, `{"event":"removed","topic":"orders","consumer":"billing"}`, succeed(t, "topic", "consumers", "rm", "orders", "billing", "--json"))
	assert.Equal(t, exitFailed, member.wait(), "its members' subscriptions end")
	assert.Equal(t, numberedLines(1, 1), consume("--count", "1"), "a new one of the same name")

	succeed(t, "topic", "create", "plain")
	assert.Contains(t, refused(t, exitFailed, "sub", "plain", "--consumer", "c"), "durable")
	assert.Contains(t, refused(t, exitUsage, "sub", "orders", "--ack"), "--consumer")
	assert.Contains(t, refused(t, exitUsage, "sub", "orders", "--consumer", "a", "--group", "b"), "group")
	assert.Contains(t, refused(t, exitUsage, "topic", "consumers"), "rm TOPIC NAME")
}

func TestDeadLettersAreListedRetriedAndDropped(t *testing.T) {
	topicBroker(t, "--data", t.TempDir())
	succeed(t, "topic", "create", "orders", "--durable", "--max-deliver", "2", "--ack-wait", "50ms")
	assert.Empty(t, succeed(t, "topic", "dead-letters", "ls", "orders"))
	for _, text := range []string{"one", "two", "three"} {
		succeed(t, "pub", "orders", text, "--meta", "word="+text)
	}
	lazy := start(t, "sub", "orders", "--consumer", "c", "--from", "all", "--ack=false", "--json")
	list := func() (all []deadLetterOutput) {
		for line := range strings.Lines(succeed(t, "topic", "dead-letters", "ls", "orders", "--json")) {
			var d deadLetterOutput
			require.NoError(t, json.Unmarshal([]byte(line), &d))
			all = append(all, d)
		}
		return all
	}
	require.Eventually(t, func() bool { return len(list()) == 3 }, patience, 50*time.Millisecond)
	lazy.lineWith(lazy.out, `"delivered":2`)
	lazy.signal(os.Interrupt)
	require.Equal(t, exitOK, lazy.wait())

	first := list()[0]
	assert.Equal(t, "orders", first.Topic)
	assert.Equal(t, "c", first.Consumer)
	assert.Equal(t, 2, first.Deliveries)
	assert.Equal(t, `"`+first.Meta["word"]+`"`, string(first.Data))
	assert.Regexp(t, `(?m)^#1 .* was orders#\d, delivered 2 times to c .*word=\w+\t"\w+"$`, succeed(t, "topic", "dead-letters", "ls", "orders", "--count", "1"))
	assert.Equal(t, "retried 1 dead letter of orders\n", succeed(t, "topic", "dead-letters", "retry", "orders", "1"))
	assert.Contains(t, succeed(t, "sub", "orders", "--from", "4", "--count", "1", "--json"), `"word":"`+first.Meta["word"]+`"`)
	assert.Contains(t, refused(t, exitFailed, "topic", "dead-letters", "drop", "orders", "1"), "none of these offsets")
	f := inProcess(t, "", "topic", "dead-letters", "drop", "orders", "#1", "2")
	assert.Equal(t, exitFailed, f.code)
	assert.Equal(t, "dropped 1 dead letter of orders\n", f.out)
	assert.Contains(t, f.err, "1 of 2 offsets are not there")
	assert.JSONEq(t, `{"event":"dropped","topic":"orders","count":1}`, succeed(t, "topic", "dead-letters", "drop", "orders", "--all", "--json"))
	assert.Contains(t, inProcess(t, "", "topic", "dead-letters", "ls", "orders").err, "has no dead letters")

	for _, args := range [][]string{{"orders"}, {"orders", "1", "--all"}, {"orders", "one"}, {"orders", "0"}, nil} {
		refused(t, exitUsage, append([]string{"topic", "dead-letters", "drop"}, args...)...)
		refused(t, exitUsage, append([]string{"topic", "dead-letters", "retry"}, args...)...)
	}
	refused(t, exitUsage, "topic", "dead-letters")
	assert.Contains(t, refused(t, exitFailed, "topic", "dead-letters", "ls", "order"), "did you mean orders?")
}

func TestMessagesForLaterAreSaidToBe(t *testing.T) {
	topicBroker(t, "--data", t.TempDir())
	succeed(t, "topic", "create", "orders", "--durable")
	assert.Regexp(t, `^published 1 message to orders: to be delivered at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d, as 1\.\w+\n$`, succeed(t, "pub", "orders", "later", "--delay", "1d"))
	text := succeed(t, "topic", "info", "orders")
	assert.Contains(t, text, "  1 message for later\n")
	assert.Contains(t, text, "reads on from the disk\n")
	var out struct {
		DueMs int64 `json:"due_ms"`
	}
	require.NoError(t, json.Unmarshal([]byte(succeed(t, "pub", "orders", "soon", "--at", time.Now().Add(time.Hour).Format(time.RFC3339), "--json")), &out))
	assert.InDelta(t, time.Now().Add(time.Hour).UnixMilli(), out.DueMs, float64(time.Minute.Milliseconds()))
	assert.Equal(t, 2, infoOf(t, "orders").Later)
	succeed(t, "pub", "orders", "now", "--delay", "1ms")
	assert.Equal(t, "now\n", succeed(t, "sub", "orders", "--from", "1", "--count", "1"))
}

func TestScheduledMessagesAreListedAndCancelled(t *testing.T) {
	topicBroker(t, "--data", t.TempDir())
	succeed(t, "topic", "create", "orders", "--durable")
	publish := func(message, delay string) (id string) {
		var out receiptOutput
		require.NoError(t, json.Unmarshal([]byte(succeed(t, "pub", "orders", message, "--delay", delay, "--id", "id-"+message, "--meta", "lang=en", "--json")), &out))
		return out.Scheduled
	}
	late, early := publish("late", "3h"), publish("early", "2h")
	lines := strings.Split(strings.TrimSpace(succeed(t, "topic", "scheduled", "ls", "orders")), "\n")
	require.Len(t, lines, 2)
	assert.Regexp(t, `^`+regexp.QuoteMeta(early)+` \d{4}-\d\d-\d\d \d\d:\d\d:\d\d id id-early lang=en\t"early"$`, lines[0])
	assert.Contains(t, lines[1], late)
	assert.Equal(t, 1, strings.Count(succeed(t, "topic", "scheduled", "ls", "orders", "--count", "1"), "\n"))
	assert.Equal(t, "cancelled 1 message of orders\n", succeed(t, "topic", "scheduled", "cancel", "orders", early))
	assert.Contains(t, refused(t, exitFailed, "topic", "scheduled", "cancel", "orders", early, late), "does not wait to be published")
	assert.Empty(t, succeed(t, "topic", "scheduled", "ls", "orders", "--json"))
	assert.Zero(t, infoOf(t, "orders").Later)
	refused(t, exitUsage, "topic", "scheduled")
	refused(t, exitUsage, "topic", "scheduled", "cancel", "orders")
	assert.Contains(t, refused(t, exitFailed, "topic", "scheduled", "ls", "order"), "did you mean orders?")
}
