//go:build unix

package main

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// cutter passes bytes on to an address, and cuts connections where chance has it: between
// frames and inside them, in the greeting and much later. Both ends are told of most cuts,
// and of some neither is.
type cutter struct {
	listener net.Listener
	to       string
	cuts     *atomic.Int64 // that are still to be made; many cutters may share them
	mean     int64         // bytes between two cuts
	ended    sync.WaitGroup

	mu      sync.Mutex
	conns   map[net.Conn]struct{}
	refuses bool // nobody gets through
	closed  bool
}

func newCutter(t *testing.T, to string, cuts *atomic.Int64, mean int64) *cutter {
	t.Helper()
	listener, err := net.Listen("tcp", anyPort)
	require.NoError(t, err)
	c := &cutter{listener: listener, to: to, cuts: cuts, mean: mean, conns: map[net.Conn]struct{}{}}
	c.ended.Go(c.serve)
	t.Cleanup(func() {
		_ = listener.Close()
		c.mu.Lock()
		c.closed = true
		c.mu.Unlock()
		c.refuse(true)
		c.ended.Wait()
	})
	return c
}

func (c *cutter) addr() string { return c.listener.Addr().String() }

// refuse breaks all connections, and those that come, until it is taken back.
func (c *cutter) refuse(refuses bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuses = refuses
	for conn := range c.conns {
		if refuses {
			_ = conn.Close()
		}
	}
}

// keep notes a connection; false: it is refused, and closed.
func (c *cutter) keep(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refuses || c.closed {
		_ = conn.Close()
		return false
	}
	c.conns[conn] = struct{}{}
	return true
}

func (c *cutter) drop(conn net.Conn) {
	_ = conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, conn)
}

func (c *cutter) serve() {
	for {
		in, err := c.listener.Accept()
		if err != nil {
			return
		}
		if !c.keep(in) {
			continue
		}
		out, err := net.Dial("tcp", c.to)
		if err != nil || !c.keep(out) {
			c.drop(in)
			continue
		}
		p := &cuttable{c: c, in: in, out: out}
		p.left = p.reach()
		c.ended.Go(func() { p.pass(in, out) })
		c.ended.Go(func() { p.pass(out, in) })
	}
}

// cuttable is one connection through a cutter.
type cuttable struct {
	c       *cutter
	in, out net.Conn
	silent  atomic.Bool // it was cut, and nobody told

	mu   sync.Mutex
	left int64 // bytes until it is cut
	cut  bool
}

// reach is after how many bytes a connection is cut: one in ten in its greeting.
func (p *cuttable) reach() int64 {
	if rand.IntN(10) == 0 {
		return rand.Int64N(400)
	}
	return int64(rand.ExpFloat64() * float64(p.c.mean))
}

// pass passes bytes on until the connection is cut, or ends. Of one that was cut in
// silence each end is open until it is closed from there.
func (p *cuttable) pass(to, from net.Conn) {
	defer p.c.drop(from)
	for b := make([]byte, 16<<10); ; {
		n, err := from.Read(b)
		if n > 0 && !p.silent.Load() {
			n, cuts := p.within(n)
			if _, failed := to.Write(b[:n]); failed != nil {
				err = failed
			}
			if cuts {
				p.end()
			}
		}
		if p.silent.Load() {
			_, _ = io.Copy(io.Discard, from)
			return
		}
		if err != nil {
			_ = to.Close()
			return
		}
	}
}

// within is how many of n bytes pass, and whether the connection is cut behind them.
func (p *cuttable) within(n int) (pass int, cuts bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left -= int64(n); p.left > 0 || p.cut {
		return n, false
	}
	p.cut = p.c.cuts.Add(-1) >= 0
	if !p.cut { // there have been enough
		p.left = 1 << 62
		return n, false
	}
	return n + int(p.left), true
}

// end cuts the connection.
func (p *cuttable) end() {
	switch rand.IntN(10) {
	case 0:
		p.silent.Store(true)
		return
	case 1, 2, 3, 4: // what is on its way is lost
		_ = p.in.(*net.TCPConn).SetLinger(0)
		_ = p.out.(*net.TCPConn).SetLinger(0)
	}
	_ = p.in.Close()
	_ = p.out.Close()
}
