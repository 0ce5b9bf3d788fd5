package client_test

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/message"
	"trefoil/server"
)

// streamer serves streams: "count" sends n numbers, "total" answers the sum of what
// comes, "echo" sends back what comes, "hang" waits until nobody wants it any more, and
// "flood" sends until it cannot.
type streamer struct {
	*server.RpcServer
	ended   chan error // how contexts of "hang" ended
	sent    atomic.Int64
	stopped chan error // what the last Send of "flood" said
}

func newStreamer(t require.TestingT, srv *server.RpcServer) *streamer {
	s := &streamer{RpcServer: srv, ended: make(chan error, 2000), stopped: make(chan error, 2000)}
	handle := func(method string, h server.StreamHandler) {
		require.NoError(t, srv.HandleStream(server.Description{Method: method, Result: server.KindAny}, h))
	}
	handle("count", func(params message.Raw, st abstract.Stream) error {
		var in struct{ N int }
		if err := message.Decode(params, &in); err != nil {
			return err
		}
		for i := range in.N {
			if err := st.Send(i); err != nil {
				return err
			}
		}
		return nil
	})
	handle("total", func(_ message.Raw, st abstract.Stream) error {
		total, n := 0, 0
		for {
			switch err := st.Receive(&n); {
			case errors.Is(err, io.EOF):
				return st.Send(total)
			case err != nil:
				return err
			}
			total += n
		}
	})
	handle("echo", func(_ message.Raw, st abstract.Stream) error {
		for {
			var v message.Raw
			switch err := st.Receive(&v); {
			case errors.Is(err, io.EOF):
				return nil
			case err != nil:
				return err
			}
			if err := st.Send(v); err != nil {
				return err
			}
		}
	})
	handle("hang", func(_ message.Raw, st abstract.Stream) error {
		<-st.Context().Done()
		s.ended <- context.Cause(st.Context())
		return st.Context().Err()
	})
	handle("flood", func(_ message.Raw, st abstract.Stream) error {
		for {
			if err := st.Send("0123456789"); err != nil {
				s.stopped <- err
				return err
			}
			s.sent.Add(1)
		}
	})
	handle("fail", func(message.Raw, abstract.Stream) error {
		return &abstract.Error{Code: abstract.Denied, Message: "not you", Details: []byte(`{"need":"more"}`)}
	})
	handle("panic", func(message.Raw, abstract.Stream) error { panic("boom") })
	handle("named", func(message.Raw, abstract.Stream) error { return nil })
	return s
}

func (w *world) streamer(name string, reg abstract.Registrar, opts ...server.Option) (*streamer, *running) {
	w.Helper()
	srv := server.NewRpcServer(name, append(opts, server.WithTransport(w.net.Server), server.WithLogger(quiet), server.WithRegistry(reg))...)
	s := newStreamer(w, srv)
	require.NoError(w, server.Handle(srv, "sum", func(_ context.Context, in sumArgs) (int, error) { return in.A + in.B, nil }))
	r := w.run(srv)
	synctest.Wait()
	return s, r
}

// streamWays are the ways of a stream: to the provider itself, and through the broker.
var streamWays = map[string][]client.CallOption{"direct": nil, "through the broker": {client.Relay()}}

// inBothWays runs a test with a client and a provider of streams, in both ways.
func inBothWays(t *testing.T, test func(w *world, s *streamer, rpc *client.RpcClient, opts []client.CallOption)) {
	for name, opts := range streamWays {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				b := w.broker()
				s, _ := w.streamer("one:1", client.NewRegistryClient(w.dial()))
				test(w, s, w.rpc(client.NewDiscoveryClient(w.dial())), opts)
				synctest.Wait()
				assert.Zero(w, b.srv.(*server.Broker).Streams(), "the broker has forgotten all")
				assert.Zero(w, s.Streams(), "the provider has forgotten all")
			})
		})
	}
}

