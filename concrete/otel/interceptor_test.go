package otel_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	api "go.opentelemetry.io/otel/trace"

	"trefoil/abstract"
	"trefoil/concrete/otel"
)

func tracing(t *testing.T, opts ...otel.Option) (abstract.Interceptor, *tracetest.InMemoryExporter) {
	spans := tracetest.NewInMemoryExporter()
	provider := trace.NewTracerProvider(trace.WithSyncer(spans))
	t.Cleanup(func() { assert.NoError(t, provider.Shutdown(context.Background())) })
	return otel.Interceptor(append([]otel.Option{otel.WithTracerProvider(provider)}, opts...)...), spans
}

// result is what a call has come to.
type result string

func (result) Decode(any) error { return nil }
func (r result) From() string   { return string(r) }

func attrs(s tracetest.SpanStub) map[string]any {
	all := make(map[string]any)
	for _, kv := range s.Attributes {
		all[string(kv.Key)] = kv.Value.AsInterface()
	}
	return all
}

func TestSpansSayWhatTheConventionsAskFor(t *testing.T) {
	failed := &abstract.Error{Code: abstract.ServiceNotFound, Instance: "10.0.0.1:7", Attempts: 3}
	tests := map[string]struct {
		op     abstract.Operation
		result any
		err    error
		name   string
		kind   api.SpanKind
		attrs  map[string]any
		status codes.Code
	}{
		"call": {
			op: abstract.Operation{Kind: abstract.OpCall, Name: "math.add"}, result: result("[::1]:7700"), name: "math.add", kind: api.SpanKindClient,
			attrs: map[string]any{"rpc.system.name": "trefoil", "rpc.method": "math.add", "rpc.response.status_code": "OK", "server.address": "::1", "server.port": int64(7700)},
		},
		"call that failed": {
			op: abstract.Operation{Kind: abstract.OpCall, Name: "math.add"}, err: failed, name: "math.add", kind: api.SpanKindClient, status: codes.Error,
			attrs: map[string]any{"rpc.system.name": "trefoil", "rpc.method": "math.add", "rpc.response.status_code": "SERVICE_NOT_FOUND", "error.type": "SERVICE_NOT_FOUND",
				"server.address": "10.0.0.1", "server.port": int64(7), "trefoil.attempts": int64(3)},
		},
		"send": {
			op: abstract.Operation{Kind: abstract.OpSend, Name: "m"}, name: "m", kind: api.SpanKindClient,
			attrs: map[string]any{"rpc.system.name": "trefoil", "rpc.method": "m"},
		},
		"serve": {
			op: abstract.Operation{Kind: abstract.OpServe, Name: "m", Peer: abstract.Peer{Addr: "10.0.0.2:50000"}}, result: 3, name: "m", kind: api.SpanKindServer,
			attrs: map[string]any{"rpc.system.name": "trefoil", "rpc.method": "m", "rpc.response.status_code": "OK", "network.peer.address": "10.0.0.2", "network.peer.port": int64(50000)},
		},
		"serve with a fault of the caller": {
			op: abstract.Operation{Kind: abstract.OpServe, Name: "m"}, err: abstract.Errorf(abstract.InvalidParams, "no"), name: "m", kind: api.SpanKindServer,
			attrs: map[string]any{"rpc.system.name": "trefoil", "rpc.method": "m", "rpc.response.status_code": "INVALID_PARAMS", "error.type": "INVALID_PARAMS"},
		},
		"serve with a fault of its own": {
			op: abstract.Operation{Kind: abstract.OpServe, Name: "m"}, err: errors.New("disk"), name: "m", kind: api.SpanKindServer, status: codes.Error,
			attrs: map[string]any{"rpc.system.name": "trefoil", "rpc.method": "m", "rpc.response.status_code": "INTERNAL_ERROR", "error.type": "INTERNAL_ERROR"},
		},
		"serve stream": {
			op: abstract.Operation{Kind: abstract.OpServeStream, Name: "m"}, name: "m", kind: api.SpanKindServer,
			attrs: map[string]any{"rpc.system.name": "trefoil", "rpc.method": "m", "rpc.response.status_code": "OK"},
		},
		"publish": {
			op: abstract.Operation{Kind: abstract.OpPublish, Name: "news"}, name: "publish news", kind: api.SpanKindProducer,
			attrs: map[string]any{"messaging.system": "trefoil", "messaging.destination.name": "news", "messaging.operation.name": "publish", "messaging.operation.type": "send"},
		},
		"deliver": {
			op: abstract.Operation{Kind: abstract.OpDeliver, Name: "news"}, err: errors.New("refused"), name: "deliver news", kind: api.SpanKindConsumer, status: codes.Error,
			attrs: map[string]any{"messaging.system": "trefoil", "messaging.destination.name": "news", "messaging.operation.name": "deliver", "messaging.operation.type": "process", "error.type": "INTERNAL_ERROR"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			intercept, spans := tracing(t)
			tt.op.Meta = abstract.Metadata{}
			err := intercept(t.Context(), &tt.op, func(_ context.Context, op *abstract.Operation) error {
				op.Result = tt.result
				return tt.err
			})
			require.Equal(t, tt.err, err)
			got := spans.GetSpans()
			require.Len(t, got, 1)
			assert.Equal(t, tt.name, got[0].Name)
			assert.Equal(t, tt.kind, got[0].SpanKind)
			assert.Equal(t, tt.attrs, attrs(got[0]))
			assert.Equal(t, tt.status, got[0].Status.Code)
			assert.Len(t, got[0].Events, map[codes.Code]int{codes.Error: 1}[tt.status], "an error is recorded")
		})
	}
}

