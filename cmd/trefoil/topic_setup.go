package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"trefoil/abstract"
)

// topicSetup is what the flags say of a topic's settings.
type topicSetup struct {
	durable, retain, presence       bool
	slow, schema, deadLetter        string
	history, maxDeliver             int
	historyBytes, maxSize           sizeValue
	historyAge, ttl, dedup, ackWait spanValue
	allowPublish, allowSubscribe    []string
	names                           bool // of ls: nothing else
}

// topicVerbs are the commands below topic, as the flag table calls them.
const topicVerbs = "topic-create topic-set topic-remove topic-delete topic-ls topic-info topic-record topic-replay " + consumerVerbs + deadLetterVerbs + scheduledVerbs

// topicFlags are those about a topic's settings.
func topicFlags(s *settings) []flagRow {
	const both = "topic-create topic-set"
	t := &s.topic
	return []flagRow{
		{commands: both, name: "durable", to: &t.durable, def: false, help: "keep messages on disk: a publish is answered when its message is there, and named consumers go on where they were; for good, set cannot change it"},
		{commands: both, name: "history", to: &t.history, def: 0, help: "keep the last `N` messages for who comes later, or was away"},
		{commands: both, name: "history-bytes", to: &t.historyBytes, help: "keep as many of the last messages as fit `SIZE`, such as 64MiB"},
		{commands: both, name: "history-age", to: &t.historyAge, help: "keep messages for `D`, such as 12h or 7d"},
		{commands: both, name: "retain", to: &t.retain, def: false, help: "whoever subscribes gets the last message first"},
		{commands: both, name: "slow", to: &t.slow, def: "", help: "what happens to a subscriber that does not keep up: `POLICY` is drop-oldest, drop-newest, disconnect, or lossless, which makes the publisher wait (default drop-oldest)"},
		{commands: both, name: "ttl", to: &t.ttl, help: "deliver messages no more when they are older than `D`"},
		{commands: both, name: "max-size", to: &t.maxSize, help: "refuse messages longer than `SIZE`"},
		{commands: both, name: "schema", to: &t.schema, def: "", help: "refuse messages that do not fit the JSON Schema in `FILE`; - reads standard input"},
		{commands: both, name: "dedup", to: &t.dedup, help: "take messages of the same id once in `D`; see pub --id"},
		{commands: both, name: "presence", to: &t.presence, def: false, help: "tell who asks for it who subscribes and leaves; see sub --presence"},
		{commands: both, name: "allow-publish", to: &t.allowPublish, def: []string(nil), help: "only these identities may publish: `IDS` separated by commas, * for any text; may be given more than once"},
		{commands: both, name: "allow-subscribe", to: &t.allowSubscribe, def: []string(nil), help: "only these identities may subscribe: `IDS`, in the same way"},
		{commands: both, name: "max-deliver", to: &t.maxDeliver, def: 0, help: "durable: deliver a message that nobody acknowledges `N` times at most (0: 16)"},
		{commands: both, name: "ack-wait", to: &t.ackWait, help: "durable: deliver a message again that is not acknowledged in `D` (0: 30s)"},
		{commands: both, name: "dead-letter", to: &t.deadLetter, def: "", help: "durable: the `TOPIC` that gets what was delivered too often (default the topic's name with .dead)"},
		{commands: "topic-ls", name: "names", to: &t.names, def: false, help: "print the names alone"},
	}
}

// settingsGiven says whether a command line has flags about a topic's settings.
func settingsGiven(c *cobra.Command) bool {
	return slices.ContainsFunc(topicFlags(&settings{}), func(row flagRow) bool { return c.Flags().Changed(row.name) })
}

// setup is what the flags that were given make of a topic's settings.
func (a *app) setup(c *cobra.Command, t *topicSetup, to abstract.TopicSettings) (_ abstract.TopicSettings, err error) {
	for _, f := range []struct {
		flag string
		put  func() error
	}{
		{"durable", func() error { to.Durable = t.durable; return nil }},
		{"history", func() error { to.History.Count = t.history; return nil }},
		{"history-bytes", func() error { to.History.Bytes = int64(t.historyBytes); return nil }},
		{"history-age", func() error { to.History.Age = time.Duration(t.historyAge); return nil }},
		{"retain", func() error { to.Retain = t.retain; return nil }},
		{"slow", func() error { to.Slow, err = abstract.ParseSlowPolicy(t.slow); return err }},
		{"ttl", func() error { to.TTL = time.Duration(t.ttl); return nil }},
		{"max-size", func() error { to.MaxBytes = int(t.maxSize); return nil }},
		{"schema", func() error { to.Schema, err = a.readSchema(t.schema); return err }},
		{"dedup", func() error { to.Dedup = time.Duration(t.dedup); return nil }},
		{"presence", func() error { to.Presence = t.presence; return nil }},
		{"allow-publish", func() error { to.Allow.Publish = identities(t.allowPublish); return nil }},
		{"allow-subscribe", func() error { to.Allow.Subscribe = identities(t.allowSubscribe); return nil }},
		{"max-deliver", func() error { to.MaxDeliver = t.maxDeliver; return nil }},
		{"ack-wait", func() error { to.AckWait = time.Duration(t.ackWait); return nil }},
		{"dead-letter", func() error { to.DeadLetter = t.deadLetter; return nil }},
	} {
		if !c.Flags().Changed(f.flag) {
			continue
		}
		if err := f.put(); err != nil {
			return to, usagef("--%s: %s", f.flag, plainText(err))
		}
	}
	return to, nil
}

// plainText is what an error says, without its code.
func plainText(err error) string {
	if e, ok := err.(*abstract.Error); ok && e.Message != "" { //nolint:errorlint // what is inside of another says less than that
		return e.Message
	}
	return err.Error()
}

// identities are the names in lists separated by commas; none of empty ones.
func identities(lists []string) []string {
	var names []string
	for _, list := range lists {
		for name := range strings.SplitSeq(list, ",") {
			if name = strings.TrimSpace(name); name != "" {
				names = append(names, name)
			}
		}
	}
	return names
}

// readSchema reads a JSON Schema; an empty name stands for none.
func (a *app) readSchema(file string) (json.RawMessage, error) {
	if file == "" {
		return nil, nil
	}
	from := a.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		from = f
	}
	text, err := io.ReadAll(io.LimitReader(from, abstract.MaxTopicSettings+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > abstract.MaxTopicSettings:
		return nil, fmt.Errorf("the schema is longer than %d bytes; a topic's settings are not", abstract.MaxTopicSettings)
	case !json.Valid(text):
		return nil, fmt.Errorf("%s holds no valid JSON", file)
	}
	return compacted(text), nil
}
