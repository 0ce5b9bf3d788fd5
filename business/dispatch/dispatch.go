// Package dispatch hands messages to who handles them, by message type.
package dispatch

import (
	"runtime/debug"

	"trefoil/abstract"
)

// known is the first MType that cannot have a handler.
const known = 64

// Dispatcher maps each MType to its handler. P is what a handler gets as the
// message's connection. Handlers and the two functions are set before the first
// Dispatch; after that a Dispatcher is safe for concurrent use, and takes no lock.
type Dispatcher[P any] struct {
	handlers [known]func(P, abstract.BaseMessage)

	// Unhandled gets the messages that no handler takes; nil ignores them.
	Unhandled func(P, abstract.BaseMessage)
	// OnPanic is told that handling a message panicked; the messages after it are
	// handled as if nothing had happened. Nil ignores panics. It must not panic.
	OnPanic func(p P, m abstract.BaseMessage, v any, stack []byte)
}

// New makes a Dispatcher without handlers.
func New[P any]() *Dispatcher[P] { return new(Dispatcher[P]) }

// Handle registers the handler of a type. It panics when there is one already,
// when there is none in h, or when t is none of our types: all bugs of ours.
func (d *Dispatcher[P]) Handle(t abstract.MType, h func(P, abstract.BaseMessage)) {
	switch {
	case t < 0 || t >= known || !t.OnWire():
		panic("dispatch: " + t.String() + " cannot have a handler")
	case h == nil:
		panic("dispatch: no handler for " + t.String())
	case d.handlers[t] != nil:
		panic("dispatch: a second handler for " + t.String())
	}
	d.handlers[t] = h
}

// On registers a handler for messages of one Go type. A message of that MType and
// of another Go type goes to Unhandled.
func On[P any, M abstract.BaseMessage](d *Dispatcher[P], t abstract.MType, fn func(P, M)) {
	d.Handle(t, func(p P, m abstract.BaseMessage) {
		if typed, ok := m.(M); ok {
			fn(p, typed)
			return
		}
		d.unhandled(p, m)
	})
}

// Dispatch calls the messages' handlers, in order and on this goroutine.
func (d *Dispatcher[P]) Dispatch(p P, batch []abstract.BaseMessage) {
	for len(batch) > 0 {
		batch = batch[d.run(p, batch):]
	}
}

// run handles messages up to the end or the first panic, and returns how many
// these were: one recover serves many messages.
func (d *Dispatcher[P]) run(p P, batch []abstract.BaseMessage) (n int) {
	defer func() {
		if v := recover(); v != nil && d.OnPanic != nil {
			d.OnPanic(p, batch[n-1], v, debug.Stack())
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
