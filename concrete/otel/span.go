package otel

import (
	"errors"
	"net"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"trefoil/abstract"
)

var (
	rpcSystem       = semconv.RPCSystemNameKey.String(name)
	messagingSystem = semconv.MessagingSystemKey.String(name)
)

// attemptsKey is how many times a call was tried, where that is more than once; the
// conventions have no name for it.
const attemptsKey = attribute.Key("trefoil.attempts")

func kindOf(k abstract.OperationKind) trace.SpanKind {
	switch k {
	case abstract.OpServe, abstract.OpServeStream:
		return trace.SpanKindServer
	case abstract.OpPublish:
		return trace.SpanKindProducer
	case abstract.OpDeliver:
		return trace.SpanKindConsumer
	}
	return trace.SpanKindClient
}

// spanName is what the conventions call a span: a call by its method, a message by
// what is done with it and its topic.
func spanName(op *abstract.Operation) string {
	switch op.Kind {
	case abstract.OpPublish, abstract.OpDeliver:
		return op.Kind.String() + " " + op.Name
	}
	return op.Name
}

func attributes(op *abstract.Operation) []attribute.KeyValue {
	switch op.Kind {
	case abstract.OpPublish:
		return []attribute.KeyValue{
			messagingSystem, semconv.MessagingDestinationName(op.Name),
			semconv.MessagingOperationName(op.Kind.String()), semconv.MessagingOperationTypeSend,
		}
	case abstract.OpDeliver:
		return []attribute.KeyValue{
			messagingSystem, semconv.MessagingDestinationName(op.Name),
			semconv.MessagingOperationName(op.Kind.String()), semconv.MessagingOperationTypeProcess,
		}
	}
	all := []attribute.KeyValue{rpcSystem, semconv.RPCMethod(op.Name)}
	if host, port, ok := hostPort(op.Peer.Addr); ok {
		all = append(all, semconv.NetworkPeerAddress(host), semconv.NetworkPeerPort(port))
	}
	return all
}

// end ends a span with what came of its operation.
func end(span trace.Span, op *abstract.Operation, err error) {
	defer span.End()
	if !span.IsRecording() {
		return
	}
	rpc := op.Kind != abstract.OpPublish && op.Kind != abstract.OpDeliver
	if rpc && op.Kind != abstract.OpSend {
		span.SetAttributes(semconv.RPCResponseStatusCode(codeOf(err)))
	}
	if kindOf(op.Kind) == trace.SpanKindClient {
		span.SetAttributes(asked(op, err)...)
	}
	if err == nil {
		return
	}
	span.SetAttributes(semconv.ErrorTypeKey.String(codeOf(err)))
	if kindOf(op.Kind) == trace.SpanKindServer && callersFault(abstract.CodeOf(err)) {
		return // the handler has done what it should
	}
	span.RecordError(err)
	span.SetStatus(codes.Error, err.Error())
}

// asked is what is known of the provider that was asked.
func asked(op *abstract.Operation, err error) (all []attribute.KeyValue) {
	var at string
	if r, ok := op.Result.(abstract.Result); ok && err == nil {
		at = r.From()
	}
	var e *abstract.Error
	if errors.As(err, &e) {
		at = e.Instance
		if e.Attempts > 1 {
			all = append(all, attemptsKey.Int(e.Attempts))
		}
	}
	if host, port, ok := hostPort(at); ok {
		all = append(all, semconv.ServerAddress(host), semconv.ServerPort(port))
	}
	return all
}

// codeOf is the code of an error as a word: SERVICE_NOT_FOUND.
func codeOf(err error) string {
	return strings.ToUpper(strings.ReplaceAll(abstract.CodeOf(err).String(), " ", "_"))
}

// callersFault says whether a handler that answers with a code has found fault with
// its caller, and none with itself.
func callersFault(c abstract.RCode) bool {
	switch c {
	case abstract.InvalidParams, abstract.InvalidMessage, abstract.InvalidOp, abstract.Cancelled, abstract.Denied, abstract.Exists,
		abstract.TooLarge, abstract.NotFound, abstract.NotEmpty, abstract.Conflict, abstract.SessionExpired, abstract.TopicNotFound:
		return true
	}
	return false
}

func hostPort(addr string) (host string, port int, ok bool) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, false
	}
	port, err = strconv.Atoi(text)
	return host, port, err == nil
}
