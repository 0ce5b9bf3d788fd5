package server

import (
	"context"

	"trefoil/abstract"
	"trefoil/business/router"
)

var (
	_ abstract.MethodServer = (*RpcServer)(nil)
	_ abstract.MethodServer = (*Broker)(nil)
)

// ServeMethod serves a method that is described by Go types: what typed methods and
// generated code stand on. A method that is served already is an error with code
// Exists; Go types that do not fit are one with code InvalidParams. Calls whose
// parameters do not fit are answered with InvalidParams and never reach the handler.
func (s *RpcServer) ServeMethod(m abstract.Method) error {
	if m.In == nil || m.Out == nil || m.Kind > abstract.BidiStream {
		return abstract.Errorf(abstract.InvalidParams, "method %.64q needs a type of what comes, one of what goes, and a kind that there is", m.Name)
	}
	if m.Kind != abstract.Unary {
		h, d, err := router.StreamOf(m)
		if err != nil {
			return err
		}
		return s.HandleStream(d, h)
	}
	h, d, err := router.Of(m)
	if err != nil {
		return err
	}
	return s.HandleFunc(d, h)
}

// ServeMethod serves a method in the broker itself; see RpcServer.ServeMethod. Without
// RoleRPC it is an error with code Unsupported.
func (b *Broker) ServeMethod(m abstract.Method) error {
	if b.rpc == nil {
		return b.servesNone()
	}
	return b.rpc.ServeMethod(m)
}

func (b *Broker) servesNone() error {
	return abstract.Errorf(abstract.Unsupported, "this broker serves no methods; give it the role %q", RoleRPC)
}

// Handle serves a method with a typed function. The names and kinds of its
// parameters are those of In's fields, as encoding/json sees them; fields that
// are pointers or marked omitempty may be missing. Calls whose parameters do not
// fit are answered with InvalidParams and never reach fn.
func Handle[In, Out any](srv abstract.MethodServer, method string, fn func(ctx context.Context, in In) (Out, error)) error {
	return srv.ServeMethod(router.MethodOf(method, fn))
}
