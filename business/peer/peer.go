// Package peer judges what the other side of a connection is and whether it is
// still there: all judging of a connection's first bytes happens here.
package peer

import (
	"sync/atomic"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// Role is which end of a connection we are.
type Role uint8

// The roles.
const (
	Server       Role = iota // waits for the peer's first message, and judges by it
	Client                   // says HELLO
	LegacyClient             // talks to an existing program of the LV family
)

// legacyFrame is the longest frame that all existing programs take.
const legacyFrame = 65_532

// Config says who we are. The zero value's durations and counts mean the defaults.
type Config struct {
	Role     Role
	Agent    string        // what we call ourselves
	MaxFrame int           // the longest frame we take; default 8 MiB
	Ping     time.Duration // for a Server: the interval it dictates; default 2 s
	Misses   int           // for a Server: silent intervals before a peer is given up; default 5
}

// state is what we know of the peer.
type state uint32

const (
	fresh  state = iota // a server has heard nothing yet, a client has no answer to its HELLO
	legacy              // the peer does not know HELLO
	modern              // HELLO was exchanged
	ended               // judged unfit, or said goodbye
)

// Peer is what is known of the other side of one connection. Receive, Tick and
// Hello must be called one at a time; the other methods may be called at any time.
type Peer struct {
	cfg      Config
	state    atomic.Uint32
	maxFrame atomic.Int64 // what the peer takes

	heard   time.Time // when the last message came
	pinged  int       // pings sent since
	ping    time.Duration
	misses  int
	pingSeq uint64
}

// Verdict is what is to be done about a message or the passing of time. Several
// of its fields may be set: reply, then close.
type Verdict struct {
	Deliver bool                 // the message is for the dispatcher
	Met     bool                 // the message was the answer to our HELLO
	Reply   abstract.BaseMessage // to be sent, or nil
	Close   error                // the connection is to be closed with this reason, or nil
}

// New makes a Peer for a connection that was opened at now.
func New(cfg Config, now time.Time) *Peer {
	if cfg.MaxFrame <= 0 {
		cfg.MaxFrame = 8 << 20
	}
	if cfg.Ping <= 0 {
		cfg.Ping = 2 * time.Second
	}
	if cfg.Misses <= 0 {
		cfg.Misses = 5
	}
	p := &Peer{cfg: cfg, heard: now}
	p.maxFrame.Store(legacyFrame)
	if cfg.Role == LegacyClient {
		p.state.Store(uint32(legacy))
	}
	return p
}

func (p *Peer) is(s state) bool { return state(p.state.Load()) == s }

// Modern says whether HELLO was exchanged.
func (p *Peer) Modern() bool { return p.is(modern) }

// MaxFrame is the longest frame the peer takes, as far as we know.
func (p *Peer) MaxFrame() int { return int(p.maxFrame.Load()) }

// PingInterval is after how much silence a modern peer is pinged; 0 for others.
func (p *Peer) PingInterval() time.Duration { return p.ping }

// CheckSize returns an error with code TooLarge when the peer does not take a
// frame of n bytes. Requests to a legacy server are not limited: it may well
// take more, and they are the caller's choice.
func (p *Peer) CheckSize(n int) error {
	if limit := p.MaxFrame(); n > limit && p.cfg.Role != LegacyClient {
		return abstract.Errorf(abstract.TooLarge, "a frame of %d bytes is above the %d that the peer takes; send less at a time", n, limit)
	}
	return nil
}

// Hello is a client's first message.
func (p *Peer) Hello(id string) abstract.BaseMessage {
	return &message.Hello{Header: message.ID(id), Version: message.ProtocolVersion, Agent: p.cfg.Agent, MaxFrame: p.cfg.MaxFrame}
}

// Receive judges a message that came at now.
func (p *Peer) Receive(m abstract.BaseMessage, now time.Time) Verdict {
	p.heard, p.pinged = now, 0
	switch state(p.state.Load()) {
	case fresh:
		if p.cfg.Role == Client {
			return p.greeted(m)
		}
		return p.first(m)
	case legacy:
		return p.fromLegacy(m)
	case modern:
		return p.fromModern(m)
	}
	return Verdict{} // it is being closed
}

// first judges the first message that a server gets.
func (p *Peer) first(m abstract.BaseMessage) Verdict {
	h, ok := m.(*message.Hello)
	if !ok {
		p.state.Store(uint32(legacy))
		return p.fromLegacy(m)
	}
	if err := checkHello(h.Check(), h.Version, h.MaxFrame); err != nil {
		return p.end(err, &message.HelloResponse{Header: message.ID(h.ID()), Code: err.Code, Version: message.ProtocolVersion, Message: err.Message})
	}
	p.meet(h.MaxFrame, p.cfg.Ping, p.cfg.Misses)
	return Verdict{Reply: &message.HelloResponse{
		Header: message.ID(h.ID()), Version: message.ProtocolVersion, Agent: p.cfg.Agent,
		MaxFrame: p.cfg.MaxFrame, PingMs: p.ping.Milliseconds(), Misses: p.misses,
	}}
}

// greeted judges the answer to our HELLO.
func (p *Peer) greeted(m abstract.BaseMessage) Verdict {
	r, ok := m.(*message.HelloResponse)
	if !ok {
		return p.end(abstract.Errorf(abstract.WrongMessageType, "the peer answered HELLO with %s", m.Type()), nil)
	}
	if r.Check() == nil && r.Code != abstract.OK {
		return p.end(&abstract.Error{Code: r.Code, Op: "hello", Message: r.Message, FromPeer: true}, nil)
	}
	if err := checkHello(r.Check(), r.Version, r.MaxFrame); err != nil {
		return p.end(err, nil)
	}
	ping := min(max(time.Duration(r.PingMs)*time.Millisecond, minPing), maxPing)
	p.meet(r.MaxFrame, ping, min(max(r.Misses, 1), maxMisses))
	return Verdict{Met: true}
}

// What a server may dictate: more often costs too much, more seldom finds nothing.
const (
	minPing   = 10 * time.Millisecond
	maxPing   = time.Hour
	maxMisses = 1000
)

// minFrame is the least a peer must take: less does not hold our answers.
const minFrame = 1024

func checkHello(problem error, version, maxFrame int) *abstract.Error {
	switch {
	case problem != nil:
		return abstract.Errorf(abstract.InvalidMessage, "HELLO cannot be understood: %v", problem)
	case version < message.ProtocolVersion:
		return abstract.Errorf(abstract.Unsupported, "protocol version %d is not spoken here; use version %d", version, message.ProtocolVersion)
	case maxFrame != 0 && maxFrame < minFrame:
		return abstract.Errorf(abstract.InvalidMessage, "max_frame %d is too small; take frames of at least %d bytes", maxFrame, minFrame)
	}
	return nil
}

// meet begins the modern part of a connection's life.
func (p *Peer) meet(maxFrame int, ping time.Duration, misses int) {
	if maxFrame == 0 { // it named no limit
		maxFrame = p.cfg.MaxFrame
	}
	p.maxFrame.Store(int64(maxFrame))
	p.ping, p.misses = ping, misses
	p.state.Store(uint32(modern))
}

// end closes the connection, after an answer if there is one.
func (p *Peer) end(err error, reply abstract.BaseMessage) Verdict {
	p.state.Store(uint32(ended))
	return Verdict{Reply: reply, Close: err}
}

// fromLegacy judges a message of a peer that has not said HELLO.
func (p *Peer) fromLegacy(m abstract.BaseMessage) Verdict {
	if m.Type().Legacy() {
		return Verdict{Deliver: true}
	}
	if m.Type() == abstract.ReqHello {
		return p.end(abstract.Errorf(abstract.InvalidMessage, "HELLO is the first message of a connection or none"), nil)
	}
	return p.end(abstract.Errorf(abstract.InvalidMessage, "%s from a peer that has not said HELLO", m.Type()), nil)
}

// fromModern judges a message of a peer that has said HELLO.
func (p *Peer) fromModern(m abstract.BaseMessage) Verdict {
	switch m := m.(type) {
	case *message.Ping:
		return Verdict{Reply: &message.Pong{Header: message.ID(m.ID())}}
	case *message.Pong:
		return Verdict{}
	case *message.Goodbye:
		return p.end(&abstract.Error{Code: m.Code, Op: "goodbye", Message: m.Reason, FromPeer: true}, nil)
	case *message.Hello, *message.HelloResponse:
		return p.end(abstract.Errorf(abstract.InvalidMessage, "%s a second time", m.Type()), nil)
	case *message.Unknown:
		return Verdict{Reply: &message.Unsupported{
			Header: message.ID(m.ID()), Code: abstract.Unsupported, MType: m.Type(),
			Message: "this message type is not known here",
		}}
	}
	return Verdict{Deliver: true}
}

// Tick judges the silence of a modern peer: after an interval it is pinged, after
// too many it is given up.
func (p *Peer) Tick(now time.Time) Verdict {
	if !p.Modern() {
		return Verdict{}
	}
	silent := now.Sub(p.heard)
	if silent >= p.ping*time.Duration(p.misses) {
		return p.end(abstract.Errorf(abstract.Disconnected, "nothing was heard from the peer for %s: the connection is half-open, or the peer hangs", silent.Round(time.Millisecond)), nil)
	}
	if silent < p.ping*time.Duration(p.pinged+1) {
		return Verdict{}
	}
	p.pinged++
	p.pingSeq++
	return Verdict{Reply: &message.Ping{Header: message.ID(pingID(p.pingSeq))}}
}
