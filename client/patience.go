package client

import (
	"errors"
	"math/rand/v2"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// awayError is the cause of the error of a HELLO that was refused for now: when to
// try again.
type awayError time.Duration

func (r awayError) Error() string { return "try again after " + time.Duration(r).String() }

// untilLater adds to why a connection is closed when the peer wants to see us again.
func untilLater(why error, m abstract.BaseMessage) error {
	h, ok := m.(*message.HelloResponse)
	var e *abstract.Error
	if !ok || h.RetryAfterMs <= 0 || !errors.As(why, &e) {
		return why
	}
	d := *e
	const most = int64(maxPatience / time.Millisecond)
	after := time.Duration(min(h.RetryAfterMs, most)) * time.Millisecond
	d.Err, d.Details = awayError(after), retryAfter(after)
	return &d
}

// maxPatience bounds how long a peer may tell us to stay away.
const maxPatience = 60 * time.Second

// patience is how long to wait before the next try because the peer has asked for it:
// a little longer than it said, so that not all come back at once.
func patience(err error) time.Duration {
	var after awayError
	if !errors.As(err, &after) {
		return 0
	}
	d := time.Duration(after)
	return min(d+rand.N(d/4+1), maxPatience)
}
