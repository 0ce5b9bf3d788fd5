package message

import (
	"math"

	"trefoil/abstract"
)

// message makes the message of a type, or nil when the body is no JSON object.
func (e *envelope) message(t abstract.MType) abstract.BaseMessage {
	switch t {
	case abstract.ReqRPC:
		return e.rpcRequest()
	case abstract.RspRPC:
		return e.rpcResponse()
	case abstract.ReqTopic:
		return e.topicRequest()
	case abstract.RspTopic:
		return e.topicResponse()
	case abstract.ReqService:
		return e.serviceRequest()
	case abstract.RspService:
		return e.serviceResponse()
	case abstract.ReqHello:
		return e.hello()
	case abstract.RspHello:
		return e.helloResponse()
	case abstract.Goodbye:
		return e.goodbye()
	case abstract.RspUnsupported:
		return e.unsupported()
	case abstract.Gap:
		return e.gap()
	case abstract.ReqNode:
		return e.nodeRequest()
	case abstract.RspNode:
		return e.nodeResponse()
	case abstract.NodeEvent:
		return e.nodeEvent()
	case abstract.ReqStream:
		return e.streamRequest()
	case abstract.StreamData:
		return e.streamMessage()
	case abstract.StreamCredit:
		return e.creditNotice()
	case abstract.StreamEnd:
		return e.endNotice()
	}
	return e.bare(t)
}

// bare makes a message in whose body we look for nothing.
func (e *envelope) bare(t abstract.MType) abstract.BaseMessage {
	if !e.collect(nil) {
		return nil
	}
	switch t {
	case abstract.Ping:
		return &Ping{e.head}
	case abstract.Pong:
		return &Pong{e.head}
	case abstract.Cancel:
		return &Cancel{e.head}
	}
	return &Unknown{Header: e.head, T: t, Body: e.body}
}

func (e *envelope) rpcRequest() abstract.BaseMessage {
	if m := e.usualRpcRequest(); m != nil {
		return m
	}
	var v [7][]byte
	if !e.collect(v[:], "method", "parameters", "timeout_ms", "instance", "relay", "oneway", "meta") {
		return nil
	}
	m := &RpcRequest{Parameters: v[1]}
	if KindOf(v[0]) == String {
		m.Method = e.text(v[0], "method", e.cfg.MaxMethod)
	} else {
		e.fail(abstract.ServiceNotFound, `a call needs a "method", and that must be a string`)
	}
	if KindOf(v[1]) != Object {
		e.fail(abstract.InvalidParams, `a call needs "parameters", and these must be an object: {} when there are none`)
		m.Parameters = nil
	}
	m.TimeoutMs = e.count(v[2], "timeout_ms", longestMs)
	m.Instance, m.Relay = e.optional(v[3], "instance", maxName), flag(v[4])
	m.OneWay, m.Meta = flag(v[5]), e.metadata(v[6])
	m.Header = e.head
	return m
}

func (e *envelope) rpcResponse() abstract.BaseMessage {
	if m := e.usualRpcResponse(); m != nil {
		return m
	}
	var v [4][]byte
	if !e.collect(v[:], "rcode", "result", "message", "details") {
		return nil
	}
	m := &RpcResponse{Code: e.rcode(v[0]), Result: v[1], Message: e.optional(v[2], "message", maxWords), Details: v[3]}
	m.Header = e.head
	return m
}

func (e *envelope) topicRequest() abstract.BaseMessage {
	if m := e.usualPublish(); m != nil {
		return m
	}
	var v [5 + len(extraNames)][]byte
	if !e.collect(v[:], topicNames...) {
		return nil
	}
	op, ok := small(v[0])
	m := &TopicRequest{Op: abstract.TopicOp(op), Message: v[2]}
	if !ok || !m.Op.Valid() {
		e.fail(abstract.InvalidOp, `a topic request needs an "optype" from 0 to 4: create, remove, subscribe, cancel, publish; or one of 16 to 23`)
	}
	m.Topic = e.text(v[1], "topic_key", e.cfg.MaxTopic)
	if m.Op.Publishes() {
		if m.Message == nil {
			e.fail(abstract.InvalidMessage, `a publish needs a "topic_msg"; null will do`)
		}
		m.Meta = e.metadata(v[4])
	}
	m.Offset, m.More = uint64(e.count(v[3], "offset", math.MaxInt64)), e.topicExtras(v[5:])
	m.Header = e.head
	return m
}

func (e *envelope) topicResponse() abstract.BaseMessage {
	if m := e.usualTopicResponse(); m != nil {
		return m
	}
	return e.fullTopicResponse()
}

