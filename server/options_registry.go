package server

import "time"

// WithHealthChecks sets how a registry looks whether providers can be reached. By
// default it looks when callers say that they cannot reach one.
func WithHealthChecks(h HealthChecks) Option { return func(c *config) { c.health = h } }

// WithDialBack makes a registry connect to providers before it announces them, with
// HELLO to those that speak it, and refuse those that it does not reach within timeout,
// or where another instance answers: an address that callers cannot use is noticed by
// who gave it. It connects as HealthChecks.Dial says. 0, the default, believes them.
func WithDialBack(timeout time.Duration) Option { return func(c *config) { c.dialBack = timeout } }

// WithLossProtection sets when a registry does not believe that many providers are
// lost at once.
func WithLossProtection(p LossProtection) Option { return func(c *config) { c.losses = p } }
