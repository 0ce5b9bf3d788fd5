package peer

import (
	"trefoil/abstract"
	"trefoil/concrete/message"
)

// Shape returns a message as the peer understands it; m itself is not changed. A
// successful result that is nothing becomes {} for every peer. A legacy peer sees
// rcodes from 0 to 9, and hosts without our additions.
func (p *Peer) Shape(m abstract.BaseMessage) abstract.BaseMessage {
	switch m := m.(type) {
	case *message.RpcResponse:
		return p.shapeRpc(m)
	case *message.TopicResponse:
		if !p.Modern() && m.Code != m.Code.Legacy() {
			return &message.TopicResponse{Header: message.ID(m.ID()), Code: m.Code.Legacy(), Message: m.Message}
		}
	case *message.ServiceResponse:
		if !p.Modern() {
			return shapeService(m)
		}
	case *message.ServiceRequest:
		if !p.Modern() && (m.Hello || m.Instance != "" || m.Revision != 0 || m.Reason != "" || m.Traits != (abstract.Traits{})) {
			return &message.ServiceRequest{Header: message.ID(m.ID()), Op: m.Op, Method: m.Method, Host: m.Host}
		}
	}
	return m
}

// shapeRpc leaves result, message and details of an error as they are: existing
// programs look at the rcode first, and pass over members they do not know.
func (p *Peer) shapeRpc(m *message.RpcResponse) *message.RpcResponse {
	if m.Code == abstract.OK && empty(m.Result) {
		return &message.RpcResponse{Header: message.ID(m.ID()), Result: message.Raw("{}")}
	}
	if code := m.Code.Legacy(); !p.Modern() && code != m.Code {
		return &message.RpcResponse{Header: message.ID(m.ID()), Code: code, Result: m.Result, Message: m.Message, Details: m.Details}
	}
	return m
}

func empty(result message.Raw) bool {
	return len(result) == 0 || message.KindOf(result) == message.Null
}

func shapeService(m *message.ServiceResponse) *message.ServiceResponse {
	shaped := &message.ServiceResponse{Header: message.ID(m.ID()), Op: m.Op, Code: m.Code.Legacy(), Method: m.Method, Message: m.Message}
	for _, h := range m.Hosts {
		shaped.Hosts = append(shaped.Hosts, message.ProviderHost{Host: h.Host})
	}
	return shaped
}

// LegacyPush returns a publish as legacy subscribers take it: with a message that
// is a JSON string, made of the JSON text of one that is something else. A publish
// that is fit already is returned as it is.
func LegacyPush(m *message.TopicRequest) *message.TopicRequest {
	if message.KindOf(m.Message) == message.String {
		return m
	}
	text, _ := message.Encode(string(m.Message)) // every string can be written
	return &message.TopicRequest{Header: message.ID(m.ID()), Op: m.Op, Topic: m.Topic, Message: text}
}
