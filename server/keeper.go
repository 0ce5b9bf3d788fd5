package server

import (
	"cmp"
	"context"
	"slices"
	"time"

	"trefoil/abstract"
)

// WithTTL makes the registrations of an RpcServer end when it has not renewed them for
// so long, although its connection to the registry may still be there. It renews them
// three times in each TTL, as long as it is healthy; see WithHealth.
func WithTTL(d time.Duration) Option { return func(c *config) { c.callee.ttl = d } }

// WithHealth sets what an RpcServer asks about itself: three times in each TTL, or
// every 2 s without one. While fn returns an error, or has not returned in that time,
// the methods are not registered, and nothing is renewed. It is called on a goroutine
// of its own, one call at a time.
func WithHealth(fn func(context.Context) error) Option {
	return func(c *config) { c.callee.health = fn }
}

// healthEvery is how often health is looked at when there is no TTL.
const healthEvery = 2 * time.Second

// keeper keeps the registrations of a server as long as it is healthy. It belongs to
// one goroutine.
type keeper struct {
	srv    *RpcServer
	every  time.Duration
	ill    bool
	asking chan error // receives what health returns; nil when nobody is asked
}

// keep begins to look after the registrations, if they need that.
func (s *RpcServer) keep() {
	cfg := &s.ep.cfg.callee
	if s.ep.cfg.registry == nil || cfg.ttl <= 0 && cfg.health == nil {
		return
	}
	k := &keeper{srv: s, every: cmp.Or(max(cfg.ttl/3, 0), healthEvery)}
	s.ep.keepers.Go(k.run)
}

func (k *keeper) run() {
	ticker := time.NewTicker(k.every)
	defer ticker.Stop()
	life := k.srv.ep.life
	for {
		select {
		case <-life.Done():
			return
		case <-ticker.C:
		}
		ctx, cancel := context.WithTimeout(life, k.every)
		k.look(ctx)
		cancel()
	}
}

// look asks how the server is, and does what follows from it.
func (k *keeper) look(ctx context.Context) {
	err := k.check(ctx)
	log := k.srv.ep.logs.rpc
	switch {
	case k.srv.ep.draining():
	case err != nil && !k.ill:
		k.ill = true
		log.Warn("the server is not healthy: its methods are taken out of the registry", "err", err)
		k.srv.pause(ctx)
	case err != nil:
		k.srv.pause(ctx) // the first time may have failed
	case k.ill:
		if err := k.srv.resume(ctx); err != nil {
			log.Warn("methods not registered again yet", "err", err)
			return
		}
		k.ill = false
		log.Info("the server is healthy again: its methods are registered")
	default:
		if err := k.srv.renew(ctx); err != nil {
			log.Warn("registrations not renewed", "err", err)
		}
	}
}

// check asks whether the server is healthy, and waits for the answer until ctx ends.
func (k *keeper) check(ctx context.Context) error {
	fn := k.srv.ep.cfg.callee.health
	if fn == nil {
		return nil
	}
	if k.asking == nil {
		k.asking = make(chan error, 1)
		go func(answer chan error) { answer <- fn(ctx) }(k.asking)
	}
	select {
	case err := <-k.asking:
		k.asking = nil
		return err
	case <-ctx.Done():
		return abstract.Errorf(abstract.Timeout, "the health check has not returned within %s", k.every)
	}
}

// renew tells the registry that the registrations still hold.
func (s *RpcServer) renew(ctx context.Context) error {
	done, err := s.register(ctx)
	if err != nil {
		return err
	}
	defer done()
	s.mu.Lock()
	all := slices.Clone(s.registered)
	s.mu.Unlock()
	if len(all) == 0 || s.ep.cfg.callee.ttl <= 0 {
		return nil
	}
	if h, ok := s.ep.cfg.registry.(abstract.Heartbeater); ok {
		return h.Heartbeat(ctx, all...)
	}
	return s.ep.cfg.registry.Register(ctx, all...)
}

// pause takes the methods out of the registry until resume.
func (s *RpcServer) pause(ctx context.Context) {
	done, err := s.register(ctx)
	if err != nil {
		return
	}
	defer done()
	s.mu.Lock()
	all := slices.Clone(s.registered)
	s.paused = true
	s.mu.Unlock()
	if len(all) == 0 {
		return
	}
	if err := s.ep.cfg.registry.Unregister(ctx, all...); err != nil {
		s.ep.logs.rpc.Warn("methods not unregistered yet", "err", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.registered = nil
}

// resume registers the methods again.
func (s *RpcServer) resume(ctx context.Context) error {
	s.mu.Lock()
	s.paused = false
	s.mu.Unlock()
	return s.announce(ctx, s.router.Methods()...)
}
