//go:build linux || darwin

package tcp

import (
	"context"
	"net"
	"sync"
	"syscall"

	"github.com/cloudwego/netpoll"
)

// hub is a netpoll event loop that is given sockets which we accepted ourselves.
// netpoll's own accepting cannot limit connections, logs each failure, and leaves a
// goroutine behind when it is shut down while descriptors are short. To netpoll,
// hub is a listener whose descriptor is a pipe: readable while a socket waits.
type hub struct {
	loop    netpoll.EventLoop
	watched chan struct{} // closed when netpoll has asked for Fd
	once    sync.Once
	ended   chan struct{} // closed when the loop has ended

	mu       sync.Mutex
	in, out  int // the pipe's ends: in is read, out written
	queue    []*wire
	last     *wire // what Accept returned last: netpoll prepares it next
	live     int   // sockets pushed and not yet gone
	stopping bool
	closed   bool
	empty    chan struct{} // closed when stopping and live is 0
}

var _ netpoll.Listener = (*hub)(nil)

// newHub starts an event loop. stop ends it.
func newHub() (*hub, error) {
	if err := configure(); err != nil {
		return nil, err
	}
	h := &hub{watched: make(chan struct{}), ended: make(chan struct{}), empty: make(chan struct{})}
	if err := h.pipe(); err != nil {
		return nil, err
	}
	var err error
	h.loop, err = netpoll.NewEventLoop(
		func(ctx context.Context, _ netpoll.Connection) error {
			ctx.(*wire).take()
			return nil
		},
		netpoll.WithOnPrepare(h.prepare),
		netpoll.WithOnConnect(func(ctx context.Context, _ netpoll.Connection) context.Context {
			ctx.(*wire).conn.Start()
			return ctx
		}),
	)
	if err != nil {
		_ = h.Close()
		return nil, err
	}
	go func() {
		defer close(h.ended)
		_ = h.loop.Serve(h) // fails only when the poller does, and then nothing is read
	}()
	<-h.watched // netpoll's Shutdown does nothing before
	return h, nil
}

func (h *hub) pipe() error {
	var fds [2]int
	syscall.ForkLock.RLock()
	err := syscall.Pipe(fds[:])
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return err
	}
	h.in, h.out = fds[0], fds[1]
	_ = syscall.SetNonblock(h.in, true) // cannot fail on a pipe
	_ = syscall.SetNonblock(h.out, true)
	return nil
}

// push gives w to netpoll. False: the hub is being stopped.
func (h *hub) push(w *wire) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopping {
		return false
	}
	h.live++
	w.hub = h
	h.queue = append(h.queue, w)
	if len(h.queue) == 1 {
		_, _ = syscall.Write(h.out, []byte{1}) // there is one byte in the pipe at most
	}
	return true
}

// Accept is called by the poller when the pipe is readable.
func (h *hub) Accept() (net.Conn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.queue) == 0 {
		return nil, nil
	}
	h.last = h.queue[0]
	h.queue[0] = nil
	if h.queue = h.queue[1:]; len(h.queue) == 0 {
		h.queue = nil
		_, _ = syscall.Read(h.in, make([]byte, 1))
	}
	return socket{wire: h.last}, nil
}

// prepare is called by the poller right after Accept, before it watches the socket.
func (h *hub) prepare(np netpoll.Connection) context.Context {
	h.mu.Lock()
	w := h.last
	h.last = nil
	h.mu.Unlock()
	w.attach(np)
	return w
}

func (h *hub) gone() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.live--; h.live == 0 && h.stopping {
		close(h.empty)
	}
}

// stop ends the loop when the last socket is gone, which its connections see to.
// Only then netpoll's Shutdown has nothing to close itself.
func (h *hub) stop() {
	h.mu.Lock()
	first := !h.stopping
	if h.stopping = true; first && h.live == 0 {
		close(h.empty)
	}
	h.mu.Unlock()
	<-h.empty
	if first {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = h.loop.Shutdown(ctx) // nothing is left that could be in time or not
	}
	<-h.ended
}

// Fd is the pipe's reading end.
func (h *hub) Fd() int {
	h.once.Do(func() { close(h.watched) })
	return h.in
}

// Close is called by netpoll's Shutdown.
func (h *hub) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.closed = true
		_ = syscall.Close(h.in)
		_ = syscall.Close(h.out)
	}
	return nil
}

// Addr is asked by nobody.
func (h *hub) Addr() net.Addr { return noAddr }

// socket is a wire's socket as netpoll wants to see it: it takes the descriptor,
// asks for the addresses, and does everything else itself.
type socket struct {
	net.Conn
	wire *wire
}

// Fd is the descriptor.
func (s socket) Fd() int { return s.wire.fd }

// LocalAddr is nobody's: netpoll would keep it, and only ever put it into a text
// that nobody sees.
func (s socket) LocalAddr() net.Addr { return noAddr }

// RemoteAddr is nobody's.
func (s socket) RemoteAddr() net.Addr { return noAddr }

var noAddr net.Addr = &net.TCPAddr{}
