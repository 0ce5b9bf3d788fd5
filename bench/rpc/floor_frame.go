package rpc

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
)

// The floors' frame: length of what follows, id of the call, text; as raw as a
// frame that can be multiplexed gets.
const (
	frameHeader = 8
	maxFrame    = 1 << 20
)

func appendFrame(dst []byte, id uint32, text []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(4+len(text)))
	dst = binary.BigEndian.AppendUint32(dst, id)
	return append(dst, text...)
}

// wholeFrames is the length of the whole frames that b begins with.
func wholeFrames(b []byte) (int, error) {
	n := 0
	for len(b)-n >= frameHeader {
		size := int(binary.BigEndian.Uint32(b[n:]))
		if size < 4 || size > maxFrame {
			return 0, fmt.Errorf("frame of %d bytes", size)
		}
		if len(b)-n < 4+size {
			break
		}
		n += 4 + size
	}
	return n, nil
}

// floorClient multiplexes calls over one connection: calls that come at the same
// time share one write, made by the first of them.
type floorClient struct {
	conn net.Conn
	done chan struct{} // closed when the reader has ended

	mu      sync.Mutex
	err     error
	calls   []*floorCall // by id
	free    []uint32     // ids without a call
	out     []byte       // frames that wait for the next write
	spare   []byte       // the buffer of the last one
	writing bool
	room    sync.Cond // out has been taken for a write
}

// maxBatch bounds what waits for one write; beyond it callers wait.
const maxBatch = 256 << 10

// floorCall is a place for one call in flight.
type floorCall struct {
	ended chan struct{}
	echo  []byte
}

// dialFloor connects to a floor's server.
func dialFloor(ctx context.Context, addr string) (caller, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &floorClient{conn: conn, done: make(chan struct{})}
	c.room.L = &c.mu
	go c.read()
	return c, nil
}

func (c *floorClient) Close() {
	c.conn.Close()
	<-c.done
}

// Call sends a frame and waits for its echo.
func (c *floorClient) Call(_ context.Context, p payload) error {
	c.mu.Lock()
	for len(c.out) >= maxBatch && c.err == nil {
		c.room.Wait()
	}
	if c.err != nil {
		defer c.mu.Unlock()
		return c.err
	}
	id, call := c.place()
	c.out = appendFrame(c.out, id, p.bytes)
	first := !c.writing
	c.writing = true
	alone := len(c.free) == len(c.calls)-1
	c.mu.Unlock()
	if first {
		if !alone {
			runtime.Gosched() // let others add to the same write
		}
		c.flush()
	}
	<-call.ended
	err := p.checkBytes(call.echo)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.free = append(c.free, id)
	if c.err != nil {
		return c.err
	}
	return err
}

// place takes a free place for a call.
func (c *floorClient) place() (uint32, *floorCall) {
	if n := len(c.free); n > 0 {
		id := c.free[n-1]
		c.free = c.free[:n-1]
		return id, c.calls[id]
	}
	call := &floorCall{ended: make(chan struct{}, 1)}
	c.calls = append(c.calls, call)
	return uint32(len(c.calls) - 1), call
}

// flush writes until nothing waits.
func (c *floorClient) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.out) > 0 && c.err == nil {
		out := c.out
		c.out = c.spare[:0]
		c.room.Broadcast()
		c.mu.Unlock()
		_, err := c.conn.Write(out)
		c.mu.Lock()
		c.spare = out
		if err != nil {
			c.fail(err)
		}
	}
	c.writing = false
}

// read ends calls by their echoes.
func (c *floorClient) read() {
	defer close(c.done)
	r := bufio.NewReaderSize(c.conn, 64<<10)
	for {
		err := c.readOne(r)
		if err != nil {
			c.mu.Lock()
			c.fail(err)
			c.mu.Unlock()
			return
		}
	}
}

func (c *floorClient) readOne(r *bufio.Reader) error {
	head, err := r.Peek(frameHeader)
	if err != nil {
		return err
	}
	size, id := int(binary.BigEndian.Uint32(head)), binary.BigEndian.Uint32(head[4:])
	if size < 4 || size > maxFrame {
		return fmt.Errorf("frame of %d bytes", size)
	}
	_, _ = r.Discard(frameHeader) // they were peeked at
	c.mu.Lock()
	if int(id) >= len(c.calls) {
		c.mu.Unlock()
		return fmt.Errorf("echo of unknown call %d", id)
	}
	call := c.calls[id]
	c.mu.Unlock()
	if n := size - 4; cap(call.echo) < n {
		call.echo = make([]byte, n)
	} else {
		call.echo = call.echo[:n]
	}
	if _, err := io.ReadFull(r, call.echo); err != nil {
		return err
	}
	call.ended <- struct{}{}
	return nil
}

// fail ends all calls. The caller holds mu.
func (c *floorClient) fail(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	c.room.Broadcast()
	for _, call := range c.calls {
		select {
		case call.ended <- struct{}{}:
		default:
		}
	}
}
