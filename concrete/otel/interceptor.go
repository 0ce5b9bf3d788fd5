package otel

import (
	"context"

	api "go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"trefoil/abstract"
)

// name is that of the tracer and the meter.
const name = "trefoil"

// Option changes one setting of an Interceptor.
type Option func(*tracing)

// WithTracerProvider sets who makes the spans; the default is OpenTelemetry's global
// provider.
func WithTracerProvider(p trace.TracerProvider) Option {
	return func(t *tracing) { t.provider = p }
}

// WithPropagator sets how a trace's context is written into the metadata; the default
// is W3C trace context: the entries traceparent and tracestate. Names of entries are
// written in small letters.
func WithPropagator(p propagation.TextMapPropagator) Option {
	return func(t *tracing) { t.propagator = p }
}

// tracing is what an Interceptor needs.
type tracing struct {
	provider   trace.TracerProvider
	propagator propagation.TextMapPropagator
	tracer     trace.Tracer
}

// Interceptor makes an interceptor for clients and servers: one serves any number of
// both. Put it first, so that its spans hold what the others do.
func Interceptor(opts ...Option) abstract.Interceptor {
	t := &tracing{propagator: propagation.TraceContext{}}
	for _, opt := range opts {
		opt(t)
	}
	if t.provider == nil {
		t.provider = api.GetTracerProvider()
	}
	t.tracer = t.provider.Tracer(name, trace.WithSchemaURL(semconv.SchemaURL))
	return t.intercept
}

func (t *tracing) intercept(ctx context.Context, op *abstract.Operation, next abstract.Next) error {
	switch op.Kind {
	case abstract.OpServe, abstract.OpServeStream, abstract.OpDeliver:
		return t.received(ctx, op, next)
	}
	return t.sent(ctx, op, next)
}

// sent traces what this process asks for.
func (t *tracing) sent(ctx context.Context, op *abstract.Operation, next abstract.Next) error {
	ctx, span := t.tracer.Start(ctx, spanName(op), trace.WithSpanKind(kindOf(op.Kind)), trace.WithAttributes(attributes(op)...))
	t.propagator.Inject(ctx, carrier(op.Meta))
	err := next(ctx, op)
	if op.Kind == abstract.OpOpenStream && err == nil && op.Stream != nil {
		op.Stream = newStream(op.Stream, func(err error) { end(span, &abstract.Operation{Kind: abstract.OpOpenStream}, err) })
		return nil
	}
	end(span, op, err)
	return err
}

// received traces what came to this process. What it causes is part of the sender's
// trace.
func (t *tracing) received(ctx context.Context, op *abstract.Operation, next abstract.Next) error {
	ctx = t.propagator.Extract(ctx, carrier(op.Meta))
	opts := []trace.SpanStartOption{trace.WithSpanKind(kindOf(op.Kind)), trace.WithAttributes(attributes(op)...)}
	if from := trace.SpanContextFromContext(ctx); op.Kind == abstract.OpDeliver && from.IsValid() {
		opts = append(opts, trace.WithLinks(trace.Link{SpanContext: from}))
	}
	ctx, span := t.tracer.Start(ctx, spanName(op), opts...)
	err := next(ctx, op)
	end(span, op, err)
	return err
}
