// Package otel traces and measures calls, streams and messages with OpenTelemetry.
//
//	tracing := otel.Interceptor()
//	conn, err := client.Dial(ctx, addr, client.WithInterceptors(tracing))
//	srv := server.NewRpcServer(addr, server.WithInterceptors(tracing))
//
// A call is a span of its caller and one of its handler; a message of a topic is a span
// of its publisher and one of each subscriber. The context of the trace travels as W3C
// trace context in the metadata, so that all of them, and what a handler or a subscriber
// does with its context, are one trace. Names and attributes are those of
// OpenTelemetry's semantic conventions for RPC and messaging. Metrics is an interceptor of
// its own, which counts and times the same operations by those conventions.
package otel
