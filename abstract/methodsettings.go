package abstract

import "encoding/json"

// MethodOption changes one setting of a typed method when that is made. Every
// CallOption is one: it holds for all calls of the method, unless a call says
// otherwise.
type MethodOption interface{ ApplyTo(m *MethodSettings) }

// MethodSettings is what MethodOptions change.
type MethodSettings struct {
	Calls    []CallOption      // of all calls, in order
	Doc      string            // a sentence on what the method does, for people
	Examples []json.RawMessage // of parameters, for people
}

// SettingsOf applies options in order.
func SettingsOf(opts []MethodOption) MethodSettings {
	var m MethodSettings
	for _, o := range opts {
		o.ApplyTo(&m)
	}
	return m
}

// CallOptions is what the calls of the method ask for when they say nothing
// themselves.
func (m *MethodSettings) CallOptions() CallOptions {
	var o CallOptions
	for _, opt := range m.Calls {
		opt(&o)
	}
	return o
}
