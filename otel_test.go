package trefoil_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	api "go.opentelemetry.io/otel/trace"

	"trefoil"
	"trefoil/client"
	"trefoil/concrete/mem"
	"trefoil/concrete/otel"
	"trefoil/server"
)

// TestOneTraceFromACallToASubscriber calls a method, whose handler publishes a message,
// whose subscriber calls another method: five spans more, each the child of the one
// before.
func TestOneTraceFromACallToASubscriber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spans := tracetest.NewInMemoryExporter()
		provider := trace.NewTracerProvider(trace.WithSyncer(spans))
		tracing := otel.Interceptor(otel.WithTracerProvider(provider))
		network := mem.NewNetwork()
		broker := server.NewBroker("broker", server.WithTransport(network.Server), server.WithLogger(quiet), server.WithInterceptors(tracing))
		require.NoError(t, broker.Listen())
		served := make(chan error, 1)
		go func() { served <- broker.Serve() }()
		ctx := t.Context()
		conn, err := client.Dial(ctx, "broker", client.WithTransport(network.Client), client.WithLogger(quiet), client.WithInterceptors(tracing))
		require.NoError(t, err)
		calls, topics := client.NewDirectRpcClient(conn), client.NewTopicClient(conn)

		place := trefoil.NewMethod[order, int]("orders.place")
		bill := trefoil.NewMethod[order, int]("orders.bill")
		require.NoError(t, orders.Create(ctx, topics))
		require.NoError(t, place.Handle(broker, func(ctx context.Context, o order) (int, error) {
			return o.ID, orders.Publish(ctx, topics, o)
		}))
		require.NoError(t, bill.Handle(broker, func(_ context.Context, o order) (int, error) { return o.ID, nil }))
		billed := make(chan int)
		_, err = orders.SubscribeFunc(ctx, topics, func(ctx context.Context, m trefoil.Message[order], err error) {
			assert.NoError(t, err)
			n, err := bill.Call(ctx, calls, m.Value)
			assert.NoError(t, err)
			billed <- n
		})
		require.NoError(t, err)
		_, err = place.Call(ctx, calls, order{7})
		require.NoError(t, err)
		assert.Equal(t, 7, <-billed)
		synctest.Wait()

		byID := make(map[api.SpanID]tracetest.SpanStub)
		for _, s := range spans.GetSpans() {
			byID[s.SpanContext.SpanID()] = s
			if s.Name == "orders.bill" && s.SpanKind == api.SpanKindServer {
				byID[api.SpanID{}] = s // where we begin
			}
		}
		var way []string
		for s := byID[api.SpanID{}]; s.Name != ""; s = byID[s.Parent.SpanID()] {
			way = append(way, s.SpanKind.String()+" "+s.Name)
			assert.Equal(t, byID[api.SpanID{}].SpanContext.TraceID(), s.SpanContext.TraceID())
			if !s.Parent.IsValid() {
				break
			}
		}
		assert.Equal(t, []string{
			"server orders.bill", "client orders.bill", "consumer deliver orders.created",
			"producer publish orders.created", "server orders.place", "client orders.place",
		}, way)

		assert.NoError(t, calls.Close())
		assert.NoError(t, conn.Close())
		assert.NoError(t, broker.Shutdown(context.Background()))
		assert.NoError(t, <-served)
	})
}

// The caller's span of a stream lasts until the stream has ended, and its handler's is
// part of it.
func TestStreamIsOneTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spans := tracetest.NewInMemoryExporter()
		provider := trace.NewTracerProvider(trace.WithSyncer(spans))
		tracing := otel.Interceptor(otel.WithTracerProvider(provider))
		network := mem.NewNetwork()
		srv := server.NewRpcServer("server", server.WithTransport(network.Server), server.WithLogger(quiet), server.WithInterceptors(tracing))
		ticks := trefoil.NewServerStream[order, int]("ticks")
		require.NoError(t, ticks.Handle(srv, func(ctx context.Context, in order, send func(int) error) error {
			assert.True(t, api.SpanContextFromContext(ctx).IsValid())
			for i := range in.ID {
				if err := send(i); err != nil {
					return err
				}
			}
			return nil
		}))
		require.NoError(t, srv.Listen())
		served := make(chan error, 1)
		go func() { served <- srv.Serve() }()
		ctx := t.Context()
		calls, err := client.DialRpc(ctx, "server", client.WithTransport(network.Client), client.WithLogger(quiet), client.WithInterceptors(tracing))
		require.NoError(t, err)
		n := 0
		for _, err := range ticks.Call(ctx, calls, order{3}) {
			require.NoError(t, err)
			n++
		}
		assert.Equal(t, 3, n)
		synctest.Wait()
		got := spans.GetSpans()
		require.Len(t, got, 2)
		assert.Equal(t, []api.SpanKind{api.SpanKindServer, api.SpanKindClient}, []api.SpanKind{got[0].SpanKind, got[1].SpanKind})
		assert.Equal(t, got[1].SpanContext.SpanID(), got[0].Parent.SpanID())
		for _, s := range got {
			assert.Equal(t, "ticks", s.Name)
			assert.Equal(t, codes.Unset, s.Status.Code, s.Status.Description)
		}
		assert.NoError(t, calls.Close())
		assert.NoError(t, srv.Shutdown(context.Background()))
		assert.NoError(t, <-served)
	})
}
