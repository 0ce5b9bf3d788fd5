package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"trefoil/abstract"
	"trefoil/client"
)

// waySettings is what the flags say of who is called, and whether anybody answers.
type waySettings struct {
	all, oneway bool
	instance    string
}

func wayFlags(s *settings) []flagRow {
	return []flagRow{
		{commands: "call", name: "all", to: &s.way.all, def: false, help: "call every provider there is now, each once, and print a line for each as they answer"},
		{commands: "call", name: "oneway", to: &s.way.oneway, def: false, help: "send the request, and wait for no answer: nobody gives one"},
		{commands: "call", name: "instance", to: &s.way.instance, def: "", help: "call the provider with this `ID` of its own, or at this address, and no other"},
		{commands: "call pub", name: "meta", to: &s.meta, def: []string(nil), help: "a word beside the parameters or the message, `NAME=VALUE`, for handlers, subscribers and interceptors; may be given more than once (pub: --header is the same)"},
	}
}

// exclusiveWays lets cobra refuse what does not go together.
func exclusiveWays(c *cobra.Command) {
	for _, other := range []string{"oneway", "mode", "instance", "explain"} {
		c.MarkFlagsMutuallyExclusive("all", other)
	}
	for _, other := range []string{"mode", "hedge"} {
		c.MarkFlagsMutuallyExclusive("oneway", other)
	}
}

// metadata is what --meta says.
func (s *settings) metadata() (abstract.Metadata, error) { return metadataOf("meta", s.meta) }

// metadataOf reads a flag that is NAME=VALUE, many times.
func metadataOf(flag string, words []string) (abstract.Metadata, error) {
	meta := make(abstract.Metadata, len(words))
	for _, word := range words {
		name, value, ok := strings.Cut(word, "=")
		if !ok {
			return nil, usagef("--%s is NAME=VALUE, not %q", flag, word)
		}
		meta[name] = value
	}
	if err := meta.Check(); err != nil {
		return nil, usagef("--%s: %s", flag, err)
	}
	return meta, nil
}

// carrying is a context whose calls and messages carry what --meta says.
func (s *settings) carrying(ctx context.Context) (context.Context, error) {
	meta, err := s.metadata()
	if err != nil || len(meta) == 0 {
		return ctx, err
	}
	return abstract.WithMetadata(ctx, meta), nil
}

// callOtherwise calls everybody, or sends without waiting.
func (a *app) callOtherwise(ctx context.Context, s *settings, method string, params json.RawMessage) error {
	calls, end, err := a.caller(ctx, s)
	if err != nil {
		return err
	}
	defer end()
	if s.way.all {
		return a.callAll(ctx, s, calls, method, params)
	}
	begun := time.Now()
	if err := calls.Send(ctx, method, params, callOptions(s)...); err != nil {
		return a.callError(ctx, s, calls, method, err)
	}
	return a.say(s, callOutput{Method: method, Mode: "oneway", Ms: since(begun)}, "sent")
}

// callAll prints a line for each provider.
func (a *app) callAll(ctx context.Context, s *settings, calls *client.RpcClient, method string, params json.RawMessage) error {
	begun := time.Now()
	answered, failed := 0, 0
	for r, err := range calls.All(ctx, method, params, callOptions(s)...) {
		out := callOutput{Method: method, Mode: "all", Instance: r.From(), Ms: since(begun)}
		if err == nil {
			err = r.Decode(&out.Result)
		}
		switch {
		case err == nil:
			answered++
			if err := a.say(s, out, "%s\t%s", r.From(), out.Result); err != nil {
				return err
			}
		case r.From() == "": // there is nobody to call
			return a.callError(ctx, s, calls, method, err)
		default:
			failed++
			if err := a.sayFailed(s, out, err); err != nil {
				return err
			}
		}
	}
	if failed == 0 {
		return nil
	}
	return &reportedError{fmt.Errorf("%d of %d providers of %s gave no result", failed, answered+failed, oneLine(method))}
}

func (a *app) sayFailed(s *settings, out callOutput, err error) error {
	if s.json {
		out.Error = newErrorOutput(err)
		return writeJSON(a.stdout, out)
	}
	_, problem := fmt.Fprintf(a.stderr, "%s\t%s\n", out.Instance, inWords(err))
	return problem
}

func since(begun time.Time) float64 { return float64(time.Since(begun).Microseconds()) / 1000 }
