package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"trefoil/cmd/trefoil/internal/config"
	"trefoil/cmd/trefoil/internal/logs"
	"trefoil/server"
)

const (
	// flushTimeout bounds how long the end of a broker waits for its log.
	flushTimeout = 2 * time.Second
	// maxFaults is how many faults of a file are logged.
	maxFaults = 20
)

// running is the configuration of a broker that runs.
type running struct {
	s      *settings
	values config.Values // what holds now
	log    *logs.Log
	say    *slog.Logger

	guarded *guarded // certificates, permissions and tokens
}

// configure reads the broker's configuration into s and opens the log. Close it.
func (a *app) configure(s *settings) (*running, error) {
	values, err := s.load()
	if err != nil {
		return nil, err
	}
	log, err := logs.Open(a.stderr, s.logConfig())
	if err != nil {
		return nil, err
	}
	s.log = log.Logger()
	return &running{s: s, values: values, log: log, say: s.log.With(logs.AreaKey, areaConfig)}, nil
}

// close writes out the log. It is the last thing a broker does.
func (r *running) close() {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	_ = r.log.Close(ctx) // whom should it tell
}

// follow reads the configuration again at every SIGHUP, until stop is called.
func (r *running) follow(srv *server.Broker) (stop func()) {
	signals, ended := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, syscall.SIGHUP)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-ended:
				return
			case <-signals:
				r.log.Reopen()
				r.guarded.reload(srv, r.say)
				r.reload(srv)
			}
		}
	})
	return func() {
		signal.Stop(signals)
		close(ended)
		wg.Wait()
	}
}

// reload reads the file again. Unless all of it is right, nothing changes.
func (r *running) reload(srv *server.Broker) {
	if r.s.configFile() == "" {
		r.say.Info("no configuration file, nothing to reload; name one with --config")
		return
	}
	next := &settings{config: r.s.config, given: r.s.given}
	values, err := next.load()
	if err != nil {
		r.refuse(err)
		return
	}
	var now, later config.Values
	for _, v := range values.Changed(r.values) {
		if v.Reload {
			now = append(now, v)
		} else {
			later = append(later, v)
		}
	}
	if err := r.apply(srv, next); err != nil {
		r.refuse(err)
		return
	}
	r.remember(now)
	r.say.Info("configuration reloaded", "changed", strings.Join(now.Keys(), ","))
	if len(later) > 0 {
		r.say.Warn("settings have changed that need a restart", "keys", strings.Join(later.Keys(), ","))
	}
}

// apply makes everything hold that can be reloaded, or returns an error and changes
// nothing.
func (r *running) apply(srv *server.Broker, next *settings) error {
	if err := r.log.Configure(next.logConfig()); err != nil {
		return err
	}
	srv.SetLimits(next.own.limits())
	srv.SetRelaying(next.own.relay)
	r.s.liveDrain.Store(&next.drainTimeout)
	return nil
}

// remember notes what holds now. What needs a restart is told again next time.
func (r *running) remember(now config.Values) {
	for _, v := range now {
		for i := range r.values {
			if r.values[i].Key == v.Key {
				r.values[i] = v
			}
		}
	}
}

// refuse logs why nothing was reloaded.
func (r *running) refuse(err error) {
	reasons := []error{err}
	var faults config.FaultErrors
	if errors.As(err, &faults) {
		reasons = nil
		for _, f := range faults[:min(len(faults), maxFaults)] {
			reasons = append(reasons, f)
		}
	}
	for _, reason := range reasons {
		r.say.Error("configuration not reloaded, everything stays as it was", "err", reason)
	}
}
