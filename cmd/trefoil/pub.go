package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"trefoil/abstract"
	"trefoil/client"
)

func (a *app) pubCommand() *cobra.Command {
	s := &settings{}
	c := a.completingTopics(a.commandWith(s, cobra.Command{
		Use:   "pub TOPIC [MESSAGE | -] [flags]",
		Short: "Publish a message, or one for each line of standard input or of a file",
		Long: "Publish MESSAGE as a JSON string, or with --type json as the JSON value it is.\n" +
			"With - in its place, or without it, every line of standard input is a message, or\n" +
			"every line of --file. Lines are published in their order, many on their way at the\n" +
			"same time; the first that is not taken ends it, and the error says which line that\n" +
			"is and how many were published. With --id, --delay, --at, --ttl or --report each\n" +
			"waits for the answer to the one before.",
		Example: "  trefoil pub news hello --meta lang=en\n  trefoil pub news --file lines.txt --rate 100\n  trefoil pub reminders 'wake up' --delay 1h",
		Args:    cobra.RangeArgs(1, 2),
	}, a.pub), s, false)
	c.Flags().SetNormalizeFunc(headerIsMeta)
	for _, late := range []string{"id", "delay", "at", "ttl", "report"} {
		c.MarkFlagsMutuallyExclusive("oneway", late)
	}
	c.MarkFlagsMutuallyExclusive("delay", "at")
	return completingFlag(c, "type", "string", "json")
}

// headerIsMeta lets --header stand for --meta.
func headerIsMeta(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	if name == "header" {
		name = "meta"
	}
	return pflag.NormalizedName(name)
}

// pubSettings is what the flags say of how messages are published.
type pubSettings struct {
	id, at, file   string
	delay, ttl     spanValue
	rate           int
	oneway, report bool
}

// pubFlags are those about publishing.
func pubFlags(s *settings) []flagRow {
	p := &s.pub
	return []flagRow{
		{commands: "pub", name: "type", to: &s.kind, def: "string", help: "what a message is: `TYPE` is string, or json for any JSON value"},
		{commands: "pub", name: "file", to: &p.file, def: "", help: "publish the lines of `FILE`"},
		{commands: "pub", name: "rate", to: &p.rate, def: 0, help: "publish `N` lines a second, evenly (0: as fast as they are taken)"},
		{commands: "pub", name: "id", to: &p.id, def: "", help: "call the message `ID`: a topic with --dedup takes it once. Lines are called ID-1, ID-2, ...: after a failure the same file can be published again"},
		{commands: "pub", name: "delay", to: &p.delay, help: "deliver it after `D`; only on durable topics"},
		{commands: "pub", name: "at", to: &p.at, def: "", help: "deliver it at `TIME`, 2006-01-02T15:04:05Z, '2006-01-02 15:04:05' or 15:04 today; only on durable topics"},
		{commands: "pub", name: "ttl", to: &p.ttl, help: "deliver it no more after `D`"},
		{commands: "pub", name: "oneway", to: &p.oneway, def: false, help: "send it, and wait for no answer: nobody says whether it was taken"},
		{commands: "pub", name: "report", to: &p.report, def: false, help: "say which offset each message got, and how many subscribers it was queued for"},
	}
}

// publishing is what goes with the message on a line; 0: with the only one.
func (p *pubSettings) publishing(at time.Time, line int) client.Publishing {
	how := client.Publishing{ID: p.id, Delay: time.Duration(p.delay), At: at, TTL: time.Duration(p.ttl)}
	if line > 0 && p.id != "" {
		how.ID = fmt.Sprintf("%s-%d", p.id, line)
	}
	return how
}

// moment is what --at says.
func (p *pubSettings) moment(now time.Time) (time.Time, error) {
	if p.at == "" {
		return time.Time{}, nil
	}
	at, err := parseMoment(p.at, now)
	if err == nil && !at.After(now) {
		err = fmt.Errorf("%s is over", p.at)
	}
	if err != nil {
		return at, usagef("--at: %s", err)
	}
	return at, nil
}

// pubOutput says for programs what was published.
type pubOutput struct {
	Topic      string `json:"topic"`
	Published  int    `json:"published"`            // messages
	Bytes      int64  `json:"bytes"`                // of their text
	Duplicates int    `json:"duplicates,omitempty"` // of those, by their ids, that the topic had taken before
	Oneway     bool   `json:"oneway,omitempty"`     // nobody says whether they were taken
	*receiptOutput
}

// receiptOutput says for programs what became of a message.
type receiptOutput struct {
	Offset      uint64 `json:"offset"`
	Subscribers int    `json:"subscribers"`
	Duplicate   bool   `json:"duplicate,omitempty"`
	DueMs       int64  `json:"due_ms,omitempty"` // when it is delivered; its offset is not known yet
	Scheduled   string `json:"scheduled,omitempty"`
}

