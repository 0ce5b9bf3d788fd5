package protorpc

import (
	"context"
	"iter"

	"trefoil/abstract"
	"trefoil/client"
)

// Channel is a stub's way to call: to whoever the registry names, or to one address. It
// tells the Controller that a call's context holds what becomes of the call. Safe for
// concurrent use. Close it.
type Channel struct {
	caller abstract.Caller
	close  func() error
}

var _ abstract.Caller = (*Channel)(nil)

// NewChannel makes a Channel that finds providers in the Application's registry. It
// waits for no connection.
func NewChannel(a *Application) (*Channel, error) {
	r, err := a.Registry()
	if err != nil {
		return nil, err
	}
	var where abstract.Discovery = r
	if broker, ok := r.(*client.Registry); ok {
		where = broker.DiscoveryClient // whose settings are the caller's, too
	}
	rpc := client.NewRpcClient(where, a.options(false)...)
	return &Channel{rpc, rpc.Close}, nil
}

// DialChannel makes a Channel to the server at one address, and connects.
func DialChannel(ctx context.Context, a *Application, addr string) (*Channel, error) {
	rpc, err := client.DialRpc(ctx, addr, a.options(true)...)
	if err != nil {
		return nil, err
	}
	return &Channel{rpc, rpc.Close}, nil
}

// Close ends the Channel: calls in flight end with Disconnected.
func (c *Channel) Close() error { return c.close() }

// Call calls a method and waits.
func (c *Channel) Call(ctx context.Context, method string, params, result any, opts ...abstract.CallOption) error {
	t, ctx, err := begin(ctx)
	if err != nil {
		return err
	}
	return t.end(c.caller.Call(ctx, method, params, result, t.options(opts)...))
}

// Start starts a call.
func (c *Channel) Start(ctx context.Context, method string, params any, opts ...abstract.CallOption) abstract.PendingCall {
	t, ctx, err := begin(ctx)
	if err != nil {
		return refused{err}
	}
	p := c.caller.Start(ctx, method, params, t.options(opts)...)
	if t == nil {
		return p
	}
	return follow(t, p)
}

// StartFunc starts a call whose outcome fn gets.
func (c *Channel) StartFunc(ctx context.Context, method string, params any, fn func(abstract.Result, error), opts ...abstract.CallOption) {
	t, ctx, err := begin(ctx)
	if err != nil {
		go fn(nil, err)
		return
	}
	c.caller.StartFunc(ctx, method, params, func(r abstract.Result, err error) {
		if t != nil && err == nil {
			r = followedResult{r, t}
		}
		fn(r, t.end(err))
	}, t.options(opts)...)
}

// Send sends a request that nobody answers.
func (c *Channel) Send(ctx context.Context, method string, params any, opts ...abstract.CallOption) error {
	t, ctx, err := begin(ctx)
	if err != nil {
		return err
	}
	return t.end(c.caller.Send(ctx, method, params, t.options(opts)...))
}

// All calls every provider. A Controller has the first error, if there is one.
func (c *Channel) All(ctx context.Context, method string, params any, opts ...abstract.CallOption) iter.Seq2[abstract.Result, error] {
	return func(yield func(abstract.Result, error) bool) {
		t, ctx, err := begin(ctx)
		if err != nil {
			yield(nobody{}, err)
			return
		}
		var first error
		defer func() { _ = t.end(first) }()
		for r, err := range c.caller.All(ctx, method, params, t.options(opts)...) {
			if first == nil {
				first = err
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// OpenStream opens a stream. A Controller is in use until the stream ends.
func (c *Channel) OpenStream(ctx context.Context, method string, params any, opts ...abstract.CallOption) (abstract.Stream, error) {
	t, ctx, err := begin(ctx)
	if err != nil {
		return nil, err
	}
	s, err := c.caller.OpenStream(ctx, method, params, t.options(opts)...)
	if err != nil || t == nil {
		return s, t.end(err)
	}
	return followStream(t, s), nil
}
