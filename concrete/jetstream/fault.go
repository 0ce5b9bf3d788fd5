package jetstream

import (
	"context"
	"errors"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"trefoil/abstract"
)

// Codes of JetStream's answers that nats.go has no names for.
const (
	codeAccountLimits   = 10002
	codeNoResources     = 10023
	codeMemoryFull      = 10028
	codeStorageFull     = 10047
	codeNoStore         = 10049
	codeStoreFailed     = 10077
	codeHeaderTooLarge  = 10097
	codeIDInProcess     = 10158 // on several replicas: another publish of this id is under way
	codeMaxConsumers    = 10026
	codeReservedStorage = 10048
)

const diskFull = "there is no room for topics: free space on the disk, remove topics, or raise the quota"

func errGone() error {
	return abstract.Errorf(abstract.TopicNotFound, "the topic was removed, and with it what it kept")
}

func errConsumerGone() error {
	return abstract.Errorf(abstract.NotFound, "the consumer was removed; open it again to begin anew")
}

var (
	errClosed         = &abstract.Error{Code: abstract.Unavailable, Sent: abstract.SentNo, Message: "the broker is stopping; try again at another, or later"}
	errConsumerClosed = &abstract.Error{Code: abstract.Unavailable, Sent: abstract.SentNo, Message: "the consumer was closed"}
)

// errStopped says that the server inside has given up. It does so when the disk is full,
// and has to be started again.
func errStopped() error {
	return &abstract.Error{Code: abstract.Overloaded, Sent: abstract.SentNo,
		Message: "the disk was full, and topics are no longer kept: free space, then restart the broker"}
}

// fault is the error of something that JetStream did not do.
func (s *Logs) fault(op string, err error) error {
	if err == nil || errors.As(err, new(*abstract.Error)) {
		return err
	}
	var api jetstream.JetStreamError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &abstract.Error{Code: abstract.CodeOf(err), Op: op, Message: "JetStream did not answer in time", Err: err}
	case s.stopped():
		return errStopped()
	case errors.As(err, &api) && api.APIError() != nil:
		return refusal(op, api.APIError())
	case errors.Is(err, nats.ErrMaxPayload):
		return &abstract.Error{Code: abstract.TooLarge, Op: op, Sent: abstract.SentNo, Message: "the message is larger than the NATS servers take; raise their max_payload", Err: err}
	case errors.Is(err, nats.ErrTimeout):
		return &abstract.Error{Code: abstract.Timeout, Op: op, Message: "JetStream did not answer in time", Err: err}
	case unreachable(err):
		return &abstract.Error{Code: abstract.Unavailable, Op: op, Sent: abstract.SentNo, Message: "JetStream cannot be reached; try again when it can", Err: err}
	}
	return &abstract.Error{Code: abstract.Internal, Op: op, Message: "JetStream failed", Err: err}
}

// unreachable says that nobody took a request.
func unreachable(err error) bool {
	for _, e := range []error{
		nats.ErrNoResponders, nats.ErrConnectionClosed, nats.ErrConnectionReconnecting, nats.ErrReconnectBufExceeded, nats.ErrDisconnected,
		jetstream.ErrJetStreamNotEnabled, jetstream.ErrNoStreamResponse,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// refusal translates an answer that says that nothing was done.
func refusal(op string, e *jetstream.APIError) error {
	code, text := abstract.Internal, "JetStream refused it"
	switch e.ErrorCode {
	case jetstream.JSErrCodeStreamNotFound:
		return errGone()
	case jetstream.JSErrCodeConsumerNotFound, jetstream.JSErrCodeConsumerDoesNotExist:
		return errConsumerGone()
	case codeAccountLimits, codeNoResources, codeMemoryFull, codeStorageFull, codeReservedStorage:
		code, text = abstract.Overloaded, diskFull
	case codeMaxConsumers:
		code, text = abstract.Overloaded, "JetStream permits no more consumers; remove one, or raise the account's limit"
	case jetstream.JSErrCodeStreamMessageExceedsMaximum, codeHeaderTooLarge:
		code, text = abstract.TooLarge, "the message, or its id, is larger than JetStream takes"
	case jetstream.JSErrCodeJetStreamNotEnabled, jetstream.JSErrCodeJetStreamNotEnabledForAccount:
		code, text = abstract.Unavailable, "JetStream is not enabled; start the NATS servers with --jetstream"
	case codeStoreFailed:
		if strings.Contains(e.Description, "no space") {
			return &abstract.Error{Code: abstract.Overloaded, Op: op, Message: diskFull, Err: e}
		}
		code, text = abstract.UnknownFate, "JetStream could not write it: see the disk, and read before you try again"
	default:
		if e.Code >= 500 {
			code, text = abstract.Unavailable, "JetStream cannot do it now; try again later"
		}
	}
	return &abstract.Error{Code: code, Op: op, Message: text, Err: e}
}

// errUnwritable says that a log takes nothing more.
func errUnwritable(err error) error {
	code, text := abstract.Unavailable, "the disk could not be written to, and the topic takes no messages: see the disk, then restart the broker"
	if strings.Contains(err.Error(), "no space") {
		code, text = abstract.Overloaded, "the disk was full, and the topic takes no messages: free space, then restart the broker"
	}
	return &abstract.Error{Code: code, Op: "append", Sent: abstract.SentNo, Message: text, Err: err}
}

// unknown is the error of an append that JetStream did not answer.
func unknown(err error) error {
	return &abstract.Error{Code: abstract.UnknownFate, Op: "append", Sent: abstract.SentUnknown, Err: err,
		Message: "JetStream did not answer; it may still append this: read, or give the message an id, before you try again"}
}
