package lv_test

import (
	"trefoil/abstract"
	"trefoil/concrete/message"
)

// goldenStreams are the golden frames of streams.
func goldenStreams() map[string]abstract.BaseMessage {
	id := message.ID("7")
	return map[string]abstract.BaseMessage{
		"50-req-stream": &message.StreamRequest{
			Header: id, Method: "clock.ticks", Parameters: message.Raw(`{"n":2}`), TimeoutMs: 5000, Credit: 65_536, Instance: "b", Relay: true,
			Meta: abstract.Metadata{"tenant": "blue"},
		},
		"51-stream-data":      &message.StreamMessage{Header: id, Data: message.Raw(`{"count":0}`)},
		"52-stream-credit":    &message.CreditNotice{Header: id, Bytes: 65_536},
		"53-stream-end-well":  &message.EndNotice{Header: id},
		"54-stream-end-badly": &message.EndNotice{Header: id, Code: abstract.Denied, Message: "not you", Details: message.Raw(`{"need":"more"}`)},
	}
}

// streamContent is content of a message of a stream; nil for others.
func streamContent(m abstract.BaseMessage) abstract.BaseMessage {
	switch m := m.(type) {
	case *message.StreamRequest:
		c := *m
		c.Header = message.ID(m.ID())
		return &c
	case *message.StreamMessage:
		return &message.StreamMessage{Header: message.ID(m.ID()), Data: m.Data}
	case *message.CreditNotice:
		return &message.CreditNotice{Header: message.ID(m.ID()), Bytes: m.Bytes}
	case *message.EndNotice:
		return &message.EndNotice{Header: message.ID(m.ID()), Code: m.Code, Message: m.Message, Details: m.Details}
	}
	return nil
}
