package message

import (
	"bytes"
	"strings"

	"trefoil/abstract"
)

// Pushes is the memory of TopicRequests that are read and done with, for the next ones: a
// subscriber's connection takes far more of them than it ever has at a time. It is for who
// knows that nobody keeps them. It also knows the topic of the last one, which mostly is
// the next one's too. Not safe for concurrent use, nor is Unmarshal of a Codec that is
// given one; the zero value is empty.
type Pushes struct {
	free  []*TopicRequest
	head  []byte // the last one's body, up to its message
	topic string // of it, in memory of its own; empty as long as there was one in a row
}

// pushesKept bounds the memory of a connection on which nothing comes any more: 8 KiB.
const pushesKept = 64

// Reuse takes topic requests that nobody will look at again. What they refer to, a
// message's text and its metadata, stays as it is. Other messages are left alone.
func (p *Pushes) Reuse(batch []abstract.BaseMessage) {
	for _, m := range batch[:min(len(batch), pushesKept-len(p.free))] {
		if push, ok := m.(*TopicRequest); ok {
			*push = TopicRequest{}
			p.free = append(p.free, push)
		}
	}
}

// take returns a request with nothing in it.
func (p *Pushes) take() *TopicRequest {
	if p == nil || len(p.free) == 0 {
		return new(TopicRequest)
	}
	last := len(p.free) - 1
	push := p.free[last]
	p.free = p.free[:last]
	return push
}

// headKept bounds what is remembered of a body.
const headKept = 256

// again returns the topic of a push that begins as the one before, and where its message
// begins; 0 when it does not, or when the topic is not known.
func (p *Pushes) again(body []byte) (topic string, at int) {
	if p == nil || p.topic == "" || !bytes.HasPrefix(body, p.head) {
		return "", 0
	}
	return p.topic, len(p.head)
}

// note remembers how a push begins, and with the second in a row, its topic: then the
// topics of those that follow share one string.
func (p *Pushes) note(head []byte, topic string) {
	switch {
	case p == nil || len(head) > headKept:
	case bytes.Equal(head, p.head):
		p.topic = strings.Clone(topic)
	default:
		p.head, p.topic = append(p.head[:0], head...), ""
	}
}
