package server

import (
	"context"
	"sync"

	"trefoil/abstract"
)

// acceptor takes connections on a goroutine of its own, from when somebody needs that:
// Serve, or a registry that looks for a provider before it announces it.
type acceptor struct {
	once  sync.Once
	ended chan struct{}
	err   error // set before ended is closed
}

func newAcceptor() *acceptor { return &acceptor{ended: make(chan struct{})} }

// begin takes connections, if nobody does yet and the server was not shut down.
func (a *acceptor) begin(srv abstract.BaseServer) {
	a.once.Do(func() {
		go func() {
			defer close(a.ended)
			a.err = srv.Serve()
		}()
	})
}

// serve begins, and returns at the end.
func (a *acceptor) serve(srv abstract.BaseServer) error {
	a.begin(srv)
	<-a.ended
	return a.err
}

// wait returns when no connection is taken any more, or ctx ends. The server was
// shut down before.
func (a *acceptor) wait(ctx context.Context) {
	a.once.Do(func() { close(a.ended) })
	select {
	case <-a.ended:
	case <-ctx.Done():
	}
}
