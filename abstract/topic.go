package abstract

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// TopicSettings says how a topic treats its messages. The zero value is the plain
// topic that existing programs know: what is published goes to who is subscribed, and
// is kept nowhere.
type TopicSettings struct {
	Slow     SlowPolicy // what happens to a subscriber that does not read fast enough
	Retain   bool       // who subscribes gets the last message first
	History  History    // what is kept for who comes later; nothing by default
	TTL      time.Duration
	MaxBytes int             // of one message; 0: the broker's limit of a frame
	Schema   json.RawMessage // JSON Schema that messages must fit; nil: any JSON value
	Dedup    time.Duration   // for how long a message of the same id is taken once only; 0: no looking
	Presence bool            // whoever subscribes with presence is told who joins and leaves
	Allow    TopicAllow

	Durable    bool          // messages are on disk before their publish is acknowledged
	MaxDeliver int           // how often a message is delivered that nobody acknowledges; 0: 16
	AckWait    time.Duration // until a message that was not acknowledged is delivered again; 0: 30 s
	DeadLetter string        // the topic that gets what was delivered too often; empty: the topic's name with ".dead"
}

// The limits and defaults of topics.
const (
	DefaultMaxDeliver = 16
	DefaultAckWait    = 30 * time.Second
	MaxTopicHistory   = 1 << 20 // messages that a plain topic keeps at most
	MaxTopicSettings  = 64 << 10
)

// SlowPolicy is what a topic does when a subscriber's queue is full.
type SlowPolicy uint8

// The policies. Existing programs are closed in place of the first three.
const (
	SlowDropOldest SlowPolicy = iota // the subscriber loses what waited longest, and is told how much
	SlowDropNewest                   // the subscriber loses what comes, and is told how much
	SlowDisconnect                   // the subscription ends, and the subscriber is told
	SlowLossless                     // the publisher waits: its publish is answered when there is room
)

var slowWords = [...]string{"drop-oldest", "drop-newest", "disconnect", "lossless"}

// String returns the policy's word on the wire.
func (p SlowPolicy) String() string {
	if int(p) < len(slowWords) {
		return slowWords[p]
	}
	return "unknown"
}

// ParseSlowPolicy returns the policy of a word; an empty one is SlowDropOldest.
func ParseSlowPolicy(word string) (SlowPolicy, error) {
	if word == "" {
		return SlowDropOldest, nil
	}
	if i := slices.Index(slowWords[:], word); i >= 0 {
		return SlowPolicy(i), nil
	}
	return 0, Errorf(InvalidParams, "%.40q is no policy for slow subscribers; take one of %s", word, strings.Join(slowWords[:], ", "))
}

// History bounds what a topic keeps. A message leaves when it is beyond any of the
// bounds that are set; with none set nothing is kept.
type History struct {
	Count int
	Bytes int64
	Age   time.Duration
}

// Kept says whether anything is kept.
func (h History) Kept() bool { return h != History{} }

// TopicAllow says who may use a topic: names of identities, where "*" stands for any
// text. An empty list leaves it to the broker's policy; both must allow.
type TopicAllow struct {
	Publish   []string
	Subscribe []string
}

// Check returns an error with code InvalidParams that says what of the settings makes
// no sense, and what to do about it.
func (s *TopicSettings) Check() error {
	switch h := s.History; {
	case h.Count < 0, h.Bytes < 0, h.Age < 0, s.TTL < 0, s.MaxBytes < 0, s.Dedup < 0, s.MaxDeliver < 0, s.AckWait < 0:
		return Errorf(InvalidParams, "a number in a topic's settings is negative; leave it out for the default")
	case !s.Durable && h.Count > MaxTopicHistory:
		return Errorf(InvalidParams, "a topic that is not durable keeps %d messages at most; take less, or make it durable", MaxTopicHistory)
	case !s.Durable && h.Kept() && h.Count == 0 && h.Bytes == 0:
		return Errorf(InvalidParams, "the history of a topic that is not durable needs a count or a number of bytes, as it lies in memory")
	case !s.Durable && (s.MaxDeliver > 0 || s.AckWait > 0 || s.DeadLetter != ""):
		return Errorf(InvalidParams, "max_deliver, ack_wait_ms and dead_letter are for durable topics: messages of others are not delivered again")
	case s.Durable && s.Slow == SlowLossless:
		return Errorf(InvalidParams, "a durable topic loses nothing: its subscribers read on from where they are; leave out the policy lossless")
	case s.Schema != nil && !json.Valid(s.Schema):
		return Errorf(InvalidParams, "the schema of a topic must be a JSON Schema")
	}
	return nil
}
