package server

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"trefoil/abstract"
	"trefoil/business/protect"
	"trefoil/business/registry"
	"trefoil/client"
	"trefoil/concrete/message"
)

const (
	// dialBacks is how many connections to providers that register are under way at
	// once; others wait for their turn.
	dialBacks = 64
	// lookBurst is how many addresses one connection may name at once, and then
	// one in each second: a registry is no scanner of ports for its peers.
	lookBurst = 16
)

// dialBack looks for providers at the addresses that they register.
type dialBack struct {
	timeout atomic.Int64  // a time.Duration; 0: nobody looks before a provider is announced
	room    chan struct{} // an element for each look under way
}

func (d *dialBack) init(timeout time.Duration) {
	d.room = make(chan struct{}, dialBacks)
	d.set(timeout)
}

func (d *dialBack) set(timeout time.Duration) { d.timeout.Store(int64(max(0, timeout))) }

func (d *dialBack) looks() bool { return d.timeout.Load() > 0 }

// found returns why a provider is not where it says; nil when it is, and when nobody
// looks. It takes its time, so it is for errands.
func (s *RegistryServer) found(c *conn, p message.ProviderHost) error {
	timeout := time.Duration(s.dialBack.timeout.Load())
	if timeout == 0 || s.known(c, p) {
		return nil
	}
	if c.looks == nil {
		c.looks = protect.NewRateLimiter(protect.Rate{PerSecond: 1, Burst: lookBurst}, time.Now())
	}
	if _, ok := c.looks.Allow(1, time.Now()); !ok {
		return abstract.Errorf(abstract.Overloaded, "this connection registers new addresses faster than the broker looks whether they are there, one in each second; try again later")
	}
	ctx, cancel := context.WithTimeout(c.ctx, timeout)
	defer cancel()
	defer context.AfterFunc(s.ep.life, cancel)()
	select {
	case s.dialBack.room <- struct{}{}:
	case <-ctx.Done():
		return abstract.Errorf(abstract.Overloaded, "too many providers register at once for the broker to look whether they are there; try again")
	}
	defer func() { <-s.dialBack.room }()
	err := s.probe(ctx, p)
	if err != nil {
		s.ep.logs.registry.Warn("provider not reached, and not registered", "peer", c.name(), "host", p.Host.String(), "err", err)
	}
	return unreachable(p, err)
}

// known says whether a connection provides something at a host already: then the
// host was looked for.
func (s *RegistryServer) known(c *conn, p message.ProviderHost) bool {
	s.index.Lock()
	defer s.index.Unlock()
	return s.pd.ProvidesAt(registry.ConnID(c.id), p.Host, p.Instance)
}

// unreachable tells a provider what came of the look for it. It does not say how an
// attempt to connect failed: that is nobody's to learn.
func unreachable(p message.ProviderHost, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, abstract.ErrWrongInstance):
		return abstract.Errorf(abstract.WrongInstance, "another process than the provider answers at %s, so it is not registered; register the address that reaches it, as with --advertise HOST:PORT", p.Host)
	}
	return abstract.Errorf(abstract.Unavailable, "the broker does not reach the provider at %s, so it is not registered; register an address that can be reached from there, as with --advertise HOST:PORT", p.Host)
}

// probe returns why a provider cannot be reached. One that answers HELLO is there, also
// when it takes nobody just now.
func (s *RegistryServer) probe(ctx context.Context, p message.ProviderHost) error {
	opts := slices.Clip(s.ep.cfg.dialling)
	if p.Hello {
		opts = append(opts, s.health.cfg.Load().Dial...)
	}
	err := client.Probe(ctx, abstract.Provider{Host: p.Host, Instance: p.Instance, Hello: p.Hello}, opts...)
	if e, ok := asError(err); ok && e.FromPeer && e.Code != abstract.WrongInstance {
		return nil
	}
	return err
}
