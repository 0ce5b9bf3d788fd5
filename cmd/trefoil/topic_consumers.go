package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"trefoil/abstract"
	"trefoil/business/router"
	"trefoil/client"
)

// consumerVerbs are the commands below topic consumers, as the flag table calls them.
const consumerVerbs = "consumers-rm "

func (a *app) consumersCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "consumers",
		Short: "Forget a durable consumer; topic info shows which there are",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usagef("say what to do: rm TOPIC NAME; 'trefoil topic info TOPIC' shows the consumers")
		},
	}
	s := &settings{}
	c.AddCommand(a.completingConsumerBehind(a.topicVerb(s, cobra.Command{
		Use: "rm TOPIC NAME [flags]", Args: cobra.ExactArgs(2), Aliases: []string{"remove"},
		Annotations: map[string]string{inTable: "consumers-rm"},
		Short:       "Forget a durable consumer, and how far it is; the subscriptions of its members end",
	}, false, a.consumersRemove), s))
	return c
}

// consumerOutput says for programs what was done to a consumer.
type consumerOutput struct {
	Event    string `json:"event"` // removed
	Topic    string `json:"topic"`
	Consumer string `json:"consumer"`
}

func (a *app) consumersRemove(ctx context.Context, s *settings, args []string) error {
	return a.withTopics(ctx, s, func(ctx context.Context, t *client.TopicClient) error {
		info, err := t.Info(ctx, args[0])
		if err != nil {
			return topicError(ctx, t, args[0], err)
		}
		names := consumersOf(info)
		if !slices.Contains(names, args[1]) {
			text := fmt.Sprintf("topic %q has no consumer %q%s", args[0], args[1], router.DidYouMean(router.Nearest(args[1], names)))
			return &plainError{text, &abstract.Error{Code: abstract.NotFound, Message: text}}
		}
		if err := t.RemoveConsumer(ctx, args[0], args[1]); err != nil {
			return err
		}
		return a.say(s, consumerOutput{"removed", args[0], args[1]}, "removed consumer %s of %s", printable(args[1]), printable(args[0]))
	})
}

// consumerInWords is how far a consumer is.
func consumerInWords(c client.ConsumerInfo) string {
	text := fmt.Sprintf("consumer %s: %s, acknowledged up to offset %d, %s left", c.Name, count(c.Members, "member"), c.Acked, count(int(c.Pending)+c.Unacked, "message"))
	if c.Unacked > 0 {
		text += fmt.Sprintf(", of which %d delivered and not acknowledged", c.Unacked)
	}
	if c.Redelivered > 0 {
		text += fmt.Sprintf(" (%d more than once)", c.Redelivered)
	}
	return text
}
