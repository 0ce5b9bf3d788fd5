package abstract

import "context"

// BulkPublisher publishes many messages to a topic of a name without waiting for each of
// them; TopicClient is one. Safe for concurrent use.
type BulkPublisher interface {
	// PublishBatch publishes messages in order, and returns when each has its outcome: the
	// slice has one for each message. The error is nil when all were taken.
	PublishBatch(ctx context.Context, topic string, messages []Outgoing) ([]Outcome, error)
	// OpenPipeline makes a PublishPipeline to a topic, with at most window messages, and at
	// least one, that have no answer yet.
	OpenPipeline(topic string, window int) PublishPipeline
}

// PublishPipeline publishes to one topic, in the order of the calls, without waiting for
// answers as long as not too many are missing. There is nothing to close. Safe for
// concurrent use.
type PublishPipeline interface {
	// OnOutcome calls fn for every message with what became of it; n counts those that
	// Publish has taken, from 1. Set it before the first Publish.
	OnOutcome(fn func(n uint64, r Receipt, err error))
	// Publish sends v as JSON, and waits only while the window is full. Its error says that
	// the message was not sent. Of with, which may be left out, the first counts.
	Publish(ctx context.Context, v any, with ...Publishing) error
	// Flush waits until every message has its outcome, and returns what went wrong since
	// the last Flush.
	Flush(ctx context.Context) error
}

// Outgoing is one message of a batch.
type Outgoing struct {
	Value any         // as JSON
	With  *Publishing // nil: as Publish does it, which is faster
}

// Outcome is what became of one message of a batch.
type Outcome struct {
	Receipt // filled when it was published with a Publishing
	Err     error
}
