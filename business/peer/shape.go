package peer

import (
	"strconv"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

func pingID(n uint64) string { return "p" + strconv.FormatUint(n, 36) }

// Shape returns a message as the peer understands it. A legacy peer sees rcodes
// from 0 to 9, a result that is there when the rcode is 0, and hosts without our
// additions; messages for a modern peer stay as they are.
func (p *Peer) Shape(m abstract.BaseMessage) abstract.BaseMessage {
	switch m := m.(type) {
	case *message.RpcResponse:
		if m.Code == abstract.OK && emptyResult(m.Result) {
			m = &message.RpcResponse{Header: message.ID(m.ID()), Result: message.Raw("{}")}
		}
		if !p.Modern() && m.Code != m.Code.Legacy() {
			c := *m
			c.Code = m.Code.Legacy()
			return &c
		}
		return m
	case *message.TopicResponse:
		if !p.Modern() && m.Code != m.Code.Legacy() {
			c := *m
			c.Code = m.Code.Legacy()
			return &c
		}
	case *message.ServiceResponse:
		return p.shapeService(m)
	case *message.ServiceRequest:
		if !p.Modern() && (m.Hello || m.Instance != "") {
			c := *m
			c.Hello, c.Instance = false, ""
			return &c
		}
	}
	return m
}

func emptyResult(r message.Raw) bool { return len(r) == 0 || string(r) == "null" }

func (p *Peer) shapeService(m *message.ServiceResponse) abstract.BaseMessage {
	if p.Modern() {
		return m
	}
	c := *m
	c.Code = m.Code.Legacy()
	c.Hosts = make([]message.ProviderHost, len(m.Hosts))
	for i, h := range m.Hosts {
		c.Hosts[i] = message.ProviderHost{Host: h.Host}
	}
	return &c
}

// LegacyPush returns a push as legacy subscribers take it: its message is a JSON
// string, that of its JSON text when it is something else. A push that is fit
// already is returned as it is.
func LegacyPush(m *message.TopicRequest) *message.TopicRequest {
	if message.KindOf(m.Message) == message.String {
		return m
	}
	text, err := message.Encode(string(m.Message))
	if err != nil { // a string always encodes
		return m
	}
	return &message.TopicRequest{Header: message.ID(m.ID()), Op: m.Op, Topic: m.Topic, Message: text}
}
