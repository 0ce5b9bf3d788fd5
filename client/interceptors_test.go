package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/message"
	"trefoil/server"
)

// journal notes what interceptors see.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) note(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	lines := j.lines
	j.lines = nil
	return lines
}

// as is an interceptor that notes when it is entered and left.
func (j *journal) as(name string) abstract.Interceptor {
	return func(ctx context.Context, op *abstract.Operation, next abstract.Next) error {
		j.note("%s> %s %s", name, op.Kind, op.Name)
		err := next(ctx, op)
		j.note("%s< %s", name, abstract.CodeOf(err))
		return err
	}
}

// ways are the ways to call svc.do and to wait for the end.
var ways = map[string]func(c *client.RpcClient, ctx context.Context, params any, opts ...client.CallOption) (string, error){
	"call": func(c *client.RpcClient, ctx context.Context, params any, opts ...client.CallOption) (who string, err error) {
		err = c.Call(ctx, "svc.do", params, &who, opts...)
		return who, err
	},
	"future": func(c *client.RpcClient, ctx context.Context, params any, opts ...client.CallOption) (who string, err error) {
		err = c.CallFuture(ctx, "svc.do", params, opts...).Wait(ctx, &who)
		return who, err
	},
	"func": func(c *client.RpcClient, ctx context.Context, params any, opts ...client.CallOption) (who string, err error) {
		ended := make(chan struct{})
		c.StartFunc(ctx, "svc.do", params, func(r abstract.Result, problem error) {
			if err = problem; err == nil {
				err = r.Decode(&who)
			}
			close(ended)
		}, opts...)
		<-ended
		return who, err
	},
	"all": func(c *client.RpcClient, ctx context.Context, params any, opts ...client.CallOption) (who string, err error) {
		for r, problem := range c.All(ctx, "svc.do", params, opts...) {
			if err = problem; err == nil {
				err = r.Decode(&who)
			}
		}
		return who, err
	},
}

func TestInterceptorsStandAroundCalls(t *testing.T) {
	for way, call := range ways {
		t.Run(way, func(t *testing.T) {
			inFleet(t, func(f *fleet) {
				j := new(journal)
				m := f.join(1, "a", answers)
				f.say(m.Provider)
				add := func(ctx context.Context, op *abstract.Operation, next abstract.Next) error {
					op.Meta["added"] = "by an interceptor"
					delete(op.Meta, "secret")
					op.Params = map[string]int{"n": 2}
					err := next(ctx, op)
					if err == nil {
						j.note("result of %s", op.Result.(abstract.Result).From())
					}
					return err
				}
				c := f.client(client.WithInterceptors(j.as("outer"), j.as("inner")), client.WithInterceptors(add))
				meta := abstract.WithMetadata(ctx, abstract.Metadata{"from": "context", "secret": "1", "both": "context"})
				who, err := call(c, meta, map[string]int{"n": 1}, client.Metadata(map[string]string{"both": "call"}))
				require.NoError(f, err)
				assert.Equal(f, "a", who)
				assert.Equal(f, []string{"outer> call svc.do", "inner> call svc.do", "result of " + host(1), "inner< ok", "outer< ok"}, j.take())
				req := m.sent()[0]
				assert.Equal(f, abstract.Metadata{"added": "by an interceptor", "from": "context", "both": "call"}, req.Meta)
				assert.JSONEq(f, `{"n":2}`, string(req.Parameters))
				assert.Equal(f, abstract.Metadata{"from": "context", "secret": "1", "both": "context"}, abstract.OutgoingMetadata(meta), "untouched")

				m.now(refuses(abstract.Denied, ""))
				_, err = call(c, ctx, nil)
				assert.Equal(f, abstract.Denied, failedAs(f, err).Code)
				assert.Equal(f, []string{"outer> call svc.do", "inner> call svc.do", "inner< denied", "outer< denied"}, j.take())
			})
		})
	}
}

func TestInterceptorRefusesOrAnswersItself(t *testing.T) {
	own := errors.New("my own")
	for way, call := range ways {
		t.Run(way, func(t *testing.T) {
			inFleet(t, func(f *fleet) {
				m := f.join(1, "a", answers)
				f.say(m.Provider)
				refuse := func(context.Context, *abstract.Operation, abstract.Next) error { return fmt.Errorf("refused: %w", own) }
				_, err := call(f.client(client.WithInterceptors(refuse)), ctx, nil)
				require.ErrorIs(f, err, own)
				assert.EqualError(f, err, "refused: my own")

				cached := func(_ context.Context, op *abstract.Operation, _ abstract.Next) error {
					op.Result = client.Reply{Raw: json.RawMessage(`"cached"`)}
					return nil
				}
				who, err := call(f.client(client.WithInterceptors(cached)), ctx, nil)
				require.NoError(f, err)
				assert.Equal(f, "cached", who)

				silence := func(context.Context, *abstract.Operation, abstract.Next) error { return nil }
				_, err = call(f.client(client.WithInterceptors(silence)), ctx, nil)
				assert.Equal(f, abstract.Internal, failedAs(f, err).Code)
				assert.Equal(f, 0, m.did())
			})
		})
	}
}

