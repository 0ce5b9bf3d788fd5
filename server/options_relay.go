package server

// relayConfig is about calls through the broker. Its zero value is the default.
type relayConfig struct {
	off      bool // a broker does not relay
	unserved bool // a server of calls takes none through the registry's connection
}

// WithRelaying sets whether a Broker passes calls on to providers over their own
// connections to it, for callers that ask for it and may call the method; it does
// when nothing else is said. See Broker.SetRelaying.
func WithRelaying(on bool) Option { return func(c *config) { c.relay.off = !on } }

// WithRelayed sets whether an RpcServer with a registry also takes calls that come
// through that, which it then says when it registers; it does when nothing else is
// said and the Registrar is an abstract.CallSource, as client.RegistryClient is.
// Such calls have no identity of their own: a Guard of the RpcServer takes them for
// access.Anonymous. The broker has judged who may call what.
func WithRelayed(on bool) Option { return func(c *config) { c.relay.unserved = !on } }
