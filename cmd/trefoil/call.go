package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"trefoil/abstract"
	"trefoil/client"
)

func (a *app) callCommand() *cobra.Command {
	s := &settings{}
	c := a.commandWith(s, cobra.Command{
		Use:   "call METHOD [JSON] [flags]",
		Short: "Call a method and print its result",
		Long: "Call a method with JSON, an object, as its parameters ({} when left out), and\n" +
			"print the result as JSON. The broker says who provides the method; with --direct\n" +
			"a server is called without asking, which is also the way to a broker's own methods.",
		Example: "  trefoil call math.add '{\"num1\":1,\"num2\":2}'",
		Args:    cobra.RangeArgs(1, 2),
	}, a.call)
	c.MarkFlagsMutuallyExclusive("broker", "direct")
	exclusiveWays(c)
	return excludeRegistry(a.completing(c, s, true), "broker", "direct")
}

// callOutput is the outcome of a call for programs.
type callOutput struct {
	Method   string          `json:"method"`
	Mode     string          `json:"mode"`
	Result   json.RawMessage `json:"result,omitempty"`
	Instance string          `json:"instance,omitempty"` // who answered
	Attempts int             `json:"attempts,omitempty"`
	Relayed  bool            `json:"relayed,omitempty"` // the answer came through the broker
	Ms       float64         `json:"ms"`
	Error    *errorOutput    `json:"error,omitempty"`

	Instances []instanceOutput `json:"instances,omitempty"` // with --explain
}

func (a *app) call(ctx context.Context, s *settings, args []string) error {
	s.anyRegistry = true
	if err := positive("timeout", s.timeout); err != nil {
		return err
	}
	if err := checkProtection(s); err != nil {
		return err
	}
	params, err := parameters(args[1:])
	if err != nil {
		return err
	}
	if s.skeleton {
		return a.printSkeleton(ctx, s, args[0])
	}
	if ctx, err = s.carrying(ctx); err != nil {
		return err
	}
	if s.stream {
		return a.callStream(ctx, s, args[0], params)
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if s.way.all || s.way.oneway {
		return a.callOtherwise(ctx, s, args[0], params)
	}
	begun := time.Now()
	out := callOutput{Method: args[0], Mode: s.mode}
	reply, err := a.callOnce(ctx, s, &out, params)
	out.Result, out.Instance, out.Attempts, out.Relayed = reply.Raw, reply.Instance, reply.Attempts, reply.Relayed
	out.Ms = float64(time.Since(begun).Microseconds()) / 1000
	attempts := out.Attempts
	if err != nil {
		attempts = newErrorOutput(err).Attempts
	}
	if s.protect.explain && !s.json {
		if problem := explain(a.stderr, out, attempts); problem != nil {
			return problem
		}
	}
	if err != nil {
		if s.json {
			out.Error = newErrorOutput(err)
			return &reportedError{errors.Join(err, writeJSON(a.stdout, out))}
		}
		return err
	}
	return a.say(s, out, "%s", reply.Raw)
}

// parameters reads the JSON argument.
func parameters(args []string) (json.RawMessage, error) {
	if len(args) == 0 {
		return json.RawMessage("{}"), nil
	}
	text := bytes.TrimSpace([]byte(args[0]))
	if !json.Valid(text) {
		return nil, usagef("the parameters are not valid JSON: %q", args[0])
	}
	if text[0] != '{' {
		return nil, usagef("the parameters must be a JSON object such as {\"name\":1}, not %s", text)
	}
	return text, nil
}

// callOnce connects, calls, notes what is to be explained, and disconnects.
func (a *app) callOnce(ctx context.Context, s *settings, out *callOutput, params json.RawMessage) (client.Reply, error) {
	method := out.Method
	calls, end, err := a.caller(ctx, s)
	if err != nil {
		return client.Reply{}, err
	}
	defer end()
	reply, err := callIn(ctx, s.mode, calls, method, params, callOptions(s))
	if s.protect.explain {
		out.Instances = instanceOutputs(calls.Instances(method))
	}
	return reply, a.callError(ctx, s, calls, method, err)
}

// caller makes a client of the server or the broker that the flags name.
func (a *app) caller(ctx context.Context, s *settings) (calls *client.RpcClient, end func(), err error) {
	if s.direct != "" {
		opts, err := a.clientOptions(s)
		if err != nil {
			return nil, nil, err
		}
		calls, err = client.DialRpc(ctx, s.direct, opts...)
		if err != nil {
			return nil, nil, &plainError{fmt.Sprintf("no server at %s (%v); check the address given with --direct", s.direct, rootCause(err)), err}
		}
		return calls, func() { _ = calls.Close() }, nil
	}
	other, err := a.otherRegistry(s)
	if err != nil {
		return nil, nil, err
	}
	if other != nil {
		return a.callerThrough(other, s)
	}
	conn, err := a.dial(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	calls = client.NewRpcClient(client.NewDiscoveryClient(conn), client.WithZone(s.zone), client.WithBalancing(s.balancing)) // which leaves the token out: anybody may be a provider
	return calls, func() { _, _ = calls.Close(), conn.Close() }, nil
}

// callerThrough makes a client that finds providers in another registry than a broker's.
func (a *app) callerThrough(other abstract.Registry, s *settings) (calls *client.RpcClient, end func(), err error) {
	opts, err := a.strangersOptions(s)
	if err != nil {
		return nil, nil, errors.Join(err, other.Close())
	}
	calls = client.NewRpcClient(other, append(opts, client.WithZone(s.zone), client.WithBalancing(s.balancing))...)
	return calls, func() { _, _ = calls.Close(), other.Close() }, nil
}

// callIn calls in one of the three modes.
func callIn(ctx context.Context, mode string, calls *client.RpcClient, method string, params any, opts []client.CallOption) (client.Reply, error) {
	switch mode {
	case "future":
		return calls.CallFuture(ctx, method, params, opts...).Reply(ctx)
	case "callback":
		type outcome struct {
			reply client.Reply
			err   error
		}
		ended := make(chan outcome, 1)
		calls.CallFunc(ctx, method, params, func(r client.Reply, err error) { ended <- outcome{r, err} }, opts...)
		out := <-ended // it comes at the deadline at the latest
		return out.reply, out.err
	default:
		return calls.CallReply(ctx, method, params, opts...)
	}
}
