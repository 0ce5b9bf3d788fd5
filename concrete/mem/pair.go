package mem

import (
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/concrete/internal/link"
)

// pair is one connection: two pipes, two ends.
type pair struct {
	from, to       *Machine // of the client and of the server
	client, server *end
	open           atomic.Int32 // ends that were not closed yet
	stranded       bool         // in a black hole for ever; guarded by the Network
}

func newPair(from, to *Machine, clientAddr, serverAddr addr) *pair {
	p := &pair{from: from, to: to}
	up, down := newPipe(), newPipe()
	p.client, p.server = newEnd(p, down, up, clientAddr, serverAddr), newEnd(p, up, down, serverAddr, clientAddr)
	p.open.Store(2)
	return p
}

// cut ends both directions for both ends.
func (p *pair) cut() {
	p.client.out.end()
	p.server.out.end()
}

func (p *pair) strand() {
	p.stranded = true
	p.feel()
}

// feel brings the pipes in line with the troubles that there are. It is called with
// the Network locked.
func (p *pair) feel() {
	hole := p.stranded || p.from.n.trouble.healed != nil || p.from.trouble.healed != nil || p.to.trouble.healed != nil
	p.client.in.stall(p.from.trouble.stalled)
	p.server.in.stall(p.to.trouble.stalled)
	up, down := p.client.out.setHole(hole), p.server.out.setHole(hole)
	if !hole && (up || down) {
		p.cut()
	}
}

// end is one side of a connection.
type end struct {
	pair            *pair
	in, out         *pipe
	local, remote   addr
	rest            []byte   // of the bytes that Read took last
	readBy, writeBy deadline // of Read and Write
	once            sync.Once
	closed          chan struct{}
}

func newEnd(p *pair, in, out *pipe, local, remote addr) *end {
	e := &end{pair: p, in: in, out: out, local: local, remote: remote, closed: make(chan struct{})}
	e.readBy.over, e.writeBy.over = make(chan struct{}), make(chan struct{})
	return e
}

var _ net.Conn = (*end)(nil)

// Read reads what is there, or waits.
func (e *end) Read(p []byte) (int, error) {
	if len(e.rest) == 0 {
		b, err := e.in.nextBefore(e.readBy.passed())
		if err != nil {
			return 0, err
		}
		e.rest = b
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

// Write blocks until everything has been taken.
func (e *end) Write(p []byte) (n int, err error) {
	late := e.writeBy.passed()
	for {
		if isClosed(late) {
			return n, os.ErrDeadlineExceeded
		}
		some, err := e.out.tryWrite([][]byte{p[n:]})
		if n += some; err != nil || n == len(p) {
			return n, err
		}
		select {
		case <-e.out.writable:
		case <-e.closed:
			return n, net.ErrClosed
		case <-late:
		}
	}
}

// writeAll writes bufs, or gives up when timeout ticks, which is after d.
func (e *end) writeAll(bufs [][]byte, timeout <-chan time.Time, d time.Duration) error {
	for {
		n, err := e.out.tryWrite(bufs)
		if err != nil {
			return err
		}
		if bufs = after(bufs, n); len(bufs) == 0 {
			return nil
		}
		select {
		case <-e.out.writable:
		case <-e.closed:
			return net.ErrClosed
		case <-timeout:
			return link.WriteTimeout(d)
		}
	}
}

// after returns what follows the first n bytes of bufs, without changing bufs.
func after(bufs [][]byte, n int) [][]byte {
	for len(bufs) > 0 && n >= len(bufs[0]) {
		n -= len(bufs[0])
		bufs = bufs[1:]
	}
	if n == 0 {
		return bufs
	}
	return append([][]byte{bufs[0][n:]}, bufs[1:]...)
}

// CloseWrite lets the peer read io.EOF after what was written.
func (e *end) CloseWrite() error {
	e.out.end()
	return nil
}

// Close closes both directions. It may be called more than once.
func (e *end) Close() error {
	e.once.Do(func() {
		close(e.closed)
		e.out.end()
		e.in.stopReading()
		if e.pair.open.Add(-1) == 0 {
			e.pair.from.n.forget(e.pair)
		}
	})
	return nil
}

// LocalAddr is the name of this end.
func (e *end) LocalAddr() net.Addr { return e.local }

// RemoteAddr is the name of the other end.
func (e *end) RemoteAddr() net.Addr { return e.remote }

// SetDeadline is SetReadDeadline and SetWriteDeadline.
func (e *end) SetDeadline(t time.Time) error {
	e.readBy.set(t)
	e.writeBy.set(t)
	return nil
}

// SetReadDeadline has reads fail that last beyond t.
func (e *end) SetReadDeadline(t time.Time) error {
	e.readBy.set(t)
	return nil
}

// SetWriteDeadline has writes fail that last beyond t.
func (e *end) SetWriteDeadline(t time.Time) error {
	e.writeBy.set(t)
	return nil
}
