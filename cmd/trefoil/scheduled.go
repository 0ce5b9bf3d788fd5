package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"trefoil/abstract"
	"trefoil/client"
)

// scheduledVerbs are the commands below topic scheduled, as the flag table calls them.
const scheduledVerbs = "scheduled-ls scheduled-cancel "

func scheduledFlags(s *settings) []flagRow {
	return []flagRow{
		{commands: "scheduled-ls", name: "count", to: &s.count, def: 0, help: "list `N` at most, those that are due first (0: all)"},
	}
}

func (a *app) scheduledCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "scheduled",
		Short: "List or cancel messages that wait to be published later",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usagef("say what to do: ls TOPIC, or cancel TOPIC ID")
		},
	}
	verb := func(use, short, long string, args cobra.PositionalArgs, do action) *cobra.Command {
		name, _, _ := strings.Cut(use, " ")
		return a.topicVerb(&settings{}, cobra.Command{
			Use: use, Short: short, Long: long, Args: args, Annotations: map[string]string{inTable: "scheduled-" + name},
		}, false, do)
	}
	c.AddCommand(
		verb("ls TOPIC [flags]", "List a topic's messages that wait to be published later",
			"List a topic's messages that were published with --delay or --at, and are not due yet, in\nthe order in which they will be: what cancel knows them by, when they are due, and the\nmessage.",
			cobra.ExactArgs(1), a.scheduledList),
		verb("cancel TOPIC ID... [flags]", "Cancel messages that wait to be published later",
			"Cancel messages that wait to be published later, by what pub said that they are known as,\nor ls shows. What is cancelled is not delivered.",
			cobra.MinimumNArgs(2), a.scheduledCancel),
	)
	return c
}

// scheduledOutput is a message that waits, for programs.
type scheduledOutput struct {
	ID     string            `json:"scheduled"`
	DueMs  int64             `json:"due_ms"`
	TimeMs int64             `json:"time_ms"`
	MsgID  string            `json:"msg_id,omitempty"`
	Data   json.RawMessage   `json:"data"`
	Meta   abstract.Metadata `json:"meta,omitempty"`
}

func (a *app) scheduledList(ctx context.Context, s *settings, args []string) error {
	return a.withTopics(ctx, s, func(ctx context.Context, t *client.TopicClient) error {
		var list []client.Scheduled
		for m, err := range t.Scheduled(ctx, args[0]) {
			if err != nil {
				return topicError(ctx, t, args[0], err)
			}
			list = append(list, m)
		}
		slices.SortStableFunc(list, func(a, b client.Scheduled) int { return cmp.Compare(a.Due.UnixMilli(), b.Due.UnixMilli()) })
		if s.count > 0 {
			list = list[:min(s.count, len(list))]
		}
		for _, m := range list {
			out := scheduledOutput{m.ID, m.Due.UnixMilli(), m.Time.UnixMilli(), m.MsgID, m.Data, m.Meta}
			if err := a.say(s, out, "%s", scheduledInWords(m)); err != nil {
				return err
			}
		}
		if len(list) == 0 && !s.json {
			fmt.Fprintf(a.stderr, "nothing of %s waits to be published later\n", oneLine(args[0]))
		}
		return nil
	})
}

// scheduledInWords is a message that waits in a line.
func scheduledInWords(m client.Scheduled) string {
	words := []string{m.ID, m.Due.Format("2006-01-02 15:04:05")}
	if m.MsgID != "" {
		words = append(words, "id "+m.MsgID)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Meta)) {
		words = append(words, name+"="+m.Meta[name])
	}
	return oneLine(strings.Join(words, " ")) + "\t" + oneLine(string(m.Data))
}

// scheduledDone says for programs what was cancelled.
type scheduledDone struct {
	Event string `json:"event"` // cancelled
	Topic string `json:"topic"`
	Count int    `json:"count"`
}

func (a *app) scheduledCancel(ctx context.Context, s *settings, args []string) error {
	return a.withTopics(ctx, s, func(ctx context.Context, t *client.TopicClient) error {
		var failed []error
		for _, id := range args[1:] {
			if err := t.CancelScheduled(ctx, args[0], id); err != nil {
				failed = append(failed, topicError(ctx, t, args[0], err))
			}
		}
		n := len(args) - 1 - len(failed)
		if n > 0 {
			if err := a.say(s, scheduledDone{"cancelled", args[0], n}, "cancelled %s of %s", count(n, "message"), printable(args[0])); err != nil {
				return err
			}
		}
		return errors.Join(failed...)
	})
}
