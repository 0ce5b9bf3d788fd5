package otel

import (
	"context"
	"errors"
	"io"
	"sync"

	"go.opentelemetry.io/otel/trace"

	"trefoil/abstract"
)

// stream is a stream that was opened, whose span ends with it.
type stream struct {
	abstract.Stream
	mu  sync.Mutex
	err error // how it ended, as far as somebody has received that
}

func newStream(s abstract.Stream, span trace.Span) abstract.Stream {
	traced := &stream{Stream: s}
	context.AfterFunc(s.Context(), func() {
		end(span, &abstract.Operation{Kind: abstract.OpOpenStream}, traced.outcome())
	})
	return traced
}

// Receive notes how the stream ended.
func (s *stream) Receive(v any) error {
	err := s.Stream.Receive(v)
	if err != nil && !errors.Is(err, io.EOF) {
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
	}
	return err
}

// outcome is how the stream ended.
func (s *stream) outcome() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	var e *abstract.Error // not one that says only that it is over
	if errors.As(context.Cause(s.Context()), &e) {
		return e
	}
	return nil
}
