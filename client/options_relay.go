package client

import "trefoil/abstract"

// RelayMode says which calls go through the broker: over the provider's own
// connection to it, in place of one that the caller opens.
type RelayMode = abstract.RelayMode

// The modes.
const (
	RelayDefault = abstract.RelayDefault // of a call: as its client does; of a client: RelayAuto
	RelayAuto    = abstract.RelayAuto
	RelayAlways  = abstract.RelayAlways
	RelayNever   = abstract.RelayNever
)

// WithRelay sets which calls of an RpcClient go through the broker; the default is
// RelayAuto. It needs a DiscoveryClient: with another registry only RelayNever does
// anything.
func WithRelay(m RelayMode) Option {
	return func(c *config) {
		if c.relay = m; m == RelayDefault {
			c.relay = RelayAuto
		}
	}
}

// Relay makes the call go through the broker, as RelayAlways does. On a client of one
// server that is a broker, made with DialRpc or NewDirectRpcClient, the broker then
// chooses who gets the call.
func Relay() CallOption { return func(o *abstract.CallOptions) { o.Relay = RelayAlways } }
