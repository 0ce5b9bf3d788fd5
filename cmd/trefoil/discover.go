package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"trefoil/abstract"
	"trefoil/client"
)

func (a *app) discoverCommand() *cobra.Command {
	return a.command(cobra.Command{
		Use:   "discover METHOD [flags]",
		Short: "Print who provides a method",
		Long: "Print the address of every provider of a method, one a line; without any, exit\n" +
			"with 1. With --watch go on: a line 'watching METHOD', then a line ONLINE or\n" +
			"OFFLINE with the address for everybody who is there, comes or goes.",
		Args: cobra.ExactArgs(1),
	}, a.discover)
}

// providerOutput is a provider for programs.
type providerOutput struct {
	Host     string `json:"host"`
	Port     int    `json:"port"`
	Instance string `json:"instance,omitempty"`
	Hello    bool   `json:"hello"` // it speaks HELLO; others are existing programs of the LV family
	Weight   int    `json:"weight,omitempty"`
	Zone     string `json:"zone,omitempty"`
	Version  string `json:"version,omitempty"`
}

func newProviderOutput(p abstract.Provider) providerOutput {
	return providerOutput{Host: p.Host.IP, Port: p.Host.Port, Instance: p.Instance, Hello: p.Hello, Weight: p.Weight, Zone: p.Zone, Version: p.Version}
}

func (a *app) discover(ctx context.Context, s *settings, args []string) error {
	if err := positive("timeout", s.timeout); err != nil {
		return err
	}
	method := args[0]
	if s.watch {
		return a.watch(ctx, s, method)
	}
	conn, err := a.dial(ctx, s)
	if err != nil {
		return err
	}
	defer conn.Close()
	list, err := client.NewDiscoveryClient(conn).Discover(ctx, method)
	if err != nil {
		return err
	}
	if err := a.printProviders(s, method, list); err != nil {
		return err
	}
	if len(list) == 0 {
		return &reportedError{errors.New(nobodyProvides(method))}
	}
	return nil
}

func (a *app) printProviders(s *settings, method string, list []abstract.Provider) error {
	if s.json {
		out := make([]providerOutput, 0, len(list))
		for _, p := range list {
			out = append(out, newProviderOutput(p))
		}
		return writeJSON(a.stdout, struct {
			Method    string           `json:"method"`
			Providers []providerOutput `json:"providers"`
		}{method, out})
	}
	for _, p := range list {
		if _, err := fmt.Fprintln(a.stdout, p.Host); err != nil {
			return fmt.Errorf("write the output: %w", err)
		}
	}
	return nil
}

// watchEvent is one line of --watch for programs.
type watchEvent struct {
	Event    string          `json:"event"` // watching, online or offline
	Method   string          `json:"method"`
	Provider *providerOutput `json:"provider,omitempty"`
	At       time.Time       `json:"at"`
}

// watch tells who comes and goes until it is interrupted.
func (a *app) watch(ctx context.Context, s *settings, method string) error {
	conn, end, err := a.dialForLong(ctx, s)
	if err != nil {
		return err
	}
	defer end()
	first := true
	for p, err := range client.NewDiscoveryClient(conn).Watch(ctx, method) {
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if p.Err != nil {
			a.logger(s).Warn("not discovered yet, asking again", "method", method, "err", p.Err)
			continue
		}
		if first {
			first = false
			if err := a.say(s, watchEvent{Event: "watching", Method: method, At: time.Now()}, "watching %s", method); err != nil {
				return err
			}
		}
		if err := a.printChanges(s, p); err != nil {
			return err
		}
	}
	return nil
}

// printChanges prints who left before who came: a provider that bounced did so
// in this order.
func (a *app) printChanges(s *settings, change abstract.Providers) error {
	for _, c := range []struct {
		event, word string
		list        []abstract.Provider
	}{{"offline", "OFFLINE", change.Offline}, {"online", "ONLINE", change.Online}} {
		for _, p := range c.list {
			out := newProviderOutput(p)
			event := watchEvent{Event: c.event, Method: p.Method, Provider: &out, At: time.Now()}
			if err := a.say(s, event, "%s %s", c.word, p.Host); err != nil {
				return err
			}
		}
	}
	return nil
}
