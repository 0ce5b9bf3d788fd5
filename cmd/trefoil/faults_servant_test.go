package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/server"
)

// whoMethod is what servants provide: it says who answers.
const whoMethod = "who.are_you"

// whoParams asks a servant to take its time.
type whoParams struct {
	Ms int `json:"ms,omitempty"`
}

// whoResult is its answer.
type whoResult struct {
	Instance string `json:"instance"`
}

// noting is a registry that knows under which instance id a server has registered.
type noting struct {
	*client.RegistryClient
	instance atomic.Value
}

func (n *noting) Register(ctx context.Context, list ...abstract.Provider) error {
	n.instance.Store(list[0].Instance)
	return n.RegistryClient.Register(ctx, list...)
}

// newServant makes a provider of who at an address. Each answer takes it so long, and
// what the caller asks for besides.
func newServant(conn *client.Conn, listen string, takes time.Duration, opts ...server.Option) (*server.RpcServer, *noting, error) {
	registry := &noting{RegistryClient: client.NewRegistryClient(conn)}
	registry.instance.Store("")
	srv := server.NewRpcServer(listen, append([]server.Option{server.WithLogger(silent), server.WithRegistry(registry)}, opts...)...)
	err := server.Handle(srv, whoMethod, func(ctx context.Context, in whoParams) (whoResult, error) {
		if takes := takes + time.Duration(in.Ms)*time.Millisecond; takes > 0 {
			timer := time.NewTimer(takes)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-ctx.Done():
				return whoResult{}, ctx.Err()
			}
		}
		return whoResult{registry.instance.Load().(string)}, nil
	})
	return srv, registry, err
}

// servantHelper is a provider in a process of its own. It dials args[0], says that it
// is ready, and then, pinging its callers every args[1], serves at the address of the one line that it reads; the line
// may name another one to be registered. It ends with SIGTERM, in order.
func servantHelper(args []string, stdin io.Reader, stdout io.Writer) int {
	failed := func(err error) int {
		fmt.Fprintln(stdout, "failed:", err)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	conn, err := client.Dial(context.Background(), args[0], client.WithLogger(silent), client.WithTimeout(patience), client.WithConnectTimeout(patience), client.WithHelloTimeout(patience))
	if err != nil {
		return failed(err)
	}
	defer conn.Close()
	fmt.Fprintln(stdout, "ready")
	input := bufio.NewScanner(stdin)
	if !input.Scan() {
		return 0
	}
	where := strings.Fields(input.Text())
	ping, err := time.ParseDuration(args[1])
	if err != nil {
		return failed(err)
	}
	opts := []server.Option{server.WithPing(ping, 5), server.WithDrain(0, patience)}
	if len(where) > 1 {
		host, err := abstract.ParseHost(where[1])
		if err != nil {
			return failed(err)
		}
		opts = append(opts, server.WithAdvertise(host))
	}
	srv, registry, err := newServant(conn, where[0], 0, opts...)
	if err == nil {
		err = srv.Announce(ctx)
	}
	if err != nil {
		return failed(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve() }()
	fmt.Fprintln(stdout, "providing", srv.Addr(), registry.instance.Load())
	<-ctx.Done()
	draining, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := srv.Shutdown(draining); err != nil {
		return failed(err)
	}
	<-ended
	return 0
}
