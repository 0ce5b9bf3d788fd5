package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"trefoil/abstract"
	"trefoil/client"
)

func (a *app) subCommand() *cobra.Command {
	return a.command(cobra.Command{
		Use:   "sub TOPIC [flags]",
		Short: "Print a topic's messages as they come",
		Long: "Print a topic's messages as they come, until an interrupt or --count: strings as\n" +
			"their text, anything else as JSON. The line 'subscribed to TOPIC' on standard\n" +
			"error says that messages published from now on will be seen.",
		Args: cobra.ExactArgs(1),
	}, a.sub)
}

// messageOutput is a message for programs.
type messageOutput struct {
	Topic  string          `json:"topic"`
	ID     string          `json:"id"`
	Data   json.RawMessage `json:"data"`
	Missed uint64          `json:"missed,omitempty"` // lost right before this one

	Meta abstract.Metadata `json:"meta,omitempty"` // what came beside it
}

func (a *app) sub(ctx context.Context, s *settings, args []string) error {
	if err := positive("timeout", s.timeout); err != nil {
		return err
	}
	topic := args[0]
	conn, end, err := a.dialForLong(ctx, s)
	if err != nil {
		return err
	}
	defer end()

	ended := make(chan error, 1)
	seen := 0
	show := func(m client.Message) { // one at a time
		if s.count > 0 && seen == s.count {
			return
		}
		seen++
		err := a.printMessage(s, m)
		if err != nil || seen == s.count {
			select {
			case ended <- err:
			default: // it has ended already
			}
		}
	}
	if _, err = client.NewTopicClient(conn).Subscribe(ctx, topic, show); err != nil {
		return topicError(topic, err)
	}
	fmt.Fprintf(a.stderr, "subscribed to %s\n", oneLine(topic))
	select {
	case err = <-ended:
		return err
	case <-ctx.Done():
		return nil
	}
}

// printMessage prints one message.
func (a *app) printMessage(s *settings, m client.Message) error {
	if m.Missed > 0 && !s.json {
		fmt.Fprintf(a.stderr, "missed %d messages here: they came faster than they were read\n", m.Missed)
	}
	text := string(m.Data)
	var plain string
	if json.Unmarshal(m.Data, &plain) == nil && text != "null" {
		text = plain
		if isTerminal(a.stdout) {
			text = printable(text)
		}
	}
	return a.say(s, messageOutput{Topic: m.Topic, ID: m.ID, Data: m.Data, Missed: m.Missed, Meta: m.Meta}, "%s", text)
}