func newReceiptOutput(r client.Receipt) *receiptOutput {
	out := &receiptOutput{Offset: r.Offset, Subscribers: r.Subscribers, Duplicate: r.Duplicate, Scheduled: r.Scheduled}
	if !r.Due.IsZero() {
		out.DueMs = r.Due.UnixMilli()
	}
	return out
}

// String is what became of a message, for people.
func (o *receiptOutput) String() string {
	if o.DueMs > 0 {
		return "to be delivered at " + time.UnixMilli(o.DueMs).Format("2006-01-02 15:04:05") + ", as " + o.Scheduled
	}
	if o.Duplicate {
		return fmt.Sprintf("offset %d, which it got when it was taken before", o.Offset)
	}
	return fmt.Sprintf("offset %d, %s", o.Offset, count(o.Subscribers, "subscriber"))
}

func (a *app) pub(ctx context.Context, s *settings, args []string) error {
	if err := positive("timeout", s.timeout); err != nil {
		return err
	}
	if s.pub.rate < 0 {
		return usagef("--rate must not be negative")
	}
	ctx, err := s.carrying(ctx)
	if err != nil {
		return err
	}
	at, err := s.pub.moment(time.Now())
	if err != nil {
		return err
	}
	if len(args) == 1 || args[1] == "-" {
		return a.pubLines(ctx, s, args[0], at)
	}
	if s.pub.file != "" {
		return usagef("give MESSAGE or --file, not both")
	}
	message, err := encodeMessage(s.kind, args[1])
	if err != nil {
		return &usageError{err.Error()}
	}
	return a.withTopics(ctx, s, func(ctx context.Context, t *client.TopicClient) error {
		out := pubOutput{Topic: args[0], Published: 1, Bytes: int64(len(args[1])), Oneway: s.pub.oneway}
		if s.pub.oneway {
			if err := t.Send(ctx, args[0], message); err != nil {
				return err
			}
			if err := arrived(ctx, t); err != nil {
				return err
			}
			return a.published(s, out)
		}
		got, err := publishOne(ctx, t, args[0], message, s.pub.publishing(at, 0), s.pub.report)
		if err != nil {
			return topicError(ctx, t, args[0], err)
		}
		if got.Duplicate {
			out.Duplicates = 1
		}
		if s.pub.report || !got.Due.IsZero() {
			out.receiptOutput = newReceiptOutput(got)
		}
		return a.published(s, out)
	})
}

// publishOne publishes a message, and asks for no more than it needs to.
func publishOne(ctx context.Context, t *client.TopicClient, topic string, message json.RawMessage, how client.Publishing, report bool) (client.Receipt, error) {
	if report || asksForMore(how) {
		return t.PublishWith(ctx, topic, message, how)
	}
	return client.Receipt{}, t.Publish(carryingToo(ctx, how.Meta), topic, message)
}

// asksForMore says whether a publish needs what existing programs do not know.
func asksForMore(how client.Publishing) bool {
	return how.ID != "" || how.Delay != 0 || !how.At.IsZero() || how.TTL != 0 || how.Epoch != ""
}

// carryingToo is a context whose messages carry meta too.
func carryingToo(ctx context.Context, meta abstract.Metadata) context.Context {
	if len(meta) == 0 {
		return ctx
	}
	return abstract.WithMetadata(ctx, meta)
}

// arrived waits until the broker has what was sent to it before.
func arrived(ctx context.Context, t *client.TopicClient) error {
	for _, err := range t.List(ctx, nowhere) { // answered behind them
		return err
	}
	return nil
}

// nowhere is a filter that hardly names a topic.
const nowhere = "-.-.-.-"

func (a *app) published(s *settings, out pubOutput) error {
	text := fmt.Sprintf("published %s to %s", count(out.Published, "message"), printable(out.Topic))
	switch {
	case out.Oneway:
		text = fmt.Sprintf("sent %s to %s", count(out.Published, "message"), printable(out.Topic))
	case out.receiptOutput != nil:
		text += ": " + out.receiptOutput.String()
	case out.Duplicates > 0:
		text += fmt.Sprintf(", of which it had taken %d before", out.Duplicates)
	}
	return a.say(s, out, "%s", text)
}

// encodeMessage makes the JSON of a message.
func encodeMessage(kind, text string) (json.RawMessage, error) {
	if kind == "json" {
		if !json.Valid([]byte(text)) {
			return nil, fmt.Errorf("the message is not valid JSON: %.100q; leave --type json out to send it as a string", text)
		}
		return json.RawMessage(text), nil
	}
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("the message is not valid UTF-8: %.100q; JSON carries nothing else", text)
	}
	return json.Marshal(text)
}
