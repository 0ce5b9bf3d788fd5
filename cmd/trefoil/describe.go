package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/schema"
)

func (a *app) describeCommand() *cobra.Command {
	s := &settings{}
	c := a.commandWith(s, cobra.Command{
		Use:   "describe METHOD [flags]",
		Short: "Print what a method takes and returns, and who provides it",
		Long: "Print a method's signature, what it does, the JSON Schemas of its parameters and\n" +
			"its result, how to call it, and its instances. One of these says all but the last;\n" +
			"existing programs say nothing of themselves. With --direct a server is asked\n" +
			"without a broker, which is also the way to a broker's own methods.",
		Example: "  trefoil describe math.add",
		Args:    cobra.ExactArgs(1),
	}, a.describe)
	c.MarkFlagsMutuallyExclusive("broker", "direct")
	return excludeRegistry(a.completing(c, s, false), "broker", "direct")
}

// describeFlags are those of other commands that describe a method.
func describeFlags(s *settings) []flagRow {
	return []flagRow{
		{commands: "call", name: "skeleton", to: &s.skeleton, def: false, help: "do not call: print parameters to begin with, as the method's provider describes them"},
		{commands: "provide", name: "description", to: &s.describedIn, def: "", help: "what the method takes and returns: a JSON `FILE` with doc, parameters and result (JSON Schemas), examples and idempotent; parameters are checked before the command runs"},
	}
}

// printSkeleton prints parameters to begin with.
func (a *app) printSkeleton(ctx context.Context, s *settings, method string) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	out, err := a.described(ctx, s, method)
	if err == nil && out.Silent {
		err = fmt.Errorf("%s says nothing of itself", method)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "%s\n", oneLine(string(out.Skeleton)))
	return err
}

// describeOutput is a method for programs.
type describeOutput struct {
	abstract.MethodInfo
	Skeleton  json.RawMessage  `json:"skeleton,omitempty"`  // parameters to begin with
	Silent    bool             `json:"silent,omitempty"`    // its providers say nothing of themselves
	Instances []providerOutput `json:"instances,omitempty"` // not with --direct
	direct    string           // the server that was asked
}

func (a *app) describe(ctx context.Context, s *settings, args []string) error {
	s.anyRegistry = true
	if err := positive("timeout", s.timeout); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	out, err := a.described(ctx, s, args[0])
	if err != nil {
		return err
	}
	if s.json {
		return writeJSON(a.stdout, out)
	}
	if _, err := fmt.Fprint(a.stdout, out.text()); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}

// described finds out all about a method.
func (a *app) described(ctx context.Context, s *settings, method string) (describeOutput, error) {
	out := describeOutput{MethodInfo: abstract.MethodInfo{Method: method}}
	if out.direct = s.direct; s.direct != "" {
		calls, end, err := a.caller(ctx, s)
		if err != nil {
			return out, err
		}
		defer end()
		err = out.ask(ctx, calls)
		return out, err
	}
	other, err := a.otherRegistry(s)
	if err != nil {
		return out, err
	}
	if other != nil {
		err = a.describedBy(ctx, s, other, &out)
		return out, err
	}
	conn, err := a.dial(ctx, s)
	if err != nil {
		return out, err
	}
	defer conn.Close()
	d := client.NewDiscoveryClient(conn)
	found, err := d.Discover(ctx, method)
	if err != nil {
		return out, err
	}
	if len(found) == 0 {
		return out, unknownMethod(ctx, conn, s, method)
	}
	out.list(found)
	calls := client.NewRpcClient(d)
	defer calls.Close()
	err = out.ask(ctx, calls)
	return out, err
}

// describedBy is described for another registry than a broker's, which it closes.
func (a *app) describedBy(ctx context.Context, s *settings, other abstract.Registry, out *describeOutput) error {
	calls, end, err := a.callerThrough(other, s)
	if err != nil {
		return err
	}
	defer end()
	found, err := other.Discover(ctx, out.Method)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return &plainError{nobodyProvides(out.Method), abstract.ErrMethodNotFound}
	}
	out.list(found)
	return out.ask(ctx, calls)
}

func (o *describeOutput) list(found []abstract.Provider) {
	for _, p := range found {
		o.Instances = append(o.Instances, newProviderOutput(p, false))
	}
}

// ask fills in what a provider says of the method.
func (o *describeOutput) ask(ctx context.Context, calls *client.RpcClient) error {
	info, err := calls.Describe(ctx, o.Method)
	switch {
	case err == nil:
		o.MethodInfo, o.Skeleton = info, skeletonOf(info)
	case saysNothing(err):
		o.Silent = true
	default:
		return methodError(o.Method, err)
	}
	return nil
}

