package client_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
)

// ledger is a log that a test can read.
type ledger struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *ledger) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// panics returns how many the log tells of, each with the stack of where it was.
func (l *ledger) panics() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for line := range strings.Lines(l.text.String()) {
		if strings.Contains(line, "an interceptor panicked") && strings.Contains(line, "interceptors_panic_test.go") {
			n++
		}
	}
	return n
}

func (l *ledger) option() client.Option {
	return client.WithLogger(slog.New(slog.NewTextHandler(l, nil)))
}

// breaksAt panics at operations whose metadata says so: before they are done, or after.
func breaksAt(ctx context.Context, op *abstract.Operation, next abstract.Next) error {
	if op.Meta["panic"] == "before" {
		panic("before")
	}
	err := next(ctx, op)
	if op.Meta["panic"] == "after" {
		panic("after")
	}
	return err
}

func TestPanicOfInterceptorEndsTheCallThatNobodyWaitsFor(t *testing.T) {
	for way, call := range ways {
		if way == "call" {
			continue
		}
		for _, when := range []string{"before", "after"} {
			t.Run(way+" "+when, func(t *testing.T) {
				inFleet(t, func(f *fleet) {
					m := f.join(1, "a", answers)
					f.say(m.Provider)
					var log ledger
					c := f.client(client.WithInterceptors(breaksAt), log.option())
					_, err := call(c, ctx, nil, client.Metadata(map[string]string{"panic": when}))
					e := failedAs(f, err)
					assert.Equal(f, abstract.Internal, e.Code)
					assert.Equal(f, "call svc.do", e.Op)
					assert.Equal(f, abstract.SentUnknown, e.Sent)
					assert.Equal(f, 1, log.panics())
					who, err := call(c, ctx, nil)
					require.NoError(f, err, "the client goes on")
					assert.Equal(f, "a", who)
				})
			})
		}
	}
}

// The goroutine of who waits is the caller's, and so is the panic.
func TestPanicOfInterceptorIsThatOfWhoWaits(t *testing.T) {
	inFleet(t, func(f *fleet) {
		m := f.join(1, "a", answers)
		f.say(m.Provider)
		c := f.client(client.WithInterceptors(breaksAt))
		assert.PanicsWithValue(f, "before", func() {
			_ = c.Call(ctx, "svc.do", nil, nil, client.Metadata(map[string]string{"panic": "before"}))
		})
		require.NoError(f, c.Call(ctx, "svc.do", nil, nil))
	})
}

func TestPanicOfInterceptorEndsPublicationsAndPassesMessagesOver(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		var log ledger
		at := func(ctx context.Context, op *abstract.Operation, next abstract.Next) error {
			if op.Meta["at"] != op.Kind.String() {
				return next(ctx, op)
			}
			return breaksAt(ctx, op, next)
		}
		conn, err := client.Dial(ctx, "broker", client.WithTransport(w.net.Client), client.WithInterceptors(at), log.option())
		require.NoError(w, err)
		w.Cleanup(func() { require.NoError(w, conn.Close()) })
		topics := client.NewTopicClient(conn)
		require.NoError(w, topics.Create(ctx, "t"))
		var got []string
		_, err = topics.Subscribe(ctx, "t", func(m client.Message) { got = append(got, string(m.Data)) })
		require.NoError(w, err)
		fails := map[string]func(ctx context.Context, v any) error{
			"future": func(ctx context.Context, v any) error { return topics.PublishFuture(ctx, "t", v).Wait(ctx) },
			"func": func(ctx context.Context, v any) error {
				ended := make(chan error, 1)
				topics.PublishFunc(ctx, "t", v, func(err error) { ended <- err })
				return <-ended
			},
		}
		with := func(at, when string) context.Context {
			return abstract.WithMetadata(ctx, abstract.Metadata{"at": at, "panic": when})
		}
		for way, publish := range fails {
			got = nil
			before := log.panics()
			assert.Equal(w, abstract.Internal, failedAs(w, publish(with("publish", "before"), "no")).Code, way)
			assert.Equal(w, abstract.Internal, failedAs(w, publish(with("publish", "after"), "sent")).Code, way)
			require.NoError(w, publish(with("deliver", "before"), "passed over"), way)
			require.NoError(w, publish(with("deliver", "after"), "seen"), way)
			require.NoError(w, publish(ctx, "last"), way)
			synctest.Wait()
			assert.Equal(w, []string{`"sent"`, `"seen"`, `"last"`}, got, way)
			assert.Equal(w, 4, log.panics()-before, way)
		}
		ended := make(chan error, 1)
		topics.PublishFunc(with("publish", "before"), "t", func() {}, func(err error) { ended <- err })
		assert.Equal(w, abstract.SentNo, failedAs(w, <-ended).Sent, "no JSON")
	})
}