func TestInterceptedFutureIsCancelledAndEndsWithItsClient(t *testing.T) {
	inFleet(t, func(f *fleet) {
		j := new(journal)
		m := f.join(1, "a", silent)
		f.say(m.Provider)
		c := f.client(client.WithInterceptors(j.as("i")))
		call := c.CallFuture(ctx, "svc.do", nil)
		synctest.Wait()
		call.Cancel()
		e := failedAs(f, call.Wait(ctx, nil))
		assert.Equal(f, abstract.Cancelled, e.Code)
		assert.Equal(f, abstract.SentUnknown, e.Sent)
		<-call.Done()
		synctest.Wait()
		assert.Equal(f, m.ids(), m.cancelled())

		over, cancel := context.WithCancel(ctx)
		call = c.CallFuture(over, "svc.do", nil)
		synctest.Wait()
		cancel()
		assert.Equal(f, abstract.Cancelled, failedAs(f, call.Wait(ctx, nil)).Code)

		assert.Equal(f, abstract.InvalidParams, failedAs(f, c.CallFuture(ctx, "svc.do", 7).Wait(ctx, nil)).Code)
		call = c.CallFuture(ctx, "svc.do", nil)
		synctest.Wait()
		require.NoError(f, c.Close())
		<-call.Done()
		assert.Error(f, call.Wait(ctx, nil))
		called := make(chan error)
		c.CallFunc(ctx, "svc.do", nil, func(_ client.Reply, err error) { called <- err })
		assert.Equal(f, abstract.Disconnected, failedAs(f, <-called).Code)
		assert.Equal(f, abstract.Disconnected, failedAs(f, c.CallFuture(ctx, "svc.do", nil).Wait(ctx, nil)).Code)
	})
}

func TestInterceptorsStandAroundSend(t *testing.T) {
	inFleet(t, func(f *fleet) {
		j := new(journal)
		m := f.join(1, "a", silent)
		f.say(m.Provider)
		c := f.client(client.WithInterceptors(j.as("i")))
		require.NoError(f, c.Send(ctx, "svc.do", nil, client.Metadata(map[string]string{"k": "v"})))
		synctest.Wait()
		assert.Equal(f, []string{"i> send svc.do", "i< ok"}, j.take())
		assert.Equal(f, abstract.Metadata{"k": "v"}, m.sent()[0].Meta)
		assert.True(f, m.sent()[0].OneWay)
	})
}

// Each instance that All calls is an operation of its own.
func TestInterceptorsSeeEachCallOfAll(t *testing.T) {
	inFleet(t, func(f *fleet) {
		j := new(journal)
		var list []abstract.Provider
		for i := range 3 {
			list = append(list, f.join(i, string(rune('a'+i)), answers).Provider)
		}
		f.say(list...)
		who, errs := all(ctx, f.T, f.client(client.WithInterceptors(j.as("i"))))
		assert.ElementsMatch(f, []string{"a", "b", "c"}, who)
		assert.Empty(f, errs)
		seen := j.take()
		slices.Sort(seen)
		assert.Equal(f, []string{"i< ok", "i< ok", "i< ok", "i> call svc.do", "i> call svc.do", "i> call svc.do"}, seen)
	})
}

