package message

import (
	"math"
	"strconv"

	"trefoil/abstract"
)

// TopicResume is how far a subscription to many topics is: what its subscriber says when it
// subscribes again, and what the answer says of where it begins.
type TopicResume struct {
	Mark    string       // "mark" of the broker, which the subscriber says back; left out when empty: it begins
	Places  []TopicPlace // "places" of single topics
	Partial bool         // "partial":1: there may be more places, which are not known
}

// TopicPlace is how far a subscription is in one topic.
type TopicPlace struct {
	Topic  string
	Epoch  string // empty: it is not known
	Offset uint64 // of the last message; left out when 0
	Lost   bool   // "recovered":false: something behind the place that was asked for does not come
}

// What a TopicResume may hold. More is refused before memory is spent on it.
const (
	MaxTopicPlaces = 1024
	MaxResumeBytes = 256 << 10 // of its JSON text
)

// Size is how many bytes of JSON text a place takes, with what stands between two.
func (p *TopicPlace) Size() int {
	var room [256]byte
	return len(appendPlace(room[:0], p)) + 1
}

func appendPlace(dst []byte, p *TopicPlace) []byte {
	dst = appendString(append(dst, `{"topic":`...), p.Topic)
	dst = appendText(dst, `,"epoch":`, p.Epoch)
	dst = appendCount(dst, `,"offset":`, p.Offset)
	if p.Lost {
		dst = append(dst, `,"recovered":false`...)
	}
	return append(dst, '}')
}

func appendResume(dst []byte, r *TopicResume) []byte {
	if r == nil {
		return dst
	}
	dst = append(dst, `,"resume":{"places":[`...)
	for i := range r.Places {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendPlace(dst, &r.Places[i])
	}
	dst = appendText(append(dst, ']'), `,"mark":`, r.Mark)
	return append(appendFlag(dst, `,"partial":1`, r.Partial), '}')
}

// resume reads a TopicResume; nil where there is none.
func (e *envelope) resume(raw []byte) *TopicResume {
	if raw == nil {
		return nil
	}
	if len(raw) > MaxResumeBytes {
		e.failResume()
		return nil
	}
	var v [3][]byte
	s := scanner{b: raw}
	if !s.collect(v[:], []string{"mark", "places", "partial"}) {
		e.failResume()
		return nil
	}
	r := &TopicResume{Mark: e.optional(v[0], "mark", MaxTopicID), Partial: flag(v[2])}
	if v[1] == nil {
		return r
	}
	if err := Elements(v[1], func(place Raw) bool {
		if len(r.Places) == MaxTopicPlaces {
			e.failResume()
			return false
		}
		r.Places = append(r.Places, e.place(place))
		return e.head.fault == nil
	}); err != nil {
		e.failResume()
	}
	return r
}

func (e *envelope) place(raw []byte) TopicPlace {
	var v [4][]byte
	s := scanner{b: raw}
	if !s.collect(v[:], []string{"topic", "epoch", "offset", "recovered"}) {
		e.failResume()
		return TopicPlace{}
	}
	return TopicPlace{
		Topic: e.text(v[0], "topic", e.cfg.MaxTopic), Epoch: e.optional(v[1], "epoch", MaxTopicID),
		Offset: uint64(e.count(v[2], "offset", math.MaxInt64)), Lost: string(v[3]) == "false",
	}
}

func (e *envelope) failResume() {
	e.fail(abstract.InvalidParams, `"resume" must be an object of at most `+strconv.Itoa(MaxResumeBytes)+` bytes, with an array "places" of at most `+strconv.Itoa(MaxTopicPlaces)+` objects; leave places out, and say "partial":1`)
}
