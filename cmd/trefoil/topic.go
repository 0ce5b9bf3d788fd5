package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"trefoil/abstract"
	"trefoil/business/router"
	"trefoil/business/topic"
	"trefoil/client"
)

func (a *app) topicCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "topic",
		Short: "Create, change, look at, record and remove topics",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usagef("say what to do: create, set, remove, delete, ls, info, consumers, dead-letters, record or replay")
		},
	}
	c.AddCommand(
		a.topicCreateCommand(), a.topicSetCommand(), a.topicRemoveCommand(), a.topicDeleteCommand(), a.topicListCommand(), a.topicInfoCommand(),
		a.consumersCommand(), a.deadLettersCommand(), a.scheduledCommand(), a.recordCommand(), a.replayCommand(),
	)
	return c
}

// topicVerb makes a command whose flags stand under "topic-" and its name in the table.
// Its first argument, or with many each, is a topic's name, which a shell completes.
func (a *app) topicVerb(s *settings, c cobra.Command, many bool, do action) *cobra.Command {
	name, _, _ := strings.Cut(c.Use, " ")
	if c.Annotations == nil {
		c.Annotations = map[string]string{inTable: "topic-" + name}
	}
	return a.completingTopics(a.commandWith(s, c, do), s, many)
}

func (a *app) topicCreateCommand() *cobra.Command {
	s := &settings{}
	var c *cobra.Command
	c = a.topicVerb(s, cobra.Command{
		Use: "create NAME [flags]", Args: cobra.ExactArgs(1),
		Short: "Create a topic; one that is there stays as it is",
		Long: "Create a topic. Without flags it is a plain one: what is published goes to who is\n" +
			"subscribed, and is kept nowhere; one that is there already stays as it is. With flags\n" +
			"one that is there with other settings is an error: topic set changes it.",
		Example: "  trefoil topic create news --history 100 --retain\n  trefoil topic create orders --durable --history-age 7d --max-deliver 5",
	}, false, func(ctx context.Context, s *settings, args []string) error { return a.topicCreate(ctx, c, s, args[0]) })
	c.ValidArgsFunction = cobra.NoFileCompletions
	return completingPolicies(c)
}

func (a *app) topicSetCommand() *cobra.Command {
	s := &settings{}
	var c *cobra.Command
	c = a.topicVerb(s, cobra.Command{
		Use: "set NAME [flags]", Args: cobra.ExactArgs(1),
		Short: "Change those settings of a topic that are named, and keep the others",
		Long: "Change those settings of a topic that are named, and keep the others: 0, an empty text\n" +
			"or --retain=false takes one away. A topic cannot become durable, or cease to be.",
		Example: "  trefoil topic set news --history 500 --retain=false",
	}, false, func(ctx context.Context, s *settings, args []string) error { return a.topicSet(ctx, c, s, args[0]) })
	return completingPolicies(c)
}

func (a *app) topicRemoveCommand() *cobra.Command {
	return a.topicVerb(&settings{}, cobra.Command{
		Use: "remove NAME... [flags]", Args: cobra.MinimumNArgs(1), Aliases: []string{"rm"},
		Short: "Remove topics, with their subscriptions and all that they keep",
	}, true, a.topicRemove)
}

// topicOutput says for programs what was done to a topic.
type topicOutput struct {
	Event string `json:"event"` // created, set or removed
	Topic string `json:"topic"`
}

func (a *app) topicCreate(ctx context.Context, c *cobra.Command, s *settings, name string) error {
	if name == "" || topic.IsWild(name) {
		return usagef("%q cannot be a topic's name: it is empty, or has levels * or >, which name many topics", name)
	}
	made, err := a.setup(c, &s.topic, abstract.TopicSettings{})
	if err != nil {
		return err
	}
	if err := made.Check(); err != nil {
		return usagef("%s", plainText(err))
	}
	return a.withTopics(ctx, s, func(ctx context.Context, t *client.TopicClient) error {
		if !settingsGiven(c) {
			err = t.Create(ctx, name)
		} else {
			err = t.CreateWith(ctx, name, made)
		}
		if errors.Is(err, abstract.ErrExists) {
			return &plainError{fmt.Sprintf("topic %q is there with other settings; 'trefoil topic info %s' shows them, 'trefoil topic set %s' changes them", name, name, name), err}
		}
		if err != nil {
			return err
		}
		return a.say(s, topicOutput{"created", name}, "created %s", printable(name))
	})
}

