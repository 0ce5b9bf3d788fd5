package client

import (
	"context"
	"encoding/json"

	"trefoil/abstract"
)

// WithInterceptors puts interceptors around what an RpcClient calls, sends and opens,
// and around what the TopicClients of a Conn publish and deliver; the first is the
// outermost. Given again, it adds further ones, inside. They run on the goroutine of
// who calls and waits; for what is not waited for on one of their own, of which there
// are as many as WithMaxPending says at most. Each provider
// that All calls is a call of its own. A Conn's own requests (registrations, discovery,
// subscriptions, nodes) do not go through them. Close waits for them: they return soon
// after their context has ended.
func WithInterceptors(all ...abstract.Interceptor) Option {
	return func(c *config) {
		if chain := abstract.Chain(all...); chain != nil && c.chain != nil {
			c.chain = abstract.Chain(c.chain, chain)
		} else if chain != nil {
			c.chain = chain
		}
	}
}

// around runs an operation inside the interceptors, if there are any.
func (c *config) around(ctx context.Context, op *abstract.Operation, next abstract.Next) error {
	if c.chain == nil {
		return next(ctx, op)
	}
	return c.chain(ctx, op, next)
}

// interceptedBy runs an operation of a call inside the interceptors: next gets the call
// as they leave it, and what it returns is the operation's result.
func (c *RpcClient) interceptedBy(ctx context.Context, kind abstract.OperationKind, method string, params any, d *asking, next func(ctx context.Context, params any, d *asking) (Reply, error)) (Reply, error) {
	op := &abstract.Operation{Kind: kind, Name: method, Meta: d.allMetadata(ctx), Params: params}
	err := c.cfg.around(ctx, op, func(ctx context.Context, op *abstract.Operation) error {
		inner := d.own()
		inner.Meta, inner.final = op.Meta, true
		r, err := next(ctx, op.Params, inner)
		if err == nil {
			op.Result = r
		}
		return err
	})
	if err != nil {
		return Reply{}, err
	}
	return replyOf(op)
}

// replyOf is what interceptors have left of an operation's result.
func replyOf(op *abstract.Operation) (Reply, error) {
	switch r := op.Result.(type) {
	case Reply:
		return r, nil
	case abstract.Result:
		var raw json.RawMessage
		if err := r.Decode(&raw); err != nil {
			return Reply{}, err
		}
		return Reply{Raw: raw, Instance: r.From()}, nil
	}
	return Reply{}, &abstract.Error{
		Code: abstract.Internal, Op: op.Kind.String() + " " + op.Name, Sent: abstract.SentNo,
		Message: "an interceptor ended it without an error and without a Result: let it call next, or set one",
	}
}

// intercepted calls inside the interceptors, and waits.
func (c *RpcClient) intercepted(ctx context.Context, kind abstract.OperationKind, method string, params any, d *asking) (Reply, error) {
	return c.interceptedBy(ctx, kind, method, params, d, func(ctx context.Context, params any, d *asking) (Reply, error) {
		return c.wait(ctx, method, params, d)
	})
}

// interceptedFuture is intercepted for a Future, which only tells of the end. The
// parameters are encoded on the goroutine that calls, as they may be changed when it
// goes on.
func (c *RpcClient) interceptedFuture(ctx context.Context, f *Future, method string, params any, d *asking) {
	k := &f.call
	k.client, k.req.Method = c, method
	ctx, f.stop = c.withinLife(ctx)
	params, err := c.frozen(params)
	run := func() {
		defer f.stop()
		if err != nil {
			k.conclude(Reply{}, c.neverSent(method, err))
			return
		}
		k.conclude(c.interceptedAside(ctx, method, params, d))
	}
	if over := c.chains.begin(run, errClientClosed); over != nil {
		k.conclude(Reply{}, c.neverSent(method, over))
		f.stop()
	}
}

// interceptedFunc is intercepted for a callback.
func (c *RpcClient) interceptedFunc(ctx context.Context, method string, params any, d *asking, fn func(Reply, error)) {
	ctx, stop := c.withinLife(ctx)
	params, err := c.frozen(params)
	run := func() {
		defer stop()
		if err != nil {
			fn(Reply{}, c.neverSent(method, err))
			return
		}
		fn(c.interceptedAside(ctx, method, params, d))
	}
	if over := c.chains.begin(run, errClientClosed); over != nil {
		stop()
		go fn(Reply{}, c.neverSent(method, over)) // a callback is never lost
	}
}

// interceptedAside is intercepted on a goroutine of ours.
func (c *RpcClient) interceptedAside(ctx context.Context, method string, params any, d *asking) (r Reply, err error) {
	err = c.cfg.sheltered("call "+method, func() (err error) {
		r, err = c.intercepted(ctx, abstract.OpCall, method, params, d)
		return err
	})
	return r, err
}

// withinLife makes a context that ends with the client, too, as Close waits for who has it.
func (c *RpcClient) withinLife(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// frozen encodes parameters for a call that is made while its caller goes on.
func (c *RpcClient) frozen(params any) (any, error) {
	var own []byte
	return encodeParams(&own, params)
}

// neverSent is the error of a call that never began.
func (c *RpcClient) neverSent(method string, err error) error {
	e := decorate(asError(err), "call "+method, 0, "")
	e.Sent = abstract.SentNo
	return e
}

func errClientClosed() *abstract.Error {
	return &abstract.Error{Code: abstract.Disconnected, Message: "the client is closed", Sent: abstract.SentNo}
}

// conclude ends a call that only tells of the end of another one.
func (c *call) conclude(r Reply, err error) {
	c.mu.Lock()
	c.ended = true
	c.reply, c.err = r, err
	wake, done := c.wake, c.done
	c.mu.Unlock()
	if done != nil {
		close(done)
	}
	if wake != nil {
		wake <- struct{}{} // has room
	}
}
