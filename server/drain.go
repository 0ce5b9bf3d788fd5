package server

import (
	"cmp"
	"context"
	"slices"
	"time"

	"trefoil/abstract"
)

// The phases of an RpcServer.
const (
	phaseServing  = iota
	phaseRetiring // callers have been told to go elsewhere; who has not heard of it yet is served
	phaseRefusing // new calls are answered with Draining
)

// The default of WithDrain.
const (
	drainQuiet = 50 * time.Millisecond
	drainMost  = 2 * time.Second
)

// WithDrain sets how an RpcServer with a registry takes leave of its callers, when it
// is shut down: it tells the registry that it retires, and serves what still comes
// until for the time quiet nothing has come and nothing is running, but not longer
// than most. Then it refuses new calls, says goodbye, and waits until the callers have
// answered that, for a second or for the time most that is given here if that is longer:
// what they had sent before they saw it is answered. The default is 50 ms and 2 s; 0 leaves
// one as it is.
func WithDrain(quiet, most time.Duration) Option {
	return func(c *config) { c.callee.drainQuiet, c.callee.drainMost = max(0, quiet), max(0, most) }
}

// Drain asks callers to go elsewhere: the methods stay registered, as those of a
// provider that retires. It returns when for a moment no call has come and none is
// running, or when ctx ends, with its error. Calls that come nevertheless are
// served. Undrain takes it back; Shutdown does the same, and goes on from there.
func (s *RpcServer) Drain(ctx context.Context) error {
	s.phase.CompareAndSwap(phaseServing, phaseRetiring)
	if err := s.restate(ctx, abstract.Retiring); err != nil {
		return err
	}
	return s.quiet(ctx)
}

// Undrain takes Drain back.
func (s *RpcServer) Undrain(ctx context.Context) error {
	s.phase.CompareAndSwap(phaseRetiring, phaseServing)
	return s.restate(ctx, abstract.Up)
}

// register waits until the registry is told nothing else, or ctx ends. Whoever tells it
// something calls done after that.
func (s *RpcServer) register(ctx context.Context) (done func(), err error) {
	done = func() { <-s.registering }
	select {
	case s.registering <- struct{}{}:
		return done, nil
	default:
	}
	select {
	case s.registering <- struct{}{}:
		return done, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// restate registers the methods again, in another state.
func (s *RpcServer) restate(ctx context.Context, state abstract.ProviderState) error {
	done, err := s.register(ctx)
	if err != nil {
		return err
	}
	defer done()
	s.mu.Lock()
	s.state = state
	for i := range s.registered {
		s.registered[i].State = state
	}
	all := slices.Clone(s.registered)
	s.mu.Unlock()
	if len(all) == 0 {
		return nil
	}
	return s.ep.cfg.registry.Register(ctx, all...)
}

// quiet returns when no call has come for a moment and none is running.
func (s *RpcServer) quiet(ctx context.Context) error {
	timer := time.NewTicker(cmp.Or(s.ep.cfg.callee.drainQuiet, drainQuiet))
	defer timer.Stop()
	for seen := s.arrived.Load(); ; {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		arrived := s.arrived.Load()
		if s.active.Load() == 0 && arrived == seen {
			return nil
		}
		seen = arrived
	}
}

// retire takes leave of the callers, where there is a registry to tell them. It
// leaves half of the time of ctx at least for the rest of a shutdown.
func (s *RpcServer) retire(ctx context.Context) {
	s.mu.Lock()
	known := len(s.registered) > 0
	s.mu.Unlock()
	if !known {
		return
	}
	most := cmp.Or(s.ep.cfg.callee.drainMost, drainMost)
	if deadline, ok := ctx.Deadline(); ok {
		most = min(most, time.Until(deadline)/2)
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	if err := s.Drain(ctx); err != nil {
		s.ep.logs.rpc.Debug("callers have not all gone elsewhere before the shutdown", "err", err)
	}
}

// enter counts a call in, or refuses it when the server is about to close.
func (s *RpcServer) enter() bool {
	s.active.Add(1) // before the look, so that drain cannot miss it
	switch s.phase.Load() {
	case phaseRetiring:
		s.arrived.Add(1)
	case phaseRefusing:
		s.exit()
		return false
	}
	return true
}

// exit counts a call out.
func (s *RpcServer) exit() {
	if s.active.Add(-1) == 0 && s.phase.Load() == phaseRefusing {
		select {
		case s.idle <- struct{}{}:
		default:
		}
	}
}

// drain takes the methods out of the registry, refuses new calls, and waits for those
// that are running.
func (s *RpcServer) drain(ctx context.Context) {
	s.withdraw(ctx)
	s.phase.Store(phaseRefusing)
	defer s.ep.streams.endSoon(ctx, s.ep.cfg.callee.drainMost)()
	for s.active.Load() > 0 {
		select {
		case <-s.idle: // look again
		case <-ctx.Done():
			s.ep.logs.rpc.Warn("calls still running at the end of the shutdown's time")
			return
		}
	}
}

// withdraw takes the methods out of the registry.
func (s *RpcServer) withdraw(ctx context.Context) {
	done, err := s.register(ctx)
	if err != nil {
		s.ep.logs.rpc.Warn("methods not unregistered: the registry has not answered what it was told before", "err", err)
		return
	}
	defer done()
	s.mu.Lock()
	gone := s.registered
	s.registered, s.serving = nil, false
	s.mu.Unlock()
	if len(gone) == 0 {
		return
	}
	if err := s.ep.cfg.registry.Unregister(ctx, gone...); err != nil {
		s.ep.logs.rpc.Warn("methods not unregistered", "err", err)
	}
}
