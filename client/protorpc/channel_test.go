package protorpc_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/client/protorpc"
	"trefoil/concrete/mem"
	"trefoil/server"
)

// world is a broker that serves methods and knows a provider of them, and an
// Application that is told of it.
type world struct {
	app     *protorpc.Application
	blocked chan string // has an element for each call of test.block that has begun
	ended   chan string // and one for each that has ended, which only its context does
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{blocked: make(chan string, 9), ended: make(chan string, 9)}
	quiet := slog.New(slog.DiscardHandler)
	network := mem.NewNetwork()
	broker := server.NewBroker("broker:1", server.WithTransport(network.Server), server.WithLogger(quiet))
	require.NoError(t, broker.Listen())
	go broker.Serve()
	app, err := protorpc.NewApplication([]string{"--addresses", "broker:1"}, protorpc.WithLogger(quiet), protorpc.WithClient(client.WithTransport(network.Client), client.WithTimeout(time.Minute)))
	require.NoError(t, err)
	w.app = app
	r, err := app.Registry()
	require.NoError(t, err)
	srv := server.NewRpcServer("provider:1", server.WithTransport(network.Server), server.WithLogger(quiet), server.WithRegistry(r), server.WithDrain(time.Nanosecond, time.Nanosecond))
	require.NoError(t, srv.HandleFunc(server.Description{Method: "test.echo", Result: server.KindAny}, func(_ context.Context, params json.RawMessage) (any, error) {
		return params, nil
	}))
	require.NoError(t, srv.HandleFunc(server.Description{Method: "test.fail", Result: server.KindAny}, func(context.Context, json.RawMessage) (any, error) {
		return nil, abstract.Errorf(abstract.Conflict, "not now")
	}))
	require.NoError(t, srv.HandleFunc(server.Description{Method: "test.block", Result: server.KindAny}, func(ctx context.Context, _ json.RawMessage) (any, error) {
		w.blocked <- "call"
		<-ctx.Done()
		w.ended <- "call"
		return nil, ctx.Err()
	}))
	require.NoError(t, srv.HandleStream(server.Description{Method: "test.stream", Result: server.KindAny}, func(_ json.RawMessage, s abstract.Stream) error {
		var v any
		if err := s.Receive(&v); err != nil {
			return err
		}
		if err := s.Send(v); err != nil {
			return err
		}
		err := s.Receive(&v)
		w.ended <- "stream"
		return err
	}))
	require.NoError(t, srv.Announce(t.Context()))
	go srv.Serve()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		assert.NoError(t, srv.Shutdown(ctx))
		assert.NoError(t, app.Close())
		assert.NoError(t, broker.Shutdown(ctx))
	})
	return w
}

func (w *world) channel(t *testing.T) *protorpc.Channel {
	t.Helper()
	c, err := protorpc.NewChannel(w.app)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	return c
}

var one = map[string]int{"n": 1}

func TestChannelCallsByRegistryAndByAddress(t *testing.T) {
	w := newWorld(t)
	direct, err := protorpc.DialChannel(t.Context(), w.app, "provider:1")
	require.NoError(t, err)
	defer direct.Close()
	for _, c := range []*protorpc.Channel{w.channel(t), direct} {
		var got map[string]int
		require.NoError(t, c.Call(t.Context(), "test.echo", one, &got))
		assert.Equal(t, one, got)
	}
	_, err = protorpc.DialChannel(t.Context(), w.app, "nobody:1")
	require.ErrorIs(t, err, abstract.ErrUnavailable)
}

