package mem

import (
	"io"
	"net"
	"os"
	"sync"
)

// capacity is what one direction holds, about what sockets do.
const capacity = 256 << 10

// keepBuffer is the biggest buffer that an empty pipe keeps for the next bytes.
const keepBuffer = 4 << 10

// pipe is one direction of a connection. One goroutine may read and one may write.
type pipe struct {
	mu       sync.Mutex
	buf      []byte
	spare    []byte // what the reader got last
	ended    bool   // the writer is gone: EOF after buf
	unread   bool   // the reader is gone
	hole     bool   // what is written vanishes
	lost     bool   // something did
	stalled  bool   // the reader stands still
	readable chan struct{}
	writable chan struct{}
}

func newPipe() *pipe {
	return &pipe{readable: make(chan struct{}, 1), writable: make(chan struct{}, 1)}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// tryWrite takes what fits.
func (p *pipe) tryWrite(bufs [][]byte) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.ended:
		return 0, io.ErrClosedPipe
	case p.hole:
		p.lost = true
		for _, b := range bufs {
			n += len(b)
		}
		return n, nil
	case p.unread:
		return 0, io.ErrClosedPipe
	}
	for _, b := range bufs {
		part := b[:min(len(b), capacity-len(p.buf))]
		p.buf = append(p.buf, part...)
		n += len(part)
		if len(part) < len(b) {
			break
		}
	}
	if n > 0 {
		signal(p.readable)
	}
	return n, nil
}

// next waits for bytes and returns all of them; they live until the next call.
func (p *pipe) next() ([]byte, error) { return p.nextBefore(nil) }

// nextBefore is next that fails when late is closed.
func (p *pipe) nextBefore(late <-chan struct{}) ([]byte, error) {
	for {
		if isClosed(late) {
			return nil, os.ErrDeadlineExceeded
		}
		b, err := p.tryNext()
		if b != nil || err != nil {
			return b, err
		}
		select {
		case <-p.readable:
		case <-late:
		}
	}
}

func (p *pipe) tryNext() ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.unread:
		return nil, net.ErrClosed
	case p.stalled:
		return nil, nil
	case len(p.buf) == 0 && p.ended:
		return nil, io.EOF
	case len(p.buf) == 0:
		if cap(p.spare) > keepBuffer {
			p.spare = nil
		}
		return nil, nil
	}
	b := p.buf
	p.buf, p.spare = p.spare[:0], b
	signal(p.writable)
	return b, nil
}

// end is the writer's close: the reader gets what is there, then io.EOF. In a
// black hole the reader never hears of it.
func (p *pipe) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hole {
		p.lost = true
		return
	}
	p.ended = true
	signal(p.readable)
	signal(p.writable)
}

// stopReading is the reader's close: its own next fails, and so does the writer's
// next write, unless it goes into a black hole.
func (p *pipe) stopReading() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unread = true
	p.buf, p.spare = nil, nil
	signal(p.readable)
	signal(p.writable)
}

// stall makes the reader wait, also for the end, or go on.
func (p *pipe) stall(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = on
	signal(p.readable)
}

// setHole switches the black hole, and reports whether bytes were lost in it.
func (p *pipe) setHole(on bool) (lost bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hole = on
	signal(p.writable)
	return p.lost
}
