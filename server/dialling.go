package server

import "trefoil/client"

// WithDialling sets how a registry opens connections to providers, to look whether they
// are there, before what HealthChecks.Dial adds for those that speak HELLO. The default
// is TCP: give an in-process network's client.WithTransport here.
func WithDialling(opts ...client.Option) Option { return func(c *config) { c.dialling = opts } }
