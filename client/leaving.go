package client

import (
	"context"
	"time"

	"trefoil/abstract"
)

// WithDrain sets how long calls and streams that are under way go on over the connection
// to a provider that has said goodbye, if the provider lets them; the default is 10
// minutes, and the client's timeout the least. New ones go elsewhere at once. A Conn, and
// a client of one server, rather connect again: they give what is under way the timeout.
func WithDrain(most time.Duration) Option { return func(c *config) { c.drain = max(0, most) } }

// leaveSoon ends the session when the peer has said goodbye: nothing new is sent, and
// what is under way has a while.
func (s *session) leaveSoon(why error) {
	if !s.leaving.CompareAndSwap(nil, &why) {
		return
	}
	left := s.cfg.timeout
	if s.life != nil {
		left = max(left, s.cfg.drain)
	}
	s.leaveWithin(left, why)
}

// leaveWithin looks now and then whether anything is under way still. A peer that has been
// told that nothing is has until the next look to close the connection itself.
func (s *session) leaveWithin(left time.Duration, why error) {
	pause := min(left, s.cfg.timeout)
	time.AfterFunc(pause, func() {
		select {
		case <-s.Done():
			return
		default:
		}
		if left -= pause; left <= 0 || !s.busy() {
			s.Close(why)
			return
		}
		s.detached.Do(func() { s.detach(why) })
		s.leaveWithin(left, why)
	})
}

// detach makes room for another session to the same peer. Nobody but the streams and calls
// that are under way knows this one any more.
func (s *session) detach(why error) {
	s.onLost(s, why)
	context.AfterFunc(s.life, func() {
		s.Close(&abstract.Error{Code: abstract.Disconnected, Message: "the client was closed by its owner"})
	})
}
