package abstract

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"
	"time"
)

// BaseConnection is one connection between two peers. Safe for concurrent use.
// No method of it blocks, but Shutdown.
type BaseConnection interface {
	// Send encodes m, queues it in the class of its type and flushes. An error
	// says that nothing of m will be written: the queue is full (Overloaded),
	// the connection is gone (Disconnected), or m cannot be encoded.
	Send(m BaseMessage) error
	// Queue appends f to the queue of its class and does not write: that is
	// for callers who hold a lock that keeps events in order. Flush follows
	// when the lock is free. Errors are those of Send.
	Queue(f Frame) error
	// Flush writes what is queued as far as the socket takes it at once; a
	// goroutine of the transport goes on with the rest. What was queued on a
	// connection from inside its Receiver is flushed when the Receiver returns.
	Flush()
	// NewLane opens a bounded queue of its own inside ClassTopic.
	NewLane(LaneConfig) Lane
	// Yield lets the transport deliver further messages, on another goroutine,
	// although the Receiver's current OnMessages has not returned: for a
	// Receiver that is held up and has seen to the rest of its batch elsewhere.
	// It is called from another goroutine than that of OnMessages, at most once
	// for each, and by then nothing of the batch slice may be needed but by
	// OnMessages itself. In Direct mode it does nothing.
	Yield()
	// Close closes at once and drops what is queued. err is what Err and the
	// Receiver's OnClose report; nil means that we closed without a fault.
	// Only the first call counts.
	Close(err error)
	// Shutdown writes what is queued, until ctx ends, and closes.
	Shutdown(ctx context.Context, err error)
	// Done is closed when the connection is gone.
	Done() <-chan struct{}
	// Err says why the connection is gone: nil while it is there or when we
	// closed it without a fault, io.EOF when the peer closed it.
	Err() error
	// Stalled says for how long an incomplete frame has been waiting for its
	// end; 0 when there is none.
	Stalled() time.Duration
	// Received is how many bytes have come so far, those of an incomplete
	// frame included.
	Received() uint64
	RemoteAddr() net.Addr
	LocalAddr() net.Addr
}

// Frame is one or more encoded messages of one class. Its bytes are not changed
// after it was made, so one Frame without Free may wait in many queues at once.
type Frame struct {
	Class Class
	Count int    // how many messages Bytes holds; of a Lane's: how many are missed when it is dropped
	Bytes []byte // whole frames
	Mark  *Mark  // nil, or the fate of a request; not in a Lane
	// Free, unless nil, gets Bytes back when the connection has written them. A
	// frame that is dropped, or that Queue does not take, is not given back. Such
	// a Frame waits in one queue only, and never in a Lane.
	Free func([]byte)
}

// Mark records whether a queued request reached the kernel. Exactly one of Take
// and Withdraw succeeds, so that "not sent" stays true once it has been said.
// The zero value is a request that waits. A Mark is used for one Frame only.
type Mark struct{ state atomic.Uint32 }

const (
	markWaiting = iota
	markTaken
	markWithdrawn
)

// Take is called by a connection right before it writes the frame's first byte.
// False means that the caller withdrew the frame: skip it.
func (m *Mark) Take() bool {
	return m.state.CompareAndSwap(markWaiting, markTaken)
}

// Taken says whether a connection has taken the frame to write it.
func (m *Mark) Taken() bool { return m.state.Load() == markTaken }

// Withdraw takes the frame back. False means that bytes may have left.
func (m *Mark) Withdraw() bool {
	return m.state.CompareAndSwap(markWaiting, markWithdrawn) || m.state.Load() == markWithdrawn
}

