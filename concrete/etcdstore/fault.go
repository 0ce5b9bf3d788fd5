package etcdstore

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trefoil/abstract"
)

// readFault is the error of an operation that changes nothing, or nothing that matters.
func readFault(ctx context.Context, op string, err error) error {
	if known := refusal(op, err); known != nil {
		return known
	}
	if gone := ctx.Err(); gone != nil {
		return &abstract.Error{Code: abstract.CodeOf(gone), Op: op, Message: "etcd did not answer in time", Err: err}
	}
	return unavailable(op, err)
}

// quotaFull is what to do when etcd has no space.
const quotaFull = "the store's disk quota is full, and only deletes are taken: delete what is not needed, " +
	"or give it a larger quota, then restart the broker (a cluster of your own: compact, defragment, and disarm its alarm)"

// writeFault is the error of an operation that may have been carried out if it was
// sent. Etcd does carry out the write by which it notices that there is no space, and
// refuses it all the same. One that was not sent,
// as there was no connection until its deadline, was not carried out.
func writeFault(ctx context.Context, op string, err error, sent bool) error {
	if sent && is(err, rpctypes.ErrNoSpace) {
		return &abstract.Error{Code: abstract.UnknownFate, Op: op, Sent: abstract.SentYes, Err: err,
			Message: "it may have been carried out: read before you try again; " + quotaFull}
	}
	if known := refusal(op, err); known != nil {
		return known
	}
	switch {
	case sent:
		return &abstract.Error{Code: abstract.UnknownFate, Op: op, Sent: abstract.SentUnknown, Err: err,
			Message: "etcd did not answer; it may still carry this out: read before you try again"}
	case errors.Is(ctx.Err(), context.Canceled):
		return &abstract.Error{Code: abstract.Cancelled, Op: op, Sent: abstract.SentNo, Err: err, Message: "given up before anything was done"}
	}
	return unavailable(op, err)
}

func unavailable(op string, err error) error {
	return &abstract.Error{Code: abstract.Unavailable, Op: op, Sent: abstract.SentNo, Err: err,
		Message: "etcd cannot be reached; try again when it can"}
}

// tokenExpired says that etcd refused an operation as our login is too old. The
// client has logged in again by then: the same once more will do.
func tokenExpired(err error) bool {
	return is(err, rpctypes.ErrInvalidAuthToken) || is(err, rpctypes.ErrAuthOldRevision)
}

// refusal translates an answer of etcd that says that nothing was done and nothing
// will be; it is nil for every other error.
func refusal(op string, err error) error {
	code, text := abstract.Internal, "etcd refused it"
	switch grpcCode(err) {
	case codes.NotFound:
		code, text = abstract.NotFound, "the lease has ended; ask for a new one"
	case codes.ResourceExhausted:
		code, text = exhausted(err)
	case codes.InvalidArgument:
		code, text = invalid(err)
	case codes.PermissionDenied, codes.Unauthenticated:
		code, text = abstract.Denied, "etcd does not permit it; check the user and its role"
	case codes.FailedPrecondition, codes.OutOfRange:
	default:
		return nil
	}
	return &abstract.Error{Code: code, Op: op, Message: text, Err: err}
}

func exhausted(err error) (abstract.RCode, string) {
	switch {
	case is(err, rpctypes.ErrNoSpace):
		return abstract.Overloaded, quotaFull
	case is(err, rpctypes.ErrTooManyRequests):
		return abstract.Overloaded, "etcd has too many requests under way; try later"
	}
	return abstract.TooLarge, "the request is too large for etcd; split it, or raise its --max-request-bytes"
}

func invalid(err error) (abstract.RCode, string) {
	switch {
	case is(err, rpctypes.ErrTooManyOps):
		return abstract.TooLarge, fmt.Sprintf("too many operations for this etcd; split it, or set its --max-txn-ops to %d", abstract.StoreMaxOps)
	case is(err, rpctypes.ErrRequestTooLarge):
		return abstract.TooLarge, fmt.Sprintf("the request is too large for this etcd; split it, or set its --max-request-bytes to %d", maxRequest)
	case is(err, rpctypes.ErrAuthFailed):
		return abstract.Denied, "etcd does not know this user and password"
	}
	return abstract.Internal, "etcd refused it"
}

// is compares by text: an error may be etcd's own or still grpc's.
func is(err error, known error) bool {
	var e rpctypes.EtcdError
	if errors.As(err, &e) {
		return e.Error() == known.Error()
	}
	return rpctypes.ErrorDesc(err) == known.Error()
}

func grpcCode(err error) codes.Code {
	var e rpctypes.EtcdError
	if errors.As(err, &e) {
		return e.Code()
	}
	return status.Code(err)
}
