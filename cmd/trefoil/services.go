package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"trefoil/abstract"
	"trefoil/client"
)

func (a *app) servicesCommand() *cobra.Command {
	s := &settings{}
	return a.completing(a.commandWith(s, cobra.Command{
		Use:   "services [PREFIX] [flags]",
		Short: "Print which methods are provided, by service",
		Long: "Print the methods that have a provider, those of one service (what stands before\n" +
			"the last dot) below each other, with how many instances of each there are and what\n" +
			"these say of themselves: up, or draining. PREFIX is what the methods' names begin\n" +
			"with. Only methods are shown that this identity may discover. --json writes an\n" +
			"object a line for each service. 'trefoil describe METHOD' tells more. Methods that\n" +
			"the broker serves itself have no provider: what it says of them goes to standard error.",
		Args: cobra.MaximumNArgs(1),
	}, a.services), s, false)
}

// serviceOutput is a service for programs.
type serviceOutput struct {
	Service string          `json:"service"` // empty: of methods without a dot
	Methods []methodSummary `json:"methods"`
}

// methodSummary is a method in a list.
type methodSummary struct {
	Method    string         `json:"method"`
	Instances int            `json:"instances"`
	States    map[string]int `json:"states"` // how many instances say so
}

func (a *app) services(ctx context.Context, s *settings, args []string) error {
	if err := positive("timeout", s.timeout); err != nil {
		return err
	}
	if err := a.brokersOnly(s); err != nil {
		return err
	}
	prefix := ""
	if len(args) > 0 {
		prefix = args[0]
	}
	conn, err := a.dial(ctx, s)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	methods, err := provided(ctx, client.NewNodeClient(conn), prefix)
	if err != nil {
		return err
	}
	for _, service := range byService(methods) {
		if s.json {
			err = writeJSON(a.stdout, service)
		} else {
			_, err = fmt.Fprint(a.stdout, service)
		}
		if err != nil {
			return fmt.Errorf("write the output: %w", err)
		}
	}
	own := ofTheBroker(s, ownMethods(ctx, conn, prefix))
	if len(methods) == 0 {
		text := nothingProvided(prefix)
		if own != "" {
			text += "; " + own
		}
		return &reportedError{errors.New(text)}
	}
	if own != "" {
		_, err = fmt.Fprintln(a.stderr, own)
	}
	return err
}

func nothingProvided(prefix string) string {
	if prefix == "" {
		return "nobody provides a method now that may be seen here; start a provider"
	}
	return fmt.Sprintf("nobody provides a method now that begins with %s and may be seen here", prefix)
}

// String is the service for people.
func (o serviceOutput) String() string {
	var b strings.Builder
	name := o.Service
	if name == "" {
		name = "(no service)"
	}
	longest := 0
	for _, m := range o.Methods {
		longest = max(longest, len(m.Method))
	}
	b.WriteString(oneLine(name) + "\n")
	for _, m := range o.Methods {
		fmt.Fprintf(&b, "  %-*s  %s\n", longest, oneLine(m.Method), m.states())
	}
	return b.String()
}

// states are the instances in words: "2 up, 1 draining".
func (m methodSummary) states() string {
	var words []string
	for _, state := range slices.Sorted(maps.Keys(m.States)) {
		words = append(words, fmt.Sprintf("%d %s", m.States[state], oneLine(state)))
	}
	slices.SortStableFunc(words, func(a, b string) int { // those that are up come first
		return boolToInt(strings.HasSuffix(b, " "+abstract.Up.String())) - boolToInt(strings.HasSuffix(a, " "+abstract.Up.String()))
	})
	return strings.Join(words, ", ")
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// servicesNode is where the registry shows in the tree.
const servicesNode = "/services"

// provided reads from the tree which methods are provided, by name.
func provided(ctx context.Context, nodes *client.NodeClient, prefix string) ([]methodSummary, error) {
	list, err := nodes.List(ctx, servicesNode, client.Recursive(), client.WithData())
	if errors.Is(err, abstract.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	states := make(map[string]map[string]string) // method -> instance -> state
	for _, n := range list {
		if method, instance, ok := providerNode(n.Path); ok && strings.HasPrefix(method, prefix) {
			if states[method] == nil {
				states[method] = make(map[string]string)
			}
			states[method][instance] = stateIn(n.Data)
		}
	}
	methods := make([]methodSummary, 0, len(states))
	for _, method := range slices.Sorted(maps.Keys(states)) {
		m := methodSummary{Method: method, Instances: len(states[method]), States: make(map[string]int)}
		for _, state := range states[method] {
			m.States[state]++
		}
		methods = append(methods, m)
	}
	return methods, nil
}

// providerNode takes the path of a provider's node apart: /services/METHOD/OWNER/PROVIDER.
func providerNode(path string) (method, instance string, ok bool) {
	parts := strings.Split(strings.TrimPrefix(path, servicesNode+"/"), "/")
	if len(parts) != 3 {
		return "", "", false
	}
	method, err := url.PathUnescape(parts[0])
	return method, parts[2], err == nil
}

// stateIn is what a provider says of its state.
func stateIn(data []byte) string {
	var said struct {
		State string `json:"state"`
	}
	if json.Unmarshal(data, &said) != nil || said.State == "" {
		return abstract.Up.String()
	}
	return said.State
}

// byService groups methods, which are in order.
func byService(methods []methodSummary) []serviceOutput {
	groups := make(map[string][]methodSummary)
	for _, m := range methods {
		service := ""
		if i := strings.LastIndexByte(m.Method, '.'); i >= 0 {
			service = m.Method[:i]
		}
		groups[service] = append(groups[service], m)
	}
	list := make([]serviceOutput, 0, len(groups))
	for _, service := range slices.Sorted(maps.Keys(groups)) {
		list = append(list, serviceOutput{service, groups[service]})
	}
	return list
}