func TestControllerFollowsEveryWayToCall(t *testing.T) {
	w := newWorld(t)
	c := w.channel(t)
	ways := map[string]func(ctx context.Context, method string) error{
		"call": func(ctx context.Context, method string) error { return c.Call(ctx, method, one, nil) },
		"start": func(ctx context.Context, method string) error {
			p := c.Start(ctx, method, one)
			<-p.Done()
			return p.Wait(context.Background(), nil)
		},
		"wait": func(ctx context.Context, method string) error {
			return c.Start(ctx, method, one).Wait(context.Background(), nil)
		},
		"func": func(ctx context.Context, method string) error {
			done := make(chan error)
			c.StartFunc(ctx, method, one, func(_ abstract.Result, err error) { done <- err })
			return <-done
		},
		"all": func(ctx context.Context, method string) (last error) {
			for _, err := range c.All(ctx, method, one) {
				last = err
			}
			return last
		},
		"stream": func(ctx context.Context, method string) error {
			s, err := c.OpenStream(ctx, method, one)
			if err != nil {
				return err
			}
			defer s.Close()
			return s.Receive(nil)
		},
	}
	for name, call := range ways {
		t.Run(name, func(t *testing.T) {
			var ctl protorpc.Controller
			if name != "stream" {
				require.NoError(t, call(ctl.Context(t.Context()), "test.echo"))
				assert.False(t, ctl.Failed())
				assert.Empty(t, ctl.ErrorText())
			}
			err := call(ctl.Context(t.Context()), "test.fail")
			require.Error(t, err)
			assert.True(t, ctl.Failed())
			assert.Equal(t, err.Error(), ctl.ErrorText())
			assert.Equal(t, err, ctl.Err())
			ctl.Reset()
			assert.False(t, ctl.Failed())

			if name == "stream" {
				return // test.block is none
			}
			told := make(chan struct{})
			ctl.NotifyOnCancel(func() { close(told) })
			go func() {
				<-w.blocked
				ctl.StartCancel()
			}()
			err = call(ctl.Context(t.Context()), "test.block")
			require.ErrorIs(t, err, abstract.ErrCancelled)
			<-told
			<-w.ended // the handler has heard of it
			assert.True(t, ctl.IsCanceled())
			assert.True(t, ctl.Failed())

			err = call(ctl.Context(t.Context()), "test.echo")
			require.ErrorIs(t, err, abstract.ErrCancelled, "until it is reset")
			assert.ErrorContains(t, err, "the controller was cancelled before the call began")
			again := false
			ctl.NotifyOnCancel(func() { again = true })
			assert.True(t, again, "at once")
			ctl.Reset()
			require.NoError(t, call(ctl.Context(t.Context()), "test.echo"))
		})
	}
}

func TestControllerFollowsSend(t *testing.T) {
	c := newWorld(t).channel(t)
	var ctl protorpc.Controller
	require.NoError(t, c.Send(ctl.Context(t.Context()), "test.echo", one))
	assert.False(t, ctl.Failed())
	require.Error(t, c.Send(ctl.Context(t.Context()), "test.echo", []int{}))
	assert.True(t, ctl.Failed())
	ctl.StartCancel()
	require.ErrorIs(t, c.Send(ctl.Context(t.Context()), "test.echo", one), abstract.ErrCancelled)
}

func TestControllerCancelsStream(t *testing.T) {
	w := newWorld(t)
	var ctl protorpc.Controller
	s, err := w.channel(t).OpenStream(ctl.Context(t.Context()), "test.stream", nil)
	require.NoError(t, err)
	require.NoError(t, s.Send("x"))
	var got string
	require.NoError(t, s.Receive(&got))
	assert.Equal(t, "x", got)
	ctl.StartCancel()
	require.ErrorIs(t, s.Receive(&got), abstract.ErrCancelled)
	<-w.ended
	assert.True(t, ctl.Failed())
}

func TestControllerIsFreeWhenItsStreamHasEnded(t *testing.T) {
	w := newWorld(t)
	c := w.channel(t)
	var ctl protorpc.Controller
	s, err := c.OpenStream(ctl.Context(t.Context()), "test.stream", nil)
	require.NoError(t, err)
	require.ErrorContains(t, c.Call(ctl.Context(t.Context()), "test.echo", one, nil), "the controller follows another call")
	require.NoError(t, s.Close())
	<-s.Context().Done()
	require.Eventually(t, func() bool { return c.Call(ctl.Context(t.Context()), "test.echo", one, nil) == nil }, time.Minute, time.Millisecond)
}

