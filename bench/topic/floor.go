package topic

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"

	"trefoil/bench/internal/harness"
)

// The floor's frames are a length of four bytes, which counts what follows it,
// one byte for the kind, one for the topic, and the payload. No names, no JSON,
// no answers to publishers: what is left is reading, and writing the same bytes
// to every subscriber.
const (
	floorHead      = 6
	floorPublish   = 'p'
	floorSubscribe = 's' // answered with the same frame
	floorBuffer    = 64 << 10
)

// floorServer writes from the goroutine that reads the publisher, so a
// subscriber that stops reading stops its publisher. The window keeps that away.
type floorServer struct {
	mu          sync.RWMutex
	subscribers [256][]*floorSubscriber
}

type floorSubscriber struct {
	mu   sync.Mutex
	conn net.Conn
}

func (s *floorSubscriber) write(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = s.conn.Write(b) // who is gone ends its own reading
}

func serveFloor(context.Context, json.RawMessage) (*harness.Served, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &floorServer{}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	}()
	return &harness.Served{Addr: l.Addr().String(), Stop: func() { _ = l.Close() }}, nil
}

func (s *floorServer) serve(c net.Conn) {
	defer c.Close()
	self := &floorSubscriber{conn: c}
	buf := make([]byte, floorBuffer)
	have := 0
	for {
		n, err := c.Read(buf[have:])
		if err != nil {
			return
		}
		have += n
		used, err := s.take(self, buf[:have])
		if err != nil {
			return
		}
		have = copy(buf, buf[used:have])
	}
}

// take handles the whole frames in b and returns their length. Frames of one
// topic that follow each other are written together.
func (s *floorServer) take(self *floorSubscriber, b []byte) (int, error) {
	from, at := 0, 0
	for at+floorHead <= len(b) {
		size := 4 + int(binary.BigEndian.Uint32(b[at:]))
		if size < floorHead || size > len(b) && size > floorBuffer {
			return 0, errors.New("a frame of a wrong length")
		}
		if at+size > len(b) {
			break
		}
		topic := b[at+5]
		if b[at+4] == floorSubscribe {
			s.mu.Lock()
			s.subscribers[topic] = append(s.subscribers[topic], self)
			s.mu.Unlock()
			self.write(b[at : at+size])
			at += size
			from = at
			continue
		}
		if at > from && b[from+5] != topic {
			s.forward(b[from:at])
			from = at
		}
		at += size
	}
	if at > from {
		s.forward(b[from:at])
	}
	return at, nil
}

func (s *floorServer) forward(run []byte) {
	s.mu.RLock()
	subs := s.subscribers[run[5]]
	s.mu.RUnlock()
	for _, sub := range subs {
		sub.write(run)
	}
}

type floorConn struct {
	conn net.Conn
	out  *bufio.Writer
	head [floorHead]byte
}

func dialFloor(ctx context.Context, addr string) (Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &floorConn{conn: c, out: bufio.NewWriterSize(c, 16<<10)}, nil
}

// floorTopic is the number at the end of a topic's name.
func floorTopic(name string) (byte, error) {
	n, err := strconv.ParseUint(name[strings.LastIndexByte(name, '.')+1:], 10, 8)
	if err != nil {
		return 0, fmt.Errorf("the floor's topics end in a number below 256: %w", err)
	}
	return byte(n), nil
}

func (c *floorConn) Create(context.Context, string) error { return nil }

func (c *floorConn) Publish(_ context.Context, topic string, payload []byte) error {
	return c.send(floorPublish, topic, payload)
}

func (c *floorConn) send(kind byte, topic string, payload []byte) error {
	t, err := floorTopic(topic)
	if err != nil {
		return err
	}
	binary.BigEndian.PutUint32(c.head[:], uint32(2+len(payload)))
	c.head[4], c.head[5] = kind, t
	if _, err := c.out.Write(c.head[:]); err != nil {
		return err
	}
	_, err = c.out.Write(payload)
	return err
}

func (c *floorConn) Flush() error { return c.out.Flush() }

func (c *floorConn) Subscribe(_ context.Context, topic string, fn func([]byte, uint64)) error {
	if err := c.send(floorSubscribe, topic, nil); err != nil {
		return err
	}
	if err := c.Flush(); err != nil {
		return err
	}
	if _, err := io.ReadFull(c.conn, c.head[:]); err != nil {
		return err
	}
	go c.receive(fn)
	return nil
}

func (c *floorConn) receive(fn func([]byte, uint64)) {
	in := bufio.NewReaderSize(c.conn, 16<<10)
	for {
		head, err := in.Peek(floorHead)
		if err != nil {
			return
		}
		size := 4 + int(binary.BigEndian.Uint32(head))
		frame, err := in.Peek(size)
		if err != nil {
			return
		}
		fn(frame[floorHead:], 0)
		_, _ = in.Discard(size)
	}
}

func (c *floorConn) Close() { _ = c.conn.Close() }
