package trefoil

import (
	"encoding/json"
	"time"

	"trefoil/abstract"
)

// CallOption changes one setting of one call, or, given to NewMethod, of all calls of a
// method. Those of package client are the same.
type CallOption = abstract.CallOption

// MethodOption changes one setting of a method. Every CallOption is one.
type MethodOption = abstract.MethodOption

// Timeout sets a call's deadline from now, when the context's is not earlier. 0 or
// less is over already.
func Timeout(d time.Duration) CallOption {
	return func(o *abstract.CallOptions) { o.Timeout = max(1, d) }
}

// Idempotent says that the method may be called twice with the same outcome as once.
// Only such calls are tried again when their request may have been handled before the
// connection was lost, and only such calls may be hedged.
func Idempotent() CallOption { return func(o *abstract.CallOptions) { o.Idempotent = true } }

// Key says what a call is about, for balancing by hash: calls of the same key go to the
// same provider.
func Key(key string) CallOption { return func(o *abstract.CallOptions) { o.Key = key } }

// Zone says from which zone the call's provider is preferred.
func Zone(zone string) CallOption { return func(o *abstract.CallOptions) { o.Zone = zone } }

// Hedge asks a second provider, too, when the first has not answered after d, or, when
// d is 0, when most calls of the method would have been answered. The first answer
// counts. Only calls that are Idempotent may be hedged.
func Hedge(d time.Duration) CallOption {
	return func(o *abstract.CallOptions) { o.Hedged, o.HedgeAfter = true, max(0, d) }
}

// Retry bounds the attempts of a call, the first one and hedged ones included.
func Retry(attempts int) CallOption {
	return func(o *abstract.CallOptions) { o.Attempts = max(1, attempts) }
}

// Metadata adds words that travel beside a call's parameters, over those of the context
// (abstract.WithMetadata): the handler finds them with abstract.MetadataOf.
func Metadata(meta map[string]string) CallOption {
	return func(o *abstract.CallOptions) { o.Meta = o.Meta.With(meta) }
}

// methodOption is a MethodOption that is no CallOption.
type methodOption func(*abstract.MethodSettings)

// ApplyTo changes the setting.
func (o methodOption) ApplyTo(m *abstract.MethodSettings) { o(m) }

// Doc says in a sentence what a method does, for people who ask the server about it.
func Doc(text string) MethodOption {
	return methodOption(func(m *abstract.MethodSettings) { m.Doc = text })
}

// Example adds an example of parameters, for people who ask the server about the
// method. One that JSON has no text for is left out.
func Example(params any) MethodOption {
	return methodOption(func(m *abstract.MethodSettings) {
		if text, err := json.Marshal(params); err == nil {
			m.Examples = append(m.Examples, text)
		}
	})
}
