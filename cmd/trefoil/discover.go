package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"trefoil/abstract"
	"trefoil/client"
)

func (a *app) discoverCommand() *cobra.Command {
	s := &settings{}
	c := a.commandWith(s, cobra.Command{
		Use:   "discover METHOD [flags]",
		Short: "Print who provides a method",
		Long: "Print the address of every provider of a method, one a line; without any, exit\n" +
			"with 1. After the address stand its state, unless that is up, its tags, and 'held'\n" +
			"for one that the broker does not know any more; --json shows all. With --watch go\n" +
			"on: a line 'watching METHOD', then a line ONLINE, CHANGED, HELD or OFFLINE with the\n" +
			"same for everybody who is there, changes, vanishes without a notice, or goes. After\n" +
			"OFFLINE stand the address and why, if the registry says that: lost, left,\n" +
			"unregistered, expired, replaced or vanished.",
		Args: cobra.ExactArgs(1),
	}, a.discover)
	return excludeRegistry(a.completing(c, s, false), "broker")
}

// providerOutput is a provider for programs.
type providerOutput struct {
	Host     string            `json:"host"`
	Port     int               `json:"port"`
	Instance string            `json:"instance,omitempty"`
	Hello    bool              `json:"hello"` // it speaks HELLO; others are existing programs of the LV family
	Weight   int               `json:"weight,omitempty"`
	Zone     string            `json:"zone,omitempty"`
	Version  string            `json:"version,omitempty"`
	Tags     []string          `json:"tags,omitempty"`
	Meta     map[string]string `json:"metadata,omitempty"`
	State    string            `json:"state"`
	Relay    bool              `json:"relay,omitempty"`
	Held     bool              `json:"held,omitempty"` // the broker does not know it any more, or not yet
}

func newProviderOutput(p abstract.Provider, held bool) providerOutput {
	out := providerOutput{
		Host: p.Host.IP, Port: p.Host.Port, Instance: p.Instance, Hello: p.Hello, Weight: p.Weight, Zone: p.Zone, Version: p.Version,
		Tags: p.Tags.All(), State: p.State.String(), Relay: p.Relay, Held: held,
	}
	if p.Meta != "" {
		out.Meta = p.Meta.All()
	}
	return out
}

// line is the provider for people.
func (o providerOutput) line() string {
	words := []string{abstract.Host{IP: o.Host, Port: o.Port}.String()}
	if o.State != abstract.Up.String() {
		words = append(words, o.State)
	}
	if len(o.Tags) > 0 {
		words = append(words, "tags="+strings.Join(o.Tags, ","))
	}
	if o.Held {
		words = append(words, "held")
	}
	return strings.Join(words, " ")
}

func (a *app) discover(ctx context.Context, s *settings, args []string) error {
	if err := positive("timeout", s.timeout); err != nil {
		return err
	}
	method := args[0]
	s.anyRegistry = true
	if s.watch {
		return a.watch(ctx, s, method)
	}
	found, err := a.lookUp(ctx, s, method)
	if err != nil {
		return err
	}
	if err := a.printProviders(s, method, found); err != nil {
		return err
	}
	if len(found.List) == 0 {
		return &reportedError{errors.New(nobodyProvides(method))}
	}
	return nil
}

// lookUp returns who provides a method: as the registry says, or, with saved lists, as
// they said when the broker is away.
func (a *app) lookUp(ctx context.Context, s *settings, method string) (abstract.Providers, error) {
	other, err := a.otherRegistry(s)
	if err != nil {
		return abstract.Providers{}, err
	}
	if other != nil {
		defer other.Close()
		ctx, cancel := context.WithTimeout(ctx, s.timeout)
		defer cancel()
		list, err := other.Discover(ctx, method)
		return abstract.Providers{List: list}, err
	}
	conn, err := a.dial(ctx, s)
	if err != nil {
		return abstract.Providers{}, err
	}
	defer conn.Close()
	return lookUpAtBroker(ctx, s, client.NewDiscoveryClient(conn), method)
}

