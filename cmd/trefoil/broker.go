package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"trefoil/abstract"
	"trefoil/cmd/trefoil/internal/logs"
	"trefoil/concrete/etcdstore"
	"trefoil/server"
)

func (a *app) brokerCommand() *cobra.Command {
	s := &settings{}
	return addSettingFlags(a.commandWith(s, cobra.Command{
		Use:   "broker [flags]",
		Short: "Run the broker: registry, topics, nodes and methods on one port",
		Long: "Run the broker until SIGTERM or an interrupt, and then drain: no new work is\n" +
			"taken, what is under way finishes, connections are closed. A second signal ends\n" +
			"it at once. The line 'listening on ADDR' on standard output says that it is ready.\n\n" +
			"Settings come from the flags, the environment (TREFOIL_LOG_LEVEL), and a file, in\n" +
			"this order; 'trefoil config docs' describes them all. SIGHUP reads the file again.",
		Args: cobra.NoArgs,
	}, a.broker), s)
}

// listening is the line that says a server is ready.
type listening struct {
	Event    string   `json:"event"`
	Addr     string   `json:"addr"`
	Serve    []string `json:"serve,omitempty"`
	Method   string   `json:"method,omitempty"`
	Broker   string   `json:"broker,omitempty"`
	Registry string   `json:"registry,omitempty"` // when that is not the broker's
}

func (a *app) broker(ctx context.Context, s *settings, _ []string) error {
	set, err := a.configure(s)
	if err != nil {
		return err
	}
	defer set.close() // last of all
	roles := s.roles()
	opts := append(s.own.options(), server.WithRoles(roles...), server.WithLogger(a.logger(s)))
	var secure []server.Option
	if set.guarded, secure, err = s.secure(set.say); err != nil {
		return err
	}
	opts = append(opts, secure...)
	if set.providersTLS, err = s.own.providersTLS(set.say); err != nil {
		return err
	}
	opts = append(opts, s.own.registryOptions(set.say, set.providersTLS)...)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if s.data != "" || len(s.own.etcd) > 0 {
		store, release, err := a.openStore(ctx, s, stop)
		if err != nil {
			return err
		}
		defer release() // after the server
		opts = append(opts, server.WithStore(store), server.WithRestartGrace(max(s.restartGrace, time.Millisecond)))
	}
	kept, release, err := a.openTopicLogs(ctx, s)
	if err != nil {
		return err
	}
	defer release() // after the server
	srv := server.NewBroker(s.listen, append(opts, kept...)...)
	if err := srv.Listen(); err != nil {
		return fmt.Errorf("%w; choose another address with --listen", err)
	}
	defer returnMemory(ctx)()
	defer set.follow(srv)()
	err = a.serve(ctx, s, srv, func(context.Context) error {
		names := make([]string, len(roles))
		for i, r := range roles {
			names[i] = string(r)
		}
		addr := dialable(srv.Addr())
		return a.say(s, listening{Event: "listening", Addr: addr, Serve: names}, "listening on %s", addr)
	})
	if cause := context.Cause(ctx); err == nil && errors.Is(cause, errClaimLost) {
		return cause
	}
	return err
}

// openStore opens the store of --data or --etcd. release closes it. stop is called
// when another broker may use it.
func (a *app) openStore(ctx context.Context, s *settings, stop context.CancelCauseFunc) (store abstract.Store, release func(), err error) {
	cfg := etcdstore.Config{Logger: a.logger(s).With(logs.AreaKey, areaStore)}
	where, outside := strings.Join(s.own.etcd, ","), len(s.own.etcd) > 0
	if outside {
		cfg.Endpoints, cfg.Prefix = s.own.etcd, s.own.etcdPrefix
		cfg.Username, cfg.Password = s.own.etcdUsername, s.own.etcdPassword
	} else {
		dir, err := filepath.Abs(filepath.Join(s.data, "store"))
		if err == nil {
			err = os.MkdirAll(dir, 0o700)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%w; choose another directory with --data", err)
		}
		cfg.Dir, where = dir, s.data
	}
	opening, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	store, err = etcdstore.Open(opening, cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("open the store in %s: %w", where, err)
	}
	release = func() { _ = store.Close() }
	if outside { // a directory is locked while somebody uses it
		giveBack, err := claim(ctx, store, stop)
		if err != nil {
			release()
			return nil, nil, err
		}
		release = func() {
			giveBack()
			_ = store.Close()
		}
	}
	cfg.Logger.Info("store opened", "in", where)
	return store, release, nil
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
	limit := s.drainLimit()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		return &drainError{fmt.Errorf("not everything had ended after %s; a longer --drain-timeout gives it more time: %w", limit, err)}
	}
	return nil
}

// drainError says that a server was shut down before all was done.
type drainError struct{ error }
