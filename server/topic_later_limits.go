package server

import (
	"sync"

	"trefoil/abstract"
)

// maxLater is how many messages of a topic wait at most to be published later. Each takes
// 24 bytes of memory.
const maxLater = 100_000

// What all topics together have waiting at most, unless WithScheduled says otherwise.
const (
	defaultScheduled      = 1_000_000
	defaultScheduledBytes = 1 << 30
)

// WithScheduled bounds what waits to be published later, in all topics together: so many
// messages, and so many bytes of them; the defaults are 1,000,000 and 1 GiB. A topic has
// 100,000 at most in any case. Further ones are refused with Overloaded. What waits when
// the broker starts is kept, also above the bounds.
func WithScheduled(messages int, bytes int64) Option {
	return func(c *config) { c.scheduled = tally{max(messages, 1), max(bytes, 1)} }
}

// tally counts messages.
type tally struct {
	messages int
	bytes    int64
}

// backlog is what waits in all topics. Its lock is taken within that of an agenda.
type backlog struct {
	mu  sync.Mutex
	now tally
}

func (b *backlog) add(t tally) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now.messages += t.messages
	b.now.bytes += t.bytes
}

// reserve counts a message of this size, unless that would be more than most.
func (b *backlog) reserve(size int, most tally) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.now.messages >= most.messages:
		return abstract.Errorf(abstract.Overloaded, "%d messages wait at this broker to be published later, which is its limit (limits.scheduled); publish this one when it is due, or cancel some", b.now.messages)
	case b.now.bytes+int64(size) > most.bytes:
		return abstract.Errorf(abstract.Overloaded, "the messages that wait at this broker to be published later have %d bytes, and its limit is %d (limits.scheduled_bytes); publish this one when it is due, or cancel some", b.now.bytes, most.bytes)
	}
	b.now.messages++
	b.now.bytes += int64(size)
	return nil
}

// reserve counts a message of a topic that is about to come; uncount does the opposite.
func (s *TopicServer) reserve(f *feed, size int) error {
	a := &f.later
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return errRemoved(f.name)
	}
	if a.counted.messages >= maxLater {
		return abstract.Errorf(abstract.Overloaded, "%d messages of topic %q wait to be published later, which is the limit; publish this one when it is due", maxLater, f.name)
	}
	if err := s.backlog.reserve(size, s.ep.cfg.scheduled); err != nil {
		return err
	}
	a.counted.messages++
	a.counted.bytes += int64(size)
	return nil
}

// uncount counts a message out. What belonged to a topic that was removed was counted out
// with it.
func (s *TopicServer) uncount(a *agenda, size int) { s.recount(a, tally{-1, -int64(size)}) }

// countFound counts messages that were found in the log.
func (s *TopicServer) countFound(a *agenda, list appointments) {
	t := tally{messages: len(list)}
	for _, ap := range list {
		t.bytes += int64(ap.size)
	}
	s.recount(a, t)
}

func (s *TopicServer) recount(a *agenda, t tally) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return
	}
	a.counted.messages += t.messages
	a.counted.bytes += t.bytes
	s.backlog.add(t)
}

// waiting is how many messages wait.
func (a *agenda) waiting() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.counted.messages
}