// saysNothing reports whether an answer is that of a server that describes nothing: an
// existing program.
func saysNothing(err error) bool {
	var e *abstract.Error
	return errors.As(err, &e) && e.FromPeer && e.Code == abstract.ServiceNotFound && len(e.Details) == 0
}

// skeletonOf are parameters to begin with: the method's own example, or what its
// schema asks for.
func skeletonOf(info abstract.MethodInfo) json.RawMessage {
	if len(info.Examples) > 0 {
		return compacted(info.Examples[0])
	}
	s, err := schema.Parse(info.Parameters)
	if err != nil { // it says nothing of its parameters
		return json.RawMessage("{}")
	}
	return compacted(s.Skeleton())
}

// compacted is JSON in one line.
func compacted(text json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	if json.Compact(&b, text) != nil {
		return json.RawMessage("{}")
	}
	return b.Bytes()
}

// text is the description for people.
func (o describeOutput) text() string {
	var b strings.Builder
	switch {
	case o.Silent:
		fmt.Fprintf(&b, "%s\n  says nothing of itself: its providers are existing programs, or older than this one\n", oneLine(o.Method))
	default:
		fmt.Fprintf(&b, "%s\n", oneLine(o.Signature))
		o.about(&b)
	}
	if len(o.Instances) > 0 {
		b.WriteString("\ninstances\n")
		for _, p := range o.Instances {
			fmt.Fprintf(&b, "  %s\n", oneLine(p.long()))
		}
	}
	return b.String()
}

func (o describeOutput) about(b *strings.Builder) {
	if o.Kind != abstract.Unary.String() {
		fmt.Fprintf(b, "  a %s\n", oneLine(o.Kind))
	}
	if o.Doc != "" {
		fmt.Fprintf(b, "  %s\n", oneLine(o.Doc))
	}
	if o.Idempotent {
		b.WriteString("  may be called again with the same outcome\n")
	}
	for _, part := range []struct {
		name string
		text json.RawMessage
	}{{o.takes(), o.Parameters}, {"result", o.Result}} {
		var pretty bytes.Buffer
		if len(part.text) > 0 && json.Indent(&pretty, part.text, "  ", "  ") == nil {
			fmt.Fprintf(b, "\n%s\n  %s\n", part.name, printable(pretty.String()))
		}
	}
	if len(o.Parameters) == 0 && len(o.Result) == 0 {
		b.WriteString("  what it takes and returns is not described\n")
	}
	b.WriteString("\ntry\n")
	tries := o.Examples
	if len(tries) == 0 {
		tries = []json.RawMessage{o.Skeleton}
	}
	for _, params := range tries {
		b.WriteString("  " + o.try(shellWord(string(compacted(params)))) + "\n")
	}
}

// takes is the heading of what the method takes.
func (o describeOutput) takes() string {
	if o.Kind == abstract.ClientStream.String() || o.Kind == abstract.BidiStream.String() {
		return "each message"
	}
	return "parameters"
}

// try is how the method is called with some parameters, or messages.
func (o describeOutput) try(params string) string {
	method := shellWord(o.Method)
	if o.direct != "" {
		method += " --direct " + shellWord(o.direct)
	}
	switch o.Kind {
	case abstract.ServerStream.String():
		return fmt.Sprintf("trefoil call %s --stream %s", method, params)
	case abstract.ClientStream.String(), abstract.BidiStream.String():
		return fmt.Sprintf("echo %s | trefoil call %s --stream", params, method)
	}
	return fmt.Sprintf("trefoil call %s %s", method, params)
}

// shellWord quotes what a shell would not take as one word.
func shellWord(s string) string {
	s = oneLine(s)
	if s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:", c)
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// long is a provider with all that it says of itself.
func (o providerOutput) long() string {
	words := []string{abstract.Host{IP: o.Host, Port: o.Port}.String(), o.State}
	for _, fact := range []struct{ name, value string }{
		{"instance", o.Instance}, {"zone", o.Zone}, {"version", o.Version}, {"tags", strings.Join(o.Tags, ",")},
	} {
		if fact.value != "" {
			words = append(words, fact.name+"="+fact.value)
		}
	}
	if o.Weight != 0 {
		words = append(words, fmt.Sprintf("weight=%d", o.Weight))
	}
	if o.Relay {
		words = append(words, "relay")
	}
	if !o.Hello {
		words = append(words, "existing-program")
	}
	return strings.Join(words, " ")
}
