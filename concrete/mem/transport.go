package mem

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/internal/link"
)

var (
	_ abstract.BaseClient = (*client)(nil)
	_ link.Driver         = (*driver)(nil)
	_ link.Wire           = (*wire)(nil)
	_ link.Source         = (*wire)(nil)
)

// wire moves the bytes of a Conn through one end.
type wire struct {
	*end
	timeout time.Duration
}

// TryWrite writes what fits.
func (w *wire) TryWrite(bufs [][]byte) (int, error) { return w.out.tryWrite(bufs) }

// Write blocks until everything has been taken, for the write timeout at most.
func (w *wire) Write(bufs [][]byte) error {
	t := time.NewTimer(w.timeout)
	defer t.Stop()
	return w.writeAll(bufs, t.C, w.timeout)
}

// Next waits for bytes.
func (w *wire) Next() ([]byte, error) { return w.in.next() }

// client opens connections from a Machine to one server.
type client struct {
	m    *Machine
	name string
	cfg  *abstract.TransportConfig
}

// Connect opens a connection.
func (c *client) Connect(ctx context.Context) (abstract.BaseConnection, error) {
	if err := link.Check(c.cfg); err != nil {
		return nil, err
	}
	e, err := c.m.n.dial(ctx, c.m, c.name)
	if err != nil {
		return nil, link.ConnectError("mem:"+c.name, err)
	}
	w := &wire{end: e, timeout: c.cfg.WriteTimeout}
	conn := link.NewReading(c.cfg, w, nil)
	conn.Open()
	conn.Start() // what is sent from now on is written
	go conn.Read(w)
	return conn, nil
}

// driver makes a link.Server of a name on a Machine.
type driver struct {
	m    *Machine
	name string
}

// Listen takes the name.
func (d *driver) Listen() (net.Listener, error) {
	n := d.m.n
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[d.name] != nil {
		return nil, &abstract.Error{Code: abstract.Exists, Op: "listen",
			Message: fmt.Sprintf("another server is called %q; shut it down or take another name", d.name)}
	}
	l := &listener{d: d, ready: make(chan struct{}, 1), closed: make(chan struct{})}
	n.listeners[d.name] = l
	return l, nil
}

// Adopt starts a connection.
func (d *driver) Adopt(s *link.Server, nc net.Conn) error {
	w := &wire{end: nc.(*end), timeout: s.Config().WriteTimeout}
	conn, ok := s.AdmitReading(w)
	if !ok {
		_ = nc.Close()
		return nil
	}
	go func() {
		conn.Open()
		conn.Read(w)
	}()
	return nil
}

// backlog is how many connections may wait to be accepted.
const backlog = 1024

// listener is a server's name in its Network.
type listener struct {
	d      *driver
	mu     sync.Mutex
	queue  []*end
	ready  chan struct{}
	once   sync.Once
	closed chan struct{}
}

func (l *listener) offer(e *end) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) >= backlog {
		return false
	}
	l.queue = append(l.queue, e)
	signal(l.ready)
	return true
}

func (l *listener) pop() *end {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		return nil
	}
	e := l.queue[0]
	l.queue = l.queue[1:]
	return e
}

// Accept waits for the next connection.
func (l *listener) Accept() (net.Conn, error) {
	for {
		if e := l.pop(); e != nil {
			return e, nil
		}
		select {
		case <-l.ready:
		case <-l.closed:
			return nil, net.ErrClosed
		}
	}
}

// Close frees the name and closes what was not accepted.
func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		n := l.d.m.n
		n.mu.Lock()
		delete(n.listeners, l.d.name) // nobody is offered after this
		n.mu.Unlock()
		for e := l.pop(); e != nil; e = l.pop() {
			_ = e.Close()
		}
	})
	return nil
}

// Addr is the server's name.
func (l *listener) Addr() net.Addr { return addr(l.d.name) }