// What one side writes the other reads, also with a propagator that writes its names
// in capitals.
func TestTraceTravelsInTheMetadata(t *testing.T) {
	for name, opts := range map[string][]otel.Option{"W3C": nil, "capitals": {otel.WithPropagator(capitals{})}} {
		t.Run(name, func(t *testing.T) {
			intercept, spans := tracing(t, opts...)
			sent := &abstract.Operation{Kind: abstract.OpPublish, Name: "t", Meta: abstract.Metadata{"own": "1"}}
			require.NoError(t, intercept(t.Context(), sent, func(context.Context, *abstract.Operation) error { return nil }))
			require.NoError(t, sent.Meta.Check())
			assert.Len(t, sent.Meta, 2)
			came := &abstract.Operation{Kind: abstract.OpDeliver, Name: "t", Meta: sent.Meta}
			require.NoError(t, intercept(t.Context(), came, func(ctx context.Context, _ *abstract.Operation) error {
				assert.True(t, api.SpanContextFromContext(ctx).IsValid())
				return nil
			}))
			got := spans.GetSpans()
			require.Len(t, got, 2)
			assert.Equal(t, got[0].SpanContext.TraceID(), got[1].SpanContext.TraceID())
			assert.Equal(t, got[0].SpanContext.SpanID(), got[1].Parent.SpanID())
			require.Len(t, got[1].Links, 1)
			assert.Equal(t, got[0].SpanContext.SpanID(), got[1].Links[0].SpanContext.SpanID())
		})
	}
}

// capitals writes what W3C does, under a name with capitals.
type capitals struct{}

func (capitals) Inject(ctx context.Context, c propagation.TextMapCarrier) {
	m := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, m)
	c.Set("X-Parent", m["traceparent"])
}

func (capitals) Extract(ctx context.Context, c propagation.TextMapCarrier) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": c.Get("X-Parent")})
}

func (capitals) Fields() []string { return []string{"X-Parent"} }

// Metadata without a trace, or with rubbish in its place, begins a new one.
func TestStrangeMetadataBeginsANewTrace(t *testing.T) {
	for name, meta := range map[string]abstract.Metadata{"none": nil, "other": {"a": "b"}, "rubbish": {"traceparent": "00-zz", "tracestate": "\x00"}} {
		t.Run(name, func(t *testing.T) {
			intercept, spans := tracing(t)
			op := &abstract.Operation{Kind: abstract.OpDeliver, Name: "t", Meta: meta}
			require.NoError(t, intercept(t.Context(), op, func(context.Context, *abstract.Operation) error { return nil }))
			got := spans.GetSpans()
			require.Len(t, got, 1)
			assert.False(t, got[0].Parent.IsValid())
			assert.Empty(t, got[0].Links)
		})
	}
}

// fake is a stream that ends when it is told to.
type fake struct {
	abstract.Stream
	ctx context.Context
	err error
}

func (f *fake) Context() context.Context { return f.ctx }
func (f *fake) Receive(any) error        { return f.err }

// ended tells when a span has ended.
type ended struct {
	trace.SpanProcessor
	done chan struct{}
}

func (e ended) OnEnd(trace.ReadOnlySpan) { close(e.done) }

func TestSpanOfAnOpenedStreamEndsWithTheStream(t *testing.T) {
	lost := abstract.Errorf(abstract.Disconnected, "lost")
	for name, tt := range map[string]struct {
		receive, cause error
		want           string
	}{
		"well":                  {receive: io.EOF, want: "OK"},
		"with an error":         {receive: lost, want: "DISCONNECTED"},
		"unheard, with a cause": {cause: lost, want: "DISCONNECTED"},
	} {
		t.Run(name, func(t *testing.T) {
			spans := tracetest.NewInMemoryExporter()
			done := make(chan struct{})
			provider := trace.NewTracerProvider(trace.WithSyncer(spans), trace.WithSpanProcessor(ended{trace.NewSimpleSpanProcessor(tracetest.NewNoopExporter()), done}))
			intercept := otel.Interceptor(otel.WithTracerProvider(provider))
			ctx, cancel := context.WithCancelCause(t.Context())
			op := &abstract.Operation{Kind: abstract.OpOpenStream, Name: "ticks", Meta: abstract.Metadata{}}
			require.NoError(t, intercept(t.Context(), op, func(_ context.Context, op *abstract.Operation) error {
				op.Stream = &fake{ctx: ctx, err: tt.receive}
				return nil
			}))
			assert.Contains(t, op.Meta, "traceparent")
			if tt.receive != nil {
				assert.Equal(t, tt.receive, op.Stream.Receive(nil))
			}
			assert.Empty(t, spans.GetSpans())
			cancel(tt.cause)
			<-done
			got := spans.GetSpans()
			require.Len(t, got, 1)
			assert.Equal(t, tt.want, attrs(got[0])["rpc.response.status_code"])
			assert.Equal(t, api.SpanKindClient, got[0].SpanKind)
		})
	}
	intercept, spans := tracing(t)
	op := &abstract.Operation{Kind: abstract.OpOpenStream, Name: "ticks", Meta: abstract.Metadata{}}
	require.ErrorIs(t, intercept(t.Context(), op, func(context.Context, *abstract.Operation) error { return lost }), lost)
	require.Len(t, spans.GetSpans(), 1, "one that was never opened has ended")
	assert.Contains(t, spans.GetSpans()[0].Attributes, attribute.String("error.type", "DISCONNECTED"))
}
