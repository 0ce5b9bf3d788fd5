package client

import (
	"context"

	"trefoil/abstract"
)

// Probe finds out whether a provider can be reached: it connects, says HELLO to one
// that speaks it and means that instance, and leaves again. The error is Unavailable
// or Disconnected when there is nobody, Timeout when nobody answers within ctx or the
// timeouts of the options, and WrongInstance when there is somebody else.
func Probe(ctx context.Context, p abstract.Provider, opts ...Option) error {
	cfg := newConfig(opts)
	how := modeLegacy
	if p.Hello {
		how = modeModern
	}
	s, err := newWire(&cfg).openTo(ctx, p.Host.String(), p.Instance, how, func(*session, error) {})
	if err != nil {
		return decorate(asError(err), "reach "+p.Host.String(), 1, p.Host.String())
	}
	s.leave(ctx, "only a look")
	return nil
}
