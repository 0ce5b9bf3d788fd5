package otel_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"trefoil/abstract"
	"trefoil/concrete/otel"
)

// measured is one histogram with one set of attributes.
type measured struct {
	unit  string
	count uint64
	sum   float64 // seconds
	attrs map[string]any
}

// metering makes an interceptor, and what reads the histograms that it fills, by name.
func metering(t *testing.T) (abstract.Interceptor, func() map[string][]measured) {
	t.Helper()
	reader := sdk.NewManualReader()
	provider := sdk.NewMeterProvider(sdk.WithReader(reader))
	t.Cleanup(func() { assert.NoError(t, provider.Shutdown(context.Background())) })
	intercept, err := otel.Metrics(provider)
	require.NoError(t, err)
	return intercept, func() map[string][]measured {
		t.Helper()
		var all metricdata.ResourceMetrics
		require.NoError(t, reader.Collect(context.Background(), &all))
		found := make(map[string][]measured)
		for _, scope := range all.ScopeMetrics {
			assert.Equal(t, "trefoil", scope.Scope.Name)
			for _, m := range scope.Metrics {
				for _, p := range m.Data.(metricdata.Histogram[float64]).DataPoints {
					attrs := make(map[string]any)
					for _, kv := range p.Attributes.ToSlice() {
						attrs[string(kv.Key)] = kv.Value.AsInterface()
					}
					assert.Contains(t, p.Bounds, 0.005, "the conventions' buckets")
					found[m.Name] = append(found[m.Name], measured{m.Unit, p.Count, p.Sum, attrs})
				}
			}
		}
		return found
	}
}

func TestMetricsAreThoseOfTheConventions(t *testing.T) {
	refused := abstract.Errorf(abstract.Denied, "no")
	tests := map[string]struct {
		kind  abstract.OperationKind
		err   error
		name  string
		attrs map[string]any
	}{
		"call":   {abstract.OpCall, nil, "rpc.client.call.duration", map[string]any{"rpc.system.name": "trefoil", "rpc.method": "m", "rpc.response.status_code": "OK"}},
		"send":   {abstract.OpSend, nil, "rpc.client.call.duration", map[string]any{"rpc.system.name": "trefoil", "rpc.method": "m"}},
		"failed": {abstract.OpCall, refused, "rpc.client.call.duration", map[string]any{"rpc.system.name": "trefoil", "rpc.method": "m", "rpc.response.status_code": "DENIED", "error.type": "DENIED"}},
		"serve":  {abstract.OpServe, nil, "rpc.server.call.duration", map[string]any{"rpc.system.name": "trefoil", "rpc.method": "m", "rpc.response.status_code": "OK"}},
		"serve stream": {abstract.OpServeStream, errors.New("strange"), "rpc.server.call.duration",
			map[string]any{"rpc.system.name": "trefoil", "rpc.method": "m", "rpc.response.status_code": "INTERNAL_ERROR", "error.type": "INTERNAL_ERROR"}},
		"publish": {abstract.OpPublish, nil, "messaging.client.operation.duration",
			map[string]any{"messaging.system": "trefoil", "messaging.destination.name": "m", "messaging.operation.name": "publish", "messaging.operation.type": "send"}},
		"deliver": {abstract.OpDeliver, refused, "messaging.process.duration",
			map[string]any{"messaging.system": "trefoil", "messaging.destination.name": "m", "messaging.operation.name": "deliver", "error.type": "DENIED"}},
		"stream that was not opened": {abstract.OpOpenStream, refused, "rpc.client.call.duration",
			map[string]any{"rpc.system.name": "trefoil", "rpc.method": "m", "rpc.response.status_code": "DENIED", "error.type": "DENIED"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				intercept, read := metering(t)
				for range 2 {
					err := intercept(t.Context(), &abstract.Operation{Kind: tt.kind, Name: "m", Meta: abstract.Metadata{}}, func(context.Context, *abstract.Operation) error {
						time.Sleep(3 * time.Second)
						return tt.err
					})
					assert.Equal(t, tt.err, err)
				}
				assert.Equal(t, map[string][]measured{tt.name: {{"s", 2, 6, tt.attrs}}}, read())
			})
		})
	}
}

func TestMetricOfAnOpenedStreamIsOfAllItsTime(t *testing.T) {
	lost := abstract.Errorf(abstract.Disconnected, "lost")
	for name, tt := range map[string]struct {
		receive error
		want    string
	}{"well": {io.EOF, "OK"}, "badly": {lost, "DISCONNECTED"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				intercept, read := metering(t)
				ctx, cancel := context.WithCancel(t.Context())
				op := &abstract.Operation{Kind: abstract.OpOpenStream, Name: "ticks", Meta: abstract.Metadata{}}
				require.NoError(t, intercept(t.Context(), op, func(_ context.Context, op *abstract.Operation) error {
					op.Stream = &fake{ctx: ctx, err: tt.receive}
					return nil
				}))
				time.Sleep(time.Minute)
				assert.Equal(t, tt.receive, op.Stream.Receive(nil))
				assert.Empty(t, read(), "it is not over")
				cancel()
				synctest.Wait()
				got := read()["rpc.client.call.duration"]
				require.Len(t, got, 1)
				assert.InDelta(t, 60, got[0].sum, 0)
				assert.Equal(t, tt.want, got[0].attrs["rpc.response.status_code"])
			})
		})
	}
}

// failing is a provider whose meters make no instruments.
type failing struct{ noop.MeterProvider }

func (failing) Meter(string, ...metric.MeterOption) metric.Meter { return failingMeter{} }

type failingMeter struct{ noop.Meter }

var errInstrument = errors.New("no instruments today")

func (failingMeter) Float64Histogram(string, ...metric.Float64HistogramOption) (metric.Float64Histogram, error) {
	return nil, errInstrument
}

func TestMetricsNeedAProviderThatMakesInstruments(t *testing.T) {
	_, err := otel.Metrics(failing{})
	require.ErrorIs(t, err, errInstrument)
	intercept, err := otel.Metrics(nil)
	require.NoError(t, err, "the global one, which does nothing by default")
	require.NoError(t, intercept(t.Context(), &abstract.Operation{Kind: abstract.OpCall}, func(context.Context, *abstract.Operation) error { return nil }))
}
