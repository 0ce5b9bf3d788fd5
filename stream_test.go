package trefoil_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil"
	"trefoil/abstract"
	"trefoil/client"
	"trefoil/server"
)

type tickArgs struct {
	N int `json:"n"`
}

type tick struct {
	Count int    `json:"count"`
	From  string `json:"from,omitempty"`
}

var (
	ticks = trefoil.NewServerStream[tickArgs, tick]("clock.ticks", trefoil.Doc("counts"))
	total = trefoil.NewClientStream[int, int]("math.total")
	chat  = trefoil.NewBidiStream[string, tick]("chat")
)

// serveStreams serves them all; "clock.ticks" below 0 has no end, and tells left how its
// context ended.
func serveStreams(t *testing.T, srv abstract.MethodServer, left chan<- error) {
	t.Helper()
	require.NoError(t, ticks.Handle(srv, func(ctx context.Context, in tickArgs, send func(tick) error) error {
		if in.N == 0 {
			return abstract.Errorf(abstract.Denied, "no zeros")
		}
		for i := 0; i != in.N; i++ {
			if err := send(tick{Count: i, From: abstract.MetadataOf(ctx)["who"]}); err != nil {
				left <- context.Cause(ctx)
				return err
			}
		}
		return nil
	}))
	require.NoError(t, total.Handle(srv, func(_ context.Context, in iter.Seq2[int, error]) (int, error) {
		sum := 0
		for n, err := range in {
			switch {
			case err != nil:
				return 0, err
			case n < 0:
				return 0, abstract.Errorf(abstract.InvalidParams, "%d is below 0", n)
			case n == 0:
				return sum, nil // has seen enough
			}
			sum += n
		}
		return sum, nil
	}))
	require.NoError(t, chat.Handle(srv, func(_ context.Context, in iter.Seq2[string, error], send func(tick) error) error {
		for text, err := range in {
			if err != nil {
				return err
			}
			if err := send(tick{Count: len(text), From: text}); err != nil {
				return err
			}
		}
		return send(tick{Count: -1})
	}))
}

// inStreams runs a test with all of them served, in virtual time.
func inStreams(t *testing.T, test func(t *testing.T, w *world, left <-chan error), opts ...client.Option) {
	synctest.Test(t, func(t *testing.T) {
		w, left := newWorld(t, opts...), make(chan error, 10)
		serveStreams(t, w.broker, left)
		test(t, w, left)
		synctest.Wait()
		assert.Zero(t, w.broker.Streams(), "all are over")
	})
}

func TestServerStream(t *testing.T) {
	inStreams(t, func(t *testing.T, w *world, left <-chan error) {
		ctx, n := t.Context(), 0
		all := ticks.Call(ctx, w.calls, tickArgs{3000}, trefoil.Metadata(map[string]string{"who": "me"}))
		for range 2 { // each loop is a stream of its own
			n = 0
			for v, err := range all {
				require.NoError(t, err)
				require.Equal(t, tick{n, "me"}, v)
				n++
			}
			require.Equal(t, 3000, n)
		}
		for v, err := range ticks.Call(ctx, w.calls, tickArgs{-1}) {
			require.NoError(t, err)
			if n = v.Count; n == 100 {
				break
			}
		}
		require.ErrorIs(t, <-left, abstract.ErrCancelled, "leaving the loop ends it there, too")
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		var last error
		for _, err := range ticks.Call(short, w.calls, tickArgs{-1}) {
			if last = err; err == nil {
				<-short.Done() // the sender stands still meanwhile
			}
		}
		require.ErrorIs(t, last, abstract.ErrTimeout)
		<-left
		for v, err := range ticks.Call(ctx, w.calls, tickArgs{0}) {
			require.Zero(t, v)
			require.ErrorIs(t, err, abstract.ErrDenied)
		}
		err := w.calls.Call(ctx, "clock.ticks", nil, nil)
		require.ErrorIs(t, err, abstract.ErrInvalidOp)
		for _, err := range trefoil.NewServerStream[map[string]string, int]("clock.ticks").Call(ctx, w.calls, map[string]string{"n": "many"}) {
			require.ErrorIs(t, err, abstract.ErrInvalidParams)
			require.ErrorContains(t, err, `"n"`)
		}
		for _, err := range trefoil.NewServerStream[tickArgs, int]("clock.ticks").Call(ctx, w.calls, tickArgs{1}) {
			require.ErrorIs(t, err, abstract.ErrInvalidMessage, "it is no number")
		}
	})
}

func TestClientStream(t *testing.T) {
	inStreams(t, func(t *testing.T, w *world, _ <-chan error) {
		ctx := t.Context()
		up, err := total.Open(ctx, w.calls)
		require.NoError(t, err)
		for range 3000 {
			require.NoError(t, up.Send(2))
		}
		sum, err := up.CloseAndReceive()
		require.NoError(t, err)
		require.Equal(t, 6000, sum)
		require.Error(t, up.Send(1))

		up, err = total.Open(ctx, w.calls)
		require.NoError(t, err)
		require.NoError(t, up.Send(-1))
		_, err = up.CloseAndReceive()
		require.ErrorIs(t, err, abstract.ErrInvalidParams)
		require.ErrorContains(t, err, "below 0")

		up, err = total.Open(ctx, w.calls)
		require.NoError(t, err)
		for _, n := range []int{5, 0} {
			require.NoError(t, up.Send(n))
		}
		synctest.Wait()
		require.ErrorIs(t, up.Send(7), abstract.ErrInvalidOp, "it has its answer")
		sum, err = up.CloseAndReceive()
		require.NoError(t, err)
		require.Equal(t, 5, sum)

		up, err = total.Open(ctx, w.calls)
		require.NoError(t, err)
		require.NoError(t, up.Close())
		_, err = up.CloseAndReceive()
		require.ErrorIs(t, err, abstract.ErrCancelled)

		wrong, err := trefoil.NewClientStream[string, int]("math.total").Open(ctx, w.calls)
		require.NoError(t, err)
		require.NoError(t, wrong.Send("text"))
		_, err = wrong.CloseAndReceive()
		require.ErrorIs(t, err, abstract.ErrInvalidParams)
	})
}

