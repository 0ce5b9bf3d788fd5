package abstract

import "context"

// Stream is one side's end of a stream of messages, which go both ways until each side
// has ended its own. One goroutine may send and another receive at the same time.
type Stream interface {
	// Context is the stream's: it ends with the stream, and carries the metadata that came
	// with it.
	Context() context.Context
	// Send sends v as JSON. It waits while the other side has no room for more, and
	// returns why the stream is over when it is, io.EOF excepted: a message cannot be
	// sent any more once the other side has ended the stream.
	Send(v any) error
	// Receive waits for the next message and reads it into v, which is what encoding/json
	// takes. The error is io.EOF when the other side has ended the stream well, and how it
	// ended otherwise.
	Receive(v any) error
	// CloseSend says that this side sends nothing more. The opener may go on receiving.
	CloseSend() error
	// Close ends the stream, unless it has ended: at the other side, with Cancelled.
	// Whoever opens a stream closes it, or ends its context, or receives until the error;
	// a handler need not close it, as its return does.
	Close() error
}
