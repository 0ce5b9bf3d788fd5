package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"trefoil/abstract"
	"trefoil/abstract/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testFrame makes a frame of one message.
func testFrame(kind abstract.MType, n uint64, size int) abstract.Frame {
	b, err := transporttest.Protocol{}.Append(nil, &transporttest.Message{Kind: kind, N: n, Body: make([]byte, size)})
	if err != nil {
		panic(err)
	}
	return abstract.Frame{Class: abstract.ClassOf(kind), Count: 1, Bytes: b}
}

// numbers reads the numbers of the messages in a stream of whole frames.
func numbers(p []byte) (list []uint64) {
	for len(p) > 0 {
		list = append(list, binary.BigEndian.Uint64(p[5:]))
		p = p[4+binary.BigEndian.Uint32(p):]
	}
	return list
}

// fakeWire takes what it is told to, and remembers it.
type fakeWire struct {
	mu       sync.Mutex
	room     int // what TryWrite takes in all; negative: everything
	err      error
	written  bytes.Buffer
	tries    int
	blocked  chan struct{} // Write waits for it; nil: it does not
	closed   chan struct{}
	once     sync.Once
	writing  int
	overlaps int // writes at the same time
}

func newFakeWire() *fakeWire { return &fakeWire{room: -1, closed: make(chan struct{})} }

func (w *fakeWire) enter() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.writing++; w.writing > 1 {
		w.overlaps++
	}
}

func (w *fakeWire) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writing--
}

func (w *fakeWire) TryWrite(bufs [][]byte) (n int, err error) {
	w.enter()
	defer w.leave()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tries++
	if w.err != nil {
		return 0, w.err
	}
	for _, b := range bufs {
		part := b
		if w.room >= 0 {
			part = b[:min(len(b), w.room)]
			w.room -= len(part)
		}
		w.written.Write(part)
		n += len(part)
	}
	return n, nil
}

func (w *fakeWire) Write(bufs [][]byte) error {
	w.enter()
	defer w.leave()
	if w.blocked != nil {
		select {
		case <-w.blocked:
		case <-w.closed:
			return net.ErrClosed
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range bufs {
		w.written.Write(b)
	}
	return w.err
}

func (w *fakeWire) CloseWrite() error { return errors.ErrUnsupported }

func (w *fakeWire) Close() error {
	w.once.Do(func() { close(w.closed) })
	return nil
}

func (w *fakeWire) LocalAddr() net.Addr  { return &net.TCPAddr{} }
func (w *fakeWire) RemoteAddr() net.Addr { return &net.TCPAddr{} }

func (w *fakeWire) bytes() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Clone(w.written.Bytes())
}

// sink is a Receiver that keeps what it gets.
type sink struct {
	got    []uint64
	closed chan error
}

func (s *sink) OnMessages(batch []abstract.BaseMessage) {
	for _, m := range batch {
		s.got = append(s.got, m.(*transporttest.Message).N)
	}
}

func (s *sink) OnClose(err error) { s.closed <- err }

func testConfig(r abstract.Receiver) *abstract.TransportConfig {
	return Defaults(abstract.TransportConfig{
		Protocol: transporttest.Protocol{},
		OnOpen:   func(abstract.BaseConnection) abstract.Receiver { return r },
		Logger:   slog.New(slog.DiscardHandler),
	})
}

// testConn starts a connection over w.
func testConn(t testing.TB, w *fakeWire) (*Conn, *sink) {
	s := &sink{closed: make(chan error, 1)}
	c := New(testConfig(s), w, nil)
	c.Open()
	c.Start()
	t.Cleanup(func() { c.Close(nil) })
	return c, s
}

func wait[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(2 * time.Minute):
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}

// pieces is a Source of the given reads.
type pieces [][]byte

func (p *pieces) Next() ([]byte, error) {
	if len(*p) == 0 {
		return nil, io.EOF
	}
	next := (*p)[0]
	*p = (*p)[1:]
	return next, nil
}
