package otel

import (
	"context"
	"errors"
	"io"
	"sync"

	"trefoil/abstract"
)

// stream is a stream that was opened, and knows how it ended.
type stream struct {
	abstract.Stream
	mu  sync.Mutex
	err error // how it ended, as far as somebody has received that
}

// newStream calls ended when the stream is over.
func newStream(s abstract.Stream, ended func(error)) abstract.Stream {
	watched := &stream{Stream: s}
	context.AfterFunc(s.Context(), func() { ended(watched.outcome()) })
	return watched
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
