package client

import "trefoil/abstract"

// Registry is both sides of a broker's registry in one: what a program takes that is
// to work with other registries as well. Safe for concurrent use.
type Registry struct {
	*RegistryClient
	*DiscoveryClient
	conn *Conn
}

var _ abstract.Registry = (*Registry)(nil)

// NewRegistry makes a Registry on a connection, which is closed with it.
func NewRegistry(c *Conn) *Registry {
	return &Registry{NewRegistryClient(c), NewDiscoveryClient(c), c}
}

// discoveryOf is the broker's side of a registry where there is one: what an RpcClient
// knows how to use beyond the contract.
func discoveryOf(d abstract.Discovery) abstract.Discovery {
	if r, ok := d.(*Registry); ok {
		return r.DiscoveryClient
	}
	return d
}

// Close closes the connection: what was registered over it is taken back.
func (r *Registry) Close() error { return r.conn.Close() }