// Lane is the queue of one subscription inside a connection's topic class. A
// lane that is full loses messages by its Policy, and never holds up another
// lane or class. Order inside the lane is kept; a frame queued here before one
// of the class itself (a RSP_TOPIC) is also written before it. Safe for
// concurrent use.
type Lane interface {
	// Queue appends f, or drops by the policy. Like BaseConnection.Queue it
	// does not write. The error is Disconnected when the connection is gone, and
	// Overloaded when DropOldest finds no room for f even in an empty lane, as the
	// other lanes of the connection take all there is: the notice of Gap then
	// waits until something else is queued here.
	Queue(f Frame) error
	// SetPolicy changes what the lane does when it is full, from the next frame on.
	SetPolicy(p Policy)
	// Close drops what waits and frees the lane.
	Close()
	// Missed returns how many messages the lane has dropped since it was opened.
	Missed() uint64
	// Room returns how many bytes the lane takes without dropping any; one frame is
	// taken by an empty lane, however long.
	Room() int
	// OnRoom calls fn once, on a goroutine of its own: as soon as half of the lane is
	// free, or the lane is closed.
	OnRoom(fn func())
}

// Policy is what a full lane does.
type Policy uint8

// The policies.
const (
	DropOldest      Policy = iota // make room by dropping what waited longest
	DropNewest                    // drop what comes
	CloseConnection               // close the connection with Overloaded: legacy subscribers
)

// LaneConfig bounds a lane. The zero value takes the defaults.
type LaneConfig struct {
	MaxBytes int // waiting bytes; default 1 MiB; a single frame larger than that is still taken by an empty lane
	Policy   Policy
	// Gap makes the notice that is written before the next frame after missed
	// messages were dropped. Nil: no notice. It is called without locks held by
	// the caller of Queue, must not block, and must not call the connection.
	Gap func(missed uint64) Frame
}

// Receiver takes what one connection delivers. Its methods are called one at a
// time, but for an OnMessages that was passed over with Yield; OnClose is the last
// call that begins, and comes exactly once.
type Receiver interface {
	// OnMessages takes messages in arrival order. The slice is reused after
	// it returns; the messages may be kept. It must not block for long: the
	// connection's next messages wait for it, nobody else's do.
	OnMessages(batch []BaseMessage)
	// OnClose says that the connection is gone, with the error that Err gives.
	// Every complete frame that arrived before has been delivered.
	OnClose(err error)
}

// TransportConfig is what every transport takes. Protocol and OnOpen are needed;
// the other fields' zero values mean the defaults named beside them.
type TransportConfig struct {
	Protocol BaseProtocol
	// OnOpen is called once for a new connection before anything is read from
	// it, and returns who takes its messages. It must not block.
	OnOpen func(BaseConnection) Receiver

	MaxInbound   int           // bytes received and not yet taken by the Receiver; above it the connection is closed; default 32 MiB
	MaxQueued    int           // bytes waiting in one write class; above it Send says Overloaded; default 32 MiB
	WriteTimeout time.Duration // a write that makes no end in this time closes the connection; default 10 s
	MaxConns     int           // connections that a server holds; further ones are closed at once; default 100,000
	// Direct lets the reading goroutine call the Receiver itself, which saves
	// a hand-over; for Receivers that never block. The netpoll transport
	// ignores it, nothing of ours runs on its poller.
	Direct bool
	// Go runs a function on a goroutine, or returns false when it cannot. The
	// transport delivers messages on such goroutines, one at a time for each
	// connection; keeping them spares growing a new stack for every delivery.
	// Default: a new goroutine each time.
	Go func(func()) bool
	// Served is how many connections of a server are read by a goroutine of their
	// own, where the transport has the choice: that is faster for few connections,
	// and takes more memory for many. Default 64; negative: none.
	Served int
	Logger *slog.Logger // default slog.Default()
}

// BaseServer accepts connections.
type BaseServer interface {
	// Listen binds the address. Serve does it when it was not called before.
	Listen() error
	// Serve accepts until Shutdown, and then returns nil.
	Serve() error
	// Shutdown stops accepting, closes every connection as its Shutdown does,
	// and waits for their Receivers' OnClose until ctx ends.
	Shutdown(ctx context.Context) error
	// Addr is the bound address; nil before Listen.
	Addr() net.Addr
}

// BaseClient opens connections to one address.
type BaseClient interface {
	// Connect opens one more connection. The caller closes it.
	Connect(ctx context.Context) (BaseConnection, error)
}
