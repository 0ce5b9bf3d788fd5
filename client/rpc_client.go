package client

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"sync"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/message"
	"trefoil/concrete/workers"
)

// RpcClient calls methods. Through a registry it finds each method's providers,
// keeps one connection to each, takes turns among them, drops those that go
// OFFLINE and moves calls that were never handled; directly it calls one server.
// Safe for concurrent use. Close it when it is no longer needed.
type RpcClient struct {
	cfg       config
	target    target
	callbacks *workers.Pool
	owned     *Conn     // closed with the client
	wakes     sync.Pool // of channels that wake who waits in Call; an element is sent once for each call, and received before the channel comes back
	ctx       context.Context
	cancel    context.CancelFunc
	closing   sync.Once
	contexts  contexts      // of calls that nobody waits for
	limits    *callerLimits // nil: none
	chains    asides        // calls with interceptors that nobody waits for
}

var _ abstract.Caller = (*RpcClient)(nil)

// target finds a session for a call.
type target interface {
	// ready returns a session to try at once, if there is one without waiting.
	ready(c *call) (s *session, instance string, ok bool)
	// route calls fn exactly once with a session to try, or with the error
	// that ends the call: perhaps before it returns. It must not block. The
	// returned function takes the wish back; fn may be running then.
	route(c *call, fn func(s *session, instance string, err error)) (forget func())
	close()
}

// NewRpcClient makes a client that finds providers through a registry: a
// DiscoveryClient, or another implementation of the contract. The registry is
// not closed with it. On a DiscoveryClient, settings that no option changes are
// those of its Conn.
func NewRpcClient(d abstract.Discovery, opts ...Option) *RpcClient {
	cfg := defaults()
	d = discoveryOf(d)
	if own, ok := d.(*DiscoveryClient); ok {
		cfg = own.conn.cfg
		cfg.legacy = false // providers say for themselves what they speak
		cfg.token = nil
	}
	for _, opt := range opts {
		opt(&cfg)
	}
	c := newRpcClient(cfg)
	c.target = newProviders(c, d)
	return c
}

// NewDirectRpcClient makes a client that calls the server at the other end of a
// connection: a provider, or a broker that serves methods itself. Its timeouts
// are the connection's, which is not closed with it.
func NewDirectRpcClient(conn *Conn) *RpcClient {
	c := newRpcClient(conn.cfg)
	c.target = newDirect(conn)
	return c
}

// DialRpc connects to one server, as Dial does, and makes a client that calls
// it. Closing the client closes the connection.
func DialRpc(ctx context.Context, addr string, opts ...Option) (*RpcClient, error) {
	conn, err := Dial(ctx, addr, opts...)
	if err != nil {
		return nil, err
	}
	c := NewDirectRpcClient(conn)
	c.owned = conn
	return c, nil
}

func newRpcClient(cfg config) *RpcClient {
	ctx, cancel := context.WithCancel(context.Background())
	c := &RpcClient{cfg: cfg, ctx: ctx, cancel: cancel, callbacks: workers.New(workers.Config{})}
	c.chains.most = int64(cfg.maxPending)
	c.limits = newCallerLimits(&c.cfg, time.Now())
	c.wakes.New = func() any { return make(chan struct{}, 1) }
	return c
}

// Call calls a method and waits for its result, which it decodes into result
// unless that is nil. params is anything that encodes to a JSON object, or a
// message.Raw that is one; nil is an object without members. The deadline is the
// earliest of ctx's, the Timeout option's and the client's default.
func (c *RpcClient) Call(ctx context.Context, method string, params, result any, opts ...CallOption) error {
	r, err := c.CallReply(ctx, method, params, opts...)
	if err != nil {
		return err
	}
	return r.Decode(result)
}

// Start is CallFuture as the contract has it.
func (c *RpcClient) Start(ctx context.Context, method string, params any, opts ...CallOption) abstract.PendingCall {
	return c.CallFuture(ctx, method, params, opts...)
}

// StartFunc is CallFunc as the contract has it.
func (c *RpcClient) StartFunc(ctx context.Context, method string, params any, fn func(abstract.Result, error), opts ...CallOption) {
	c.CallFunc(ctx, method, params, func(r Reply, err error) {
		if err != nil {
			fn(nil, err)
			return
		}
		fn(r, nil)
	}, opts...)
}

