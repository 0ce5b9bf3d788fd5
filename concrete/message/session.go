package message

import (
	"math"

	"trefoil/abstract"
)

// SessionRequest is the "session" of a HELLO: {} asks for a new one, one with an
// id for that one to go on.
type SessionRequest struct {
	ID       string // "id": 32 hexadecimal digits; empty: a new session
	Secret   string // "secret" that came with it
	Sequence uint64 // "sequence": above that of every heartbeat datagram and every HELLO before; none of these is taken any more. Left out when 0, by who sends none
}

// SessionGrant is the "session" of a HELLO's response.
type SessionGrant struct {
	ID         string // "id"
	Secret     string // "secret": who knows it can take the session over; it is not shown to anybody
	IntervalMs int64  // "interval_ms": a sign of life is due in each
	Misses     int    // "misses": so many intervals in a row without one end the session
	Resumed    bool   // "resumed": it is the one that was asked for; else it is new, and nothing of an old one is left to the peer
	UDP        int    // "udp": the port of the same host that takes heartbeat datagrams; 0, left out: none
}

// sessionRequest reads what a HELLO asks for.
func (e *envelope) sessionRequest(raw []byte) *SessionRequest {
	if raw == nil {
		return nil
	}
	var v [3][]byte
	s := scanner{b: raw}
	if !s.collect(v[:], []string{"id", "secret", "sequence"}) {
		e.fail(abstract.InvalidMessage, `"session" must be an object: {} to open one`)
		return nil
	}
	return &SessionRequest{
		ID: e.optional(v[0], "id", maxName), Secret: e.optional(v[1], "secret", maxName),
		Sequence: uint64(e.count(v[2], "sequence", math.MaxInt64)),
	}
}

// sessionGrant reads what a HELLO's response gives.
func (e *envelope) sessionGrant(raw []byte) *SessionGrant {
	if raw == nil {
		return nil
	}
	var v [6][]byte
	s := scanner{b: raw}
	if !s.collect(v[:], []string{"id", "secret", "interval_ms", "misses", "resumed", "udp"}) {
		e.fail(abstract.InvalidMessage, `"session" must be an object`)
		return nil
	}
	return &SessionGrant{
		ID: e.optional(v[0], "id", maxName), Secret: e.optional(v[1], "secret", maxName),
		IntervalMs: e.count(v[2], "interval_ms", longestMs), Misses: int(e.count(v[3], "misses", math.MaxInt32)),
		Resumed: flag(v[4]), UDP: int(e.count(v[5], "udp", math.MaxUint16)),
	}
}

func appendSessionRequest(dst []byte, s *SessionRequest) []byte {
	if s == nil {
		return dst
	}
	dst = append(dst, `,"session":{`...)
	if s.ID != "" {
		dst = appendString(append(dst, `"id":`...), s.ID)
		dst = appendString(append(dst, `,"secret":`...), s.Secret)
		dst = appendSome(dst, `,"sequence":`, int64(min(s.Sequence, math.MaxInt64)))
	}
	return append(dst, '}')
}

func appendSessionGrant(dst []byte, s *SessionGrant) []byte {
	if s == nil {
		return dst
	}
	dst = appendString(append(dst, `,"session":{"id":`...), s.ID)
	dst = appendString(append(dst, `,"secret":`...), s.Secret)
	dst = appendInt(dst, `,"interval_ms":`, s.IntervalMs)
	dst = appendInt(dst, `,"misses":`, int64(s.Misses))
	dst = appendFlag(dst, `,"resumed":true`, s.Resumed)
	dst = appendSome(dst, `,"udp":`, int64(s.UDP))
	return append(dst, '}')
}
