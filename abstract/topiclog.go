package abstract

import (
	"context"
	"time"
)

// TopicLog keeps the messages of topics, each topic's in the order they were appended.
// Safe for concurrent use. Every driver passes topiclogtest.
type TopicLog interface {
	// Open opens the log of one incarnation of a topic, which it makes when it is not
	// there, with these bounds from now on. epoch names the incarnation.
	Open(ctx context.Context, topic, epoch string, cfg LogConfig) (Log, error)
	// Remove removes the log of an incarnation with everything in it, its consumers
	// included, and ends what waits for it. From then on every method of the log fails with
	// TopicNotFound, also when one of the same name is opened again. One that is not
	// there is no error.
	Remove(ctx context.Context, topic, epoch string) error
	// List returns which logs there are, in no order: those of topics that were removed
	// while nobody listened are found here.
	List(ctx context.Context) ([]LogName, error)
	// Durable says whether what was appended survives the process.
	Durable() bool
	// Close ends what is under way. What was appended stays, if the driver is durable.
	Close() error
}

// LogName names a log.
type LogName struct{ Topic, Epoch string }

// LogConfig bounds a log.
type LogConfig struct {
	// History is what is kept. A durable driver counts Bytes as on disk, and with the zero
	// value keeps everything; one in memory keeps nothing then. What is too old may stay for
	// a moment.
	History History
	Dedup   time.Duration // for how long an id is remembered, if History is not shorter; 0: ids are not looked at
	// Last is an offset that was given before by somebody else: a log in memory goes on
	// behind it, and forgets what does not lead up to it. Durable ones look at what they hold.
	Last uint64
}

// Log is the log of one incarnation of a topic. Offsets count from 1, without holes
// when they are given, and are never used twice.
type Log interface {
	// Append adds entries, in order, and returns when they are kept: on disk, for a
	// durable log, as its sync mode says. offsets has one element for each entry; that of
	// an entry whose ID was appended within Dedup is the offset it got then, and it is not
	// appended again. Beside an error, offsets is nil or has an Offset of 0 for what is not
	// known to be kept: that may or may not be in the log with the code UnknownFate, and is
	// not with any other. What alone is more than History.Bytes is TooLarge, where it is not
	// kept all the same.
	Append(ctx context.Context, entries []LogEntry) (offsets []LogOffset, err error)
	// Read returns entries from an offset on, or from the first that is kept when that is
	// later: at most so many, and so many bytes of Data, but one at least, if there is any.
	// An offset that is missing between two others was deleted, or a damaged store lost it.
	Read(ctx context.Context, from uint64, most, bytes int) ([]LogEntry, error)
	// Bounds returns the offsets of the first and of the last entry. first is last+1 when
	// nothing is kept; last never gets smaller.
	Bounds(ctx context.Context) (first, last uint64, err error)
	// Delete removes single entries, as if they had never been: nobody reads them or is
	// delivered them any more, except who has been already. Their offsets are not used again,
	// and their IDs are remembered as if they were still there, on a durable driver until it
	// is opened again. Offsets of which there is no entry are no error. Beside an error some
	// may be deleted; it can be called again.
	Delete(ctx context.Context, offsets ...uint64) error
	// OffsetAt returns the offset of the first entry that is not older than t, and
	// last+1 when there is none.
	OffsetAt(ctx context.Context, t time.Time) (uint64, error)
	// Consumer opens a named consumer, which it makes when it is not there: its position is
	// kept with the log. A driver that keeps nothing returns Unsupported.
	Consumer(ctx context.Context, name string, cfg ConsumerConfig) (LogConsumer, error)
	// RemoveConsumer forgets a consumer. One that is not there is no error.
	RemoveConsumer(ctx context.Context, name string) error
	// Consumers returns how far each consumer is, by name.
	Consumers(ctx context.Context) ([]ConsumerInfo, error)
}

// LogEntry is one message in a log.
type LogEntry struct {
	Offset uint64    // not set when it is appended
	Time   time.Time // when it was appended, by the broker's clock
	ID     string    // of the message, for Dedup; may be empty
	Data   []byte    // must not be changed
}

// LogOffset is where an entry stands.
type LogOffset struct {
	Offset    uint64
	Duplicate bool // it stood there before
}

// ConsumerConfig is how a consumer begins, and when it is given an entry again. Only
// AckWait and MaxUnacked of a consumer that is there already are changed.
type ConsumerConfig struct {
	From       uint64        // the first offset to deliver; 0: what is appended from now on
	AckWait    time.Duration // until an entry that was not acknowledged is delivered again; 0: DefaultAckWait
	MaxUnacked int           // delivered and not acknowledged; 0: 1,024
}

// LogConsumer hands out the entries of a log, each until it is acknowledged. It is
// shared by whoever consumes under its name, here and elsewhere. Safe for concurrent use.
type LogConsumer interface {
	// Fetch waits for entries, and returns one at least, and at most so many. Its error is
	// ctx's, or says that the consumer is gone: NotFound when it was removed, TopicNotFound
	// when its log was, Unavailable when it, or the driver, was closed.
	Fetch(ctx context.Context, most int) ([]LogDelivery, error)
	Info(ctx context.Context) (ConsumerInfo, error)
	// Ack is LogDelivery.Ack of many entries that this consumer, or another one of its name,
	// has fetched, for the price of about one: it returns when the log knows of all. Beside
	// an error it may know of some, and it can be called again. It does so after Close, too.
	Ack(ctx context.Context, list ...LogDelivery) error
	// Close stops handing out. What is not acknowledged can still be, and is delivered
	// again, here or elsewhere, when its AckWait is over.
	Close() error
}

// LogDelivery is an entry that waits to be acknowledged. Of its methods one ends that;
// a second call does nothing.
type LogDelivery interface {
	Entry() LogEntry
	// Delivered is how often the entry has been delivered, this time included.
	Delivered() int
	// Ack says that the entry is dealt with, and returns when the log knows. After a crash
	// an entry may be delivered again that was acknowledged shortly before.
	Ack(ctx context.Context) error
	// Nack gives the entry back, to be delivered again after a while.
	Nack(ctx context.Context, delay time.Duration) error
	// Progress begins AckWait anew.
	Progress(ctx context.Context) error
}

// ConsumerInfo is how far a consumer is.
type ConsumerInfo struct {
	Name        string
	Acked       uint64 // everything up to here is acknowledged
	Pending     uint64 // entries that were not delivered yet
	Unacked     int    // delivered, and not acknowledged
	Redelivered int    // of those, delivered more than once
}
