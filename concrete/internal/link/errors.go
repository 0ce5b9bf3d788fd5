package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"trefoil/abstract"
)

// errGone is what a queue says when its connection is gone or closing.
func errGone() error {
	return &abstract.Error{Code: abstract.Disconnected, Op: "send", Sent: abstract.SentNo,
		Message: "the connection is closed; open another one"}
}

func errQueueFull(c abstract.Class, limit int) error {
	return &abstract.Error{Code: abstract.Overloaded, Op: "send", Sent: abstract.SentNo,
		Message: fmt.Sprintf("write class %d has %d bytes waiting at most; the peer reads too slowly, try later", c, limit)}
}

func errLaneFull(limit int) error {
	return &abstract.Error{Code: abstract.Overloaded, Op: "publish", Sent: abstract.SentNo,
		Message: fmt.Sprintf("the subscriber left more than %d bytes unread; read faster or subscribe to less", limit)}
}

func errInboundFull(limit int) error {
	return &abstract.Error{Code: abstract.Overloaded, Op: "read",
		Message: fmt.Sprintf("more than %d bytes are waiting to be handled; send less at once", limit)}
}

func errPanic(v any) error {
	return &abstract.Error{Code: abstract.Internal, Op: "receive", Err: fmt.Errorf("panic: %v", v)}
}

// WriteTimeout is the error of a Wire whose peer took nothing for d.
func WriteTimeout(d time.Duration) error {
	return &abstract.Error{Code: abstract.Timeout, Op: "write",
		Message: fmt.Sprintf("the peer took no bytes for %v", d), Err: os.ErrDeadlineExceeded}
}

// lost turns an I/O error into the reason a connection ends with: io.EOF when the
// peer closed it, politely or not, else an Error.
func lost(op string, err error) error {
	var e *abstract.Error
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrClosedPipe),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return io.EOF
	case errors.As(err, &e):
		return err
	}
	return &abstract.Error{Code: abstract.Disconnected, Op: op, Err: err}
}

// ConnectError is the error of a Connect to addr that failed.
func ConnectError(addr string, err error) error {
	code := abstract.Unavailable
	switch {
	case errors.Is(err, context.Canceled):
		code = abstract.Cancelled
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		code = abstract.Timeout
	}
	return &abstract.Error{Code: code, Op: "connect " + addr, Sent: abstract.SentNo, Err: err,
		Message: "nobody answered; check the address and that the server is running"}
}

func errLeft(conns int) string {
	return fmt.Sprintf("%d connections had not ended in time", conns)
}