func TestStreamsGoBothWays(t *testing.T) {
	inBothWays(t, func(w *world, _ *streamer, rpc *client.RpcClient, opts []client.CallOption) {
		const many = 3000 // several windows
		st, err := rpc.OpenStream(w.Context(), "count", map[string]int{"N": many}, opts...)
		require.NoError(w, err)
		for want := range many {
			n := -1
			require.NoError(w, st.Receive(&n))
			require.Equal(w, want, n)
		}
		require.ErrorIs(w, st.Receive(nil), io.EOF)
		require.ErrorIs(w, st.Send(1), abstract.ErrInvalidOp, "who serves it has ended it")
		require.Error(w, st.Context().Err())

		st, err = rpc.OpenStream(w.Context(), "total", nil, opts...)
		require.NoError(w, err)
		for i := range many {
			require.NoError(w, st.Send(i))
		}
		require.NoError(w, st.CloseSend())
		require.NoError(w, st.CloseSend(), "twice does no harm")
		require.ErrorIs(w, st.Send(1), abstract.ErrInvalidOp)
		total := 0
		require.NoError(w, st.Receive(&total))
		require.Equal(w, many*(many-1)/2, total)
		require.ErrorIs(w, st.Receive(nil), io.EOF)

		st, err = rpc.OpenStream(w.Context(), "echo", nil, opts...)
		require.NoError(w, err)
		go func() {
			for i := range many {
				_ = st.Send(map[string]any{"i": i, "text": "<é>"})
			}
			_ = st.CloseSend()
		}()
		for want := range many {
			var got struct {
				I    int    `json:"i"`
				Text string `json:"text"`
			}
			require.NoError(w, st.Receive(&got))
			require.Equal(w, want, got.I)
			require.Equal(w, "<é>", got.Text)
		}
		require.ErrorIs(w, st.Receive(nil), io.EOF)
	})
}

func TestOpenerEndsAStream(t *testing.T) {
	tests := map[string]struct {
		end  func(st abstract.Stream, cancel context.CancelFunc)
		opts []client.CallOption
		code abstract.RCode
	}{
		"by closing it":      {end: func(st abstract.Stream, _ context.CancelFunc) { _ = st.Close() }, code: abstract.Cancelled},
		"by its context":     {end: func(_ abstract.Stream, cancel context.CancelFunc) { cancel() }, code: abstract.Cancelled},
		"by the time it has": {end: func(abstract.Stream, context.CancelFunc) {}, opts: []client.CallOption{client.Timeout(time.Hour)}, code: abstract.Timeout},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBothWays(t, func(w *world, s *streamer, rpc *client.RpcClient, opts []client.CallOption) {
				ctx, cancel := context.WithCancel(w.Context())
				defer cancel()
				hang, err := rpc.OpenStream(ctx, "hang", nil, append(opts, tt.opts...)...)
				require.NoError(w, err)
				flood, err := rpc.OpenStream(ctx, "flood", nil, append(opts, tt.opts...)...)
				require.NoError(w, err)
				synctest.Wait()
				begun, before := time.Now(), s.sent.Load()
				assert.Positive(w, before)
				assert.Less(w, before, int64(4*64<<10/74+10), "no more than the windows on the way")
				tt.end(hang, cancel)
				tt.end(flood, cancel)
				for _, err := range []error{<-s.ended, <-s.stopped} { // the opener's word may come first
					assert.Contains(w, []abstract.RCode{tt.code, abstract.Cancelled}, abstract.CodeOf(err))
				}
				for _, st := range []abstract.Stream{hang, flood} {
					<-st.Context().Done()
					err := st.Receive(nil)
					for err == nil { // when the provider has ended it first, all is there that it had sent
						err = st.Receive(nil)
					}
					require.Equal(w, tt.code, abstract.CodeOf(err))
					require.Equal(w, tt.code, abstract.CodeOf(st.Send(1)))
					require.NoError(w, st.Close())
				}
				if tt.opts != nil {
					assert.Equal(w, time.Hour, time.Since(begun))
				} else {
					assert.Zero(w, time.Since(begun))
				}
			})
		})
	}
}

