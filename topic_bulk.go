package trefoil

import (
	"context"

	"trefoil/abstract"
)

// Outgoing is one message of a batch.
type Outgoing[T any] struct {
	Value T
	With  *abstract.Publishing // nil: as Publish does it, which is faster
}

// PublishBatch publishes messages in order, many in one write, and returns when each has its
// outcome: the slice has one for each message, with a receipt for those that were published
// with a Publishing. The error is nil when all were taken; otherwise it says how many were
// not. Messages that were are not taken back. When ctx ends first, the outcome of those on
// their way is its error.
func (t *Topic[T]) PublishBatch(ctx context.Context, p abstract.BulkPublisher, messages []Outgoing[T]) ([]abstract.Outcome, error) {
	untyped := make([]abstract.Outgoing, len(messages))
	for i := range messages {
		untyped[i] = abstract.Outgoing{Value: &messages[i].Value, With: messages[i].With}
	}
	return p.PublishBatch(ctx, t.name, untyped)
}

// Pipeline publishes the messages of a Topic without waiting for answers, as long as not too
// many are missing. Messages arrive in the order of the calls, also over a lost connection.
// Safe for concurrent use.
type Pipeline[T any] struct{ line abstract.PublishPipeline }

// Pipeline makes a Pipeline to the topic. window is how many messages may be without an
// answer, one at least: a few hundred fill any connection.
func (t *Topic[T]) Pipeline(p abstract.BulkPublisher, window int) *Pipeline[T] {
	return &Pipeline[T]{p.OpenPipeline(t.name, window)}
}

// OnOutcome calls fn for every message with what became of it: n counts those that Publish has
// taken, from 1. The Receipt is filled for those that were published with a Publishing.
// Calls come one at a time, in the order of the answers. Set it before the first Publish.
// Flush returns the errors all the same.
func (p *Pipeline[T]) OnOutcome(fn func(n uint64, r abstract.Receipt, err error)) {
	p.line.OnOutcome(fn)
}

// Publish sends v behind the messages before it. It waits only while the window is full; ctx
// ends this waiting, and not the message. Its error says that the message was not sent; what
// becomes of one that was, OnOutcome and Flush tell. Of with, which may be left out, the
// first counts.
func (p *Pipeline[T]) Publish(ctx context.Context, v T, with ...abstract.Publishing) error {
	return p.line.Publish(ctx, &v, with...)
}

// Flush waits until every message has its outcome, and returns what went wrong since the last
// Flush: nil when the broker has taken all, else an error that says how many it has not, with
// the first of their errors. When ctx ends first, it returns ctx's error, and the messages
// are on their way still.
func (p *Pipeline[T]) Flush(ctx context.Context) error { return p.line.Flush(ctx) }
