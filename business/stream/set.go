package stream

import (
	"sync"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// Set is the streams that are open on one connection, whoever has opened them. Safe for
// concurrent use.
type Set struct {
	room *Room
	most int64 // the largest message that the connection takes

	excess *Budget // what waits to be read beyond the windows; nil: not bounded

	mu     sync.Mutex
	byID   map[string]*End
	closed error // what CloseAll was given
	late   int64 // what may still come for streams that are over
}

const (
	// What the streams of a connection have waiting to be written, beside what the socket
	// holds. It is also how much of it lies before what is sent next, and how much work may
	// be ready to run before whoever reads the connection comes to that.
	roomLimit = 128 << 10

	// Who has ended a stream gets messages that the other side had sent before it knew.
	// These are ignored, as far as that side had credit.
	lateSlack  = 1 << 10  // notices, for each stream
	lateFirst  = 64 << 10 // for streams that never were
	lateLimit  = 1 << 30
	noticeCost = 64
)

// NewSet makes a Set without streams, of a connection that takes frames of maxFrame
// bytes, and that so many bytes may wait to be written of, all in all. excess, unless it
// is nil, bounds what its streams keep beyond their windows.
func NewSet(maxFrame, queue int, excess *Budget) *Set {
	return &Set{room: NewRoom(min(roomLimit, int64(queue)/2)), most: int64(maxFrame), late: lateFirst, excess: excess}
}

// Excess is what NewSet was given.
func (s *Set) Excess() *Budget { return s.excess }

// Len returns how many streams are open.
func (s *Set) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byID)
}

// Crowded says whether messages of streams wait for room: then many are about to be sent,
// and can be written together.
func (s *Set) Crowded() bool { return s.room.crowded.Load() }

// enter adds a stream.
func (s *Set) enter(e *End) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed != nil:
		return s.closed
	case s.byID[e.id] != nil:
		return abstract.Errorf(abstract.InvalidMessage, "a stream with this id is open; give each its own")
	case s.byID == nil:
		s.byID = make(map[string]*End)
	}
	s.byID[e.id] = e
	return nil
}

// leave takes a stream out that is over. Where the other side does not know yet, it may
// have sent all that it is ever allowed at once.
func (s *Set) leave(e *End, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID[e.id] != e {
		return
	}
	delete(s.byID, e.id)
	if len(s.byID) == 0 {
		s.byID = nil // the memory of a burst does not stay
	}
	s.late += lateSlack
	if !known {
		s.late += e.Window() + s.most
	}
	s.late = min(s.late, lateLimit)
}

// Find returns the open stream with an id, or nil.
func (s *Set) Find(id string) *End {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byID[id]
}

// Take hands a STREAM_DATA, STREAM_CREDIT or STREAM_END to its stream; known is false
// when there is none, or the stream is over. An error says that the peer sends more for
// streams that are not there than can be for want of knowledge: close the connection.
func (s *Set) Take(m abstract.BaseMessage) (known bool, err error) {
	if e := s.Find(m.ID()); e != nil {
		e.take(m)
		return true, nil
	}
	cost := int64(noticeCost)
	if data, ok := m.(*message.StreamMessage); ok {
		cost = message.StreamCost(data.Data)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.late -= cost; s.late < 0 {
		return false, abstract.Errorf(abstract.Overloaded, "too many messages for streams that are not open")
	}
	return false, nil
}

// Spoil ends the stream of a message that has a fault, or must not be taken: without it
// the others make no sense.
func (s *Set) Spoil(id string, why error) {
	if e := s.Find(id); e != nil {
		e.Abort(why)
	}
}

// Cancel takes the opener's word that it has given a stream up. False: there is none
// that the other side has opened.
func (s *Set) Cancel(id string) bool {
	e := s.Find(id)
	if e == nil || e.opener {
		return false
	}
	e.Abort(&abstract.Error{Code: abstract.Cancelled, Op: e.op, Message: "the caller has cancelled the stream"})
	return true
}

// CloseAll ends all streams, as the connection is lost, and lets none be added any more.
func (s *Set) CloseAll(why error) {
	s.mu.Lock()
	s.closed = why
	all := make([]*End, 0, len(s.byID))
	for _, e := range s.byID {
		all = append(all, e)
	}
	s.mu.Unlock()
	for _, e := range all {
		e.lost(why)
	}
}
