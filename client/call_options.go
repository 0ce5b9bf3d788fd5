package client

import (
	"time"

	"trefoil/abstract"
)

// CallOption changes one setting of one call.
type CallOption = abstract.CallOption

// Timeout sets the call's deadline from now, when the context's is not earlier. 0 or
// less is over already.
func Timeout(d time.Duration) CallOption {
	return func(o *abstract.CallOptions) { o.Timeout = max(1, d) }
}

// Idempotent says that the method may be called twice with the same outcome as
// once. Only such calls are tried again, with another provider, when their
// request may have been handled before the connection was lost.
func Idempotent() CallOption { return func(o *abstract.CallOptions) { o.Idempotent = true } }

// Key says what a call is about, for the rule hash: calls of the same key go to the
// same provider.
func Key(key string) CallOption { return func(o *abstract.CallOptions) { o.Key = key } }

// Zone says from which zone the call's provider is preferred, whatever the client's
// own zone and its rule of balancing are: somebody elsewhere is called only when
// nobody there can be.
func Zone(zone string) CallOption { return func(o *abstract.CallOptions) { o.Zone = zone } }

// OnInstance makes the call go to one provider only: the one with this id of its own
// (server.WithInstance), or at this address, as existing programs have no id.
func OnInstance(id string) CallOption {
	return func(o *abstract.CallOptions) { o.Instance = id }
}

// Metadata adds words that travel beside the call's parameters, over those of the
// context (abstract.WithMetadata): the handler finds them with abstract.MetadataOf. A
// legacy provider ignores them.
func Metadata(meta map[string]string) CallOption {
	return func(o *abstract.CallOptions) { o.Meta = o.Meta.With(meta) }
}