func TestBidiStream(t *testing.T) {
	inStreams(t, func(t *testing.T, w *world, _ <-chan error) {
		ctx := t.Context()
		x, err := chat.Open(ctx, w.calls)
		require.NoError(t, err)
		for _, text := range []string{"a", "bc"} {
			require.NoError(t, x.Send(text))
			v, err := x.Receive()
			require.NoError(t, err)
			require.Equal(t, tick{len(text), text}, v)
		}
		require.NoError(t, x.Send("def"))
		require.NoError(t, x.CloseSend())
		var got []tick
		for v, err := range x.All() {
			require.NoError(t, err)
			got = append(got, v)
		}
		require.Equal(t, []tick{{3, "def"}, {-1, ""}}, got)
		_, err = x.Receive()
		require.ErrorIs(t, err, io.EOF)
		require.NoError(t, x.Close())

		x, err = chat.Open(ctx, w.calls)
		require.NoError(t, err)
		require.NoError(t, x.Close())
		for _, err := range x.All() {
			require.ErrorIs(t, err, abstract.ErrCancelled)
		}
	})
}

func TestStreamsThatCannotBeServed(t *testing.T) {
	w := newWorld(t)
	serveStreams(t, w.broker, nil)
	require.ErrorIs(t, ticks.Handle(w.broker, nil), abstract.ErrExists)
	for name, err := range map[string]error{
		"parameters that are no object": trefoil.NewServerStream[int, int]("a").Handle(w.broker, nil),
		"messages without JSON":         trefoil.NewServerStream[tickArgs, chan int]("b").Handle(w.broker, nil),
		"the same, up":                  trefoil.NewClientStream[func(), int]("c").Handle(w.broker, nil),
		"the same, both ways":           trefoil.NewBidiStream[int, func()]("d").Handle(w.broker, nil),
	} {
		assert.ErrorIs(t, err, abstract.ErrInvalidParams, name)
	}
}

func TestInterceptorsStandRoundStreams(t *testing.T) {
	type key struct{}
	var seen []string
	note := func(ctx context.Context, op *abstract.Operation, next abstract.Next) error {
		if op.Kind != abstract.OpOpenStream {
			return next(ctx, op)
		}
		if op.Name == "math.total" {
			return abstract.Errorf(abstract.Denied, "not from here")
		}
		op.Meta["who"] = "interceptor"
		err := next(ctx, op)
		seen = append(seen, op.Kind.String()+" "+op.Name)
		op.Stream = countedStream{op.Stream, &seen}
		return err
	}
	inStreams(t, func(t *testing.T, w *world, _ <-chan error) {
		serve := func(ctx context.Context, op *abstract.Operation, next abstract.Next) error {
			if op.Kind == abstract.OpServeStream {
				ctx = context.WithValue(ctx, key{}, op.Name)
			}
			err := next(ctx, op)
			if op.Kind == abstract.OpServeStream && err != nil {
				return abstract.Errorf(abstract.Conflict, "made worse: %v", err)
			}
			return err
		}
		srv := server.NewRpcServer("served", server.WithTransport(w.net.Server), server.WithLogger(quiet), server.WithInterceptors(serve))
		within := trefoil.NewServerStream[tickArgs, string]("within")
		require.NoError(t, within.Handle(srv, func(ctx context.Context, in tickArgs, send func(string) error) error {
			if in.N == 0 {
				return errors.New("because")
			}
			return send(ctx.Value(key{}).(string) + " for " + abstract.MetadataOf(ctx)["who"])
		}))
		require.NoError(t, srv.Listen())
		ended := make(chan error, 1)
		go func() { ended <- srv.Serve() }()
		calls, err := client.DialRpc(t.Context(), "served", client.WithTransport(w.net.Client), client.WithLogger(quiet), client.WithInterceptors(note))
		require.NoError(t, err)
		for text, err := range within.Call(t.Context(), calls, tickArgs{1}) {
			require.NoError(t, err)
			require.Equal(t, "within for interceptor", text)
		}
		for _, err := range within.Call(t.Context(), calls, tickArgs{0}) {
			require.ErrorIs(t, err, abstract.ErrConflict)
		}
		_, err = total.Open(t.Context(), calls)
		require.ErrorIs(t, err, abstract.ErrDenied)
		require.Equal(t, []string{"open stream within", "received", "received", "open stream within", "received"}, seen)
		require.NoError(t, calls.Close())
		require.NoError(t, srv.Shutdown(t.Context()))
		require.NoError(t, <-ended)
	})
}

// countedStream notes what is received.
type countedStream struct {
	abstract.Stream
	seen *[]string
}

func (s countedStream) Receive(v any) error {
	*s.seen = append(*s.seen, "received")
	return s.Stream.Receive(v)
}
