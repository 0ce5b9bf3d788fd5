//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func numberedLines(from, to int) string {
	var b strings.Builder
	for i := from; i <= to; i++ {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	return b.String()
}

func TestFilesArePublishedInOrder(t *testing.T) {
	t.Run("in memory", func(t *testing.T) {
		topicBroker(t)
		succeed(t, "topic", "create", "t", "--history", "5000")
		publishFiles(t)
	})
	t.Run("durable", func(t *testing.T) {
		topicBroker(t, "--data", t.TempDir(), "--topic-sync", "os")
		succeed(t, "topic", "create", "t", "--durable")
		publishFiles(t)
	})
	assert.Contains(t, refused(t, exitFailed, "pub", "t", "--file", "/not/there"), "no such file")
}

// publishFiles publishes the same lines to a topic in several ways.
func publishFiles(t *testing.T) {
	t.Helper()
	lines := numberedLines(1, 3000)
	for name, args := range map[string][]string{
		"many at once": nil, "paced": {"--rate", "100000"}, "one way": {"--oneway"}, "with ids": {"--id", "run"}, "with a life": {"--ttl", "1h"},
	} {
		t.Run(name, func(t *testing.T) {
			last := infoOf(t, "t").Last
			out := succeed(t, append([]string{"pub", "t", "--file", textFile(t, lines)}, args...)...)
			assert.Contains(t, out, " 3000 messages to t\n")
			assert.Equal(t, lines, succeed(t, "sub", "t", "--from", fmt.Sprint(last+1), "--count", "3000"))
		})
	}
}

func TestLineThatIsRefusedIsNamedAndTheCountIsExact(t *testing.T) {
	topicBroker(t)
	lines := numberedLines(1, 599) + strings.Repeat("x", 100) + "\n" + numberedLines(601, 2000)
	for name, args := range map[string][]string{"many at once": nil, "one at a time": {"--id", "a"}, "slowly": {"--rate", "100000"}} {
		t.Run(name, func(t *testing.T) {
			succeed(t, "topic", "create", "t", "--history", "5000", "--max-size", "50")
			err := refused(t, exitFailed, append([]string{"pub", "t", "--file", textFile(t, lines)}, args...)...)
			var published int
			_, scan := fmt.Sscanf(err[strings.Index(err, "trefoil pub: ")+len("trefoil pub: "):], "%d messages were published, then: line 600", &published)
			require.NoError(t, scan, err)
			info := infoOf(t, "t")
			assert.Equal(t, int(info.Last), published)
			assert.GreaterOrEqual(t, published, 599)
			if published > 599 {
				assert.Contains(t, err, fmt.Sprintf("up to line %d, had been sent", published+1))
			}
			assert.Contains(t, err, "takes 50 at most")
			succeed(t, "topic", "remove", "t")
		})
	}
}

func TestLinesWaitForABrokerThatIsAway(t *testing.T) {
	broker, addr := startBroker(t)
	t.Setenv("TREFOIL_BROKER", addr)
	succeed(t, "topic", "create", "t")
	pub := start(t, "pub", "t", "--timeout", "1m", "--report")
	_, err := pub.stdin.Write([]byte("one\n"))
	require.NoError(t, err)
	require.Equal(t, "line 1: offset 1, 0 subscribers", pub.line(pub.out))
	require.NoError(t, broker.cmd.Process.Kill())
	broker.wait()
	pub.lineWith(pub.err, "lost the broker")
	_, err = pub.stdin.Write([]byte("two\n"))
	require.NoError(t, err)
	startBroker(t, "--listen", addr)
	require.NoError(t, pub.stdin.Close())
	assert.Equal(t, exitFailed, pub.wait(), "the topic is gone with the broker's memory")
	assert.Contains(t, pub.err.text(), "1 messages were published, then: line 2: there is no topic")
}

func TestInterruptedPubSaysHowFarItWas(t *testing.T) {
	topicBroker(t)
	succeed(t, "topic", "create", "t")
	pub := start(t, "pub", "t", "--report")
	_, err := pub.stdin.Write([]byte("one\n"))
	require.NoError(t, err)
	require.Equal(t, "line 1: offset 1, 0 subscribers", pub.line(pub.out))
	pub.signal(os.Interrupt)
	assert.Equal(t, exitFailed, pub.wait())
	assert.Equal(t, "published 1 message to t", pub.line(pub.out))
	assert.Contains(t, pub.err.text(), "interrupted")
}

