package server_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/server"
)

// The pushed frame is the publisher's, with what it carries beside its message, and its
// offset; an existing program gets it without that, and passes over what it does not know.
func TestMetadataOfAMessageReachesSubscribersAsItCame(t *testing.T) {
	b := broker(t, server.WithLogger(quiet))
	modern, legacy, pub := dialRaw(t, b.Addr()).hello(), dialRaw(t, b.Addr()), dialRaw(t, b.Addr()).hello()
	pub.send(frame{2, "1", `{"optype":0,"topic_key":"t"}`})
	require.Equal(t, 0, pub.expect().rcode())
	for _, sub := range []*raw{modern, legacy} {
		sub.send(frame{2, "s", `{"optype":2,"topic_key":"t"}`})
		require.Equal(t, 0, sub.expect().rcode())
	}
	text := frame{2, "p1", `{"optype":4,"topic_key":"t","topic_msg":"hi","meta":{ "traceparent": "00-ab-01" }}`}
	number := frame{2, "p2", `{"optype":4,"topic_key":"t","topic_msg":7,"meta":{"k":"v"}}`}
	pub.send(text, number)
	require.Equal(t, 0, pub.expect().rcode())
	require.Equal(t, 0, pub.expect().rcode())
	at := func(f frame, offset string) frame {
		f.body = f.body[:len(f.body)-1] + `,"offset":` + offset + `}`
		return f
	}
	assert.Equal(t, []frame{at(text, "1"), at(number, "2")}, []frame{modern.expect(), modern.expect()})
	assert.Equal(t, text, legacy.expect())
	assert.Equal(t, frame{2, "p2", `{"optype":4,"topic_key":"t","topic_msg":"7"}`}, legacy.expect(), "as a string, which is written anew")
}

func TestMetadataThatCannotBeTakenIsRefused(t *testing.T) {
	b := broker(t, server.WithLogger(quiet))
	for _, r := range []*raw{dialRaw(t, b.Addr()), dialRaw(t, b.Addr()).hello()} {
		r.send(frame{2, "c", `{"optype":0,"topic_key":"t"}`})
		require.Equal(t, 0, r.expect().rcode())
		for _, meta := range []string{`7`, `[]`, `{"a":1}`, `{"A":"v"}`, `{"":"v"}`, `{"a":null}`, `{"a":"` + repeat("v", 8<<10) + `"}`, `null`} {
			r.send(frame{0, "1", `{"method":"Add","parameters":{"num1":1,"num2":2},"meta":` + meta + `}`})
			rsp := r.expect()
			assert.Equal(t, 5, rsp.rcode(), meta)
			assert.Contains(t, rsp.body, "meta", meta)
			r.send(frame{2, "2", `{"optype":4,"topic_key":"t","topic_msg":1,"meta":` + meta + `}`})
			assert.Equal(t, 5, r.expect().rcode(), meta)
		}
		r.send(frame{0, "1", `{"method":"Add","parameters":{"num1":1,"num2":2},"meta":{}}`})
		assert.Equal(t, 0, r.expect().rcode())
	}
}

// A modern peer that waits for no answer gets none, neither a result nor a refusal;
// existing programs always get one.
func TestRequestsWithoutAnswer(t *testing.T) {
	called := make(chan int, 20)
	for name, opt := range map[string]server.Option{"in the turn": server.WithPing(time.Minute, 5), "on workers": server.WithHandlers(4, 16)} {
		t.Run(name, func(t *testing.T) {
			b := newBroker(opt, server.WithLogger(quiet))
			require.NoError(t, server.Handle(b, "note", func(_ context.Context, in addArgs) (int, error) {
				called <- in.Num1
				if in.Num2 > 0 {
					return 0, abstract.Errorf(abstract.Denied, "no")
				}
				return in.Num1, nil
			}))
			serve(t, b)
			modern, legacy := dialRaw(t, b.Addr()).hello(), dialRaw(t, b.Addr())
			requests := []frame{
				{0, "1", `{"method":"note","parameters":{"num1":1,"num2":0},"oneway":1}`},
				{0, "2", `{"method":"note","parameters":{"num1":1,"num2":1},"oneway":1}`},
				{0, "3", `{"method":"note","parameters":{"num1":"x"},"oneway":true}`},
				{0, "4", `{"method":"none","parameters":{},"oneway":1}`},
				{0, "5", `{"method":"note","parameters":[],"oneway":1}`},
				{0, "6", `{"method":"none","parameters":{},"oneway":1,"relay":1}`},
			}
			modern.send(requests...)
			modern.silent()
			assert.Equal(t, 2, (<-called)+(<-called))
			for _, r := range requests {
				legacy.send(r)
				assert.Equal(t, r.id, legacy.expect().id)
			}
			assert.Equal(t, 2, (<-called)+(<-called))
			modern.send(frame{0, "7", `{"method":"note","parameters":{"num1":1,"num2":0},"oneway":0}`})
			assert.Equal(t, "7", modern.expect().id)
			assert.Equal(t, 1, <-called)
		})
	}
}

// A handler knows who has called: the address, and with a policy the identity.
func TestHandlerKnowsItsCaller(t *testing.T) {
	b := newBroker(server.WithLogger(quiet))
	require.NoError(t, server.Handle(b, "who", func(ctx context.Context, _ struct{}) (string, error) {
		p, ok := abstract.PeerOf(ctx)
		return fmt.Sprint(ok, p.Addr, p.Identity), nil
	}))
	serve(t, b)
	r := dialRaw(t, b.Addr())
	r.send(frame{0, "1", `{"method":"who","parameters":{}}`})
	assert.Equal(t, "true"+r.LocalAddr().String(), r.expect().field("result"))
	_, ok := abstract.PeerOf(t.Context())
	assert.False(t, ok)
}

// A handler whose caller waits for nothing goes on when that has gone, until its time
// is over or the server stops.
func TestHandlerOutlivesACallerThatWaitsForNothing(t *testing.T) {
	for name, opt := range map[string]server.Option{"in the turn": server.WithPing(time.Minute, 5), "on workers": server.WithHandlers(4, 16)} {
		t.Run(name, func(t *testing.T) {
			srv := server.NewRpcServer("127.0.0.1:0", server.WithPing(time.Minute, 5), server.WithSessions(time.Minute, 5), opt, server.WithLogger(quiet))
			unheard, heard, ended := make(chan context.Context, 1), make(chan context.Context, 1), make(chan error, 2)
			require.NoError(t, server.Handle(srv, "note", func(ctx context.Context, in addArgs) (int, error) {
				map[int]chan context.Context{1: unheard, 2: heard}[in.Num1] <- ctx
				<-ctx.Done()
				ended <- ctx.Err()
				return 0, nil
			}))
			require.NoError(t, srv.Listen())
			served := make(chan error, 1)
			go func() { served <- srv.Serve() }()
			r := dialRaw(t, srv.Addr()).hello()
			r.send(frame{0, "1", `{"method":"note","parameters":{"num1":1,"num2":0},"oneway":1}`}, frame{0, "2", `{"method":"note","parameters":{"num1":2,"num2":0}}`})
			first := <-unheard
			<-heard
			require.NoError(t, r.Close())
			assert.ErrorIs(t, <-ended, context.Canceled, "of the call that is waited for")
			assert.NoError(t, first.Err())
			over, cancel := context.WithCancel(context.Background())
			cancel()
			_ = srv.Shutdown(over)
			assert.ErrorIs(t, <-ended, context.Canceled)
			require.NoError(t, <-served)
		})
	}
}
