package abstract

import (
	"context"
	"slices"
)

// Interceptor stands round every operation of a client or a server: it may look at it,
// change what goes in, refuse it, measure it, and see what came of it. It calls next at
// most once; what it returns is the operation's error. It is called by many
// goroutines at once. It returns soon after ctx has ended.
//
// Its panic is that of who has called and waits, and may recover it. Where nobody does (a
// call or a publication that is not waited for, the delivery of a message, what a server
// serves), it is logged with its stack, and the operation ends with Internal: the message
// is passed over.
type Interceptor func(ctx context.Context, op *Operation, next Next) error

// Next goes on with an operation: with the next interceptor, or with the operation.
type Next func(ctx context.Context, op *Operation) error

// Operation is what interceptors see of one operation. It is good until the outermost
// interceptor returns.
type Operation struct {
	Kind OperationKind
	Name string // the method's or the topic's
	// Meta is the metadata: on a client it may be changed before next is called, and is
	// never nil; on a server, and where a message is delivered, it is what came.
	Meta Metadata
	// Params are the parameters of a call or stream, or the message of a topic: on a client
	// what the caller has given, or its JSON text where the caller does not wait; where they
	// came from the wire, a json.RawMessage. They may be changed before next is called.
	Params any
	// Result, after next, is what the call came to, if there is anything: on a client a
	// Result, on a server what the handler has returned. An Interceptor that answers a call
	// itself sets it and returns nil.
	Result any
	// Peer is, where the operation came from the wire, the address and identity of who asks.
	Peer Peer
	// Stream is the stream, on a server before next, on a client after it. An Interceptor
	// may put one of its own in its place, which then is what the handler, or the caller,
	// gets.
	Stream Stream
	// Publishing is, of a publish, what it asks for beside the message; it may be changed
	// before next is called, but for its Meta, which is in Meta. nil: nothing.
	Publishing *Publishing
	// Delivery is, where a message is delivered, what is known of it beside its value.
	Delivery DeliveryInfo
}

// Peer is who is at the other side.
type Peer struct {
	Addr     string
	Identity string // empty: not known, as the server has no policy
}

// PeerKey is the key under which a handler's context holds the Peer that has called.
type PeerKey struct{}

// PeerOf is who has called the handler that ctx belongs to; not ok when ctx belongs to
// none. A call that came through the broker came from the broker.
func PeerOf(ctx context.Context) (p Peer, ok bool) {
	p, ok = ctx.Value(PeerKey{}).(Peer)
	return p, ok
}

// OperationKind says what an operation is.
type OperationKind uint8

// The kinds. Those of the client are about what it asks for; the others about what came.
const (
	OpCall        OperationKind = iota + 1 // a client calls, in any of the ways; each instance of All is one
	OpSend                                 // a client sends without being answered
	OpOpenStream                           // a client opens a stream: next returns when it is open
	OpPublish                              // a client publishes a message
	OpDeliver                              // a client hands a message of a topic to its subscriber
	OpServe                                // a server serves a call
	OpServeStream                          // a server serves a stream: next returns when the handler has
)

// String returns the kind in words.
func (k OperationKind) String() string {
	words := [...]string{"", "call", "send", "open stream", "publish", "deliver", "serve", "serve stream"}
	if int(k) < len(words) {
		return words[k]
	}
	return "unknown"
}

// Chain makes one Interceptor of several, the first outermost, without those that are
// nil; nil of none.
func Chain(all ...Interceptor) Interceptor {
	all = slices.DeleteFunc(slices.Clone(all), func(i Interceptor) bool { return i == nil })
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	first, rest := all[0], Chain(all[1:]...)
	return func(ctx context.Context, op *Operation, next Next) error {
		return first(ctx, op, func(ctx context.Context, op *Operation) error { return rest(ctx, op, next) })
	}
}