func TestControllerHasOneCallAtATime(t *testing.T) {
	w := newWorld(t)
	c := w.channel(t)
	var ctl protorpc.Controller
	p := c.Start(ctl.Context(t.Context()), "test.block", one)
	<-w.blocked
	err := c.Call(ctl.Context(t.Context()), "test.echo", one, nil)
	require.ErrorIs(t, err, abstract.ErrInvalidParams)
	refused := c.Start(ctl.Context(t.Context()), "test.echo", one)
	<-refused.Done()
	refused.Cancel()
	require.ErrorIs(t, refused.Wait(t.Context(), nil), abstract.ErrInvalidParams)
	assert.False(t, ctl.Failed(), "the first call is under way")
	short, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, p.Wait(short, nil), context.Canceled)
	p.Cancel()
	require.ErrorIs(t, p.Wait(t.Context(), nil), abstract.ErrCancelled)
	assert.True(t, ctl.Failed())
}

func TestControllerHasATimeout(t *testing.T) {
	w := newWorld(t)
	c := w.channel(t)
	var ctl protorpc.Controller
	ctl.SetTimeout(time.Millisecond)
	require.Error(t, c.Call(ctl.Context(t.Context()), "test.block", one, nil), "by itself it never ends")
	assert.True(t, ctl.Failed())
	require.NoError(t, c.Call(ctl.Context(t.Context()), "test.echo", one, nil, client.Timeout(time.Minute)), "what the call says counts more")
	ctl.SetTimeout(0)
	require.NoError(t, c.Call(ctl.Context(t.Context()), "test.echo", one, nil))
}

func TestControllerCanBeToldOfAFailure(t *testing.T) {
	var ctl protorpc.Controller
	ctl.SetFailed("out of stock")
	assert.True(t, ctl.Failed())
	assert.Equal(t, "internal error: out of stock", ctl.ErrorText())
}

// TestRefusedCallOfAllIsAPairLikeOthers: typed methods ask each Result who it is from.
func TestRefusedCallOfAllIsAPairLikeOthers(t *testing.T) {
	w := newWorld(t)
	channel := w.channel(t)
	var c protorpc.Controller
	c.StartCancel()
	pairs := 0
	for r, err := range channel.All(c.Context(t.Context()), "test.echo", nil) {
		pairs++
		assert.ErrorIs(t, err, abstract.ErrCancelled)
		assert.Empty(t, r.From())
	}
	assert.Equal(t, 1, pairs)
}

// A result that does not fit is a failure of the call, however it is found out, until the
// Controller is made ready for another one.
func TestControllerHasTheErrorOfAResultThatDoesNotFit(t *testing.T) {
	c := newWorld(t).channel(t)
	params := map[string]any{"name": "n"}
	ways := map[string]func(ctx context.Context, into any) error{
		"call": func(ctx context.Context, into any) error { return c.Call(ctx, "test.echo", params, into) },
		"future": func(ctx context.Context, into any) error {
			return c.Start(ctx, "test.echo", params).Wait(ctx, into)
		},
		"callback": func(ctx context.Context, into any) error {
			ended := make(chan error)
			c.StartFunc(ctx, "test.echo", params, func(r abstract.Result, err error) {
				if err == nil {
					err = r.Decode(into)
				}
				ended <- err
			})
			return <-ended
		},
	}
	for way, call := range ways {
		t.Run(way, func(t *testing.T) {
			var control protorpc.Controller
			ctx := control.Context(t.Context())
			err := call(ctx, new(int))
			require.ErrorIs(t, err, abstract.ErrInvalidMessage)
			assert.Equal(t, err, control.Err())
			require.NoError(t, call(ctx, new(map[string]any)), "the next one")
			assert.False(t, control.Failed())
		})
	}
	var control protorpc.Controller
	ctx := control.Context(t.Context())
	p := c.Start(ctx, "test.echo", params)
	require.NoError(t, p.Wait(ctx, nil))
	control.Reset()
	require.Error(t, p.Wait(ctx, new(int)))
	assert.False(t, control.Failed(), "the Controller does not follow it any more")
}
