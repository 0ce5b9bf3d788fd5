package client

// RelayMode says which calls go through the broker: over the provider's own
// connection to it, in place of one that the caller opens.
type RelayMode uint8

// The modes.
const (
	// RelayAuto calls directly, and through the broker when that fails: once no provider
	// of a method could be connected to, those that take calls through the broker are
	// called there, and for half a minute at once.
	RelayAuto RelayMode = iota
	// RelayAlways opens no connections to providers. Only those can be called that take
	// calls through the broker.
	RelayAlways
	// RelayNever only calls directly.
	RelayNever
)

// WithRelay sets which calls of an RpcClient go through the broker; the default is
// RelayAuto. It needs a DiscoveryClient: with another registry only RelayNever does
// anything.
func WithRelay(m RelayMode) Option { return func(c *config) { c.relay = m } }

// Relay makes the call go through the broker, as RelayAlways does. On a client of one
// server that is a broker, made with DialRpc or NewDirectRpcClient, the broker then
// chooses who gets the call.
func Relay() CallOption { return func(o *callOptions) { o.relay = RelayAlways } }