// Interceptors that take their time hold a publisher up for the client's timeout at most,
// and what they let through later is not sent.
func TestSlowInterceptorsHoldPublishersUpForATimeAtMost(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		slow := func(ctx context.Context, op *abstract.Operation, next abstract.Next) error {
			if d, err := time.ParseDuration(op.Meta["takes"]); err == nil && op.Kind == abstract.OpPublish {
				time.Sleep(d) // whatever becomes of ctx
			}
			return next(ctx, op)
		}
		topics := client.NewTopicClient(w.dial(client.WithInterceptors(slow), client.WithTimeout(5*time.Second)))
		require.NoError(w, topics.Create(ctx, "t"))
		var got []string
		_, err := topics.Subscribe(ctx, "t", func(m client.Message) { got = append(got, string(m.Data)) })
		require.NoError(w, err)
		takes := func(d string) context.Context { return abstract.WithMetadata(ctx, abstract.Metadata{"takes": d}) }

		begun := time.Now()
		late := topics.PublishFuture(takes("1m"), "t", "late")
		assert.Equal(w, 5*time.Second, time.Since(begun))
		e := failedAs(w, late.Wait(ctx))
		assert.Equal(w, abstract.Timeout, e.Code)
		assert.Equal(w, abstract.SentNo, e.Sent)

		begun = time.Now()
		short, cancel := context.WithTimeout(takes("1m"), time.Second)
		defer cancel()
		ended := make(chan error, 2)
		topics.PublishFunc(short, "t", "cut", func(err error) { ended <- err })
		assert.Equal(w, time.Second, time.Since(begun))
		e = failedAs(w, <-ended)
		assert.Equal(w, abstract.Timeout, e.Code)
		assert.Equal(w, abstract.SentNo, e.Sent)

		require.NoError(w, topics.PublishFuture(takes("2s"), "t", "in time").Wait(ctx))
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		assert.Equal(w, []string{`"in time"`}, got)
		assert.Empty(w, ended, "told once")
	})
}

// What nobody waits for is bounded, however long interceptors keep it.
func TestOperationsInsideInterceptorsAreBounded(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		const most = 10
		free := make(chan struct{})
		keep := func(ctx context.Context, op *abstract.Operation, next abstract.Next) error {
			err := next(ctx, op)
			<-free
			return err
		}
		dial := func() *client.Conn { return w.dial(client.WithInterceptors(keep), client.WithMaxPending(most)) }
		topics := client.NewTopicClient(dial())
		require.NoError(w, topics.Create(ctx, "t"))
		rpc := client.NewDirectRpcClient(dial())
		w.Cleanup(func() { _ = rpc.Close() })
		var publications []*client.PublishFuture
		var calls []*client.Future
		for range most {
			publications = append(publications, topics.PublishFuture(ctx, "t", 1))
			calls = append(calls, rpc.CallFuture(ctx, "no.such", nil))
		}
		synctest.Wait()
		for _, err := range []error{topics.PublishFuture(ctx, "t", 1).Wait(ctx), rpc.CallFuture(ctx, "no.such", nil).Wait(ctx, nil)} {
			e := failedAs(w, err)
			assert.Equal(w, abstract.Overloaded, e.Code)
			assert.Equal(w, abstract.SentNo, e.Sent)
		}
		close(free)
		for i := range most {
			assert.NoError(w, publications[i].Wait(ctx))
			assert.ErrorIs(w, calls[i].Wait(ctx, nil), abstract.ErrMethodNotFound)
		}
		assert.NoError(w, topics.PublishFuture(ctx, "t", 1).Wait(ctx), "there is room again")
	})
}