func TestPubSaysWhatBecameOfMessages(t *testing.T) {
	topicBroker(t)
	succeed(t, "topic", "create", "t", "--dedup", "10m", "--history", "10")
	sub := start(t, "sub", "t", "--count", "4", "--json")
	sub.lineWith(sub.err, "subscribed")
	assert.Equal(t, "published 1 message to t: offset 1, 1 subscriber\n", succeed(t, "pub", "t", "a", "--id", "x", "--report", "--header", "lang=en", "--meta", "who=me"))
	assert.Equal(t, "published 1 message to t: offset 1, which it got when it was taken before\n", succeed(t, "pub", "t", "a", "--id", "x", "--report"))
	assert.Equal(t, "published 1 message to t, of which it had taken 1 before\n", succeed(t, "pub", "t", "a", "--id", "x"))
	assert.JSONEq(t, `{"topic":"t","published":1,"bytes":1,"offset":2,"subscribers":1}`, succeed(t, "pub", "t", "b", "--report", "--json"))
	lines := textFile(t, "c\nd\n")
	assert.Equal(t, "line 1: offset 3, 1 subscriber\nline 2: offset 4, 1 subscriber\npublished 2 messages to t\n", succeed(t, "pub", "t", "--file", lines, "--id", "f", "--report"))
	assert.Equal(t, "published 2 messages to t, of which it had taken 2 before\n", succeed(t, "pub", "t", "--file", lines, "--id", "f"), "a file may be published again")
	assert.JSONEq(t, `{"topic":"t","published":1,"bytes":1,"oneway":true}`, succeed(t, "pub", "t", "e", "--oneway", "--json"))
	assert.Equal(t, "sent 1 message to nowhere\n", succeed(t, "pub", "nowhere", "e", "--oneway"), "nobody says that the topic is not there")
	assert.Equal(t, exitOK, sub.wait())
	var first messageOutput
	require.NoError(t, json.Unmarshal([]byte(sub.line(sub.out)), &first))
	assert.Equal(t, map[string]string{"lang": "en", "who": "me"}, map[string]string(first.Meta))
	assert.Equal(t, "x", first.MsgID)
	assert.Equal(t, uint64(1), first.Offset)
}

func TestSubBeginsWhereItIsTold(t *testing.T) {
	topicBroker(t)
	succeed(t, "topic", "create", "t", "--history", "3")
	for i := range 5 {
		succeed(t, "pub", "t", fmt.Sprint(i+1), "--meta", fmt.Sprintf("odd=%t", i%2 == 0))
	}
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"all":         {[]string{"--from", "all", "--count", "3"}, "3\n4\n5\n"},
		"last":        {[]string{"--from", "last", "--count", "1"}, "5\n"},
		"an offset":   {[]string{"--from", "4", "--count", "2"}, "4\n5\n"},
		"a duration":  {[]string{"--from", "1h", "--count", "3"}, "3\n4\n5\n"},
		"a time":      {[]string{"--from", "2001-01-01", "--count", "3"}, "3\n4\n5\n"},
		"with a word": {[]string{"--from", "all", "--where", "odd=true", "--count", "2"}, "3\n5\n"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, succeed(t, append([]string{"sub", "t"}, tc.args...)...))
		})
	}
	t.Run("what is gone", func(t *testing.T) {
		f := inProcess(t, "", "sub", "t", "--from", "1", "--count", "1")
		assert.Equal(t, exitOK, f.code)
		assert.Equal(t, "3\n", f.out)
		assert.Contains(t, f.err, "t does not keep offset 1 any more: it has 3 to 5, which are shown from 3 on\n")
		lines := strings.Split(succeed(t, "sub", "t", "--from", "1", "--count", "1", "--json"), "\n")
		assert.JSONEq(t, `{"event":"gap","topic":"t","recovered":false,"first":3,"last":5}`, lines[0])
		assert.Contains(t, lines[1], `"offset":3,"time_ms":`)
	})
	t.Run("with all there is", func(t *testing.T) {
		out := succeed(t, "sub", "t", "--from", "5", "--count", "1", "--long")
		assert.Regexp(t, `^#5 \d\d:\d\d:\d\d\.\d{3} t odd=true\t5\n$`, out)
	})
	t.Run("what is not there yet", func(t *testing.T) {
		sub := start(t, "sub", "t", "--from", "999", "--count", "1")
		sub.lineWith(sub.err, "t has no offset 999 yet: the last one is 5; what comes is shown")
		succeed(t, "pub", "t", "6")
		assert.Equal(t, exitOK, sub.wait())
		assert.Equal(t, "6\n", sub.out.text())
	})
	assert.Contains(t, refused(t, exitFailed, "sub", "*", "--from", "3"), "one topic's own")
	assert.Contains(t, refused(t, exitFailed, "sub", "tt"), "did you mean t?")
}

