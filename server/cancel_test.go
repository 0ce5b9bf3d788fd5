package server_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/mem"
	"trefoil/concrete/message"
	"trefoil/server"
)

// patient is a connection without deadlines.
type patient struct{ net.Conn }

func (patient) SetReadDeadline(time.Time) error { return nil }

// places are the transports that a server of calls can have, and how raw peers get there.
func places(t *testing.T) map[string]func(*testing.T, func(addr string, o server.Option) abstract.BaseServer) func() *raw {
	over := func(tr server.Transport) func(*testing.T, func(string, server.Option) abstract.BaseServer) func() *raw {
		return func(t *testing.T, make func(string, server.Option) abstract.BaseServer) func() *raw {
			srv := serve(t, make("127.0.0.1:0", server.WithTransport(tr)))
			return func() *raw { return dialRaw(t, srv.Addr()) }
		}
	}
	return map[string]func(*testing.T, func(string, server.Option) abstract.BaseServer) func() *raw{
		"netpoll":      over(chosen),
		"standard net": over(server.StandardNet),
		"mem": func(t *testing.T, make func(string, server.Option) abstract.BaseServer) func() *raw {
			network := mem.NewNetwork()
			serve(t, make("srv", server.WithTransport(network.Server)))
			return func() *raw { return rawOver(t, network, "srv") }
		},
	}
}

// chosen is the transport that a server has when nothing is said.
func chosen(addr string, cfg abstract.TransportConfig) abstract.BaseServer {
	return server.Netpoll(addr, cfg)
}

func rawOver(t *testing.T, network *mem.Network, name string) *raw {
	t.Helper()
	conn, err := network.Dial(context.Background(), name)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return &raw{t, patient{conn}}
}

// waiter is a method whose calls say that they have begun, and wait for their end.
type waiter struct {
	begun  chan string // the parameters
	causes chan error
}

func newWaiter() *waiter {
	return &waiter{begun: make(chan string, 100), causes: make(chan error, 100)}
}

func (w *waiter) serve(ctx context.Context, params message.Raw) (any, error) {
	w.begun <- string(params)
	<-ctx.Done()
	w.causes <- context.Cause(ctx)
	return nil, ctx.Err()
}

func (w *waiter) on(t *testing.T, srv handles) {
	require.NoError(t, srv.HandleFunc(server.Description{Method: "wait", Result: "any", Parameters: []server.Parameter{}}, w.serve))
}

func wait(id string) frame { return frame{0, id, `{"method":"wait","parameters":{}}`} }

// TestCancelEndsTheHandlersContext, wherever the handler runs: inside the turn of its
// connection, or on the workers.
func TestCancelEndsTheHandlersContext(t *testing.T) {
	for name, place := range places(t) {
		for where, opts := range map[string][]server.Option{"inline": nil, "on workers": {server.WithHandlers(10, 10)}} {
			t.Run(name+" "+where, func(t *testing.T) {
				w := newWaiter()
				dial := place(t, func(addr string, o server.Option) abstract.BaseServer {
					srv := server.NewRpcServer(addr, append(opts, o, server.WithLogger(quietLog()))...)
					w.on(t, srv)
					return srv
				})
				r := dial().hello()
				r.send(wait("1"))
				<-w.begun
				r.send(frame{23, "other", `{}`}, frame{23, "1", `{}`})
				f := r.expectNot(18)
				assert.Equal(t, "1", f.id)
				assert.Equal(t, 17, f.rcode())
				cause := <-w.causes
				require.ErrorIs(t, cause, abstract.ErrCancelled)
				assert.Contains(t, cause.Error(), "the caller has cancelled")
				r.send(frame{23, "1", `{}`}, frame{0, "2", `{"method":"none","parameters":{}}`}) // of a call that has ended
				assert.Equal(t, "2", r.expectNot(18).id)
			})
		}
	}
}

