package client

import (
	"context"
	"iter"
	"slices"
	"time"

	"trefoil/abstract"
)

// All calls every provider of a method that is known now, but for those that shut
// down, all at the same time and each once, and returns one pair for each as they
// come: its answer, or the error that it ended with, for which the Result says only
// who was asked. It ends when each has answered, was lost, or the deadline is over.
// When there is nobody to call, it returns one pair with that error. Leaving the loop
// cancels the other calls. A client of one server calls that.
func (c *RpcClient) All(ctx context.Context, method string, params any, opts ...CallOption) iter.Seq2[abstract.Result, error] {
	return func(yield func(abstract.Result, error) bool) {
		d := askingOf(opts).own()
		raw, err := c.frozen(params)
		if err != nil {
			yield(Reply{}, c.neverSent(method, err))
			return
		}
		everybody, err := c.everybody(ctx, method, d)
		if err != nil {
			yield(Reply{}, c.neverSent(method, err))
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		type end struct {
			reply Reply
			err   error
		}
		ends := make(chan end, len(everybody)) // nobody waits to be heard
		for _, h := range everybody {
			one := d.own()
			one.only = h
			c.callEach(ctx, method, raw, one, func(r Reply, err error) {
				if err != nil {
					r.Instance = c.asked(h)
				}
				ends <- end{r, err}
			})
		}
		for range everybody {
			if e := <-ends; !yield(e.reply, e.err) {
				return
			}
		}
	}
}

// asked is the address of whom one of the calls of All is for.
func (c *RpcClient) asked(h *provider) string {
	switch d, ok := c.target.(*direct); {
	case h != nil:
		return h.addr
	case ok:
		return d.conn.addr
	}
	return ""
}

// callEach makes one of the calls of All.
func (c *RpcClient) callEach(ctx context.Context, method string, params any, d *asking, fn func(Reply, error)) {
	if c.cfg.chain != nil {
		c.interceptedFunc(ctx, method, params, d, fn)
		return
	}
	c.callFunc(ctx, method, params, d, fn)
}

// everybody returns the providers that All calls. One that is nil is the server of a
// client that has only one.
func (c *RpcClient) everybody(ctx context.Context, method string, d *asking) ([]*provider, error) {
	p, ok := c.target.(*providers)
	if !ok {
		return []*provider{nil}, nil
	}
	timeout := c.cfg.timeout
	if d.Timeout > 0 {
		timeout = d.Timeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		list, told, err := p.everybody(method)
		if told == nil {
			return list, err
		}
		err = c.awaitTold(ctx, p, told)
		p.unask(method, told)
		if err != nil {
			return nil, err
		}
	}
}

// awaitTold waits until a method's providers are known.
func (c *RpcClient) awaitTold(ctx context.Context, p *providers, told <-chan error) error {
	select {
	case err := <-told:
		return err
	case <-ctx.Done():
		return &abstract.Error{Code: abstract.CodeOf(ctx.Err()), Message: p.away(), Err: ctx.Err()}
	case <-c.ctx.Done():
		return errClientClosed()
	}
}

// everybody returns a method's providers; before they are known, what is told when
// they are.
func (p *providers) everybody(method string) (list []*provider, told <-chan error, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, errClientClosed()
	}
	r, err := p.routeOf(method)
	switch {
	case err != nil:
		return nil, nil, err
	case !r.known:
		ch := make(chan error, 1)
		r.asked = append(r.asked, ch)
		return nil, ch, nil
	case len(r.list) == 0:
		return nil, nil, errNobody()
	}
	for _, q := range r.list {
		if q.State != abstract.Retiring {
			list = append(list, q.entry)
		}
	}
	if len(list) == 0 {
		return nil, nil, r.nobody(time.Now())
	}
	return list, nil, nil
}

// unask takes back what everybody has left to be told.
func (p *providers) unask(method string, told <-chan error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.routes[method]; r != nil {
		r.asked = slices.DeleteFunc(r.asked, func(ch chan error) bool { return (<-chan error)(ch) == told })
	}
}

// tell tells those who have asked for the method's providers. It is called with the
// lock held.
func (r *route) tell(err error) {
	for _, ch := range r.asked {
		ch <- err // has room
	}
	r.asked = nil
}
