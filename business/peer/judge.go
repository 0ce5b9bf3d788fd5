package peer

import (
	"time"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// Verdict is what is to be done about a message, or about the passing of time.
// Several fields may be set: reply, then close.
type Verdict struct {
	Deliver bool                 // the message is for the dispatcher, or for a call that waits for it
	Met     bool                 // the message was the response to our HELLO
	Reply   abstract.BaseMessage // to be sent, or nil
	Close   error                // the connection is to be closed with this reason, or nil
	// Leaving is set beside Close when the peer has said goodbye. It takes no
	// more requests and closes when its last responses are written, so who
	// waits for one may leave the closing to it.
	Leaving bool
	// Session is set beside Reply, a *message.HelloResponse, when the peer's HELLO
	// asks for a session: who knows of sessions puts one into that response before
	// it is sent, or leaves it as it is and gives none.
	Session *message.SessionRequest
	// Granted is set beside Met when the server has given us a session.
	Granted *message.SessionGrant
}

// Receive judges a message that came at now. Messages that come after a Verdict
// with Close are not delivered, but for those after a goodbye.
func (p *Peer) Receive(m abstract.BaseMessage, now time.Time) Verdict {
	p.Heard(now)
	switch state(p.state.Load()) {
	case fresh:
		if p.role == Client {
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
		p.become(legacy)
		return p.fromLegacy(m)
	}
	if e := fit(h, h.Version, h.MaxFrame); e != nil {
		v := p.end(e)
		v.Reply = &message.HelloResponse{
			Header: message.ID(h.ID()), Code: e.Code, Version: message.ProtocolVersion,
			Agent: p.agent, MaxFrame: p.ourFrame, Message: e.Message,
		}
		return v
	}
	p.meet(h.MaxFrame, p.ping, int(p.misses))
	return Verdict{Session: h.Session, Reply: &message.HelloResponse{
		Header: message.ID(h.ID()), Version: message.ProtocolVersion, Agent: p.agent,
		MaxFrame: p.ourFrame, PingMs: p.ping.Milliseconds(), Misses: int(p.misses),
	}}
}

// greeted judges the response to our HELLO.
func (p *Peer) greeted(m abstract.BaseMessage) Verdict {
	if g, ok := m.(*message.Goodbye); ok { // it shuts down just now
		return p.end(farewell(g))
	}
	r, ok := m.(*message.HelloResponse)
	if !ok {
		return p.end(abstract.Errorf(abstract.WrongMessageType, "the peer answered HELLO with %s", m.Type()))
	}
	if r.Check() == nil && r.Code != abstract.OK {
		return p.end(&abstract.Error{Code: r.Code, Op: "hello", Message: r.Message, FromPeer: true})
	}
	if e := fit(r, r.Version, r.MaxFrame); e != nil {
		return p.end(e)
	}
	if r.Version > message.ProtocolVersion {
		return p.end(abstract.Errorf(abstract.Unsupported, "the peer answered HELLO with protocol version %d; the highest we speak is %d", r.Version, message.ProtocolVersion))
	}
	ping, misses := milliseconds(r.PingMs), r.Misses
	if ping == 0 { // it dictates nothing
		ping = p.ping
	}
	if misses == 0 {
		misses = int(p.misses)
	}
	p.meet(r.MaxFrame, ping, misses)
	v := Verdict{Met: true}
	if p.session != nil { // else it gives what nobody has asked for
		v.Granted = r.Session
	}
	return v
}

func farewell(g *message.Goodbye) *abstract.Error {
	return &abstract.Error{Code: g.Code, Op: "goodbye", Message: g.Reason, FromPeer: true}
}

// fit returns why we cannot speak with a peer that said such a HELLO, or nil.
func fit(m abstract.BaseMessage, version, maxFrame int) *abstract.Error {
	if err := m.Check(); err != nil {
		return abstract.Errorf(abstract.InvalidMessage, "%s cannot be understood: %v", m.Type(), err)
	}
	if version < message.ProtocolVersion {
		return abstract.Errorf(abstract.Unsupported, "protocol version %d is not spoken here; use version %d", version, message.ProtocolVersion)
	}
	if maxFrame != 0 && maxFrame < minFrame {
		return abstract.Errorf(abstract.InvalidMessage, "max_frame %d is too small; take frames of at least %d bytes", maxFrame, minFrame)
	}
	return nil
}

// meet begins the modern part of a connection's life.
func (p *Peer) meet(maxFrame int, ping time.Duration, misses int) {
	if maxFrame == 0 { // it named no limit, so ours will do
		maxFrame = p.ourFrame
	}
	p.maxFrame.Store(int64(maxFrame))
	p.ping = min(max(ping, minPing), maxPing)
	p.misses = int32(min(max(misses, minMisses), maxMisses))
	p.met.Store(true)
	p.become(modern)
}

// end judges a peer unfit: the connection is to be closed.
func (p *Peer) end(err error) Verdict {
	p.become(ended)
	return Verdict{Close: err}
}

// fromLegacy judges a message of a peer that has not said HELLO.
func (p *Peer) fromLegacy(m abstract.BaseMessage) Verdict {
	switch {
	case m.Type().Legacy():
		return Verdict{Deliver: true}
	case m.Type() == abstract.ReqHello:
		return p.end(abstract.Errorf(abstract.InvalidMessage, "HELLO is the first message of a connection or none"))
	}
	return p.end(abstract.Errorf(abstract.InvalidMessage, "%s from a peer that has not said HELLO", m.Type()))
}

// fromModern judges a message of a peer that has said HELLO.
func (p *Peer) fromModern(m abstract.BaseMessage) Verdict {
	switch m := m.(type) {
	case *message.Ping:
		return Verdict{Reply: &message.Pong{Header: message.ID(m.ID())}}
	case *message.Pong:
		return Verdict{}
	case *message.Goodbye:
		return Verdict{Leaving: true, Close: farewell(m)}
	case *message.Hello, *message.HelloResponse:
		return p.end(abstract.Errorf(abstract.InvalidMessage, "%s a second time", m.Type()))
	case *message.Unknown:
		return Verdict{Reply: &message.Unsupported{
			Header: message.ID(m.ID()), Code: abstract.Unsupported, MType: m.Type(),
			Message: "this message type is not known here",
		}}
	}
	return Verdict{Deliver: true}
}