// TestCancelIsSeenSoon: a handler hears of it within 10 ms, also while it holds up
// the turn that the CANCEL comes in.
func TestCancelIsSeenSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := mem.NewNetwork()
		srv := server.NewRpcServer("srv", server.WithTransport(network.Server), server.WithLogger(quietLog()))
		w := newWaiter()
		w.on(t, srv)
		serve(t, srv)
		r := rawOver(t, network, "srv").hello()
		for i := range 20 {
			r.send(wait("1"))
			if i == 0 {
				r.send(frame{23, "1", `{}`}) // while its turn goes on
			}
			<-w.begun
			if i > 0 {
				r.send(frame{23, "1", `{}`})
			}
			sent := time.Now()
			assert.ErrorIs(t, <-w.causes, abstract.ErrCancelled)
			assert.LessOrEqual(t, time.Since(sent), 10*time.Millisecond)
			assert.Equal(t, 17, r.expect().rcode())
		}
	})
}

// TestCancelledCallThatWaitsNeverRuns: its handler is not free yet.
func TestCancelledCallThatWaitsNeverRuns(t *testing.T) {
	w := newWaiter()
	srv := server.NewRpcServer("127.0.0.1:0", server.WithHandlers(1, 10), server.WithLogger(quietLog()))
	w.on(t, srv)
	serve(t, srv)
	r := dialRaw(t, srv.Addr()).hello()
	r.send(wait("1"))
	<-w.begun
	r.send(wait("2"), wait("3"), frame{23, "2", `{}`}, frame{23, "1", `{}`})
	assert.Equal(t, "1", r.expectNot(18).id)
	f := r.expectNot(18)
	assert.Equal(t, "2", f.id)
	assert.Equal(t, 17, f.rcode())
	<-w.begun
	r.send(frame{23, "3", `{}`})
	assert.Equal(t, "3", r.expectNot(18).id)
	assert.Empty(t, w.begun, "the second call has run")
}

// TestCancelOfOneCallLeavesTheOthers of the same connection, and those of others with
// the same id.
func TestCancelOfOneCallLeavesTheOthers(t *testing.T) {
	w := newWaiter()
	srv := server.NewRpcServer("127.0.0.1:0", server.WithHandlers(10, 10), server.WithLogger(quietLog()))
	w.on(t, srv)
	serve(t, srv)
	r, other := dialRaw(t, srv.Addr()).hello(), dialRaw(t, srv.Addr()).hello()
	r.send(wait("1"), wait("2"))
	other.send(wait("1"))
	for range 3 {
		<-w.begun
	}
	r.send(frame{23, "1", `{}`})
	assert.Equal(t, "1", r.expectNot(18).id)
	require.ErrorIs(t, <-w.causes, abstract.ErrCancelled)
	assert.Empty(t, w.causes)
	r.send(frame{23, "2", `{}`})
	assert.Equal(t, "2", r.expectNot(18).id)
	other.send(frame{23, "1", `{}`})
	assert.Equal(t, "1", other.expectNot(18).id)
}

// TestContextsOfAHandlerKnowTheCall: what is made of a handler's context ends with it,
// for the same cause, and says until when the caller waits.
func TestContextsOfAHandlerKnowTheCall(t *testing.T) {
	type key struct{}
	synctest.Test(t, func(t *testing.T) {
		network := mem.NewNetwork()
		srv := server.NewRpcServer("srv", server.WithTransport(network.Server), server.WithLogger(quietLog()))
		var seen sync.WaitGroup
		begun := make(chan time.Duration, 2)
		require.NoError(t, server.Handle(srv, "m", func(ctx context.Context, _ struct{}) (int, error) {
			defer seen.Done()
			child, cancel := context.WithTimeout(context.WithValue(ctx, key{}, 7), time.Hour)
			defer cancel()
			call := abstract.CallOf(child)
			if !assert.NotNil(t, call) {
				return 0, nil
			}
			deadline, ok := call.CallDeadline()
			assert.True(t, ok)
			begun <- time.Until(deadline)
			<-child.Done()
			assert.Equal(t, 7, child.Value(key{}))
			assert.Equal(t, context.Cause(ctx), context.Cause(child))
			return 0, context.Cause(child)
		}))
		serve(t, srv)
		assert.Nil(t, abstract.CallOf(t.Context()))
		r := rawOver(t, network, "srv").hello()
		seen.Add(2)
		r.send(frame{0, "1", `{"method":"m","parameters":{},"timeout_ms":100}`})
		assert.Equal(t, 100*time.Millisecond, <-begun)
		assert.Equal(t, 16, r.expect().rcode())
		r.send(frame{0, "2", `{"method":"m","parameters":{},"timeout_ms":100}`})
		<-begun
		r.send(frame{23, "2", `{}`})
		assert.Equal(t, 17, r.expect().rcode())
		seen.Wait()
	})
}

