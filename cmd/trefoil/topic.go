package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"trefoil/abstract"
	"trefoil/client"
)

func (a *app) topicCommand() *cobra.Command {
	topic := &cobra.Command{
		Use:   "topic",
		Short: "Create or remove a topic",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usagef("say what to do with the topic: create NAME, or remove NAME")
		},
	}
	topic.AddCommand(
		a.command(cobra.Command{
			Use: "create NAME [flags]", Args: cobra.ExactArgs(1),
			Short: "Create a topic; one that is there stays as it is",
		}, a.topicCreate),
		a.command(cobra.Command{
			Use: "remove NAME [flags]", Args: cobra.ExactArgs(1),
			Short: "Remove a topic and its subscriptions",
		}, a.topicRemove),
	)
	return topic
}

// topicOutput says for programs what was done to a topic.
type topicOutput struct {
	Event string `json:"event"` // created or removed
	Topic string `json:"topic"`
}

func (a *app) topicCreate(ctx context.Context, s *settings, args []string) error {
	return a.withTopics(ctx, s, func(ctx context.Context, t *client.TopicClient) error {
		if err := t.Create(ctx, args[0]); err != nil {
			return err
		}
		return a.say(s, topicOutput{"created", args[0]}, "created %s", args[0])
	})
}

func (a *app) topicRemove(ctx context.Context, s *settings, args []string) error {
	return a.withTopics(ctx, s, func(ctx context.Context, t *client.TopicClient) error {
		if err := t.Remove(ctx, args[0]); err != nil {
			if errors.Is(err, abstract.ErrTopicNotFound) {
				return &plainError{fmt.Sprintf("there is no topic %q to remove", args[0]), err}
			}
			return err
		}
		return a.say(s, topicOutput{"removed", args[0]}, "removed %s", args[0])
	})
}

// withTopics connects, does something short with topics, and disconnects.
func (a *app) withTopics(ctx context.Context, s *settings, do func(context.Context, *client.TopicClient) error) error {
	if err := positive("timeout", s.timeout); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	conn, err := a.dial(ctx, s)
	if err != nil {
		return err
	}
	defer conn.Close()
	return do(ctx, client.NewTopicClient(conn))
}