func TestHowStreamsEnd(t *testing.T) {
	inBothWays(t, func(w *world, _ *streamer, rpc *client.RpcClient, opts []client.CallOption) {
		open := func(method string) error {
			st, err := rpc.OpenStream(w.Context(), method, nil, opts...)
			if err != nil {
				return err
			}
			err = st.Receive(nil)
			require.ErrorIs(w, st.Send(1), &abstract.Error{Code: abstract.CodeOf(err)})
			return err
		}
		e := errorOf(w.T, open("fail"))
		assert.Equal(w, abstract.Denied, e.Code)
		assert.Equal(w, "not you", e.Message)
		assert.JSONEq(w, `{"need":"more"}`, string(e.Details))
		assert.True(w, e.FromPeer)
		assert.Equal(w, abstract.SentYes, e.Sent)
		assert.Equal(w, "one:1", e.Instance)
		assert.ErrorIs(w, open("panic"), abstract.ErrInternal)
		assert.ErrorIs(w, open("sum"), abstract.ErrInvalidOp, "it serves no streams")
		err := rpc.Call(w.Context(), "echo", nil, nil, opts...)
		require.ErrorIs(w, err, abstract.ErrInvalidOp)
		assert.Contains(w, err.Error(), "open one")
		assert.ErrorIs(w, open("nobody serves it"), abstract.ErrMethodNotFound)
		_, err = rpc.OpenStream(w.Context(), "echo", []int{1}, opts...)
		assert.ErrorIs(w, err, abstract.ErrInvalidParams)
		ctx, cancel := context.WithCancel(w.Context())
		cancel()
		_, err = rpc.OpenStream(ctx, "echo", nil, opts...)
		assert.ErrorIs(w, err, abstract.ErrCancelled)
	})
}

func TestUnreadStreamHoldsUpItsOwnSenderOnly(t *testing.T) {
	inBothWays(t, func(w *world, s *streamer, rpc *client.RpcClient, opts []client.CallOption) {
		var unread []abstract.Stream
		for range 3 {
			st, err := rpc.OpenStream(w.Context(), "flood", nil, opts...)
			require.NoError(w, err)
			unread = append(unread, st)
		}
		st, err := rpc.OpenStream(w.Context(), "count", map[string]int{"N": 6_000}, opts...)
		require.NoError(w, err)
		for range 6_000 {
			require.NoError(w, st.Receive(nil))
		}
		require.ErrorIs(w, st.Receive(nil), io.EOF)
		synctest.Wait()
		sent := s.sent.Load()
		assert.Less(w, sent, int64(3*4*64<<10/74))
		for range 5000 { // and goes on as soon as it is read
			require.NoError(w, unread[0].Receive(nil))
		}
		synctest.Wait()
		assert.Greater(w, s.sent.Load(), sent+4000)
		for _, st := range unread {
			require.NoError(w, st.Close())
		}
	})
}

func TestLossEndsStreamsAtOnce(t *testing.T) {
	inBothWays(t, func(w *world, _ *streamer, rpc *client.RpcClient, opts []client.CallOption) {
		for range 2 { // and the next one finds its way
			st, err := rpc.OpenStream(w.Context(), "echo", nil, opts...)
			require.NoError(w, err)
			require.NoError(w, st.Send("kept"))
			synctest.Wait()
			w.net.Cut()
			var got string
			require.NoError(w, st.Receive(&got), "what has come is there")
			assert.Equal(w, "kept", got)
			e := errorOf(w.T, st.Receive(&got))
			assert.Equal(w, abstract.Disconnected, e.Code)
			assert.Equal(w, abstract.SentYes, e.Sent)
			time.Sleep(time.Minute)
		}
	})
}