func TestInterceptorsStandAroundPublishingAndDelivering(t *testing.T) {
	type mine struct{}
	inWorld(t, func(w *world) {
		w.broker()
		j := new(journal)
		stamp := func(ctx context.Context, op *abstract.Operation, next abstract.Next) error {
			if op.Kind == abstract.OpPublish {
				op.Meta["stamp"] = "1"
				return next(ctx, op)
			}
			j.note("came with %s, %s", op.Meta["stamp"], op.Params)
			return next(context.WithValue(ctx, mine{}, "mine"), op)
		}
		topics := client.NewTopicClient(w.dial(client.WithInterceptors(j.as("i"), stamp)))
		require.NoError(w, topics.Create(ctx, "t"))
		assert.Empty(w, j.take(), "creating is not for them")
		got := make(chan string, 10)
		sub, err := topics.SubscribeFunc(ctx, "t", func(ctx context.Context, d abstract.Delivery) {
			j.note("callback %s %s", ctx.Value(mine{}), abstract.MetadataOf(ctx)["stamp"])
			var text string
			assert.NoError(w, d.Decode(&text))
			got <- text
		})
		require.NoError(w, err)
		for _, publish := range map[string]func(v any) error{
			"wait":   func(v any) error { return topics.Publish(ctx, "t", v) },
			"future": func(v any) error { return topics.PublishFuture(ctx, "t", v).Wait(ctx) },
			"func": func(v any) error {
				ended := make(chan error, 1)
				topics.PublishFunc(ctx, "t", v, func(err error) { ended <- err })
				return <-ended
			},
		} {
			require.NoError(w, publish("hi"))
			assert.Equal(w, "hi", <-got)
			synctest.Wait()
			seen := j.take()
			assert.ElementsMatch(w, []string{
				"i> publish t", "i< ok", "i> deliver t", `came with 1, "hi"`, "callback mine 1", "i< ok",
			}, seen)
			assert.Error(w, publish(func() {}), "no JSON")
			j.take()
		}
		require.NoError(w, sub.Cancel(ctx))

		loop := make(chan struct{})
		go func() {
			defer close(loop)
			for d, err := range topics.Deliveries(ctx, "t") {
				assert.NoError(w, err)
				j.note("loop %s %s", d.Context().Value(mine{}), abstract.MetadataOf(d.Context())["stamp"])
				return
			}
		}()
		synctest.Wait()
		require.NoError(w, topics.Publish(ctx, "t", "again"))
		<-loop
		assert.Contains(w, j.take(), "loop mine 1")
	})
}

// A message that interceptors refuse is passed over; one that they refuse to publish is
// not sent.
func TestInterceptorsRefuseMessages(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		refuse := func(ctx context.Context, op *abstract.Operation, next abstract.Next) error {
			if op.Meta["for"] == op.Kind.String() {
				return abstract.Errorf(abstract.Denied, "not this one")
			}
			return next(ctx, op)
		}
		topics := client.NewTopicClient(w.dial(client.WithInterceptors(refuse)))
		require.NoError(w, topics.Create(ctx, "t"))
		var called, looped []string
		_, err := topics.Subscribe(ctx, "t", func(m client.Message) { called = append(called, string(m.Data)) })
		require.NoError(w, err)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for m, err := range topics.Messages(ctx, "t") {
				assert.NoError(w, err)
				if looped = append(looped, string(m.Data)); len(looped) == 2 {
					return
				}
			}
		}()
		synctest.Wait()
		publish := func(v int, who string) error {
			return topics.Publish(abstract.WithMetadata(ctx, abstract.Metadata{"for": who}), "t", v)
		}
		require.NoError(w, publish(1, "nobody"))
		assert.ErrorIs(w, publish(2, "publish"), abstract.ErrDenied)
		require.NoError(w, publish(3, "deliver"))
		require.NoError(w, publish(4, "nobody"))
		<-ended
		synctest.Wait()
		assert.Equal(w, []string{"1", "4"}, called)
		assert.Equal(w, []string{"1", "4"}, looped)
	})
}

// Messages that nobody waits for stay in order, however long an interceptor takes
// after each.
func TestInterceptedPublicationsKeepTheirOrder(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		topics := client.NewTopicClient(w.dial(client.WithInterceptors(new(journal).as("i"))))
		require.NoError(w, topics.Create(ctx, "t"))
		const messages = 200
		var got []string
		_, err := topics.Subscribe(ctx, "t", func(m client.Message) { got = append(got, string(m.Data)) })
		require.NoError(w, err)
		var want []string
		var last *client.PublishFuture
		for i := range messages {
			want = append(want, fmt.Sprint(i))
			last = topics.PublishFuture(ctx, "t", i)
		}
		require.NoError(w, last.Wait(ctx))
		synctest.Wait()
		assert.Equal(w, want, got)
	})
}

// TestCloseEndsInterceptedPublications: one whose interceptor waits for its context, and
// those that wait for the broker. Close waits for their callbacks.
func TestCloseEndsInterceptedPublications(t *testing.T) {
	inWorld(t, func(w *world) {
		b := w.broker()
		wait := func(ctx context.Context, op *abstract.Operation, next abstract.Next) error {
			if op.Meta["wait"] != "" {
				<-ctx.Done()
				return ctx.Err()
			}
			return next(ctx, op)
		}
		conn := w.dial(client.WithInterceptors(wait))
		topics := client.NewTopicClient(conn)
		b.stop()
		synctest.Wait()
		called := 0
		publish := func(ctx context.Context) {
			topics.PublishFunc(ctx, "news", 1, func(err error) {
				assert.ErrorIs(w, err, abstract.ErrDisconnected)
				called++
			})
		}
		go publish(abstract.WithMetadata(context.Background(), abstract.Metadata{"wait": "yes"}))
		for range 5 {
			publish(context.Background())
		}
		synctest.Wait()
		require.NoError(w, conn.Close())
		assert.Equal(w, 6, called)
		synctest.Wait()
	})
}

