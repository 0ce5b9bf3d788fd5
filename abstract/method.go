package abstract

import (
	"context"
	"encoding/json"
	"reflect"
)

// MethodServer serves methods that are described by Go types: RpcServer and Broker do.
type MethodServer interface {
	// ServeMethod serves a method from now on. A method that is served already is an error with
	// code Exists, types that JSON has no values for are one with code InvalidParams.
	ServeMethod(m Method) error
}

// Method is a method with its types and its handler. Of the handlers exactly the one of
// its Kind is set.
type Method struct {
	Name string
	Kind MethodKind
	In   reflect.Type // of the parameters; of a stream of the client, or both ways: of the messages that come
	Out  reflect.Type // of the result; of a stream of the server, or both ways: of the messages that go

	Doc        string            // a sentence on what it does, for people
	Examples   []json.RawMessage // of parameters, for people
	Idempotent bool              // callers may try it again

	// Schemas returns JSON Schemas of In and Out, where their types do not say what they
	// look like; nil: they do. They are for people; In itself checks what it takes.
	Schemas func() (in, out json.RawMessage)

	// New returns a pointer to a zero In, which Call gets filled.
	New func() any
	// Call serves a Unary method. in is what New returned.
	Call func(ctx context.Context, in any) (any, error)
	// Stream serves the other kinds. in is what New returned, filled with the parameters,
	// for a ServerStream; nil otherwise. The error it returns ends the stream.
	Stream func(in any, s Stream) error
}

// MethodKind says which way messages go.
type MethodKind uint8

// The kinds.
const (
	Unary        MethodKind = iota // one of parameters, one of a result
	ServerStream                   // parameters, and any number of messages back
	ClientStream                   // any number of messages, and one back when they have ended
	BidiStream                     // any number of messages both ways
)

// String returns the kind's word.
func (k MethodKind) String() string {
	words := [...]string{"unary", "server stream", "client stream", "bidirectional stream"}
	if int(k) < len(words) {
		return words[k]
	}
	return "unknown"
}
