package abstract

import (
	"context"
	"time"
)

// CallContext is what the context of a handler can be asked about the call that it
// serves. Get it with CallOf.
type CallContext interface {
	context.Context
	// CallDeadline is when the caller gives up, as far as the caller has said. Calls
	// that the handler makes itself must end a little before that, for its own
	// answer to be of use.
	CallDeadline() (deadline time.Time, ok bool)
}

// CallKey is the key under which a handler's context, and every context made of
// it, holds its CallContext.
type CallKey struct{}

// CallOf returns the call that a context belongs to; nil when it belongs to none.
func CallOf(ctx context.Context) CallContext {
	call, _ := ctx.Value(CallKey{}).(CallContext)
	return call
}