func TestMetadataReachesTheHandlerDirectlyAndThroughTheBroker(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		reg := w.dial()
		got := make(chan string, 4)
		srv := server.NewRpcServer("host-1:9000", server.WithTransport(w.net.Server), server.WithLogger(quiet), server.WithRegistry(client.NewRegistryClient(reg)))
		require.NoError(w, server.Handle(srv, "svc.do", func(ctx context.Context, _ struct{}) (int, error) {
			p, ok := abstract.PeerOf(ctx)
			assert.True(w, ok && p.Addr != "" && p.Identity == "")
			inner, cancel := context.WithCancel(ctx)
			defer cancel()
			meta := abstract.MetadataOf(inner)
			got <- fmt.Sprint(meta["k"], len(meta), len(abstract.OutgoingMetadata(ctx)))
			return 0, nil
		}))
		w.run(srv)
		synctest.Wait()
		calls := w.rpc(client.NewDiscoveryClient(w.dial()))
		with := client.Metadata(map[string]string{"k": "wért \"q\"\n"})
		for _, opts := range [][]client.CallOption{{with}, {with, client.Relay()}} {
			require.NoError(w, calls.Call(ctx, "svc.do", nil, nil, opts...))
			assert.Equal(w, "wért \"q\"\n1 0", <-got)
			require.NoError(w, calls.Send(ctx, "svc.do", nil, opts...))
			assert.Equal(w, "wért \"q\"\n1 0", <-got, "one way")
		}
		synctest.Wait()
		require.NoError(w, calls.Call(ctx, "svc.do", nil, nil))
		assert.Equal(w, "0 0", strings.TrimSpace(<-got))
	})
}

func TestMetadataBeyondTheLimitsIsNotSent(t *testing.T) {
	many := make(abstract.Metadata)
	for i := range abstract.MaxMetadataLen + 1 {
		many[fmt.Sprint(i)] = ""
	}
	tests := map[string]abstract.Metadata{
		"capitals in a name": {"Name": "v"}, "an empty name": {"": "v"}, "a long name": {strings.Repeat("n", 65): "v"},
		"too many": many, "too long": {"n": strings.Repeat("v", abstract.MaxMetadata)},
	}
	for name, meta := range tests {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(f *fleet) {
				m := f.join(1, "a", answers)
				f.say(m.Provider)
				e := failedAs(f, f.client().Call(ctx, "svc.do", nil, nil, client.Metadata(meta)))
				assert.Equal(f, abstract.InvalidParams, e.Code)
				assert.Equal(f, abstract.SentNo, e.Sent)
				assert.Equal(f, 0, m.did())
			})
		})
	}
	inWorld(t, func(w *world) {
		w.broker()
		topics := client.NewTopicClient(w.dial())
		require.NoError(w, topics.Create(ctx, "t"))
		e := failedAs(w, topics.Publish(abstract.WithMetadata(ctx, many), "t", 1))
		assert.Equal(w, abstract.InvalidParams, e.Code)
		assert.Equal(w, abstract.SentNo, e.Sent)
	})
}

// A request that has to be sent again, or to a second provider, takes its metadata along.
func TestMetadataGoesWithEveryAttempt(t *testing.T) {
	inFleet(t, func(f *fleet) {
		var list []abstract.Provider
		var all []*member
		for i := range 3 {
			m := f.join(i, string(rune('a'+i)), hangsUp)
			all, list = append(all, m), append(list, m.Provider)
		}
		all[2].now(silent)
		f.say(list...)
		c := f.client()
		call := c.CallFuture(ctx, "svc.do", nil, client.Idempotent(), client.HedgeAfter(1), client.Metadata(map[string]string{"k": "v"}), client.Timeout(1e9))
		assert.Error(f, call.Wait(ctx, nil))
		var requests []*message.RpcRequest
		for _, m := range all {
			requests = append(requests, m.sent()...)
		}
		require.GreaterOrEqual(f, len(requests), 2)
		for _, r := range requests {
			assert.Equal(f, abstract.Metadata{"k": "v"}, r.Meta)
		}
	})
}
