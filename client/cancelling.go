package client

import (
	"trefoil/abstract"
	"trefoil/concrete/lv"
	"trefoil/concrete/message"
)

// abandon tells a modern peer that nobody waits for the answer to a request any
// more. It does not block, and a notice that finds no room is dropped: what comes
// after all is thrown away by its id.
func (s *session) abandon(id string) {
	if !s.modern() || s.leaving.Load() != nil && s.taken.Load() {
		return
	}
	b, err := s.protocol.Append(lv.Memory(cancelRoom), &message.Cancel{Header: message.ID(id)})
	if err != nil {
		return
	}
	err = s.Queue(abstract.Frame{Class: abstract.ClassControl, Count: 1, Bytes: b, Free: lv.Recycle})
	if err == nil {
		s.flushLater() // the calls of a context end together
	}
}

// cancelRoom is enough for the frame of a CANCEL.
const cancelRoom = 64
