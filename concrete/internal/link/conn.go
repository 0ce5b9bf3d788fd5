package link

import (
	"context"
	"net"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/abstract"
)

var _ abstract.BaseConnection = (*Conn)(nil)

// Wire moves the bytes of one connection. TryWrite, Write and CloseWrite are
// called by one goroutine at a time; Close at any time, and more than once.
type Wire interface {
	// TryWrite writes what the socket takes at once, and never blocks. n below
	// the total means that it is full; a Wire that cannot try returns 0, nil.
	TryWrite(bufs [][]byte) (n int, err error)
	// Write writes everything. It fails when the peer takes nothing for the
	// write timeout, and when Close is called.
	Write(bufs [][]byte) error
	// CloseWrite tells the peer that nothing more comes.
	CloseWrite() error
	Close() error
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
}

// Rester is a Wire that can give memory back while nothing is going on.
type Rester interface {
	// Rest is called by the worker when it ends, so perhaps at the same time as
	// the next input arrives.
	Rest()
}

// Conn is the BaseConnection of every transport.
//
// Its life: New, Open, Start, then Receive for all input and ReadEnded once. A
// transport that reads on a goroutine of its own calls Read there instead of the
// latter two.
type Conn struct {
	cfg   *abstract.TransportConfig
	wire  Wire
	onEnd func(*Conn)
	recv  abstract.Receiver

	out outbox
	in  inbound

	received atomic.Uint64

	runWork    func()                 // work, made once
	delivering atomic.Pointer[worker] // the worker that waits, or has waited, for the Receiver

	buf     Buffer       // belongs to the worker, or in Direct mode to the reader
	stalled atomic.Int64 // when the incomplete frame in buf began, as now gives it; 0: there is none
	crowded atomic.Bool  // the last delivery was of several messages
	src     Source       // what serves reads from; belongs to whose turn it is
	direct  bool         // the reader calls the Receiver itself
	failed  bool         // of the worker: nothing more is decoded

	mu       sync.Mutex
	closed   bool
	stopping bool // Shutdown runs, and stopErr is what the connection ends with
	stopErr  error
	err      error
	done     chan struct{} // nil until somebody asks for it
	lingers  atomic.Bool   // everything is written, the peer's end is awaited
}

// New makes a connection over w that is read by calls of Receive, whatever
// cfg.Direct says; NewReading one that is read by Read. onEnd, which may be nil, is called after the
// Receiver's OnClose, or in place of it when there is no Receiver.
func New(cfg *abstract.TransportConfig, w Wire, onEnd func(*Conn)) *Conn {
	c := &Conn{cfg: cfg, wire: w, onEnd: onEnd}
	c.runWork = c.work
	c.out.limit = cfg.MaxQueued
	c.out.corked = true
	return c
}

// NewServing makes a connection over w whose transport will call Serve.
func NewServing(cfg *abstract.TransportConfig, w Wire, onEnd func(*Conn)) *Conn {
	c := New(cfg, w, onEnd)
	c.direct = true
	return c
}

// NewReading makes a connection over w whose transport will call Read.
func NewReading(cfg *abstract.TransportConfig, w Wire, onEnd func(*Conn)) *Conn {
	c := New(cfg, w, onEnd)
	c.direct = cfg.Direct
	return c
}

// Open asks the transport's OnOpen for the Receiver. A nil Receiver, or a panic,
// closes the connection. What OnOpen sends is written after Start.
func (c *Conn) Open() {
	defer func() {
		if v := recover(); v != nil {
			c.panicked(v)
		}
	}()
	if c.recv = c.cfg.OnOpen(c); c.recv == nil {
		c.Close(nil)
	}
}

// Start begins to write and to deliver, and never blocks. A second call changes
// nothing.
func (c *Conn) Start() {
	if c.in.set(func(in *inbound) { in.started = !c.direct }) {
		c.startWork()
	}
	if c.out.uncork() {
		go c.write(newBatch())
	}
}

