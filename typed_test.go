package trefoil_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil"
	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/mem"
	"trefoil/server"
)

var quiet = slog.New(slog.DiscardHandler)

// world is a broker with a client in one process.
type world struct {
	net    *mem.Network
	broker *server.Broker
	conn   *client.Conn
	calls  *client.RpcClient // of the broker itself
	topics *client.TopicClient
}

func newWorld(t *testing.T, opts ...client.Option) *world {
	t.Helper()
	w := &world{net: mem.NewNetwork()}
	w.broker = server.NewBroker("broker", server.WithTransport(w.net.Server), server.WithLogger(quiet))
	require.NoError(t, w.broker.Listen())
	ended := make(chan error, 1)
	go func() { ended <- w.broker.Serve() }()
	const wait = 2 * time.Minute // on a machine that stands still for a moment, too
	opts = append([]client.Option{client.WithTransport(w.net.Client), client.WithLogger(quiet), client.WithTimeout(wait), client.WithHelloTimeout(wait), client.WithConnectTimeout(wait)}, opts...)
	var err error
	w.conn, err = client.Dial(t.Context(), "broker", opts...)
	require.NoError(t, err)
	w.calls, w.topics = client.NewDirectRpcClient(w.conn), client.NewTopicClient(w.conn)
	t.Cleanup(func() {
		assert.NoError(t, w.calls.Close())
		assert.NoError(t, w.conn.Close())
		assert.NoError(t, w.broker.Shutdown(context.Background()))
		assert.NoError(t, <-ended)
	})
	return w
}

type addArgs struct {
	Num1 int `json:"num1"`
	Num2 int `json:"num2"`
}

var add = trefoil.NewMethod[addArgs, int]("math.add", trefoil.Idempotent(), trefoil.Timeout(time.Minute))

func sum(_ context.Context, in addArgs) (int, error) {
	if in.Num1 == 0 {
		return 0, abstract.Errorf(abstract.Denied, "no zeros")
	}
	return in.Num1 + in.Num2, nil
}

func TestMethodIsCalledInEveryWay(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, add.Handle(w.broker, sum))
	require.ErrorIs(t, add.Handle(w.broker, sum), abstract.ErrExists)
	ctx := t.Context()
	type outcome struct {
		n   int
		err error
	}
	ways := map[string]func(in addArgs) (int, error){
		"call":   func(in addArgs) (int, error) { return add.Call(ctx, w.calls, in) },
		"future": func(in addArgs) (int, error) { return add.CallFuture(ctx, w.calls, in).Wait(ctx) },
		"func": func(in addArgs) (int, error) {
			ended := make(chan outcome, 1)
			add.CallFunc(ctx, w.calls, in, func(n int, err error) { ended <- outcome{n, err} })
			o := <-ended
			return o.n, o.err
		},
		"all": func(in addArgs) (n int, err error) {
			pairs := 0
			for a, e := range add.All(ctx, w.calls, in) {
				assert.NotEmpty(t, a.From, "whether it has answered or not")
				n, err = a.Value, e
				pairs++
			}
			assert.Equal(t, 1, pairs)
			return n, err
		},
		"untyped": func(in addArgs) (n int, err error) {
			err = w.calls.Call(ctx, "math.add", map[string]any{"num1": in.Num1, "num2": in.Num2}, &n)
			return n, err
		},
	}
	for name, call := range ways {
		t.Run(name, func(t *testing.T) {
			n, err := call(addArgs{1, 2})
			require.NoError(t, err)
			assert.Equal(t, 3, n)
			n, err = call(addArgs{0, 2})
			require.ErrorIs(t, err, abstract.ErrDenied)
			assert.ErrorContains(t, err, "no zeros")
			assert.Zero(t, n)
		})
	}
}

