package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"trefoil/abstract"
	"trefoil/concrete/etcdstore"
	"trefoil/server"
)

func (a *app) brokerCommand() *cobra.Command {
	return a.command(cobra.Command{
		Use:   "broker [flags]",
		Short: "Run the broker: registry, topics and methods on one port",
		Long: "Run the broker until SIGTERM or an interrupt, and then drain: no new work is\n" +
			"taken, what is under way finishes, connections are closed. A second signal ends\n" +
			"it at once. The line 'listening on ADDR' on standard output says that it is ready.",
		Args: cobra.NoArgs,
	}, a.broker)
}

// listening is the line that says a server is ready.
type listening struct {
	Event  string   `json:"event"`
	Addr   string   `json:"addr"`
	Serve  []string `json:"serve,omitempty"`
	Method string   `json:"method,omitempty"`
	Broker string   `json:"broker,omitempty"`
}

func (a *app) broker(ctx context.Context, s *settings, _ []string) error {
	roles, err := s.roles()
	if err != nil {
		return err
	}
	if !strings.HasPrefix(s.listen, "unix:") {
		if _, _, err := net.SplitHostPort(s.listen); err != nil {
			return usagef("--listen %q is no address; give it as host:port, or as unix:/path", s.listen)
		}
	}
	opts := []server.Option{server.WithRoles(roles...), server.WithLogger(a.logger(s))}
	if s.data != "" {
		store, err := a.openStore(ctx, s)
		if err != nil {
			return err
		}
		defer store.Close() // after the server
		opts = append(opts, server.WithStore(store), server.WithRestartGrace(max(s.restartGrace, time.Millisecond)))
	}
	srv := server.NewBroker(s.listen, opts...)
	if err := srv.Listen(); err != nil {
		return fmt.Errorf("%w; choose another address with --listen", err)
	}
	defer returnMemory(ctx)()
	return a.serve(ctx, s, srv, func(context.Context) error {
		names := make([]string, len(roles))
		for i, r := range roles {
			names[i] = string(r)
		}
		addr := dialable(srv.Addr())
		return a.say(s, listening{Event: "listening", Addr: addr, Serve: names}, "listening on %s", addr)
	})
}

// openStore opens the store of --data.
func (a *app) openStore(ctx context.Context, s *settings) (abstract.Store, error) {
	dir, err := filepath.Abs(filepath.Join(s.data, "store"))
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("%w; choose another directory with --data", err)
	}
	log := a.logger(s)
	opening, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	store, err := etcdstore.Open(opening, etcdstore.Config{Dir: dir, Logger: log})
	if err != nil {
		return nil, fmt.Errorf("open the store in %s: %w", s.data, err)
	}
	log.Info("store opened", "data", s.data)
	return store, nil
}

// openTimeout bounds the opening of a store. A large one takes some seconds.
const openTimeout = time.Minute

// dialable is an address as the other commands take it.
func dialable(addr net.Addr) string {
	if addr.Network() == "unix" {
		return "unix:" + addr.String()
	}
	return addr.String()
}

// serve runs a server that listens already until ctx ends, and then drains it.
// ready is called before the first connection is taken; callers wait until then.
func (a *app) serve(ctx context.Context, s *settings, srv abstract.BaseServer, ready func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if s.stopOnEOF {
		go func() {
			defer cancel()
			_, _ = io.Copy(io.Discard, a.stdin)
		}()
	}
	err := ready(ctx)
	if err == nil {
		served := make(chan error, 1)
		go func() { served <- srv.Serve() }()
		select {
		case err = <-served:
			return err
		case <-ctx.Done():
		}
	}
	if drained := drain(s, srv); err == nil {
		err = drained
	}
	return err
}

// drain shuts a server down within the time that the flags give.
func drain(s *settings, srv abstract.BaseServer) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.drainTimeout)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		return &drainError{fmt.Errorf("not everything had ended after %s; a longer --drain-timeout gives it more time: %w", s.drainTimeout, err)}
	}
	return nil
}

// drainError says that a server was shut down before all was done.
type drainError struct{ error }
