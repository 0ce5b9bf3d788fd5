//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// topicBroker starts a broker that all commands of the test talk to.
func topicBroker(t *testing.T, args ...string) {
	t.Helper()
	_, addr := startBroker(t, append([]string{"--listen", "127.0.0.1:0"}, args...)...)
	t.Setenv("TREFOIL_BROKER", addr)
}

// succeed runs a command line that must succeed, and returns what it prints.
func succeed(t *testing.T, args ...string) string {
	t.Helper()
	f := inProcess(t, "", args...)
	require.Equal(t, exitOK, f.code, "%v: %s", args, f.err)
	return f.out
}

// refused runs a command line that must fail, and returns what it complains.
func refused(t *testing.T, status int, args ...string) string {
	t.Helper()
	f := inProcess(t, "", args...)
	require.Equal(t, status, f.code, "%v: %s%s", args, f.out, f.err)
	require.Equal(t, 1, strings.Count(f.err, "\n"), f.err)
	return f.err
}

// textFile is a file of the test's own.
func textFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// infoOf is what topic info --json says.
func infoOf(t *testing.T, name string) (out topicInfoOutput) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(succeed(t, "topic", "info", name, "--json")), &out))
	return out
}

func TestTopicSettingsComeFromFlags(t *testing.T) {
	topicBroker(t)
	schema := textFile(t, `{"type": "object"}`)
	for name, tc := range map[string]struct {
		flags, want string
	}{
		"plain":    {"", `{}`},
		"history":  {"--history 100 --history-bytes 64MiB --history-age 7d", `{"history":{"count":100,"bytes":67108864,"age_ms":604800000}}`},
		"retain":   {"--retain", `{"retain":true}`},
		"slow":     {"--slow disconnect", `{"slow":"disconnect"}`},
		"limits":   {"--ttl 1m30s --max-size 4KiB --dedup 2m", `{"ttl_ms":90000,"max_bytes":4096,"dedup_ms":120000}`},
		"schema":   {"--schema " + schema, `{"schema":{"type":"object"}}`},
		"presence": {"--presence", `{"presence":true}`},
		"allow":    {"--allow-publish a,b --allow-publish c* --allow-subscribe d", `{"allow":{"publish":["a","b","c*"],"subscribe":["d"]}}`},
	} {
		t.Run(name, func(t *testing.T) {
			succeed(t, append([]string{"topic", "create", name}, strings.Fields(tc.flags)...)...)
			if name == "allow" {
				return // nobody here may look at it
			}
			assert.JSONEq(t, tc.want, string(infoOf(t, name).Settings))
		})
	}
}

func TestTopicSetChangesWhatIsNamed(t *testing.T) {
	topicBroker(t)
	succeed(t, "topic", "create", "news", "--history", "100", "--retain", "--slow", "drop-newest")
	assert.Equal(t, "changed news: history 5, slow drop-newest, ttl 1m\n", succeed(t, "topic", "set", "news", "--history", "5", "--retain=false", "--ttl", "1m"))
	assert.JSONEq(t, `{"history":{"count":5},"slow":"drop-newest","ttl_ms":60000}`, string(infoOf(t, "news").Settings))
	assert.JSONEq(t, `{"event":"set","topic":"news"}`, succeed(t, "topic", "set", "news", "--ttl", "0", "--history", "0", "--slow", "", "--json"))
	assert.JSONEq(t, `{}`, string(infoOf(t, "news").Settings))
	assert.Contains(t, refused(t, exitUsage, "topic", "set", "news"), "--history 100")
	assert.Contains(t, refused(t, exitFailed, "topic", "set", "newz", "--ttl", "1m"), "did you mean news?")
	assert.Contains(t, refused(t, exitFailed, "topic", "create", "news", "--history", "1"), "trefoil topic set news")
	assert.Equal(t, "created news\n", succeed(t, "topic", "create", "news"), "without settings it may be there")
}