func TestSubOfManyTopicsNamesThem(t *testing.T) {
	topicBroker(t)
	sub := start(t, "sub", "orders.>", "--count", "2")
	sub.lineWith(sub.err, "subscribed")
	for _, name := range []string{"orders.eu", "orders.us.ny"} {
		succeed(t, "topic", "create", name)
		succeed(t, "pub", name, "hello")
	}
	require.Equal(t, exitOK, sub.wait())
	assert.Equal(t, "orders.eu\thello\norders.us.ny\thello\n", sub.out.text())
}

func TestGroupMembersShareMessages(t *testing.T) {
	topicBroker(t)
	succeed(t, "topic", "create", "t")
	members := []*proc{start(t, "sub", "t", "--group", "g"), start(t, "sub", "t", "--group", "g", "--window", "4")}
	for _, m := range members {
		m.lineWith(m.err, "subscribed")
	}
	succeed(t, "pub", "t", "--file", textFile(t, numberedLines(1, 200)))
	require.Eventually(t, func() bool {
		return strings.Count(members[0].out.text()+members[1].out.text(), "\n") == 200
	}, patience, 10*time.Millisecond)
	var got []string
	for _, m := range members {
		m.signal(os.Interrupt)
		assert.Equal(t, exitOK, m.wait(), "an interrupt ends it well")
		got = append(got, strings.Split(strings.TrimSpace(m.out.text()), "\n")...)
	}
	assert.ElementsMatch(t, strings.Split(strings.TrimSpace(numberedLines(1, 200)), "\n"), got)
}

func TestWhatAMemberHasNotPrintedGoesToAnother(t *testing.T) {
	topicBroker(t)
	succeed(t, "topic", "create", "t")
	first := start(t, "sub", "t", "--group", "g", "--count", "1", "--window", "100")
	first.lineWith(first.err, "subscribed")
	second := start(t, "sub", "t", "--group", "g", "--json")
	second.lineWith(second.err, "subscribed")
	succeed(t, "pub", "t", "--file", textFile(t, numberedLines(1, 50)))
	require.Equal(t, exitOK, first.wait())
	require.Eventually(t, func() bool { return strings.Count(second.out.text(), "\n") == 49 }, patience, 10*time.Millisecond)
	assert.NotContains(t, second.out.text(), `"`+strings.TrimSpace(first.out.text())+`"`)
}

func TestSubSaysWhoComesAndGoes(t *testing.T) {
	topicBroker(t)
	succeed(t, "topic", "create", "t", "--presence")
	watch := start(t, "sub", "t", "--presence")
	watch.lineWith(watch.err, "subscribed")
	asJSON := start(t, "sub", "t", "--presence", "--json")
	asJSON.lineWith(asJSON.err, "subscribed")
	assert.Contains(t, watch.lineWith(watch.err, "joined: "), "127.0.0.1:")
	other := start(t, "sub", "t", "--group", "g")
	assert.Contains(t, watch.lineWith(watch.err, "joined: "), ", group g")
	other.lineWith(other.err, "subscribed")
	other.signal(os.Interrupt)
	assert.Contains(t, watch.lineWith(watch.err, "left: "), ", group g")
	assert.Contains(t, asJSON.line(asJSON.out), `{"event":"joined","topic":"t","peer":"127.0.0.1:`)
	assert.Contains(t, asJSON.line(asJSON.out), `{"event":"left","topic":"t","peer":"127.0.0.1:`)
}

func TestSubEndsWithItsTopic(t *testing.T) {
	topicBroker(t)
	succeed(t, "topic", "create", "t")
	for name, args := range map[string][]string{"plain": nil, "of its own": {"--from", "new"}} {
		t.Run(name, func(t *testing.T) {
			succeed(t, "topic", "create", "t")
			sub := start(t, append([]string{"sub", "t"}, args...)...)
			sub.lineWith(sub.err, "subscribed")
			succeed(t, "topic", "remove", "t")
			assert.Equal(t, exitFailed, sub.wait())
			assert.Contains(t, sub.err.text(), "removed")
		})
	}
}
