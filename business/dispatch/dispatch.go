// Package dispatch hands messages to who handles them, by message type.
package dispatch

import (
	"runtime/debug"

	"trefoil/abstract"
)

// known is the first MType that is not looked up in the array.
const known = 64

// Dispatcher maps each MType to its handler. P is what a handler gets as the
// message's connection. Handlers are registered before the first Dispatch; after
// that a Dispatcher is safe for concurrent use.
type Dispatcher[P any] struct {
	handlers [known]func(P, abstract.BaseMessage)

	// Unhandled gets messages without a handler; nil ignores them.
	Unhandled func(P, abstract.BaseMessage)
	// OnPanic is told when a handler panicked on a message; the messages after
	// it are handled as if nothing had happened. Nil ignores panics.
	OnPanic func(p P, m abstract.BaseMessage, v any, stack []byte)
}

// New makes a Dispatcher without handlers.
func New[P any]() *Dispatcher[P] { return new(Dispatcher[P]) }

// Handle registers the handler of a type. It panics when there is one already,
// or when t is not a type that we know: both are bugs of ours.
func (d *Dispatcher[P]) Handle(t abstract.MType, h func(P, abstract.BaseMessage)) {
	if t < 0 || t >= known || d.handlers[t] != nil {
		panic("dispatch: no handler, or a second one, for " + t.String())
	}
	d.handlers[t] = h
}

// On registers a handler for messages of one Go type. A message of its MType that
// is of another Go type goes to Unhandled.
func On[P any, M abstract.BaseMessage](d *Dispatcher[P], t abstract.MType, fn func(P, M)) {
	d.Handle(t, func(p P, m abstract.BaseMessage) {
		if typed, ok := m.(M); ok {
			fn(p, typed)
			return
		}
		d.unhandled(p, m)
	})
}

// Dispatch calls the messages' handlers in order.
func (d *Dispatcher[P]) Dispatch(p P, batch []abstract.BaseMessage) {
	for i := 0; i < len(batch); {
		i += d.run(p, batch[i:])
	}
}

// run handles messages up to the end or the first panic, and returns how many:
// one recover serves many messages.
func (d *Dispatcher[P]) run(p P, batch []abstract.BaseMessage) (n int) {
	defer func() {
		if v := recover(); v != nil {
			if d.OnPanic != nil {
				d.OnPanic(p, batch[n-1], v, debug.Stack())
			}
		}
	}()
	for _, m := range batch {
		n++
		d.one(p, m)
	}
	return n
}

func (d *Dispatcher[P]) one(p P, m abstract.BaseMessage) {
	if t := m.Type(); t >= 0 && t < known && d.handlers[t] != nil {
		d.handlers[t](p, m)
		return
	}
	d.unhandled(p, m)
}

func (d *Dispatcher[P]) unhandled(p P, m abstract.BaseMessage) {
	if d.Unhandled != nil {
		d.Unhandled(p, m)
	}
}
