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
		s.log = slog.New(slog.DiscardHandler)
		s.timeout = completionWithin
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
func (a *app) topicNames(s *settings, begun string) []string {
	ctx, cancel := context.WithTimeout(context.Background(), completionWithin)
	defer cancel()
	conn := a.shared
	if conn == nil {
		var err error
		if conn, err = a.dial(ctx, s); err != nil {
			return nil
		}
		defer conn.Close()
	}
	var names []string
	for name, err := range client.NewTopicClient(conn).List(ctx, ">") {
		if err != nil || len(names) == maxCompletions {
			break
		}
		if strings.HasPrefix(name, begun) {
			names = append(names, name)
		}
	}
	return offer(names)
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
	if err := c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic("completion of " + flag + ": " + err.Error()) // a flag that the command does not have
	}
	return c
}