// TestRequestWhoseTimeIsOverBeforeItsTurnIsRefused: those before it in the batch
// took too long.
func TestRequestWhoseTimeIsOverBeforeItsTurnIsRefused(t *testing.T) {
	for name, each := range map[string]time.Duration{
		"one handler holds up the turn":  30 * time.Millisecond,
		"each is too fast for that":      800 * time.Microsecond,
		"the method is known to be slow": 10 * time.Millisecond,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network := mem.NewNetwork()
				srv := server.NewRpcServer("srv", server.WithTransport(network.Server), server.WithLogger(quietLog()), server.WithHandlers(1, 1000))
				if each < time.Millisecond {
					srv = server.NewRpcServer("srv", server.WithTransport(network.Server), server.WithLogger(quietLog()))
				}
				require.NoError(t, server.Handle(srv, "busy", func(context.Context, struct{}) (int, error) {
					time.Sleep(each)
					return 1, nil
				}))
				ran := false
				require.NoError(t, server.Handle(srv, "late", func(context.Context, struct{}) (int, error) { ran = true; return 1, nil }))
				serve(t, srv)
				r := rawOver(t, network, "srv").hello()
				var batch []frame
				for range 40 {
					batch = append(batch, frame{0, "b", `{"method":"busy","parameters":{}}`})
				}
				r.send(append(batch, frame{0, "l", `{"method":"late","parameters":{},"timeout_ms":20}`})...)
				for range batch {
					f := r.expectNot(18)
					if f.id == "l" { // it may be answered before
						f = r.expectNot(18)
					}
					assert.Equal(t, 0, f.rcode())
				}
				synctest.Wait()
				assert.False(t, ran)
			})
		})
	}
}

// TestHelloForAnotherInstanceIsRefused: the process that the caller knows has gone,
// and another one has its address.
func TestHelloForAnotherInstanceIsRefused(t *testing.T) {
	hello := func(instance string) frame {
		return frame{16, "h", sprintf(`{"version":1,"agent":"test","max_frame":8388608,"instance":%q}`, instance)}
	}
	for name, srv := range map[string]abstract.BaseServer{
		"rpc server": server.NewRpcServer("127.0.0.1:0", server.WithInstance("me"), server.WithLogger(quietLog())),
		"broker":     newBroker(server.WithInstance("me"), server.WithLogger(quietLog())),
	} {
		t.Run(name, func(t *testing.T) {
			serve(t, srv)
			r := dialRaw(t, srv.Addr())
			r.send(hello("another"))
			f := r.expect()
			assert.Equal(t, int32(17), f.mtype)
			assert.Equal(t, 30, f.rcode())
			r.expectClosed()
			r = dialRaw(t, srv.Addr())
			r.send(hello("me"))
			assert.Equal(t, 0, r.expect().rcode())
			r.send(frame{0, "1", `{"method":"m","parameters":{},"instance":"another"}`}, frame{0, "2", `{"method":"m","parameters":{},"instance":"me"}`})
			assert.Equal(t, 30, r.expectNot(18).rcode())
			assert.Equal(t, 6, r.expectNot(18).rcode())
		})
	}
	topics := serve(t, server.NewTopicServer("127.0.0.1:0", server.WithLogger(quietLog())))
	r := dialRaw(t, topics.Addr())
	r.send(hello("another"))
	assert.Equal(t, 0, r.expect().rcode(), "a server without methods has no instance")
}

func TestInstancesDifferUnlessTheyAreGiven(t *testing.T) {
	one, other := server.NewRpcServer(":0"), server.NewRpcServer(":0")
	assert.NotEqual(t, one.Instance(), other.Instance())
	assert.Equal(t, "me", server.NewRpcServer(":0", server.WithInstance("me")).Instance())
}