func TestFaultySettingsAreRefusedBeforeAnythingIsAsked(t *testing.T) {
	long := textFile(t, `"`+strings.Repeat("x", abstract.MaxTopicSettings)+`"`)
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"policy":              {[]string{"topic", "create", "t", "--slow", "never"}, "drop-oldest, drop-newest, disconnect, lossless"},
		"size":                {[]string{"topic", "create", "t", "--history-bytes", "many"}, "4MiB"},
		"negative size":       {[]string{"topic", "create", "t", "--max-size", "-1"}, "negative"},
		"age":                 {[]string{"topic", "create", "t", "--history-age", "old"}, "7d"},
		"less than counted":   {[]string{"topic", "create", "t", "--ttl", "10us"}, "millisecond"},
		"negative count":      {[]string{"topic", "create", "t", "--history", "-1"}, "negative"},
		"age alone":           {[]string{"topic", "create", "t", "--history-age", "1h"}, "needs a count"},
		"durable without":     {[]string{"topic", "create", "t", "--max-deliver", "3"}, "durable"},
		"durable lossless":    {[]string{"topic", "create", "t", "--durable", "--slow", "lossless"}, "lossless"},
		"no schema":           {[]string{"topic", "create", "t", "--schema", textFile(t, "{")}, "no valid JSON"},
		"long schema":         {[]string{"topic", "create", "t", "--schema", long}, "longer than"},
		"schema not there":    {[]string{"topic", "create", "t", "--schema", long + ".not"}, "no such file"},
		"message id one-way":  {[]string{"pub", "t", "x", "--oneway", "--id", "1"}, "oneway"},
		"delay and time":      {[]string{"pub", "t", "x", "--delay", "1s", "--at", "15:04"}, "do not go together"},
		"time over":           {[]string{"pub", "t", "x", "--at", "2001-01-01"}, "is over"},
		"no time":             {[]string{"pub", "t", "x", "--at", "soon"}, "15:04"},
		"negative rate":       {[]string{"pub", "t", "--rate", "-1"}, "--rate"},
		"message and file":    {[]string{"pub", "t", "x", "--file", long}, "--file"},
		"header":              {[]string{"pub", "t", "x", "--header", "a"}, "NAME=VALUE"},
		"offset 0":            {[]string{"sub", "t", "--from", "0"}, "begin with 1"},
		"beginning":           {[]string{"sub", "t", "--from", "somewhere"}, "new, last, all"},
		"where":               {[]string{"sub", "t", "--where", "a"}, "--where is NAME=VALUE"},
		"window alone":        {[]string{"sub", "t", "--window", "3"}, "--group"},
		"negative window":     {[]string{"sub", "t", "--group", "g", "--window", "-3"}, "negative"},
		"presence of many":    {[]string{"sub", "t.*", "--presence"}, "one topic"},
		"speed":               {[]string{"topic", "replay", "f", "--speed", "fast"}, "number"},
		"negative speed":      {[]string{"topic", "replay", "f", "--speed", "-1"}, "number"},
		"speed of no number":  {[]string{"topic", "replay", "f", "--speed", "NaN"}, "number"},
		"remove nothing":      {[]string{"topic", "remove"}, "at least 1"},
		"record without file": {[]string{"topic", "record", "t"}, "2 arg"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Contains(t, refused(t, exitUsage, append(tc.args, "--broker", "127.0.0.1:1")...), tc.want)
		})
	}
}

func TestTopicsAreListed(t *testing.T) {
	topicBroker(t)
	assert.Contains(t, inProcess(t, "", "topic", "ls").err, "no topic")
	succeed(t, "topic", "create", "orders.eu", "--history", "2", "--retain")
	succeed(t, "topic", "create", "orders.us")
	succeed(t, "topic", "create", "news")
	for i := range 3 {
		succeed(t, "pub", "orders.eu", fmt.Sprint(i))
	}
	assert.Equal(t, strings.Join([]string{
		"TOPIC      LAST  KEPT  SUBSCRIBERS  SETTINGS",
		"news       0     0     0            plain",
		"orders.eu  3     2     0            history 2, retain",
		"orders.us  0     0     0            plain", "",
	}, "\n"), succeed(t, "topic", "ls"))
	assert.Equal(t, "orders.eu\norders.us\n", succeed(t, "topic", "ls", "orders.*", "--names"))
	lines := strings.Split(strings.TrimSpace(succeed(t, "topic", "ls", "orders.eu", "--json")), "\n")
	require.Len(t, lines, 1)
	var out topicInfoOutput
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &out))
	assert.Equal(t, uint64(2), out.First)
	assert.Equal(t, uint64(2), out.Kept)
	assert.Equal(t, "removed orders.eu\nremoved orders.us\n", succeed(t, "topic", "remove", "orders.eu", "orders.us"))
	f := inProcess(t, "", "topic", "rm", "news", "newz")
	assert.Equal(t, exitFailed, f.code)
	assert.Equal(t, "removed news\n", f.out)
	assert.Contains(t, f.err, `no topic "newz"`)
}

