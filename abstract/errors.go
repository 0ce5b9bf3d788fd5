package abstract

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// RCode is the return code of a response. Its number is on the wire. 0 to 9 are
// those of the existing LV family; 16 and up are ours, and a peer without HELLO
// sees the nearest of 0 to 9 instead (Legacy).
type RCode int32

// The return codes.
const (
	OK               RCode = 0
	ParseFailed      RCode = 1
	WrongMessageType RCode = 2
	InvalidMessage   RCode = 3
	Disconnected     RCode = 4
	InvalidParams    RCode = 5
	ServiceNotFound  RCode = 6
	InvalidOp        RCode = 7
	TopicNotFound    RCode = 8
	Internal         RCode = 9

	Timeout     RCode = 16 // the deadline passed
	Cancelled   RCode = 17 // the caller gave up
	Unavailable RCode = 18 // no connection, nobody there
	Draining    RCode = 19 // the peer is shutting down and takes no new work
	Overloaded  RCode = 20 // a queue or limit is full; try later or elsewhere
	Denied      RCode = 21 // not permitted
	Exists      RCode = 22 // there already
	TooLarge    RCode = 23 // above a size limit
	UnknownFate RCode = 24 // it may or may not have happened
	Unsupported RCode = 25 // the peer does not know this kind of message

	NotFound       RCode = 26 // it is not there: a node, a lease
	NotEmpty       RCode = 27 // a node has children, and was not to be deleted with them
	Conflict       RCode = 28 // it is not, or no longer, as the request says: a check of a version or a revision failed
	SessionExpired RCode = 29 // the session is over, and what belonged to it is gone
	WrongInstance  RCode = 30 // the call was meant for another process, which was at this address before
)

var rcodeTexts = map[RCode]string{
	OK: "ok", ParseFailed: "parse failed", WrongMessageType: "wrong message type", InvalidMessage: "invalid message",
	Disconnected: "disconnected", InvalidParams: "invalid params", ServiceNotFound: "service not found",
	InvalidOp: "invalid optype", TopicNotFound: "topic not found", Internal: "internal error",
	Timeout: "timeout", Cancelled: "cancelled", Unavailable: "unavailable", Draining: "draining", Overloaded: "overloaded",
	Denied: "denied", Exists: "exists", TooLarge: "too large", UnknownFate: "unknown fate", Unsupported: "unsupported",
	NotFound: "not found", NotEmpty: "not empty", Conflict: "conflict", SessionExpired: "session expired",
	WrongInstance: "wrong instance",
}

// String returns the code's meaning in words.
func (c RCode) String() string {
	if s, ok := rcodeTexts[c]; ok {
		return s
	}
	return fmt.Sprintf("rcode %d", int32(c))
}

// Legacy returns the code that a peer without HELLO gets in place of c: c itself
// from 0 to 9, else the nearest of those.
func (c RCode) Legacy() RCode {
	switch c {
	case Unavailable, Draining, SessionExpired:
		return Disconnected
	case Denied, WrongInstance:
		return ServiceNotFound
	case TooLarge, Exists, NotFound, NotEmpty, Conflict:
		return InvalidParams
	case Unsupported:
		return WrongMessageType
	}
	if c < OK || c > Internal {
		return Internal
	}
	return c
}

// Sent says whether a request left this process, as far as can be known.
type Sent uint8

// The three answers. SentNo is promised: no byte of the request reached the
// kernel. SentYes means that the peer answered it. Everything else is SentUnknown.
const (
	SentUnknown Sent = iota
	SentNo
	SentYes
)

// String returns "unknown", "no" or "yes".
func (s Sent) String() string { return [...]string{"unknown", "no", "yes"}[s] }

// Error is the error of every failed operation of Trefoil. Get it with errors.As,
// or compare its Code with errors.Is and one of the sentinels below.
type Error struct {
	Code     RCode           // goes on the wire
	Op       string          // what we were doing: "call math.add"
	Message  string          // a sentence fit for strangers; goes on the wire
	Details  json.RawMessage // facts for programs, or nil; goes on the wire
	Instance string          // the provider that answered or was asked, if one was
	Attempts int             // how many times a call was tried; 0 where that means nothing
	Sent     Sent            // whether the (last) request left this process
	FromPeer bool            // the peer said so; false if we noticed it ourselves
	Err      error           // the cause, if there is one; stays in this process
}

// Error returns the error in one line.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Op != "" {
		b.WriteString(e.Op + ": ")
	}
	b.WriteString(e.Code.String())
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is a sentinel (an *Error with nothing but a code) of the same code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Op == "" && t.Message == "" && t.Err == nil
}

// Errorf makes an Error with a code and a message that may be shown to the peer.
// Handlers return it to answer with a code of their choice.
func Errorf(code RCode, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// The sentinels, one for each code that can be met; use them with errors.Is.
var (
	ErrParseFailed      = &Error{Code: ParseFailed}
	ErrWrongMessageType = &Error{Code: WrongMessageType}
	ErrInvalidMessage   = &Error{Code: InvalidMessage}
	ErrDisconnected     = &Error{Code: Disconnected}
	ErrInvalidParams    = &Error{Code: InvalidParams}
	ErrMethodNotFound   = &Error{Code: ServiceNotFound} // also: nobody provides the method
	ErrInvalidOp        = &Error{Code: InvalidOp}
	ErrTopicNotFound    = &Error{Code: TopicNotFound}
	ErrInternal         = &Error{Code: Internal}
	ErrTimeout          = &Error{Code: Timeout}
	ErrCancelled        = &Error{Code: Cancelled}
	ErrUnavailable      = &Error{Code: Unavailable}
	ErrDraining         = &Error{Code: Draining}
	ErrOverloaded       = &Error{Code: Overloaded}
	ErrDenied           = &Error{Code: Denied}
	ErrExists           = &Error{Code: Exists}
	ErrTooLarge         = &Error{Code: TooLarge}
	ErrUnknownFate      = &Error{Code: UnknownFate}
	ErrUnsupported      = &Error{Code: Unsupported}
	ErrNotFound         = &Error{Code: NotFound}
	ErrNotEmpty         = &Error{Code: NotEmpty}
	ErrConflict         = &Error{Code: Conflict}
	ErrSessionExpired   = &Error{Code: SessionExpired}
	ErrWrongInstance    = &Error{Code: WrongInstance}
)

// CodeOf returns the code of err: OK for nil, its own for an *Error anywhere in
// the chain, Timeout and Cancelled for the context's errors, else Internal.
func CodeOf(err error) RCode {
	if err == nil {
		return OK
	}
	var e *Error // escapes, so not before
	switch {
	case errors.As(err, &e):
		return e.Code
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout
	case errors.Is(err, context.Canceled):
		return Cancelled
	}
	return Internal
}
