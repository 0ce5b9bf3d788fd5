package otel

import (
	"context"
	"errors"
	"time"

	api "go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/messagingconv"
	"go.opentelemetry.io/otel/semconv/v1.43.0/rpcconv"

	"trefoil/abstract"
)

// buckets are those that the conventions ask for, in seconds. A view of the provider
// changes them.
var buckets = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}

// meters are the instruments: a histogram's count is that of the operations, and its
// attribute error.type tells those that failed.
type meters struct {
	asked     rpcconv.ClientCallDuration
	served    rpcconv.ServerCallDuration
	published messagingconv.ClientOperationDuration
	processed messagingconv.ProcessDuration
}

// Metrics makes an interceptor that times every operation of clients and servers, and
// counts those that failed: one serves any number of both. A nil provider is
// OpenTelemetry's global one. Put it first, so that its times hold what the others take.
// The error is the provider's.
func Metrics(provider metric.MeterProvider) (abstract.Interceptor, error) {
	if provider == nil {
		provider = api.GetMeterProvider()
	}
	meter := provider.Meter(name, metric.WithSchemaURL(semconv.SchemaURL))
	bounds := metric.WithExplicitBucketBoundaries(buckets...)
	var m meters
	var errs [4]error
	m.asked, errs[0] = rpcconv.NewClientCallDuration(meter, bounds)
	m.served, errs[1] = rpcconv.NewServerCallDuration(meter, bounds)
	m.published, errs[2] = messagingconv.NewClientOperationDuration(meter, bounds)
	m.processed, errs[3] = messagingconv.NewProcessDuration(meter, bounds)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return m.intercept, nil
}

func (m *meters) intercept(ctx context.Context, op *abstract.Operation, next abstract.Next) error {
	begun := time.Now()
	kind, what := op.Kind, op.Name // whatever other interceptors make of them
	err := next(ctx, op)
	if kind == abstract.OpOpenStream && err == nil && op.Stream != nil {
		op.Stream = newStream(op.Stream, func(err error) { m.record(context.WithoutCancel(ctx), kind, what, begun, err) })
		return nil
	}
	m.record(ctx, kind, what, begun, err)
	return err
}

// record notes an operation that has ended.
func (m *meters) record(ctx context.Context, kind abstract.OperationKind, what string, begun time.Time, err error) {
	took := time.Since(begun).Seconds()
	var more []attribute.KeyValue
	if err != nil {
		more = append(more, semconv.ErrorTypeKey.String(codeOf(err)))
	}
	switch kind {
	case abstract.OpPublish:
		more = append(more, semconv.MessagingDestinationName(what), semconv.MessagingOperationTypeSend)
		m.published.Record(ctx, took, kind.String(), name, more...)
		return
	case abstract.OpDeliver:
		more = append(more, semconv.MessagingDestinationName(what))
		m.processed.Record(ctx, took, kind.String(), name, more...)
		return
	case abstract.OpSend: // nobody answers it
		more = append(more, semconv.RPCMethod(what))
	default:
		more = append(more, semconv.RPCMethod(what), semconv.RPCResponseStatusCode(codeOf(err)))
	}
	if kind == abstract.OpServe || kind == abstract.OpServeStream {
		m.served.Record(ctx, took, name, more...)
		return
	}
	m.asked.Record(ctx, took, name, more...)
}
