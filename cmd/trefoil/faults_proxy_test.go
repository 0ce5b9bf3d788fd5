//go:build unix

package main

import (
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// blackHole passes bytes on to an address, and on demand none of them: connections
// stay open, and new ones are taken, but nothing comes out at the other end until
// it is lifted. Then everything does.
type blackHole struct {
	listener net.Listener
	ended    sync.WaitGroup

	mu     sync.Mutex
	to     string        // empty: nowhere yet
	lifted chan struct{} // open while nothing is passed on
	closed bool
	conns  map[net.Conn]struct{}
}

func newBlackHole(t *testing.T, to string) *blackHole {
	t.Helper()
	listener, err := net.Listen("tcp", anyPort)
	require.NoError(t, err)
	h := &blackHole{listener: listener, to: to, conns: map[net.Conn]struct{}{}}
	h.ended.Go(h.serve)
	t.Cleanup(func() {
		_ = listener.Close()
		h.lift()
		h.cut()
		h.ended.Wait()
	})
	return h
}

func (h *blackHole) addr() string { return h.listener.Addr().String() }

// lead makes an address the other end of connections to come.
func (h *blackHole) lead(to string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.to = to
}

// swallow lets nothing through any more.
func (h *blackHole) swallow() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lifted = make(chan struct{})
}

// lift lets everything through, that which has waited first.
func (h *blackHole) lift() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lifted != nil {
		close(h.lifted)
		h.lifted = nil
	}
}

// cut breaks all connections, and takes none from now on.
func (h *blackHole) cut() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for c := range h.conns {
		_ = c.Close()
	}
}

// wait waits while nothing may pass.
func (h *blackHole) wait() {
	h.mu.Lock()
	lifted := h.lifted
	h.mu.Unlock()
	if lifted != nil {
		<-lifted
	}
}

func (h *blackHole) serve() {
	for {
		in, err := h.listener.Accept()
		if err != nil {
			return
		}
		h.mu.Lock()
		h.conns[in] = struct{}{}
		if h.closed {
			_ = in.Close()
		}
		h.mu.Unlock()
		h.ended.Go(func() { h.connect(in) })
	}
}

func (h *blackHole) connect(in net.Conn) {
	defer in.Close()
	h.wait()
	h.mu.Lock()
	to := h.to
	h.mu.Unlock()
	out, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	h.mu.Lock()
	h.conns[out] = struct{}{}
	if h.closed {
		_ = out.Close()
	}
	h.mu.Unlock()
	h.ended.Go(func() { h.pass(in, out) })
	h.pass(out, in)
}

func (h *blackHole) pass(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	for b := make([]byte, 64<<10); ; {
		n, err := from.Read(b)
		h.wait()
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
