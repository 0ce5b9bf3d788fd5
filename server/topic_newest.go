package server

import "trefoil/abstract"

// A topic whose slow subscribers lose what comes newest tells them so at its place: behind
// what waits for them, and before what comes next.

// refuses counts a frame that there is no room for at a subscriber that loses the newest.
// It is called with the index's lock held, as what follows.
func (s *TopicServer) refuses(to *subscriber, frame *abstract.Frame) bool {
	if to.dropped > 0 && to.Room() >= len(frame.Bytes)+extended {
		s.tellDropped(to)
	}
	if to.dropped == 0 && to.Room() >= len(frame.Bytes) {
		return false
	}
	if to.dropped == 0 { // it is told when there is room, whether something comes then or not
		to.OnRoom(func() {
			s.index.Lock()
			defer s.index.Unlock()
			s.tellDropped(to)
			go to.conn.Flush()
		})
	}
	to.dropped += uint64(frame.Count)
	return true
}

// tellDropped tells a subscriber what was dropped since it was told last.
func (s *TopicServer) tellDropped(to *subscriber) {
	if to.dropped == 0 || to.gone {
		return
	}
	to.lose(to.dropped)
	to.dropped = 0
}