func TestFutureIsCancelledAndWaitedForOften(t *testing.T) {
	w := newWorld(t)
	slow := trefoil.NewMethod[struct{}, int]("slow")
	begun, ended := make(chan struct{}), make(chan error, 1)
	require.NoError(t, slow.Handle(w.broker, func(ctx context.Context, _ struct{}) (int, error) {
		close(begun)
		<-ctx.Done()
		ended <- ctx.Err()
		return 0, ctx.Err()
	}))
	ctx := t.Context()
	f := slow.CallFuture(ctx, w.calls, struct{}{})
	<-begun
	over, cancel := context.WithCancel(ctx)
	cancel()
	_, err := f.Wait(over)
	require.ErrorIs(t, err, abstract.ErrCancelled)
	select {
	case <-f.Done():
		assert.Fail(t, "the call goes on")
	default:
	}
	f.Cancel()
	<-f.Done()
	for range 2 {
		_, err = f.Wait(ctx)
		require.ErrorIs(t, err, abstract.ErrCancelled)
	}
	assert.ErrorIs(t, <-ended, context.Canceled)
}

func TestResultThatDoesNotFitIsAnError(t *testing.T) {
	w := newWorld(t)
	text := trefoil.NewMethod[addArgs, string]("math.add")
	require.NoError(t, text.Handle(w.broker, func(context.Context, addArgs) (string, error) { return "three", nil }))
	n, err := add.Call(t.Context(), w.calls, addArgs{1, 2})
	require.ErrorIs(t, err, abstract.ErrInvalidMessage)
	assert.Zero(t, n)
}

func TestParametersThatDoNotFitNeverReachTheHandler(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, add.Handle(w.broker, func(context.Context, addArgs) (int, error) {
		assert.Fail(t, "called")
		return 0, nil
	}))
	wrong := trefoil.NewMethod[map[string]any, int]("math.add")
	_, err := wrong.Call(t.Context(), w.calls, map[string]any{"num1": "one", "num2": 2})
	require.ErrorIs(t, err, abstract.ErrInvalidParams)
	assert.ErrorContains(t, err, `"num1"`)
	_, err = wrong.Call(t.Context(), w.calls, nil) // is {}
	require.ErrorIs(t, err, abstract.ErrInvalidParams)
	assert.ErrorContains(t, err, `"num1"`)
}

// caller notes the options of a call.
type caller struct {
	abstract.Caller
	got abstract.CallOptions
}

func (c *caller) Call(_ context.Context, _ string, _, _ any, opts ...abstract.CallOption) error {
	c.got = abstract.CallOptions{}
	for _, o := range opts {
		o(&c.got)
	}
	return errors.New("not called")
}

func TestCallOptionsGoOverTheMethods(t *testing.T) {
	m := trefoil.NewMethod[addArgs, int]("m", trefoil.Timeout(time.Second), trefoil.Idempotent(), trefoil.Metadata(map[string]string{"a": "1", "b": "1"}))
	c := new(caller)
	_, err := m.Call(t.Context(), c, addArgs{}, trefoil.Timeout(time.Hour), trefoil.Metadata(map[string]string{"b": "2"}))
	require.Error(t, err)
	assert.Equal(t, abstract.CallOptions{Timeout: time.Hour, Idempotent: true, Meta: abstract.Metadata{"a": "1", "b": "2"}}, c.got)
	_, _ = m.Call(t.Context(), c, addArgs{}, trefoil.Key("k"), trefoil.Zone("z"), trefoil.Hedge(time.Minute), trefoil.Retry(3))
	assert.Equal(t, abstract.CallOptions{
		Timeout: time.Second, Idempotent: true, Meta: abstract.Metadata{"a": "1", "b": "1"}, Key: "k", Zone: "z", Hedged: true, HedgeAfter: time.Minute, Attempts: 3,
	}, c.got)
}

// served notes the method that is served.
type served struct{ got abstract.Method }

func (s *served) ServeMethod(m abstract.Method) error { s.got = m; return nil }

func TestHandleTellsTheServerWhatIsKnown(t *testing.T) {
	m := trefoil.NewMethod[addArgs, int]("m", trefoil.Doc("adds"), trefoil.Example(addArgs{1, 2}), trefoil.Example(func() {}), trefoil.Idempotent())
	s := new(served)
	require.NoError(t, m.Handle(s, sum))
	assert.Equal(t, "m", s.got.Name)
	assert.Equal(t, "adds", s.got.Doc)
	require.Len(t, s.got.Examples, 1)
	assert.JSONEq(t, `{"num1":1,"num2":2}`, string(s.got.Examples[0]))
	assert.True(t, s.got.Idempotent)
	in := s.got.New()
	*in.(*addArgs) = addArgs{3, 4}
	out, err := s.got.Call(t.Context(), in)
	require.NoError(t, err)
	assert.Equal(t, 7, out)
}