// Send encodes m, queues it and flushes. While messages arrive several at a time,
// others are about to send as well: then it lets them go first, once, and whoever
// comes back first writes for all.
func (c *Conn) Send(m abstract.BaseMessage) error {
	frame, err := Encode(c.cfg.Protocol, m)
	if err != nil {
		return err
	}
	crowded := c.crowded.Load()
	owned, err := c.out.push(abstract.Frame{Class: abstract.ClassOf(m.Type()), Count: 1, Bytes: frame}, !crowded)
	switch {
	case err != nil:
		return err
	case crowded:
		runtime.Gosched()
		c.Flush()
	case owned:
		c.writeInline()
	}
	return nil
}

// Queue appends f to the queue of its class. It takes one lock for a moment, and
// neither writes nor calls anybody.
func (c *Conn) Queue(f abstract.Frame) error {
	_, err := c.out.push(f, false)
	return err
}

// Flush writes what is queued as far as the socket takes it at once.
func (c *Conn) Flush() {
	if c.out.tryOwn() {
		c.writeInline()
	}
}

// NewLane opens a bounded queue inside the topic class. All lanes of a connection
// together hold MaxQueued bytes at most.
func (c *Conn) NewLane(cfg abstract.LaneConfig) abstract.Lane {
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = defaultLaneBytes
	}
	return &lane{conn: c, max: cfg.MaxBytes, policy: cfg.Policy, notice: cfg.Gap}
}

// Close closes at once. It may be called from anywhere, with locks held too: the
// Receiver hears of it on another goroutine, or after it has returned.
func (c *Conn) Close(err error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed, c.err = true, err
	if c.stopping {
		c.err = c.stopErr
	}
	done := c.done
	c.mu.Unlock()
	c.out.close()
	_ = c.wire.Close() // there is nobody left to tell
	if done != nil {
		close(done)
	}
	if c.in.set(func(in *inbound) { in.closed = true }) {
		c.startWork()
	}
}

// Shutdown writes what is queued, until ctx ends, and closes. Nothing more can be
// queued once it has been called. After the last byte it waits a moment for the
// peer's end, because a close with unread input could cost the peer what it has
// not read yet.
func (c *Conn) Shutdown(ctx context.Context, err error) {
	if !c.stop(err) {
		select {
		case <-c.Done():
		case <-ctx.Done():
			c.Close(err)
		}
		return
	}
	c.flushAndClose(ctx, err)
}

// flushAndClose is Shutdown for the one whom stop has chosen.
func (c *Conn) flushAndClose(ctx context.Context, err error) {
	drained := c.out.refuse()
	c.Flush()
	select {
	case <-drained:
		c.linger(ctx)
	case <-c.Done():
	case <-ctx.Done():
	}
	c.Close(err)
}

// stop makes the caller the one who shuts down.
func (c *Conn) stop(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopping || c.closed {
		return false
	}
	c.stopping, c.stopErr = true, err
	return true
}

// linger tells the peer that we are done and drops what it still sends.
func (c *Conn) linger(ctx context.Context) {
	c.lingers.Store(true)
	ended := false
	c.in.set(func(in *inbound) { in.deaf, ended = true, in.eof != nil })
	if ended || c.wire.CloseWrite() != nil {
		return
	}
	wait := time.NewTimer(lingerFor)
	defer wait.Stop()
	select {
	case <-c.Done():
	case <-ctx.Done():
	case <-wait.C:
	}
}

// Done is closed when the connection is gone.
func (c *Conn) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.closed {
			close(c.done)
		}
	}
	return c.done
}

// Err says why the connection is gone.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Stalled says for how long an incomplete frame has been waiting for its end.
func (c *Conn) Stalled() time.Duration {
	since := c.stalled.Load()
	if since == 0 {
		return 0
	}
	return max(now()-time.Duration(since), 1)
}

// Received is how many bytes have come so far.
func (c *Conn) Received() uint64 { return c.received.Load() }

// RemoteAddr is the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.wire.RemoteAddr() }

// LocalAddr is our address.
func (c *Conn) LocalAddr() net.Addr { return c.wire.LocalAddr() }

// now is a time that never jumps and never is 0.
func now() time.Duration { return time.Since(epoch) }

var epoch = time.Now().Add(-1)

// panicked logs a panic of the Receiver with its stack, and closes.
func (c *Conn) panicked(v any) {
	c.cfg.Logger.Error("receiver panicked, connection closed",
		"peer", addrString(c.RemoteAddr()), "err", v, "stack", string(debug.Stack()))
	c.Close(errPanic(v))
}

func addrString(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}
