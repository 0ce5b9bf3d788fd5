package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"trefoil/abstract"
	"trefoil/client"
)

// deadLetterVerbs are the commands below topic dead-letters, as the flag table calls them.
const deadLetterVerbs = "dead-letters-ls dead-letters-retry dead-letters-drop "

// deadLetterSettings is what the flags say of dead letters.
type deadLetterSettings struct {
	all  bool
	from int
}

func deadLetterFlags(s *settings) []flagRow {
	d := &s.dead
	return []flagRow{
		{commands: "dead-letters-retry dead-letters-drop", name: "all", to: &d.all, def: false, help: "all that there are now"},
		{commands: "dead-letters-ls", name: "from", to: &d.from, def: 0, help: "begin with this `OFFSET`"},
		{commands: "dead-letters-ls", name: "count", to: &s.count, def: 0, help: "list `N` at most (0: 1000)"},
	}
}

func (a *app) deadLettersCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "dead-letters",
		Short: "List, retry or drop messages that were delivered too often",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usagef("say what to do: ls TOPIC, retry TOPIC, or drop TOPIC")
		},
	}
	verb := func(use, short, long string, args cobra.PositionalArgs, do action) *cobra.Command {
		name, _, _ := strings.Cut(use, " ")
		return a.topicVerb(&settings{}, cobra.Command{
			Use: use, Short: short, Long: long, Args: args, Annotations: map[string]string{inTable: "dead-letters-" + name},
		}, false, do)
	}
	c.AddCommand(
		verb("ls TOPIC [flags]", "List a topic's messages that were delivered too often",
			"List a topic's messages that were delivered as often as its --max-deliver says, and not\nacknowledged: their offset, which retry and drop take, when they were put aside, the\noffset they had in their topic, which consumer did not acknowledge them, how often it got\nthem, and the message.",
			cobra.ExactArgs(1), a.deadLettersList),
		verb("retry TOPIC [OFFSET...] [flags]", "Publish dead letters to their topic again, those of the offsets or --all",
			"Publish dead letters to their topic again, with what came with them, and take them out of\nthe dead letters: those of the offsets, which ls shows, or --all. Every consumer of the\ntopic gets them, not only the one that did not acknowledge them.",
			cobra.MinimumNArgs(1), a.deadLettersRetry),
		verb("drop TOPIC [OFFSET...] [flags]", "Delete dead letters for good, those of the offsets or --all", "",
			cobra.MinimumNArgs(1), a.deadLettersDrop),
	)
	return c
}

// deadLetterOutput is a dead letter for programs.
type deadLetterOutput struct {
	Offset     uint64            `json:"offset"`
	TimeMs     int64             `json:"time_ms"`
	Topic      string            `json:"topic"`
	Origin     uint64            `json:"origin"`
	Consumer   string            `json:"consumer"`
	Deliveries int               `json:"deliveries"`
	Reason     string            `json:"reason,omitempty"`
	Data       json.RawMessage   `json:"data"`
	Meta       abstract.Metadata `json:"meta,omitempty"`
}

func (a *app) deadLettersList(ctx context.Context, s *settings, args []string) error {
	return a.withTopics(ctx, s, func(ctx context.Context, t *client.TopicClient) error {
		list, err := t.DeadLetters(ctx, args[0], uint64(s.dead.from), s.count)
		if err != nil {
			return topicError(ctx, t, args[0], err)
		}
		for _, d := range list {
			out := deadLetterOutput{d.Offset, d.Time.UnixMilli(), d.Topic, d.Origin, d.Consumer, d.Deliveries, d.Reason, d.Data, d.Meta}
			if err := a.say(s, out, "%s", deadLetterInWords(d)); err != nil {
				return err
			}
		}
		if len(list) == 0 && !s.json {
			fmt.Fprintf(a.stderr, "%s has no dead letters\n", oneLine(args[0]))
		}
		return nil
	})
}

// deadLetterInWords is a dead letter in a line.
func deadLetterInWords(d client.DeadLetter) string {
	words := []string{
		"#" + strconv.FormatUint(d.Offset, 10), d.Time.Format("2006-01-02 15:04:05"), fmt.Sprintf("was %s#%d,", d.Topic, d.Origin),
		fmt.Sprintf("delivered %s to %s", plural(d.Deliveries, "time"), d.Consumer),
	}
	if d.Reason != "" {
		words = append(words, "("+d.Reason+")")
	}
	for _, name := range slices.Sorted(maps.Keys(d.Meta)) {
		words = append(words, name+"="+d.Meta[name])
	}
	return oneLine(strings.Join(words, " ")) + "\t" + oneLine(string(d.Data))
}

// deadLettersDone says for programs what was done with dead letters.
type deadLettersDone struct {
	Event string `json:"event"` // retried or dropped
	Topic string `json:"topic"`
	Count int    `json:"count"`
}

func (a *app) deadLettersRetry(ctx context.Context, s *settings, args []string) error {
	return a.onDeadLetters(ctx, s, args, "retried", (*client.TopicClient).RetryDeadLetters)
}

func (a *app) deadLettersDrop(ctx context.Context, s *settings, args []string) error {
	return a.onDeadLetters(ctx, s, args, "dropped", (*client.TopicClient).DropDeadLetters)
}

// onDeadLetters does something with those that the arguments name.
func (a *app) onDeadLetters(ctx context.Context, s *settings, args []string, event string, do func(t *client.TopicClient, ctx context.Context, topic string, offsets ...uint64) (int, error)) error {
	offsets, err := s.dead.offsets(args)
	if err != nil {
		return err
	}
	return a.withTopics(ctx, s, func(ctx context.Context, t *client.TopicClient) error {
		n, err := do(t, ctx, args[0], offsets...)
		switch {
		case err != nil && n > 0:
			return fmt.Errorf("%d were %s, then: %w", n, event, topicError(ctx, t, args[0], err))
		case err != nil:
			return topicError(ctx, t, args[0], err)
		}
		missing := len(offsets) - n
		if n == 0 && missing > 0 {
			return &plainError{fmt.Sprintf("none of these offsets is a dead letter of %s; 'trefoil topic dead-letters ls %[1]s' shows what is", args[0]), &abstract.Error{Code: abstract.NotFound, Sent: abstract.SentYes}}
		}
		if err := a.say(s, deadLettersDone{event, args[0], n}, "%s %s of %s", event, count(n, "dead letter"), printable(args[0])); err != nil {
			return err
		}
		if missing > 0 {
			return &plainError{fmt.Sprintf("%d of %s are not there; 'trefoil topic dead-letters ls %s' shows what is", missing, count(len(offsets), "offset"), args[0]), &abstract.Error{Code: abstract.NotFound, Sent: abstract.SentYes}}
		}
		return nil
	})
}

// offsets are those that the arguments behind the topic name; none: all.
func (d *deadLetterSettings) offsets(args []string) ([]uint64, error) {
	if d.all == (len(args) > 1) {
		return nil, usagef("name offsets, as 'trefoil topic dead-letters ls %s' shows them, or --all", args[0])
	}
	return offsetsOf(args[1:])
}
