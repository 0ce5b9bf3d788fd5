package client

import (
	"context"

	"trefoil/abstract"
)

// RegistryClient registers providers at the broker and keeps them registered
// through any outage. Safe for concurrent use.
type RegistryClient struct{ conn *Conn }

var _ abstract.Registrar = (*RegistryClient)(nil)

// NewRegistryClient makes a RegistryClient on a connection. All of one Conn's
// RegistryClients are the same one.
func NewRegistryClient(c *Conn) *RegistryClient { return &RegistryClient{c} }

// Register tells the broker that the providers are there. From now on they are
// registered again after every reconnect, until Unregister or the Conn's Close,
// also when this first try fails for want of a connection. What the broker
// refuses is not tried again.
//
// Providers that differ in nothing but the method go to the broker together, up to 128
// of them, and are taken all or none. Registered again with other Traits or another
// TTL, a provider is changed. A provider whose Host has no IP is registered at the
// address from which the broker sees the connection; RegisterAt says where that is.
//
// A provider with a TTL ends by itself unless it is renewed: see WithAutoHeartbeat.
func (r *RegistryClient) Register(ctx context.Context, providers ...abstract.Provider) error {
	return r.conn.registrations.register(ctx, providers)
}

// RegisterAt is Register that returns the providers as the broker has registered them:
// with the IP that it has seen. Unregister takes them either way.
func (r *RegistryClient) RegisterAt(ctx context.Context, providers ...abstract.Provider) ([]abstract.Provider, error) {
	if err := r.conn.registrations.register(ctx, providers); err != nil {
		return nil, err
	}
	return r.conn.registrations.allPlaced(providers), nil
}

// Unregister takes providers back. A broker that is an existing program of the
// LV family cannot do that while the connection lasts: the error then has the
// code Unsupported, and closing the Conn is the way.
func (r *RegistryClient) Unregister(ctx context.Context, providers ...abstract.Provider) error {
	return r.conn.registrations.unregister(ctx, providers)
}

// Heartbeat renews registrations with a TTL; what the broker has forgotten meanwhile is
// registered again. It is for those who have turned WithAutoHeartbeat off. A provider
// that this Conn has not registered is an error with code NotFound.
func (r *RegistryClient) Heartbeat(ctx context.Context, providers ...abstract.Provider) error {
	return r.conn.registrations.heartbeat(ctx, providers)
}
