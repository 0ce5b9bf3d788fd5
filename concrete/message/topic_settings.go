package message

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"trefoil/abstract"
)

// topicSettings is how TopicSettings are written.
type topicSettings struct {
	Slow     string        `json:"slow,omitempty"`
	Retain   bool          `json:"retain,omitempty"`
	History  *topicHistory `json:"history,omitempty"`
	TTLMs    int64         `json:"ttl_ms,omitempty"`
	MaxBytes int           `json:"max_bytes,omitempty"`
	Schema   Raw           `json:"schema,omitempty"`
	DedupMs  int64         `json:"dedup_ms,omitempty"`
	Presence bool          `json:"presence,omitempty"`
	Allow    *topicAllow   `json:"allow,omitempty"`

	Durable    bool   `json:"durable,omitempty"`
	MaxDeliver int    `json:"max_deliver,omitempty"`
	AckWaitMs  int64  `json:"ack_wait_ms,omitempty"`
	DeadLetter string `json:"dead_letter,omitempty"`
}

type topicHistory struct {
	Count int   `json:"count,omitempty"`
	Bytes int64 `json:"bytes,omitempty"`
	AgeMs int64 `json:"age_ms,omitempty"`
}

type topicAllow struct {
	Publish   []string `json:"publish,omitempty"`
	Subscribe []string `json:"subscribe,omitempty"`
}

// WriteTopicSettings writes settings as the JSON object of the wire.
func WriteTopicSettings(s abstract.TopicSettings) Raw {
	w := topicSettings{
		Retain: s.Retain, TTLMs: s.TTL.Milliseconds(), MaxBytes: s.MaxBytes, Schema: s.Schema, DedupMs: s.Dedup.Milliseconds(), Presence: s.Presence,
		Durable: s.Durable, MaxDeliver: s.MaxDeliver, AckWaitMs: s.AckWait.Milliseconds(), DeadLetter: s.DeadLetter,
	}
	if s.Slow != abstract.SlowDropOldest {
		w.Slow = s.Slow.String()
	}
	if h := s.History; h.Kept() {
		w.History = &topicHistory{h.Count, h.Bytes, h.Age.Milliseconds()}
	}
	if len(s.Allow.Publish)+len(s.Allow.Subscribe) > 0 {
		w.Allow = &topicAllow{s.Allow.Publish, s.Allow.Subscribe}
	}
	raw, err := Encode(w)
	if err != nil { // a schema that is no JSON
		w.Schema = nil
		raw, _ = Encode(w)
	}
	return raw
}

// ReadTopicSettings reads settings, and says what of them is wrong: a name that is not
// known, too, as a setting that is not kept must not be believed in. The error's code
// is InvalidParams.
func ReadTopicSettings(raw Raw) (s abstract.TopicSettings, err error) {
	if len(raw) == 0 {
		return s, nil
	}
	var w topicSettings
	d := json.NewDecoder(bytes.NewReader(raw)) // rare, and it names what it does not know
	d.DisallowUnknownFields()
	if err := d.Decode(&w); err != nil {
		return s, abstract.Errorf(abstract.InvalidParams, "the topic's settings cannot be read: %s", plainWords(err))
	}
	slow, err := abstract.ParseSlowPolicy(w.Slow)
	if err != nil {
		return s, err
	}
	s = abstract.TopicSettings{
		Slow: slow, Retain: w.Retain, TTL: ms(w.TTLMs), MaxBytes: w.MaxBytes, Schema: w.Schema, Dedup: ms(w.DedupMs), Presence: w.Presence,
		Durable: w.Durable, MaxDeliver: w.MaxDeliver, AckWait: ms(w.AckWaitMs), DeadLetter: w.DeadLetter,
	}
	if h := w.History; h != nil {
		s.History = abstract.History{Count: h.Count, Bytes: h.Bytes, Age: ms(h.AgeMs)}
	}
	if a := w.Allow; a != nil {
		s.Allow = abstract.TopicAllow{Publish: a.Publish, Subscribe: a.Subscribe}
	}
	err = s.Check()
	return s, err
}

func ms(n int64) time.Duration { return time.Duration(min(n, longestMs)) * time.Millisecond }

// plainWords is what the decoder says, without its speaking of Go.
func plainWords(err error) string {
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		return `"` + kind.Field + `" is of the wrong kind: ` + kind.Value
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}