func TestSendReachesTheHandlerAndNobodyAnswers(t *testing.T) {
	w := newWorld(t)
	got := make(chan addArgs, 1)
	require.NoError(t, add.Handle(w.broker, func(_ context.Context, in addArgs) (int, error) {
		got <- in
		return 0, errors.New("nobody sees this")
	}))
	require.NoError(t, add.Send(t.Context(), w.calls, addArgs{1, 2}))
	assert.Equal(t, addArgs{1, 2}, <-got)
}

type order struct {
	ID int `json:"id"`
}

var orders = trefoil.NewTopic[order]("orders.created")

func TestTopicGoesOnAfterAMessageThatDoesNotFit(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	require.NoError(t, orders.Create(ctx, w.topics))
	type got struct {
		m   trefoil.Message[order]
		err error
	}
	called := make(chan got, 3)
	sub, err := orders.SubscribeFunc(ctx, w.topics, func(ctx context.Context, m trefoil.Message[order], err error) {
		assert.Equal(t, m.Meta, abstract.MetadataOf(ctx))
		called <- got{m, err}
	})
	require.NoError(t, err)
	publish := func() {
		assert.NoError(t, orders.Publish(abstract.WithMetadata(ctx, abstract.Metadata{"who": "me"}), w.topics, order{1}))
		assert.NoError(t, w.topics.Publish(ctx, "orders.created", "no order"))
		assert.NoError(t, orders.Publish(ctx, w.topics, order{2}))
	}
	publish()
	first, second, third := <-called, <-called, <-called
	require.NoError(t, first.err)
	assert.Equal(t, order{1}, first.m.Value)
	assert.Equal(t, abstract.Metadata{"who": "me"}, first.m.Meta)
	require.ErrorIs(t, second.err, abstract.ErrInvalidMessage)
	require.NoError(t, third.err)
	assert.Equal(t, order{2}, third.m.Value)
	assert.Empty(t, third.m.Meta)
	require.NoError(t, sub.Cancel(ctx))
}

func TestLoopOverATopicGoesOnAfterAMessageThatDoesNotFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx := t.Context()
		require.NoError(t, orders.Create(ctx, w.topics))
		var seen []string
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for v, err := range orders.Subscribe(ctx, w.topics) {
				seen = append(seen, fmt.Sprint(v.ID, abstract.CodeOf(err)))
				if v.ID == 2 {
					return
				}
			}
		}()
		synctest.Wait() // it is subscribed, and waits
		require.NoError(t, orders.Publish(ctx, w.topics, order{1}))
		require.NoError(t, w.topics.Publish(ctx, "orders.created", []int{3}))
		require.NoError(t, orders.Publish(ctx, w.topics, order{2}))
		<-ended
		assert.Equal(t, []string{"1 ok", "0 invalid message", "2 ok"}, seen)
	})
}

// A loop learns how many messages were lost before each one, and what came with it.
func TestLoopLearnsWhatWasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, client.WithSubscriptionQueue(1)) // one message may wait
		ctx := t.Context()
		require.NoError(t, orders.Create(ctx, w.topics))
		held, ended := make(chan struct{}), make(chan struct{})
		var lost []uint64
		go func() {
			defer close(ended)
			for m, err := range orders.Messages(abstract.WithMetadata(ctx, nil), w.topics) {
				assert.NoError(t, err)
				assert.Equal(t, abstract.Metadata{"n": fmt.Sprint(m.Value.ID)}, m.Meta)
				lost = append(lost, m.Lost)
				if len(lost) == 2 {
					return
				}
				<-held
			}
		}()
		synctest.Wait()
		for n := 1; n <= 5; n++ {
			with := abstract.WithMetadata(ctx, abstract.Metadata{"n": fmt.Sprint(n)})
			require.NoError(t, orders.Publish(with, w.topics, order{n}))
			synctest.Wait()
		}
		close(held)
		<-ended
		assert.Equal(t, []uint64{0, 3}, lost, "2, 3 and 4")
	})
}
