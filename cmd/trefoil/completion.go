package main

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"trefoil/abstract"
	"trefoil/client"
)

// completionWithin is how long whoever presses TAB waits at most.
const completionWithin = time.Second

// maxCompletions is how many names are offered.
const maxCompletions = 500

// completing gives a command that begins with a method's name completion of that, and,
// if it takes parameters, of those. Nothing is offered when the broker is away, or says
// no: a shell that completes must stay quiet.
func (a *app) completing(c *cobra.Command, s *settings, parameters bool) *cobra.Command {
	c.ValidArgsFunction = func(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		s.log = slog.New(slog.DiscardHandler)
		s.timeout = completionWithin
		ctx, cancel := context.WithTimeout(context.Background(), completionWithin)
		defer cancel()
		switch {
		case len(args) == 0:
			return a.methodNames(ctx, s, begun), cobra.ShellCompDirectiveNoFileComp
		case len(args) == 1 && parameters:
			return a.argumentsFor(ctx, s, args[0], begun), cobra.ShellCompDirectiveNoFileComp
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return c
}

// methodNames are those that begin as a word does. The names of one service are offered
// when there is only that one, else the services.
func (a *app) methodNames(ctx context.Context, s *settings, begun string) []string {
	if s.direct != "" {
		return a.namesAt(ctx, s, begun)
	}
	other, err := a.otherRegistry(s)
	if other != nil { // which is not asked for all that it has
		_ = other.Close()
		return nil
	}
	if err != nil {
		return nil
	}
	conn, err := a.dial(ctx, s)
	if err != nil {
		return nil
	}
	defer conn.Close()
	methods, err := provided(ctx, client.NewNodeClient(conn), begun)
	if err != nil {
		return nil
	}
	var names []string
	for _, m := range methods {
		names = append(names, m.Method)
	}
	return offer(names)
}

// namesAt are the names of the methods that one server serves.
func (a *app) namesAt(ctx context.Context, s *settings, begun string) []string {
	calls, end, err := a.caller(ctx, s)
	if err != nil {
		return nil
	}
	defer end()
	var names []string
	for m, err := range calls.Methods(ctx, abstract.MethodQuery{Prefix: begun}) {
		if err != nil || len(names) >= maxCompletions {
			break
		}
		names = append(names, m.Method)
	}
	return offer(names)
}

// argumentsFor are parameters to begin with: the examples, and a skeleton.
func (a *app) argumentsFor(ctx context.Context, s *settings, method, begun string) []string {
	calls, end, err := a.caller(ctx, s)
	if err != nil {
		return nil
	}
	defer end()
	info, err := calls.Describe(ctx, method)
	if err != nil {
		return nil
	}
	var list []string
	for _, e := range info.Examples {
		list = append(list, string(compacted(e)))
	}
	if len(list) == 0 {
		list = append(list, string(skeletonOf(info)))
	}
	return offer(slices.DeleteFunc(list, func(w string) bool { return !strings.HasPrefix(w, begun) }))
}

// offer leaves out what could steer the terminal, or break the shell's lines.
func offer(words []string) []string {
	words = slices.DeleteFunc(words, func(w string) bool { return w != oneLine(w) })
	return words[:min(len(words), maxCompletions)]
}