// CallReply is Call that returns the result undecoded, with who answered.
func (c *RpcClient) CallReply(ctx context.Context, method string, params any, opts ...CallOption) (Reply, error) {
	return c.ask(ctx, method, params, askingOf(opts))
}

// ask is CallReply with options that users do not have.
func (c *RpcClient) ask(ctx context.Context, method string, params any, d *asking) (Reply, error) {
	if c.cfg.chain != nil {
		return c.intercepted(ctx, abstract.OpCall, method, params, d)
	}
	return c.wait(ctx, method, params, d)
}

// wait calls and waits.
func (c *RpcClient) wait(ctx context.Context, method string, params any, d *asking) (Reply, error) {
	k := calls.Get().(*call)
	c.prepare(ctx, k, method, params, d)
	wake := c.wakes.Get().(chan struct{})
	k.wake = wake
	k.start(ctx)
	k.await(ctx, wake)
	c.wakes.Put(wake)
	r, err := k.reply, k.err
	if err == nil && k.direct && k.attempts == 1 && k.extra == nil && k.first.Mark().Taken() {
		// Nobody knows such a call any more: its request was written, its pending
		// call is out of the table, and no other goroutine was on its way with it.
		text := k.text
		if cap(text) > keptText {
			text = nil
		}
		*k = call{text: text}
		calls.Put(k)
	}
	return r, err
}

// keptText bounds the memory for parameters that the next call may use again.
const keptText = 128 << 10

// await waits for the call's end with a frame of a kilobyte on its stack. The
// garbage collector halves stacks that are used by less than a quarter; the JSON
// encoder needs 8 KiB of stack, and with many callers growing it again for their
// next call cost 40 % of a client's time.
//
//go:noinline
func (c *call) await(ctx context.Context, wake chan struct{}) {
	var room [1 << 10]byte
	if ctx.Done() == nil {
		<-wake
	} else {
		select {
		case <-wake:
		case <-ctx.Done():
			c.cancel(gaveUp(ctx))
			<-wake // by whatever ended it first
		}
	}
	runtime.KeepAlive(&room)
}

// gaveUp is why a context has ended: its own error, or a cause that says that time was
// up where the context has no deadline, as that of a stream which only its opening has.
func gaveUp(ctx context.Context) error {
	if cause := context.Cause(ctx); errors.Is(cause, abstract.ErrTimeout) {
		return cause
	}
	return ctx.Err()
}

// calls is the memory of calls that were waited for and answered. The other ways
// to call give theirs to the user.
var calls = sync.Pool{New: func() any { return new(call) }}

// CallFuture starts a call and returns at once. Dropping the Future leaks
// nothing: the call ends at its deadline at the latest.
func (c *RpcClient) CallFuture(ctx context.Context, method string, params any, opts ...CallOption) *Future {
	f := new(Future)
	d := askingOf(opts)
	if c.cfg.chain != nil {
		c.interceptedFuture(ctx, f, method, params, d)
		return f
	}
	k := &f.call
	c.prepare(ctx, k, method, params, d)
	k.start(ctx)
	k.watch(ctx)
	return f
}

// CallFunc starts a call and returns at once. fn is called exactly once with its
// outcome, on a goroutine of its own: never inside CallFunc and never on the
// goroutine that reads the connection, so it may block and call again.
func (c *RpcClient) CallFunc(ctx context.Context, method string, params any, fn func(Reply, error), opts ...CallOption) {
	d := askingOf(opts)
	if c.cfg.chain != nil {
		c.interceptedFunc(ctx, method, params, d, fn)
		return
	}
	c.callFunc(ctx, method, params, d, fn)
}

func (c *RpcClient) callFunc(ctx context.Context, method string, params any, d *asking, fn func(Reply, error)) {
	k := new(call)
	c.prepare(ctx, k, method, params, d)
	k.fn = fn
	k.start(ctx)
	k.watch(ctx)
}

// prepare fills the zero k with a call that has not begun. d may be nil: nothing but
// the usual is asked for.
func (c *RpcClient) prepare(ctx context.Context, k *call, method string, params any, d *asking) {
	k.client, k.begun = c, time.Now()
	timeout := c.cfg.timeout
	k.relay = c.cfg.relay
	if d != nil {
		timeout = cmp.Or(d.Timeout, timeout)
		k.relay = cmp.Or(d.Relay, k.relay)
		k.idempotent, k.key = d.Idempotent, d.Key
		k.wants(d)
	}
	k.deadline = k.begun.Add(timeout)
	if limit, ok := ctx.Deadline(); ok {
		if limit.Before(k.deadline) {
			k.deadline = limit
		}
		k.deadline, k.err = c.cfg.within(ctx, k.begun, k.deadline)
	}
	k.req.Method = method
	if k.err == nil {
		k.err = c.cfg.problem
	}
	if meta := d.metadata(ctx); len(meta) > 0 && k.err == nil {
		k.req.Meta, k.err = meta, meta.Check()
	}
	if k.err == nil {
		k.req.Parameters, k.err = encodeParams(&k.text, params)
	}
}

