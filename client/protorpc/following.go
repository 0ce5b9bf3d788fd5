package protorpc

import (
	"context"
	"io"

	"trefoil/abstract"
)

// refused is a call that was never begun.
type refused struct{ err error }

func (r refused) Done() <-chan struct{} {
	done := make(chan struct{})
	close(done)
	return done
}

func (r refused) Wait(context.Context, any) error { return r.err }

func (r refused) Cancel() {}

// nobody is the Result of a call that was never begun, as All gives one with an error, too.
type nobody struct{}

func (nobody) Decode(any) error { return abstract.Errorf(abstract.InvalidOp, "the call was not begun") }

func (nobody) From() string { return "" }

// followed is a call that was started, and has ended once its Controller knows it.
type followed struct {
	abstract.PendingCall
	t    *tracked
	told chan struct{}
}

func follow(t *tracked, p abstract.PendingCall) *followed {
	f := &followed{p, t, make(chan struct{})}
	go func() { // until the call ends, which its deadline sees to
		defer close(f.told)
		<-p.Done()
		_ = t.end(p.Wait(context.Background(), nil))
	}()
	return f
}

// Done is closed when the call has ended.
func (f *followed) Done() <-chan struct{} { return f.told }

// Wait waits for the end of the call.
func (f *followed) Wait(ctx context.Context, result any) error {
	select {
	case <-f.told:
		return f.t.note(f.PendingCall.Wait(context.Background(), result))
	case <-ctx.Done():
		return f.PendingCall.Wait(ctx, result) // which says it in its own words
	}
}

// followedResult is a result whose Controller is told when it does not fit.
type followedResult struct {
	abstract.Result
	t *tracked
}

// Decode reads the result into v.
func (r followedResult) Decode(v any) error { return r.t.note(r.Result.Decode(v)) }

// followedStream is a stream that tells its Controller how it ended.
type followedStream struct {
	abstract.Stream
	t *tracked
}

func followStream(t *tracked, s abstract.Stream) *followedStream {
	context.AfterFunc(s.Context(), t.release) // however it ends
	return &followedStream{s, t}
}

// Receive receives a message.
func (f *followedStream) Receive(v any) error {
	err := f.Stream.Receive(v)
	if err != nil && err != io.EOF && f.Context().Err() != nil { // else only v does not fit
		_ = f.t.end(err)
	}
	return err
}
