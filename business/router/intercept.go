package router

import (
	"context"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// intercepted serves a call inside the interceptors. They see its error as the handler
// has returned it, and a panic as an error.
func (r *RpcRouter) intercepted(ctx context.Context, m *method, req *message.RpcRequest) (any, error) {
	op := &abstract.Operation{Kind: abstract.OpServe, Name: req.Method, Meta: req.Meta, Params: req.Parameters}
	op.Peer, _ = abstract.PeerOf(ctx)
	err := r.chain(ctx, op, func(ctx context.Context, op *abstract.Operation) (err error) {
		defer func() {
			if v := recover(); v != nil {
				err = r.panicked(req, v)
			}
		}()
		params, err := message.Encode(op.Params) // as it is, unless an interceptor has changed it
		if err == nil {
			op.Result, err = m.run(ctx, params)
		}
		return err
	})
	return op.Result, err
}