// encodeParams makes the JSON object of a call's parameters, in text's memory.
func encodeParams(text *[]byte, params any) (message.Raw, error) {
	if params == nil {
		return message.Raw("{}"), nil
	}
	raw, err := message.EncodeTo(text, params)
	switch {
	case err != nil:
	case message.KindOf(raw) == message.Null: // a nil map, or a pointer to nothing
		return message.Raw("{}"), nil
	case message.KindOf(raw) != message.Object:
		err = abstract.Errorf(abstract.InvalidParams, "parameters are an object: pass a struct or a map, not %T", params)
	}
	return raw, err
}

// Close ends the client: calls in flight end with Disconnected, connections to
// providers are closed. It waits for the callbacks that run, so it must not be
// called from one.
func (c *RpcClient) Close() error {
	c.closing.Do(func() {
		c.cancel()
		c.target.close()
		c.chains.close()
		if c.owned != nil {
			_ = c.owned.Close()
		}
		c.callbacks.Close()
		c.contexts.close()
	})
	return nil
}

// Reply is the result of a call that succeeded.
type Reply struct {
	Raw      json.RawMessage // must not be changed
	Instance string          // who answered, as an address
	Attempts int             // how many times the call was tried
	Relayed  bool            // the answer came through the broker
}

var _ abstract.Result = Reply{}

// From is the address of who answered, or was asked.
func (r Reply) From() string { return r.Instance }

// Decode reads the result into v, which is what encoding/json takes. nil only
// throws it away.
func (r Reply) Decode(v any) error {
	if v == nil {
		return nil
	}
	if err := message.Decode(r.Raw, v); err != nil {
		return &abstract.Error{Code: abstract.InvalidMessage, Op: "decode the result", Message: "the result does not fit", Instance: r.Instance, Attempts: r.Attempts, Sent: abstract.SentYes, Err: err}
	}
	return nil
}

// Future is a call that was started and not waited for. Safe for concurrent use.
type Future struct {
	call call
	stop context.CancelFunc // unless nil, of what interceptors stand around; call only tells of its end
}

var _ abstract.PendingCall = (*Future)(nil)

// Done is closed when the call has ended.
func (f *Future) Done() <-chan struct{} { return f.call.Done() }

// Wait waits for the call to end and decodes its result into result, unless that
// is nil. When ctx ends first, Wait returns ctx's error and the call goes on. It
// may be called many times.
func (f *Future) Wait(ctx context.Context, result any) error {
	wakes := &f.call.client.wakes
	wake := wakes.Get().(chan struct{})
	told := f.call.join(wake)
	ended := told == nil || awaitDone(ctx, told)
	if !ended && told == wake && !f.call.leave(wake) {
		<-wake
		ended = true
	}
	wakes.Put(wake)
	if ended {
		return f.call.outcome(result)
	}
	return &abstract.Error{Code: abstract.CodeOf(ctx.Err()), Op: "wait for " + f.call.req.Method, Err: ctx.Err()}
}

// awaitDone is await for a Future. It returns false when ctx ends first. It need
// not look at a context that never ends.
//
//go:noinline
func awaitDone(ctx context.Context, done <-chan struct{}) (ended bool) {
	var room [1 << 10]byte
	if ctx.Done() == nil {
		<-done
		ended = true
	} else {
		select {
		case <-done:
			ended = true
		case <-ctx.Done():
		}
	}
	runtime.KeepAlive(&room)
	return ended
}

// Reply waits as Wait does, and returns the result undecoded.
func (f *Future) Reply(ctx context.Context) (Reply, error) {
	if err := f.Wait(ctx, nil); err != nil {
		return Reply{}, err
	}
	return f.call.reply, nil
}

// Cancel ends the call with Cancelled, unless it has ended already.
func (f *Future) Cancel() {
	if f.stop != nil {
		f.stop()
		return
	}
	f.call.cancel(context.Canceled)
}
