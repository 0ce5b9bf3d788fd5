package rpc

import (
	"context"

	"trefoil/bench/internal/harness"
)

// Echo is a contestant of this table for tables that only need its connections.
type Echo struct {
	contestant
}

// EchoOf returns the contestant with a name; ok is false when there is none.
func EchoOf(name string) (e Echo, ok bool) {
	c, ok := find(name)
	return Echo{c}, ok
}

// Serve are the programs that the contestant needs, by name.
func (e Echo) Serve() map[string]harness.ServeFunc {
	programs := map[string]harness.ServeFunc{e.name: e.serveFunc()}
	if e.helper != "" {
		programs[e.helper] = helpers()[e.helper]
	}
	return programs
}

// Start starts the contestant's servers; clients connect to the first. What was
// started is returned also with an error, for the caller to stop.
func (e Echo) Start(ctx context.Context, r *harness.Runner) ([]*harness.Process, error) {
	return e.start(ctx, r, cell{})
}

// Conn is one connection of a contestant.
type Conn struct {
	caller  caller
	payload payload
}

// Dial opens a connection that echoes texts of size bytes. The caller closes it.
func (e Echo) Dial(ctx context.Context, addr string, size int) (*Conn, error) {
	c, err := e.dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	return &Conn{c, newPayload(size, fastMark)}, nil
}

// Call echoes the text once.
func (c *Conn) Call(ctx context.Context) error {
	return once(ctx, c.caller, c.payload)
}

// Close closes the connection.
func (c *Conn) Close() { c.caller.Close() }