func lookUpAtBroker(ctx context.Context, s *settings, d *client.DiscoveryClient, method string) (abstract.Providers, error) {
	if s.listsIn == "" {
		list, err := d.Discover(ctx, method)
		return abstract.Providers{List: list}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	for p, err := range d.Watch(ctx, method) {
		return p, err
	}
	return abstract.Providers{}, ctx.Err()
}

func (a *app) printProviders(s *settings, method string, found abstract.Providers) error {
	out := make([]providerOutput, 0, len(found.List))
	for _, p := range found.List {
		out = append(out, newProviderOutput(p, slices.Contains(found.Held, p)))
	}
	if s.json {
		return writeJSON(a.stdout, struct {
			Method    string           `json:"method"`
			Providers []providerOutput `json:"providers"`
		}{method, out})
	}
	for _, p := range out {
		if _, err := fmt.Fprintln(a.stdout, p.line()); err != nil {
			return fmt.Errorf("write the output: %w", err)
		}
	}
	return nil
}

// watchEvent is one line of --watch for programs.
type watchEvent struct {
	Event    string          `json:"event"` // watching, online, changed, held or offline
	Method   string          `json:"method"`
	Provider *providerOutput `json:"provider,omitempty"`
	Reason   string          `json:"reason,omitempty"` // of offline, if the registry says why
	At       time.Time       `json:"at"`
}

// watch tells who comes and goes until it is interrupted.
func (a *app) watch(ctx context.Context, s *settings, method string) error {
	changes, end, err := a.changes(ctx, s, method)
	if err != nil {
		return err
	}
	defer end()
	first := true
	var before abstract.Providers
	for p, err := range changes {
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
		if err := a.printChanges(s, before, p); err != nil {
			return err
		}
		before = p
	}
	return nil
}

// changes are those of a method's providers, as the registry tells them.
func (a *app) changes(ctx context.Context, s *settings, method string) (iter.Seq2[abstract.Providers, error], func(), error) {
	other, err := a.otherRegistry(s)
	if err != nil {
		return nil, nil, err
	}
	if other != nil {
		return changesOf(ctx, other, method), func() { _ = other.Close() }, nil
	}
	conn, end, err := a.dialForLong(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	return client.NewDiscoveryClient(conn).Watch(ctx, method), end, nil
}

// printChanges prints who left before who came: a provider that bounced did so
// in this order.
func (a *app) printChanges(s *settings, before, now abstract.Providers) error {
	changed, held := stayed(before, now)
	for _, c := range []struct {
		event, word string
		list        []abstract.Provider
	}{{"offline", "OFFLINE", now.Offline}, {"online", "ONLINE", now.Online}, {"changed", "CHANGED", changed}, {"held", "HELD", held}} {
		for i, p := range c.list {
			out := newProviderOutput(p, slices.Contains(now.Held, p))
			event := watchEvent{Event: c.event, Method: p.Method, Provider: &out, At: time.Now()}
			line := out.line()
			if c.event == "offline" {
				line = p.Host.String() // what it said of itself is over
				if i < len(now.Reasons) && now.Reasons[i] != abstract.OfflineUnknown {
					event.Reason = string(now.Reasons[i])
					line += " " + event.Reason
				}
			}
			if err := a.say(s, event, "%s %s", c.word, line); err != nil {
				return err
			}
		}
	}
	return nil
}

// stayed returns those who neither came nor went: those who say something else of
// themselves, or are known again, and those who are held from now on.
func stayed(before, now abstract.Providers) (changed, held []abstract.Provider) {
	for _, p := range now.List {
		i := slices.IndexFunc(before.List, func(q abstract.Provider) bool { return q.Host == p.Host && q.Instance == p.Instance })
		if i < 0 || slices.Contains(now.Online, p) {
			continue
		}
		was, is := slices.Contains(before.Held, before.List[i]), slices.Contains(now.Held, p)
		switch {
		case is && !was:
			held = append(held, p)
		case is != was || before.List[i] != p:
			changed = append(changed, p)
		}
	}
	return changed, held
}
