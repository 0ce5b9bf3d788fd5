package message

import (
	"math"

	"trefoil/abstract"
)

// StreamRequest opens a stream: as a call, but messages go both ways until both sides
// have ended theirs. Its id is the stream's.
type StreamRequest struct {
	Header
	Method     string
	Parameters Raw    // a JSON object
	TimeoutMs  int64  // "timeout_ms" for all of it; 0: no deadline
	Credit     int64  // "credit": how much the opener takes before it says more; see StreamCost
	Instance   string // "instance", as in RpcRequest
	Relay      bool   // "relay", as in RpcRequest

	Meta abstract.Metadata // "meta", as in RpcRequest
}

// Type returns REQ_STREAM.
func (*StreamRequest) Type() abstract.MType { return abstract.ReqStream }

// StreamMessage is one message of a stream.
type StreamMessage struct {
	Header
	Data Raw // "data": any JSON value
}

// Type returns STREAM_DATA.
func (*StreamMessage) Type() abstract.MType { return abstract.StreamData }

// StreamCost is what a message of a stream takes of the receiver's credit: the bytes
// of its data and what keeping it takes. Who has any credit left may send a message,
// however large; who has none waits.
func StreamCost(data Raw) int64 { return int64(len(data)) + 64 }

// CreditNotice gives the other side of a stream more credit.
type CreditNotice struct {
	Header
	Bytes int64 // "bytes"
}

// Type returns STREAM_CREDIT.
func (*CreditNotice) Type() abstract.MType { return abstract.StreamCredit }

// EndNotice says that its sender sends no more messages. The server's ends the
// stream, and says how; the opener's only ends its own direction.
type EndNotice struct {
	Header
	Code    abstract.RCode // "rcode"
	Message string         // "message": the error in words; left out when empty
	Details Raw            // "details": the error in facts; left out when empty
}

// Type returns STREAM_END.
func (*EndNotice) Type() abstract.MType { return abstract.StreamEnd }

func appendStreamRequest(dst []byte, m *StreamRequest) []byte {
	dst = appendString(append(dst, `{"method":`...), m.Method)
	dst = appendRaw(append(dst, `,"parameters":`...), m.Parameters, "{}")
	dst = appendInt(dst, `,"credit":`, m.Credit)
	dst = appendCount(dst, `,"timeout_ms":`, uint64(max(0, m.TimeoutMs)))
	dst = appendText(dst, `,"instance":`, m.Instance)
	if m.Relay {
		dst = append(dst, `,"relay":1`...)
	}
	if len(m.Meta) > 0 {
		dst = appendMetadata(dst, m.Meta)
	}
	return append(dst, '}')
}

func (e *envelope) streamRequest() abstract.BaseMessage {
	var v [7][]byte
	if !e.collect(v[:], "method", "parameters", "timeout_ms", "credit", "instance", "relay", "meta") {
		return nil
	}
	m := &StreamRequest{Parameters: v[1], Method: e.text(v[0], "method", e.cfg.MaxMethod)}
	if KindOf(v[1]) != Object {
		e.fail(abstract.InvalidParams, `a stream needs "parameters", and these must be an object: {} when there are none`)
		m.Parameters = nil
	}
	m.TimeoutMs, m.Credit = e.count(v[2], "timeout_ms", longestMs), e.count(v[3], "credit", math.MaxInt32)
	m.Instance, m.Relay, m.Meta = e.optional(v[4], "instance", maxName), flag(v[5]), e.metadata(v[6])
	m.Header = e.head
	return m
}

func (e *envelope) streamMessage() abstract.BaseMessage {
	var v [1][]byte
	if !e.collect(v[:], "data") {
		return nil
	}
	m := &StreamMessage{Data: v[0]}
	if v[0] == nil {
		e.fail(abstract.InvalidMessage, `a stream's message needs "data"; null will do`)
	}
	m.Header = e.head
	return m
}

func (e *envelope) creditNotice() abstract.BaseMessage {
	var v [1][]byte
	if !e.collect(v[:], "bytes") {
		return nil
	}
	m := &CreditNotice{Bytes: e.count(v[0], "bytes", math.MaxInt32)}
	m.Header = e.head
	return m
}

func (e *envelope) endNotice() abstract.BaseMessage {
	var v [3][]byte
	if !e.collect(v[:], "rcode", "message", "details") {
		return nil
	}
	m := &EndNotice{Code: e.rcode(v[0]), Message: e.optional(v[1], "message", maxWords), Details: v[2]}
	m.Header = e.head
	return m
}