func TestWhatBecomesOfUnacknowledgedMessagesInWords(t *testing.T) {
	for want, s := range map[string]abstract.TopicSettings{
		"a message that is not acknowledged is delivered again after 30s, 16 times in all, then it goes to t.dead": {},
		"a message that is not acknowledged is delivered again after 1s, 2 times in all, then it goes to graves":   {AckWait: time.Second, MaxDeliver: 2, DeadLetter: "graves"},
		"a message that is not acknowledged within 1s goes to t.dead":                                              {AckWait: time.Second, MaxDeliver: 1},
	} {
		s.Durable = true
		list := settingsInWords("t", s)
		assert.Equal(t, want, list[len(list)-1])
	}
}

func TestTopicInfoNamesTheUnitOfOddSizes(t *testing.T) {
	topicBroker(t)
	succeed(t, "topic", "create", "t", "--history", "2", "--history-bytes", "1001", "--max-size", "100")
	text := succeed(t, "topic", "info", "t")
	assert.Contains(t, text, "the last 2 messages, 1001 bytes of them\n")
	assert.Contains(t, text, "a message has 100 bytes at most\n")
}

func TestTopicListSaysThatThereIsNothing(t *testing.T) {
	topicBroker(t)
	all := inProcess(t, "", "topic", "ls")
	assert.Equal(t, "there is no topic that may be seen here; 'trefoil topic create' makes one\n", all.err)
	some := inProcess(t, "", "topic", "ls", "a.*")
	assert.Equal(t, "no topic that may be seen here is named by a.*\n", some.err)
}

func TestTopicsThatAreNotThereCanBeMadeAsIsSaid(t *testing.T) {
	topicBroker(t)
	for name, hint := range map[string]string{
		"news": "create it with 'trefoil topic create news'",
		"a b":  `create it with 'trefoil topic create "a b"'`,
		"a;b":  `create it with 'trefoil topic create "a;b"'`,
		"":     `there is no topic ""; name one`,
	} {
		f := inProcess(t, "", "topic", "info", name)
		assert.Equal(t, exitFailed, f.code, name)
		assert.Contains(t, f.err, hint, name)
	}
}

func TestFlagsThatDoNotGoTogetherAreNamed(t *testing.T) {
	f := inProcess(t, "", "sub", "t", "--group", "g", "--consumer", "c")
	assert.Equal(t, exitUsage, f.code)
	assert.Equal(t, "trefoil sub: --consumer and --group do not go together; see trefoil sub --help\n", f.err)
}

func TestTopicInfoSpeaksInWords(t *testing.T) {
	topicBroker(t)
	succeed(t, "topic", "create", "t", "--history", "2", "--history-bytes", "1MiB", "--retain", "--slow", "lossless", "--ttl", "1h", "--max-size", "64KiB", "--dedup", "2m", "--presence")
	member := start(t, "sub", "t", "--group", "workers")
	member.lineWith(member.err, "subscribed")
	succeed(t, "pub", "t", "x")
	text := succeed(t, "topic", "info", "t")
	for _, want := range []string{
		"keeps in memory the last 2 messages, 1MiB of them\n", "the publisher wait (lossless)\n", "gets the last message first\n", "older than 1h are not delivered\n", "a message has 64KiB at most\n",
		"of the same id are taken once in 2m\n", "told who subscribes and leaves\n", "  1 message kept: offsets 1 to 1\n", "group workers: 1 member, 0 messages waiting\n", ", group workers\n",
	} {
		assert.Contains(t, text, want)
	}
	succeed(t, "topic", "create", "plain")
	text = succeed(t, "topic", "info", "plain")
	assert.Contains(t, text, "  plain: messages go to who is subscribed, and are kept nowhere\n")
	assert.Contains(t, text, "  none yet\n")
	assert.Contains(t, refused(t, exitFailed, "topic", "info", "plan"), "did you mean plain?")
	out := infoOf(t, "t")
	require.Len(t, out.Groups, 1)
	assert.Equal(t, 1, out.Groups[0].Members)
	require.Len(t, out.Present, 1)
	assert.Equal(t, "workers", out.Present[0].Group)
}

func TestDurableTopicsNeedABrokerThatKeepsThem(t *testing.T) {
	topicBroker(t)
	err := refused(t, exitFailed, "topic", "create", "orders", "--durable")
	assert.Contains(t, err, "--data DIR")
	succeed(t, "topic", "create", "orders")
	assert.Contains(t, refused(t, exitFailed, "pub", "orders", "x", "--delay", "1h"), "not durable")

	topicBroker(t, "--data", t.TempDir())
	succeed(t, "topic", "create", "orders", "--durable", "--max-deliver", "3", "--ack-wait", "10s", "--dead-letter", "lost", "--history-age", "7d")
	assert.JSONEq(t, `{"durable":true,"max_deliver":3,"ack_wait_ms":10000,"dead_letter":"lost","history":{"age_ms":604800000}}`, string(infoOf(t, "orders").Settings))
	text := succeed(t, "topic", "info", "orders")
	assert.Contains(t, text, "delivered again after 10s, 3 times in all, then it goes to lost\n")
	succeed(t, "pub", "orders", "one")
	assert.Equal(t, "published 1 message to orders: offset 2, 0 subscribers\n", succeed(t, "pub", "orders", "two", "--report"))
	assert.Equal(t, "one\ntwo\n", succeed(t, "sub", "orders", "--from", "all", "--count", "2"))
	assert.Contains(t, refused(t, exitFailed, "topic", "set", "orders", "--slow", "lossless"), "durable")
}

