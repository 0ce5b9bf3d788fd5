package message

import (
	"time"

	"trefoil/abstract"
)

// TopicRequest asks for a topic operation, and is the push to a subscriber.
type TopicRequest struct {
	Header
	Op      abstract.TopicOp
	Topic   string       // "topic_key"; may be empty, but not missing. Of a modern peer's subscription: a filter
	Message Raw          // "topic_msg", any JSON value; only for publish and send
	Offset  uint64       // "offset" of a push: where the message stands in its topic; left out when 0
	More    *TopicExtras // nil: nothing that existing programs do not know, but for Offset and Meta

	Meta abstract.Metadata // "meta": words beside the message, only for publish and send; left out when empty
}

// Type returns REQ_TOPIC.
func (*TopicRequest) Type() abstract.MType { return abstract.ReqTopic }

// What a topic request may hold. More is refused before memory is spent on it.
const (
	MaxTopicAcks  = 4096 // deliveries of one ack, offsets of one delete
	MaxTopicWhere = 16   // headers that a subscription looks at
	MaxTopicID    = 256  // bytes of a message's id, of a subscription's, of a group's or a consumer's name
)

// TopicExtras is what only modern peers say in a REQ_TOPIC. Members are left out when
// they are zero.
type TopicExtras struct {
	Settings Raw    // "settings" of create and set, and of the answer to info; see ReadTopicSettings
	Epoch    string // "epoch": the incarnation that is meant; of a subscribe, in which From's offset counts

	// Of a subscription, and of the requests about it.
	Sub    string            // "sub": the subscriber's own name for it; it is in every push for it
	From   TopicFrom         // "from": where it begins
	Group  string            // "group": each message goes to one of its members
	Where  map[string]string // "where": only messages with this metadata
	Name   string            // "name" of the durable consumer, whose position outlives the subscription
	Ack    bool              // "ack":1: each message is acknowledged, or delivered again
	Window int               // "window": messages on their way to it, or in its hands, at most
	Watch  bool              // "presence":1: it is told who joins and leaves
	Resume *TopicResume      // "resume": where one to many topics goes on; nil: it does not

	// Of a publish.
	MsgID  string        // "msg_id": a second message of the same id is not taken
	Delay  time.Duration // "delay_ms" until it is delivered
	At     time.Time     // "at_ms" when it is delivered, Unix milliseconds
	TTL    time.Duration // "ttl_ms" of this message
	Report bool          // "report":1: the answer says where the message stands and whom it reached

	// Of a push.
	Time      time.Time // "time_ms" when it was taken, Unix milliseconds
	Delivery  uint64    // "delivery": its number, of a subscription that acknowledges
	Delivered int       // "delivered": how often, this time included, when that is more than once

	// Of an ack.
	Deliveries []uint64 // "deliveries" that are acknowledged
	Nack       bool     // "nack":1: given back, to be delivered again, after Delay
	Progress   bool     // "progress":1: still at work on them

	Most    int      // "most" of a read: so many messages, or names, at most
	Offsets []uint64 // "offsets" of a delete

	Scheduled string // "scheduled": the message that a cancel_scheduled takes back
}

// TopicFrom says where a subscription begins.
type TopicFrom = abstract.TopicFrom

// Where subscriptions begin; see abstract.FromWhere.
const (
	FromUnsaid = abstract.FromUnsaid
	FromNew    = abstract.FromNew
	FromLast   = abstract.FromLast
	FromAll    = abstract.FromAll
	FromOffset = abstract.FromOffset
	FromTime   = abstract.FromTime
)

// TopicResponse answers a topic operation.
type TopicResponse struct {
	Header
	Code    abstract.RCode
	Message string // "message": the error in words; left out when empty

	// Only for modern peers; each left out when zero.
	Offset      uint64    // "offset" of a published message; of the last one before a subscription
	Subscribers int       // "subscribers" that a publish has reached
	Due         time.Time // "due_ms": the message is kept, and published then
	Scheduled   string    // "scheduled": what the message is known by until then
	Duplicate   bool      // "duplicate":1: the message had been taken before
	Epoch       string    // "epoch" in which offsets count
	Recovered   Tri       // "recovered": whether a subscription that began at an offset, or resumes, gets all from there on
	Info        Raw       // "info": the answer to info, list and read

	Resume *TopicResume // "resume": where a subscription to many topics has begun
}

// Type returns RSP_TOPIC.
func (*TopicResponse) Type() abstract.MType { return abstract.RspTopic }

// Tri is a bool that may not be said.
type Tri uint8

// The values.
const (
	Unsaid Tri = iota
	No
	Yes
)

// TriOf makes a Tri of a bool.
func TriOf(b bool) Tri {
	if b {
		return Yes
	}
	return No
}

// GapNotice tells a subscriber that messages of a topic were dropped, because it
// did not read fast enough, right before the next message that was not.
type GapNotice struct {
	Header
	Topic  string // "topic_key"; the filter of the subscription
	Sub    string // "sub" of the subscription; left out when empty
	Missed uint64 // "missed": how many since the last notice
}

// Type returns GAP.
func (*GapNotice) Type() abstract.MType { return abstract.Gap }
