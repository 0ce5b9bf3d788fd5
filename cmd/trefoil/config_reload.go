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

	"trefoil/client"
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

	guarded      *guarded        // certificates, permissions and tokens
	providersTLS []client.Option // of the registry
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

// reload reads all files again. Unless all of them are right, nothing changes.
func (r *running) reload(srv *server.Broker) {
	next, values, err := r.read()
	permits, broken := r.guarded.check()
	if err != nil || broken != nil {
		r.refuse(err)
		r.refuse(broken)
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
	if next != r.s {
		if err := r.apply(srv, next, now); err != nil {
			r.refuse(err)
			return
		}
	}
	r.guarded.take(permits, srv, r.say)
	r.remember(now)
	r.tell(now, later)
}

// read reads the configuration file again; without one, what holds.
func (r *running) read() (*settings, config.Values, error) {
	if r.s.configFile() == "" {
		return r.s, r.values, nil
	}
	next := &settings{config: r.s.config, given: r.s.given}
	values, err := next.load()
	return next, values, err
}

// tell logs what was reloaded, and what was not.
func (r *running) tell(now, later config.Values) {
	switch {
	case r.s.configFile() != "":
		r.say.Info("configuration reloaded", "changed", strings.Join(now.Keys(), ","))
	case r.guarded.guards() || r.guarded.tls != nil:
		r.say.Info("files of certificates, permissions and tokens reloaded; there is no configuration file, name one with --config")
	default:
		r.say.Info("no configuration file, nothing to reload; name one with --config")
	}
	if len(later) > 0 {
		r.say.Warn("settings have changed that need a restart", "keys", strings.Join(later.Keys(), ","))
	}
}

// apply makes everything hold that can be reloaded, or returns an error and changes
// nothing. What costs something is done only if it is among what has changed.
func (r *running) apply(srv *server.Broker, next *settings, changed config.Values) error {
	if err := r.log.Configure(next.logConfig()); err != nil {
		return err
	}
	srv.SetLimits(next.own.limits())
	srv.SetRelaying(next.own.relay)
	r.s.liveDrain.Store(&next.drainTimeout)
	if changed.Any("compress") {
		srv.SetCompression(next.own.offering(r.s.own.maxFrame))
	}
	if changed.Any("registry.") {
		srv.SetHealthChecks(next.own.healthChecks(r.say, r.providersTLS))
		srv.SetDialBack(next.own.dialBack)
		srv.SetLossProtection(next.own.lossProtection())
	}
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

// refuse logs why nothing was reloaded; nil: that is no reason.
func (r *running) refuse(err error) {
	if err == nil {
		return
	}
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