func TestTopicNamesAreCompleted(t *testing.T) {
	topicBroker(t)
	for _, name := range []string{"orders.eu", "orders.us", "news"} {
		succeed(t, "topic", "create", name)
	}
	for name, tc := range map[string]struct {
		args, want []string
	}{
		"pub":             {[]string{"pub", "o"}, []string{"orders.eu", "orders.us"}},
		"sub":             {[]string{"sub", "n"}, []string{"news"}},
		"info":            {[]string{"topic", "info", "n"}, []string{"news"}},
		"remove more":     {[]string{"topic", "remove", "orders.eu", "o"}, []string{"orders.us"}},
		"one is enough":   {[]string{"topic", "info", "news", ""}, nil},
		"no new name":     {[]string{"topic", "create", ""}, nil},
		"record":          {[]string{"topic", "record", "n"}, []string{"news"}},
		"policies":        {[]string{"topic", "create", "x", "--slow", ""}, []string{"drop-oldest", "drop-newest", "disconnect", "lossless"}},
		"where to begin":  {[]string{"sub", "news", "--from", ""}, []string{"new", "last", "all"}},
		"kind of message": {[]string{"pub", "news", "--type", ""}, []string{"string", "json"}},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tc.want, wordsFor(t, tc.args...)) })
	}
	t.Setenv("TREFOIL_BROKER", freeAddr(t))
	assert.Empty(t, wordsFor(t, "pub", "n"), "without a broker nothing is offered")
}

func TestShellKnowsTopics(t *testing.T) {
	topicBroker(t)
	f := inProcess(t, strings.Join([]string{
		"topic create news --history 3", "pub news hello", "pub news 'two words' --report", "sub news --from all --count 2", "topic ls --names", "topic remove news",
	}, "\n"), "shell")
	require.Equal(t, exitOK, f.code, f.err)
	assert.Equal(t, "created news\npublished 1 message to news\npublished 1 message to news: offset 2, 0 subscribers\nsubscribed to news\nhello\ntwo words\nnews\nremoved news\n", f.out)
	f = inProcess(t, "pub news\n", "shell")
	assert.Equal(t, exitFailed, f.code)
	assert.Contains(t, f.err, "no standard input")
	f = inProcess(t, "help\n", "shell")
	assert.Contains(t, f.out, "topic")
}

func TestMomentsAreReadAsPeopleWriteThem(t *testing.T) {
	now := time.Date(2026, 11, 21, 18, 0, 0, 0, time.FixedZone("", 3600))
	for text, want := range map[string]time.Time{
		"2026-11-21T15:04:05Z":      time.Date(2026, 11, 21, 15, 4, 5, 0, time.UTC),
		"2026-11-21T15:04:05.5Z":    time.Date(2026, 11, 21, 15, 4, 5, 5e8, time.UTC),
		"2026-11-21T15:04:05+01:00": time.Date(2026, 11, 21, 14, 4, 5, 0, time.UTC),
		"2026-11-21T15:04:05":       time.Date(2026, 11, 21, 14, 4, 5, 0, time.UTC),
		"2026-11-21 15:04:05":       time.Date(2026, 11, 21, 14, 4, 5, 0, time.UTC),
		"2026-11-21 15:04":          time.Date(2026, 11, 21, 14, 4, 0, 0, time.UTC),
		"2026-11-20":                time.Date(2026, 11, 19, 23, 0, 0, 0, time.UTC),
		"15:04":                     time.Date(2026, 11, 21, 14, 4, 0, 0, time.UTC),
		"15:04:05":                  time.Date(2026, 11, 21, 14, 4, 5, 0, time.UTC),
	} {
		got, err := parseMoment(text, now)
		require.NoError(t, err, text)
		assert.True(t, want.Equal(got), "%s is %s", text, got)
	}
	for _, text := range []string{"", "25:00", "noon", "2026-13-01", "2026-11-21T15"} {
		_, err := parseMoment(text, now)
		assert.ErrorContains(t, err, "is no time", text)
	}
}
