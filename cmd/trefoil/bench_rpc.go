package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/server"
)

func (a *app) benchRpcCommand() *cobra.Command {
	c := a.benchOf("rpc", "Measure calls",
		"Measure calls. Without --method the bench provides an echo itself, registers it at\n"+
			"the broker, finds it there and calls it, all in this process. With --method it\n"+
			"calls what others provide: once for each connection to warm up, and then as often\n"+
			"as the time allows. With --direct that server is called without asking a broker.",
		a.benchRpc)
	c.Example = "  trefoil bench rpc --inflight 1\n  trefoil bench rpc --rate 10000 --json\n  trefoil bench rpc --method math.add --params '{\"num1\":1,\"num2\":2}'"
	c.MarkFlagsMutuallyExclusive("broker", "direct")
	c.MarkFlagsMutuallyExclusive("method", "size")
	return c
}

// rpcOutput is the outcome for programs.
type rpcOutput struct {
	Bench       string          `json:"bench"`
	Method      string          `json:"method"`
	Mode        string          `json:"mode"`
	InFlight    int             `json:"inflight"`
	Conns       int             `json:"conns"`
	Size        int             `json:"size"` // bytes of the parameters
	Rate        int             `json:"rate,omitempty"`
	Interrupted bool            `json:"interrupted"`
	Calls       *measuredOutput `json:"calls"`
	CPU         cpuOutput       `json:"cpu"`
}

// checkBenchRpc checks the flags, and returns the parameters of --params.
func (s *settings) checkBenchRpc() (json.RawMessage, error) {
	b := &s.bench
	if b.method == "" && s.direct != "" {
		return nil, usagef("--direct needs --method: what the server is asked for")
	}
	if b.method == "" && b.params != "" {
		return nil, usagef("--params needs --method, whose parameters they are")
	}
	err := firstError(
		s.checkBench(),
		between("size", b.size, minBenchSize, maxBenchSize),
		between("conns", b.conns, 1, maxBenchConns),
		between("inflight", b.inflight, b.conns, maxBenchInFlight),
		between("rate", b.rate, 0, maxBenchRate),
	)
	if err != nil || b.params == "" {
		return json.RawMessage("{}"), err
	}
	return parameters([]string{b.params})
}

func (a *app) benchRpc(ctx context.Context, s *settings, _ []string) (err error) {
	params, err := s.checkBenchRpc()
	if err != nil {
		return err
	}
	b := rpcBench{method: s.bench.method, mode: s.mode, params: params}
	if b.method == "" {
		b.method, b.echo = uniqueName("echo"), true
		b.params = padded(s.bench.size, `{"data":"`, `"}`)
		end, err := a.provideEcho(ctx, s, b.method)
		if err != nil {
			return err
		}
		defer end()
	}
	defer b.close()
	if err := b.connect(ctx, a, s); err != nil {
		return err
	}
	return a.runBenchRpc(ctx, s, &b)
}

func (a *app) runBenchRpc(ctx context.Context, s *settings, b *rpcBench) error {
	l := load{
		unit: "calls", workers: s.bench.inflight, rate: s.bench.rate, duration: s.bench.duration,
		op: b.call, stop: b.close, tally: newTally(s.bench.inflight),
	}
	cpu := startCPU()
	end := l.run(ctx, a.stderr)
	out := rpcOutput{
		Bench: "rpc", Method: b.method, Mode: b.mode, InFlight: s.bench.inflight, Conns: s.bench.conns, Size: len(b.params),
		Rate: s.bench.rate, Interrupted: end.interrupted, Calls: l.tally.measured(end), CPU: cpu.stop(),
	}
	return errors.Join(
		a.writeReport(s, out, func(w io.Writer) { out.print(w, b.echo) }),
		nothingDone("call", out.Calls),
	)
}

func (o *rpcOutput) print(w io.Writer, echo bool) {
	what, whose := o.Method, "the callers"
	if echo {
		what, whose = "an echo", "the callers and the provider"
	}
	fmt.Fprintf(w, "calling %s with %d bytes, %s mode, %d in flight over %s\n", oneLine(what), o.Size, o.Mode, o.InFlight, plural(o.Conns, "connection"))
	o.Calls.print(w, "calls")
	o.CPU.print(w, whose)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// rpcBench calls one method over several connections.
type rpcBench struct {
	method, mode string
	params       json.RawMessage
	echo         bool // the result is the parameters
	clients      []*client.RpcClient
	ends         []func()
	closing      sync.Once
}

// connect connects and calls once over each connection. An error that comes from
// the method itself is left to be counted.
func (b *rpcBench) connect(ctx context.Context, a *app, s *settings) error {
	b.clients, b.ends = make([]*client.RpcClient, s.bench.conns), make([]func(), s.bench.conns)
	return inParallel(s.bench.conns, func(i int) (err error) {
		if b.clients[i], b.ends[i], err = a.caller(ctx, s); err != nil {
			return err
		}
		_, err = callIn(ctx, b.mode, b.clients[i], b.method, b.params, nil)
		var e *abstract.Error
		if errors.As(err, &e) && e.FromPeer && e.Code != abstract.ServiceNotFound {
			return nil
		}
		return methodError(b.method, err)
	})
}

// close ends all calls.
func (b *rpcBench) close() {
	b.closing.Do(func() {
		_ = inParallel(len(b.ends), func(i int) error {
			if end := b.ends[i]; end != nil {
				end()
			}
			return nil
		})
	})
}

var errNoEcho = abstract.Errorf(abstract.Internal, "the echo came back changed")

// call makes one call. It ends by the client's timeout, or with the client.
func (b *rpcBench) call(worker int, due time.Time) (time.Duration, error) {
	reply, err := callIn(context.Background(), b.mode, b.clients[worker%len(b.clients)], b.method, b.params, nil)
	took := time.Since(due)
	if err == nil && b.echo && !bytes.Equal(reply.Raw, b.params) {
		err = errNoEcho
	}
	return took, err
}

// provideEcho provides a method that returns its parameters. It listens on this
// machine only: nobody else is to call it.
func (a *app) provideEcho(ctx context.Context, s *settings, method string) (end func(), err error) {
	conn, err := a.dial(ctx, s)
	if err != nil {
		return nil, err
	}
	srv := server.NewRpcServer("127.0.0.1:0", append(s.compressServer(), server.WithLogger(a.logger(s)), server.WithRegistry(client.NewRegistryClient(conn)))...)
	var serving sync.WaitGroup
	end = func() {
		ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			a.logger(s).Warn("the echo did not end as it should", "method", method, "err", err)
		}
		serving.Wait()
		_ = conn.Close() // if it could not be unregistered, this does
	}
	err = srv.HandleFunc(server.Description{Method: method, Result: "any"}, func(_ context.Context, params json.RawMessage) (any, error) {
		return params, nil
	})
	if err == nil {
		err = srv.Announce(ctx)
	}
	if err != nil {
		end()
		return nil, fmt.Errorf("provide an echo: %w", err)
	}
	serving.Go(func() { _ = srv.Serve() })
	return end, nil
}
