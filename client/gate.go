package client

import "context"

// gate lets one change of a thing be on its way at a time, so that a later one
// cannot overtake an earlier one.
type gate struct {
	free  chan struct{} // holds an element while nobody is inside
	users int           // behind the lock of whoever keeps the gate
}

func newGate() *gate {
	g := &gate{free: make(chan struct{}, 1)}
	g.free <- struct{}{}
	return g
}

// enter waits until nobody is inside, or returns ctx's error.
func (g *gate) enter(ctx context.Context) error {
	select {
	case <-g.free:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gate) leave() { g.free <- struct{}{} }
