package session

import "trefoil/abstract"

// claim takes note of a HELLO that knows the session's secret, and returns why the
// session does not go on with it. A HELLO that was recorded and is sent again names a
// sequence that was named before; who sends no heartbeats may leave it at 0 always, and
// has no such protection.
func (e *entry) claim(sequence uint64, identity string) error {
	switch {
	case e.owner != "" && e.owner != identity:
		return abstract.Errorf(abstract.Denied, "the session belongs to another identity; open one of your own")
	case sequence <= e.claimed && e.claimed > 0:
		return abstract.Errorf(abstract.Denied, "this HELLO, or a later one of the session, was taken before; count the sequence up for each")
	}
	e.owner, e.claimed = identity, sequence
	return nil
}
