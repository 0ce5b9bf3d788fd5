package abstract

import (
	"context"
	"iter"
	"time"
)

// CallOptions is what one call asks for beside its parameters. The zero value is the
// usual call.
type CallOptions struct {
	Timeout    time.Duration // until the call ends, when the context's deadline is not earlier; 0: the client's default
	Idempotent bool          // called twice, the method does what it does once: the call may be tried again when its fate is unknown
	Key        string        // what the call is about: where the balancer goes by it, equal keys go to the same provider
	Zone       string        // where providers are preferred from; empty: the client's zone
	Attempts   int           // at most; 0: as many as the client's budget of retries allows
	Hedged     bool          // ask a second provider when the first is slow; only calls that are Idempotent
	HedgeAfter time.Duration // when to; 0: when most calls of the method would have been answered
	Relay      RelayMode     // RelayDefault: as the client does
	Instance   string        // the only provider to ask, by its own id; empty: any
	Meta       Metadata      // sent beside the parameters, over what the context has; see WithMetadata
}

// CallOption changes one setting of one call. Given to a method when that is made, it
// changes the setting of all its calls.
type CallOption func(*CallOptions)

// ApplyTo makes the option one of all calls of a method.
func (o CallOption) ApplyTo(m *MethodSettings) { m.Calls = append(m.Calls, o) }

// RelayMode says which calls go through the broker: over the provider's own
// connection to it, in place of one that the caller opens.
type RelayMode uint8

// The modes.
const (
	// RelayDefault is what the client does: RelayAuto unless it was made otherwise.
	RelayDefault RelayMode = iota
	// RelayAuto calls directly, and through the broker when that fails: once no provider
	// of a method could be connected to, those that take calls through the broker are
	// called there, and for half a minute at once.
	RelayAuto
	// RelayAlways opens no connections to providers. Only those can be called that take
	// calls through the broker.
	RelayAlways
	// RelayNever only calls directly.
	RelayNever
)

// Caller calls methods by their names. Typed methods and generated stubs stand on it;
// RpcClient is one. Safe for concurrent use.
type Caller interface {
	// Call calls and waits, and decodes the result into result unless that is nil.
	Call(ctx context.Context, method string, params, result any, opts ...CallOption) error
	// Start starts a call and returns at once.
	Start(ctx context.Context, method string, params any, opts ...CallOption) PendingCall
	// StartFunc starts a call and returns at once. fn is called exactly once with its
	// outcome, never inside StartFunc and never on the goroutine that reads the
	// connection. Its Result is nil when there is an error.
	StartFunc(ctx context.Context, method string, params any, fn func(Result, error), opts ...CallOption)
	// Send sends a request that nobody answers, and returns once it is queued: an error
	// says that it was not. Whether it arrives, and what comes of it, is not known.
	Send(ctx context.Context, method string, params any, opts ...CallOption) error
	// All calls every provider that is known now, all at the same time, and returns one
	// pair for each as they come: its answer, or the error that it ended with, for which
	// the Result says only From. It ends when each has answered or left. When there is
	// nobody to call, it returns one pair with that error. Leaving the loop cancels the
	// other calls.
	All(ctx context.Context, method string, params any, opts ...CallOption) iter.Seq2[Result, error]
	// OpenStream opens a stream of messages to a method that serves one. ctx bounds all
	// of it: when it ends, so does the stream, at both sides.
	OpenStream(ctx context.Context, method string, params any, opts ...CallOption) (Stream, error)
}

// Result is what a call came to.
type Result interface {
	// Decode reads the result into v, which is what encoding/json takes; nil throws it away.
	Decode(v any) error
	// From is the address of who answered, or was asked.
	From() string
}

// PendingCall is a call that was started and not waited for. Dropping it leaks
// nothing. Safe for concurrent use.
type PendingCall interface {
	// Done is closed when the call has ended.
	Done() <-chan struct{}
	// Wait waits for the end and decodes the result into result unless that is nil. When
	// ctx ends first it returns ctx's error, and the call goes on. It may be called many
	// times.
	Wait(ctx context.Context, result any) error
	// Cancel ends the call with Cancelled, unless it has ended.
	Cancel()
}