func (e *envelope) serviceRequest() abstract.BaseMessage {
	var v [9 + len(traitNames)][]byte
	if !e.collect(v[:], serviceNames...) {
		return nil
	}
	op, ok := small(v[0])
	hosted := &struct { // one piece of memory
		ServiceRequest
		host abstract.Host
	}{}
	m := &hosted.ServiceRequest
	m.Op = abstract.ServiceOp(op)
	if !ok || !m.Op.Valid() {
		e.fail(abstract.InvalidOp, `a service request needs an "optype": 0 to register, 1 to discover, 3 to unregister, 16 for a heartbeat, 17 to report`)
	}
	if m.Method = e.text(v[1], "method", e.cfg.MaxMethod); m.Method == "" {
		e.fail(abstract.InvalidMessage, `the "method" of a service request must not be empty`)
	}
	switch {
	case m.Op == abstract.ServiceDiscover:
		m.Host = e.harmless(v[2])
	case m.Op == abstract.ServiceOnline || m.Op == abstract.ServiceOffline || v[3] == nil:
		if h, ok := e.host(v[2]); ok {
			hosted.host, m.Host = h.Host, &hosted.host
		}
	default: // who gives an instance may leave the address to us
		if h := e.anyHost(v[2]); h.Port != 0 {
			hosted.host, m.Host = h.Host, &hosted.host
		} else {
			e.fail(abstract.InvalidMessage, `the "port" of a host must be an integer from 1 to 65535`)
		}
	}
	m.Instance, m.Hello, m.Methods = e.optional(v[3], "instance", maxName), flag(v[4]), e.texts(v[5], "methods", maxMethods, e.cfg.MaxMethod)
	m.TTLMs, m.Revision = e.count(v[6], "ttl_ms", longestMs), uint64(e.count(v[7], "revision", math.MaxInt64))
	m.Reason, m.Traits = e.optional(v[8], "reason", maxName), e.traits(v[9:])
	m.Header = e.head
	return m
}

func (e *envelope) serviceResponse() abstract.BaseMessage {
	var v [8][]byte
	if !e.collect(v[:], "optype", "rcode", "method", "host", "message", "revision", "unchanged", "registered") {
		return nil
	}
	op, ok := small(v[0])
	m := &ServiceResponse{Op: abstract.ServiceOp(op), Code: e.rcode(v[1]), Message: e.optional(v[4], "message", maxWords)}
	if !ok {
		e.fail(abstract.InvalidMessage, `a service response needs an "optype" that is an integer of 32 bits`)
	}
	if m.Code == abstract.OK && m.Op == abstract.ServiceDiscover {
		m.Method = e.optional(v[2], "method", e.cfg.MaxMethod)
		m.Hosts, m.Unchanged = e.hosts(v[3]), flag(v[6])
	}
	m.Revision = uint64(e.count(v[5], "revision", math.MaxInt64))
	if v[7] != nil {
		if h, ok := e.host(v[7]); ok {
			m.Registered = &h.Host
		}
	}
	m.Header = e.head
	return m
}

func (e *envelope) hello() abstract.BaseMessage {
	var v [7][]byte
	if !e.collect(v[:], "version", "agent", "max_frame", "session", "token", "instance", "compress") {
		return nil
	}
	m := &Hello{
		Token:    e.optional(v[4], "token", maxToken),
		Version:  int(e.count(v[0], "version", math.MaxInt32)),
		Agent:    e.optional(v[1], "agent", maxName),
		MaxFrame: int(e.count(v[2], "max_frame", math.MaxInt32)),
		Session:  e.sessionRequest(v[3]),
		Instance: e.optional(v[5], "instance", maxName),
		Compress: e.texts(v[6], "compress", maxCompress, maxName),
	}
	m.Header = e.head
	return m
}

func (e *envelope) helloResponse() abstract.BaseMessage {
	var v [11][]byte
	if !e.collect(v[:], "rcode", "version", "agent", "max_frame", "ping_ms", "misses", "run", "message", "session", "compress", "retry_after_ms") {
		return nil
	}
	m := &HelloResponse{
		Code:     e.rcode(v[0]),
		Version:  int(e.count(v[1], "version", math.MaxInt32)),
		Agent:    e.optional(v[2], "agent", maxName),
		MaxFrame: int(e.count(v[3], "max_frame", math.MaxInt32)),
		PingMs:   e.count(v[4], "ping_ms", longestMs),
		Misses:   int(e.count(v[5], "misses", math.MaxInt32)),
		Run:      e.optional(v[6], "run", maxName),
		Message:  e.optional(v[7], "message", maxWords),
		Session:  e.sessionGrant(v[8]),
		Compress: e.texts(v[9], "compress", maxCompress, maxName),

		RetryAfterMs: e.count(v[10], "retry_after_ms", longestMs),
	}
	m.Header = e.head
	return m
}

func (e *envelope) goodbye() abstract.BaseMessage {
	var v [2][]byte
	if !e.collect(v[:], "rcode", "message") {
		return nil
	}
	m := &Goodbye{Reason: e.optional(v[1], "message", maxWords)}
	if v[0] != nil { // nothing is OK
		m.Code = e.rcode(v[0])
	}
	m.Header = e.head
	return m
}

func (e *envelope) unsupported() abstract.BaseMessage {
	var v [3][]byte
	if !e.collect(v[:], "rcode", "mtype", "message") {
		return nil
	}
	m := &Unsupported{
		Code:    e.rcode(v[0]),
		MType:   abstract.MType(e.count(v[1], "mtype", math.MaxInt32)),
		Message: e.optional(v[2], "message", maxWords),
	}
	m.Header = e.head
	return m
}

func (e *envelope) gap() abstract.BaseMessage {
	var v [3][]byte
	if !e.collect(v[:], "topic_key", "missed", "sub") {
		return nil
	}
	m := &GapNotice{
		Topic:  e.text(v[0], "topic_key", e.cfg.MaxTopic),
		Missed: uint64(e.count(v[1], "missed", math.MaxInt64)),
		Sub:    e.optional(v[2], "sub", MaxTopicID),
	}
	m.Header = e.head
	return m
}
