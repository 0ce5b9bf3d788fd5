package server

import "trefoil/abstract"

// WithInterceptors puts interceptors around every call and stream that an RpcServer, or
// a Broker itself, serves; the first is the outermost. Given again, it adds further
// ones, inside. A call of a method that is not served here does not come to them, and a
// call that a broker passes on only where it is served. They run where the handler
// does; a slow one makes its method slow.
func WithInterceptors(all ...abstract.Interceptor) Option {
	return func(c *config) {
		if chain := abstract.Chain(all...); chain != nil && c.chain != nil {
			c.chain = abstract.Chain(c.chain, chain)
		} else if chain != nil {
			c.chain = chain
		}
	}
}