// topicSet changes what is named, and keeps the rest.
func (a *app) topicSet(ctx context.Context, c *cobra.Command, s *settings, name string) error {
	if !settingsGiven(c) {
		return usagef("say what to change, such as --history 100; 'trefoil topic info %s' shows what there is", name)
	}
	return a.withTopics(ctx, s, func(ctx context.Context, t *client.TopicClient) error {
		info, err := t.Info(ctx, name)
		if err != nil {
			return topicError(ctx, t, name, err)
		}
		changed, err := a.setup(c, &s.topic, info.Settings)
		if err != nil {
			return err
		}
		if err := t.Set(ctx, name, changed); err != nil {
			return err
		}
		return a.say(s, topicOutput{"set", name}, "changed %s: %s", printable(name), settingsInShort(changed))
	})
}

func (a *app) topicRemove(ctx context.Context, s *settings, args []string) error {
	return a.withTopics(ctx, s, func(ctx context.Context, t *client.TopicClient) error {
		for _, name := range args {
			if err := t.Remove(ctx, name); errors.Is(err, abstract.ErrTopicNotFound) {
				return &plainError{fmt.Sprintf("there is no topic %q to remove%s", name, didYouMean(ctx, t, name)), err}
			} else if err != nil {
				return err
			}
			if err := a.say(s, topicOutput{"removed", name}, "removed %s", printable(name)); err != nil {
				return err
			}
		}
		return nil
	})
}

// withTopics connects, does something short with topics, and disconnects; inside a shell
// it uses the shell's connection.
func (a *app) withTopics(ctx context.Context, s *settings, do func(context.Context, *client.TopicClient) error) error {
	if err := positive("timeout", s.timeout); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	conn := a.shared
	if conn == nil {
		var err error
		if conn, err = a.dial(ctx, s); err != nil {
			return err
		}
		defer conn.Close()
	}
	return do(ctx, client.NewTopicClient(conn))
}

// topicError says what to do about a topic that is not there.
func topicError(ctx context.Context, t *client.TopicClient, topic string, err error) error {
	if !errors.Is(err, abstract.ErrTopicNotFound) {
		return err
	}
	if strings.ContainsAny(topic, "*>") {
		return &plainError{fmt.Sprintf("there is no topic %q; in a filter * stands for one whole level between dots, and > for all that follow, as in 'orders.*' and 'orders.>'", topic), err}
	}
	if topic == "" {
		return &plainError{`there is no topic ""; name one`, err}
	}
	return &plainError{fmt.Sprintf("there is no topic %q; create it with 'trefoil topic create %s'%s", topic, topicWord(topic), didYouMean(ctx, t, topic)), err}
}

// topicWord is a topic's name as one word of a command.
func topicWord(topic string) string {
	if strings.ContainsFunc(topic, func(r rune) bool { return r <= ' ' || strings.ContainsRune("\"'\\$`;&|()<>#!~*?[]{}", r) }) {
		return strconv.Quote(topic)
	}
	return topic
}

// maxCompared is how many names are compared with one that is not there.
const maxCompared = 1000

// didYouMean proposes topics with similar names, to end a sentence; empty when there are
// none, or they may not be listed.
func didYouMean(ctx context.Context, t *client.TopicClient, topic string) string {
	var names []string
	for name, err := range t.List(ctx, ">") {
		if err != nil || len(names) == maxCompared {
			break
		}
		names = append(names, name)
	}
	return router.DidYouMean(router.Nearest(topic, names))
}
