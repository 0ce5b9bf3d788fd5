package main

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"trefoil/abstract"
	"trefoil/client"
)

// completingTopics gives a command completion of its first argument, or with many of each,
// which is a topic's name.
func (a *app) completingTopics(c *cobra.Command, s *settings, many bool) *cobra.Command {
	c.ValidArgsFunction = func(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 && !many {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names := slices.DeleteFunc(a.topicNames(s, begun), func(name string) bool { return slices.Contains(args, name) })
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	return c
}

// completingFileBehind is completingTopics for a command whose second argument is a file.
func (a *app) completingFileBehind(c *cobra.Command) *cobra.Command {
	topics := c.ValidArgsFunction
	c.ValidArgsFunction = func(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 1 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return topics(c, args, begun)
	}
	return c
}

// topicNames are those that begin as a word does; none when the broker is away, or says no.
func (a *app) topicNames(s *settings, begun string) (names []string) {
	a.whileCompleting(s, func(ctx context.Context, t *client.TopicClient) {
		for name, err := range t.List(ctx, ">") {
			if err != nil || len(names) == maxCompletions {
				break
			}
			if strings.HasPrefix(name, begun) {
				names = append(names, name)
			}
		}
	})
	return offer(names)
}

// whileCompleting asks a broker, which may be away, about topics.
func (a *app) whileCompleting(s *settings, ask func(context.Context, *client.TopicClient)) {
	s.log = slog.New(slog.DiscardHandler)
	s.timeout = completionWithin
	ctx, cancel := context.WithTimeout(context.Background(), completionWithin)
	defer cancel()
	conn := a.shared
	if conn == nil {
		var err error
		if conn, err = a.dial(ctx, s); err != nil {
			return
		}
		defer conn.Close()
	}
	ask(ctx, client.NewTopicClient(conn))
}

// sharersOf are the names of those who share a topic's messages: its consumers, or its
// groups.
type sharersOf func(client.TopicInfo) []string

func consumersOf(info client.TopicInfo) (names []string) {
	for _, c := range info.Consumers {
		names = append(names, c.Name)
	}
	return names
}

func groupsOf(info client.TopicInfo) (names []string) {
	for _, g := range info.Groups {
		names = append(names, g.Group)
	}
	return names
}

// sharerNames are those of a topic that begin as a word does.
func (a *app) sharerNames(s *settings, topic string, of sharersOf, begun string) (names []string) {
	a.whileCompleting(s, func(ctx context.Context, t *client.TopicClient) {
		if info, err := t.Info(ctx, topic); err == nil {
			names = slices.DeleteFunc(of(info), func(name string) bool { return !strings.HasPrefix(name, begun) })
		}
	})
	return offer(names)
}

// completingSharers completes a flag whose value is a name among those who share the
// messages of the topic that is the first argument.
func (a *app) completingSharers(c *cobra.Command, s *settings, flag string, of sharersOf) *cobra.Command {
	return completingFlagWith(c, flag, func(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.sharerNames(s, args[0], of, begun), cobra.ShellCompDirectiveNoFileComp
	})
}

// completingConsumerBehind completes a second argument that is a durable consumer of the
// first, a topic.
func (a *app) completingConsumerBehind(c *cobra.Command, s *settings) *cobra.Command {
	topics := c.ValidArgsFunction
	c.ValidArgsFunction = func(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 1 {
			return a.sharerNames(s, args[0], consumersOf, begun), cobra.ShellCompDirectiveNoFileComp
		}
		return topics(c, args, begun)
	}
	return c
}

// completingPolicies completes --slow.
func completingPolicies(c *cobra.Command) *cobra.Command {
	var words []string
	for p := abstract.SlowDropOldest; p <= abstract.SlowLossless; p++ {
		words = append(words, p.String())
	}
	return completingFlag(c, "slow", words...)
}

// completingFlag completes a flag that has one of some values.
func completingFlag(c *cobra.Command, flag string, words ...string) *cobra.Command {
	return completingFlagWith(c, flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

func completingFlagWith(c *cobra.Command, flag string, complete cobra.CompletionFunc) *cobra.Command {
	if err := c.RegisterFlagCompletionFunc(flag, complete); err != nil {
		panic("completion of " + flag + ": " + err.Error()) // a flag that the command does not have
	}
	return c
}
