package client

import (
	"cmp"
	"context"
	"iter"

	"trefoil/abstract"
)

// sought is the method whose providers may take a call.
func (c *call) sought() string {
	if c.extra != nil && c.extra.about != "" {
		return c.extra.about
	}
	return c.req.Method
}

// Describe asks a provider of a method, or the only server, what the method takes and
// returns. Servers that do not know, as existing programs do not, answer that they
// do not serve the question: an error with code ServiceNotFound and without details.
// With details it is the method itself that is not served, or that the caller may not
// know of.
func (c *RpcClient) Describe(ctx context.Context, method string, opts ...CallOption) (abstract.MethodInfo, error) {
	var info abstract.MethodInfo
	err := c.askAbout(ctx, abstract.DescribeMethod, abstract.MethodQuery{Method: method}, &info, opts)
	return info, err
}

// Methods asks a server which methods it serves, and returns those that the caller may
// call, by name. Which server is asked: the only one, or a provider of q.Method.
// The last pair carries the error, if there is one.
func (c *RpcClient) Methods(ctx context.Context, q abstract.MethodQuery, opts ...CallOption) iter.Seq2[abstract.MethodSummary, error] {
	return func(yield func(abstract.MethodSummary, error) bool) {
		if q.Method == "" && c.movable() {
			yield(abstract.MethodSummary{}, abstract.Errorf(abstract.InvalidParams, "name a method, so that one of its providers is asked what else it serves"))
			return
		}
		for more := true; more; {
			var list abstract.MethodList
			if err := c.askAbout(ctx, abstract.ListMethods, q, &list, opts); err != nil {
				yield(abstract.MethodSummary{}, err)
				return
			}
			for _, m := range list.Methods {
				if !yield(m, nil) {
					return
				}
				q.After = m.Method
			}
			more = list.More && len(list.Methods) > 0
		}
	}
}

// descriptionAttempts is how many providers are asked for a description: one that does
// not describe may stand beside others that do.
const descriptionAttempts = 3

// askAbout calls a method that every server has, of one that serves the method in q.
func (c *RpcClient) askAbout(ctx context.Context, method string, q abstract.MethodQuery, result any, opts []CallOption) error {
	d := askingOf(opts).own()
	d.about, d.Idempotent, d.Attempts = q.Method, true, cmp.Or(d.Attempts, descriptionAttempts)
	r, err := c.ask(ctx, method, q, d)
	if err != nil {
		return err
	}
	return r.Decode(result)
}
