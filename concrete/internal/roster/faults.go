package roster

import (
	"context"
	"errors"
	"strings"

	"trefoil/abstract"
)

// ErrClosed is what a registry says that its owner has closed.
func ErrClosed() *abstract.Error {
	return &abstract.Error{Code: abstract.Disconnected, Op: "use the registry", Message: "it was closed by its owner", Sent: abstract.SentNo}
}

// ErrTaken is why a provider is not registered now. It is tried again, now and then.
var ErrTaken = errors.New("another process has registered the same address after this one")

// Fault says what is the matter when a registry, of some product and at some servers, has
// not done what it was asked. What it refuses is not for this to say.
func Fault(ctx context.Context, op, product string, servers []string, err error) *abstract.Error {
	switch {
	case errors.Is(err, ErrTaken):
		return &abstract.Error{Code: abstract.Exists, Op: op, Message: err.Error() + "; it is registered again when that one has gone", Err: err}
	case ctx.Err() != nil:
		return &abstract.Error{Code: abstract.CodeOf(ctx.Err()), Op: op, Message: product + " did not answer in time; is it running at " + strings.Join(servers, ", ") + "?", Sent: abstract.SentUnknown, Err: err}
	}
	return &abstract.Error{Code: abstract.Unavailable, Op: op, Message: product + ": " + err.Error(), Sent: abstract.SentUnknown, Err: err}
}
