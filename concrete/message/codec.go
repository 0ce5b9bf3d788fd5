package message

import (
	"strconv"

	"trefoil/abstract"
)

// Config bounds what a Codec takes. The zero value takes the defaults.
type Config struct {
	MaxDepth  int // nesting of JSON, the body's own object included; default 128
	MaxMethod int // bytes of a method's name; default 256
	MaxTopic  int // bytes of a topic's name; default 1024
}

// Codec turns bodies into messages and back. It is stateless and safe for
// concurrent use.
type Codec struct{ cfg Config }

var _ abstract.Codec = (*Codec)(nil)

// New makes a Codec.
func New(cfg Config) *Codec {
	if cfg.MaxDepth <= 0 {
		cfg.MaxDepth = 128
	}
	if cfg.MaxMethod <= 0 {
		cfg.MaxMethod = 256
	}
	if cfg.MaxTopic <= 0 {
		cfg.MaxTopic = 1024
	}
	return &Codec{cfg}
}

// Unmarshal makes the message of a frame. The message keeps id, body and raw,
// which must not be changed any more. A body that is no JSON object is an error
// with code ParseFailed; what is missing or wrong in an object is told by the
// message's Check.
func (c *Codec) Unmarshal(t abstract.MType, id string, body, raw []byte) (abstract.BaseMessage, error) {
	r := reader{codec: c, head: Header{id: id, frame: raw}}
	m := r.target(t, body)
	s := scanner{b: body}
	if !s.members(r.member) {
		return nil, abstract.Errorf(abstract.ParseFailed, "the body of a %s is no JSON object; nothing may stand before or after it", t)
	}
	if s.deepest > c.cfg.MaxDepth {
		r.fail(abstract.InvalidMessage, "JSON is nested deeper than "+strconv.Itoa(c.cfg.MaxDepth)+" levels")
	}
	r.finish()
	return m, nil
}

// reader fills one message from the members of its body.
type reader struct {
	codec *Codec
	head  Header

	// Exactly one of these is set.
	rpcReq   *RpcRequest
	rpcRsp   *RpcResponse
	topicReq *TopicRequest
	topicRsp *TopicResponse
	svcReq   *ServiceRequest
	svcRsp   *ServiceResponse
	gap      *GapNotice
	hello    *Hello
	helloRsp *HelloResponse
	goodbye  *Goodbye
	unsup    *Unsupported
	header   *Header // of the message

	f fields
}

// fields holds the text of the members we know, nil where there is none.
type fields struct {
	method, parameters, timeout                 []byte
	rcode, result, text, details                []byte
	optype, key, msg, missed                    []byte
	host, instance, hello                       []byte
	version, agent, maxFrame, ping, misses, typ []byte
}

// target makes the empty message of a type.
func (r *reader) target(t abstract.MType, body []byte) abstract.BaseMessage {
	switch t {
	case abstract.ReqRPC:
		r.rpcReq = &RpcRequest{Header: r.head}
		r.header = &r.rpcReq.Header
		return r.rpcReq
	case abstract.RspRPC:
		r.rpcRsp = &RpcResponse{Header: r.head}
		r.header = &r.rpcRsp.Header
		return r.rpcRsp
	case abstract.ReqTopic:
		r.topicReq = &TopicRequest{Header: r.head}
		r.header = &r.topicReq.Header
		return r.topicReq
	case abstract.RspTopic:
		r.topicRsp = &TopicResponse{Header: r.head}
		r.header = &r.topicRsp.Header
		return r.topicRsp
	case abstract.ReqService:
		r.svcReq = &ServiceRequest{Header: r.head}
		r.header = &r.svcReq.Header
		return r.svcReq
	case abstract.RspService:
		r.svcRsp = &ServiceResponse{Header: r.head}
		r.header = &r.svcRsp.Header
		return r.svcRsp
	}
	return r.modernTarget(t, body)
}

func (r *reader) modernTarget(t abstract.MType, body []byte) abstract.BaseMessage {
	switch t {
	case abstract.ReqHello:
		r.hello = &Hello{Header: r.head}
		r.header = &r.hello.Header
		return r.hello
	case abstract.RspHello:
		r.helloRsp = &HelloResponse{Header: r.head}
		r.header = &r.helloRsp.Header
		return r.helloRsp
	case abstract.Ping:
		m := &Ping{Header: r.head}
		r.header = &m.Header
		return m
	case abstract.Pong:
		m := &Pong{Header: r.head}
		r.header = &m.Header
		return m
	case abstract.Goodbye:
		r.goodbye = &Goodbye{Header: r.head}
		r.header = &r.goodbye.Header
		return r.goodbye
	case abstract.RspUnsupported:
		r.unsup = &Unsupported{Header: r.head}
		r.header = &r.unsup.Header
		return r.unsup
	case abstract.Gap:
		r.gap = &GapNotice{Header: r.head}
		r.header = &r.gap.Header
		return r.gap
	}
	m := &Unknown{Header: r.head, T: t, Body: body}
	r.header = &m.Header
	return m
}

// member notes a member that we know; the last of several wins.
func (r *reader) member(key []byte, simple bool, value []byte) bool {
	if p := r.f.named(unquote(key, simple)); p != nil {
		*p = value
	}
	return true
}

func (f *fields) named(key string) *[]byte {
	switch key {
	case "method":
		return &f.method
	case "parameters":
		return &f.parameters
	case "timeout_ms":
		return &f.timeout
	case "rcode":
		return &f.rcode
	case "result":
		return &f.result
	case "message":
		return &f.text
	case "details":
		return &f.details
	case "optype":
		return &f.optype
	case "topic_key":
		return &f.key
	case "topic_msg":
		return &f.msg
	case "missed":
		return &f.missed
	case "host":
		return &f.host
	case "instance":
		return &f.instance
	case "hello":
		return &f.hello
	case "version":
		return &f.version
	case "agent":
		return &f.agent
	case "max_frame":
		return &f.maxFrame
	case "ping_ms":
		return &f.ping
	case "misses":
		return &f.misses
	case "mtype":
		return &f.typ
	}
	return nil
}

// fail notes the first thing that is wrong.
func (r *reader) fail(code abstract.RCode, text string) {
	if r.header.fault == nil {
		r.header.fault = &abstract.Error{Code: code, Message: text}
	}
}

// finish turns texts into the message's fields.
func (r *reader) finish() {
	switch {
	case r.rpcReq != nil:
		r.rpcRequest(r.rpcReq)
	case r.rpcRsp != nil:
		r.rpcResponse(r.rpcRsp)
	case r.topicReq != nil:
		r.topicRequest(r.topicReq)
	case r.topicRsp != nil:
		r.topicRsp.Code, r.topicRsp.Message = r.rcode(), r.optional(r.f.text, "message")
	case r.svcReq != nil:
		r.serviceRequest(r.svcReq)
	case r.svcRsp != nil:
		r.serviceResponse(r.svcRsp)
	case r.gap != nil:
		r.gap.Topic = r.text(r.f.key, "topic_key", r.codec.cfg.MaxTopic)
		r.gap.Missed = uint64(r.count(r.f.missed, "missed"))
	case r.hello != nil:
		m := r.hello
		m.Version, m.MaxFrame = int(r.count(r.f.version, "version")), int(r.count(r.f.maxFrame, "max_frame"))
		m.Agent = r.optional(r.f.agent, "agent")
	case r.helloRsp != nil:
		m := r.helloRsp
		m.Code, m.Message = r.rcode(), r.optional(r.f.text, "message")
		m.Version, m.MaxFrame = int(r.count(r.f.version, "version")), int(r.count(r.f.maxFrame, "max_frame"))
		m.PingMs, m.Misses = r.count(r.f.ping, "ping_ms"), int(r.count(r.f.misses, "misses"))
		m.Agent = r.optional(r.f.agent, "agent")
	case r.goodbye != nil:
		r.goodbye.Code = abstract.RCode(r.count(r.f.rcode, "rcode"))
		r.goodbye.Reason = r.optional(r.f.text, "message")
	case r.unsup != nil:
		r.unsup.Code, r.unsup.Message = r.rcode(), r.optional(r.f.text, "message")
		r.unsup.MType = abstract.MType(r.count(r.f.typ, "mtype"))
	}
}

func (r *reader) rpcRequest(m *RpcRequest) {
	switch {
	case KindOf(r.f.method) != String:
		r.fail(abstract.ServiceNotFound, `a call needs a "method" that is a string`)
	default:
		m.Method = r.text(r.f.method, "method", r.codec.cfg.MaxMethod)
	}
	if KindOf(r.f.parameters) != Object {
		r.fail(abstract.InvalidParams, `a call needs "parameters" that are an object; {} when there are none`)
	}
	m.Parameters = r.f.parameters
	m.TimeoutMs = r.count(r.f.timeout, "timeout_ms")
}

func (r *reader) rpcResponse(m *RpcResponse) {
	m.Code = r.rcode()
	m.Result = r.f.result
	m.Message, m.Details = r.optional(r.f.text, "message"), r.f.details
}

func (r *reader) topicRequest(m *TopicRequest) {
	op, ok := small(r.f.optype)
	if m.Op = abstract.TopicOp(op); !ok || !m.Op.Valid() {
		r.fail(abstract.InvalidOp, `a topic request needs an "optype" from 0 to 4: create, remove, subscribe, cancel, publish`)
	}
	m.Topic = r.text(r.f.key, "topic_key", r.codec.cfg.MaxTopic)
	if m.Message = r.f.msg; m.Op == abstract.TopicPublish && m.Message == nil {
		r.fail(abstract.InvalidMessage, `a publish needs a "topic_msg"`)
	}
}

func (r *reader) serviceRequest(m *ServiceRequest) {
	op, ok := small(r.f.optype)
	if m.Op = abstract.ServiceOp(op); !ok || op < 0 || m.Op > abstract.ServiceOffline {
		r.fail(abstract.InvalidOp, `a service request needs an "optype": 0 to register, 1 to discover, 3 to unregister`)
	}
	if m.Method = r.text(r.f.method, "method", r.codec.cfg.MaxMethod); m.Method == "" {
		r.fail(abstract.InvalidMessage, `"method" must not be empty`)
	}
	if m.Op != abstract.ServiceDiscover {
		m.Host = r.host(r.f.host).address()
	}
	m.Instance = r.optional(r.f.instance, "instance")
	m.Hello = r.flag(r.f.hello)
}

func (r *reader) serviceResponse(m *ServiceResponse) {
	op, ok := small(r.f.optype)
	if !ok {
		r.fail(abstract.InvalidMessage, `a service response needs an integer "optype"`)
	}
	m.Op, m.Code = abstract.ServiceOp(op), r.rcode()
	m.Message = r.optional(r.f.text, "message")
	if m.Code != abstract.OK || m.Op != abstract.ServiceDiscover {
		return
	}
	m.Method = r.optional(r.f.method, "method")
	m.Hosts = r.hosts(r.f.host)
}

// hosts reads the array of a discovery's answer.
func (r *reader) hosts(raw []byte) []ProviderHost {
	if KindOf(raw) != Array {
		r.fail(abstract.InvalidMessage, `a discovery's answer needs a "host" that is an array`)
		return nil
	}
	var list []ProviderHost
	s := scanner{b: raw, pos: 1}
	for s.space(); s.peek() != ']'; s.space() {
		value, _ := s.value() // the whole body has been validated
		list = append(list, r.host(value).provider())
		s.space()
		s.take(',')
	}
	return list
}

// hostFields is what a "host" object says.
type hostFields struct {
	host     abstract.Host
	instance string
	hello    bool
}

func (h hostFields) address() *abstract.Host { return &h.host }

func (h hostFields) provider() ProviderHost {
	return ProviderHost{Host: h.host, Instance: h.instance, Hello: h.hello}
}

// maxHostName is the longest name that DNS knows.
const maxHostName = 253

// host reads one host object.
func (r *reader) host(raw []byte) (h hostFields) {
	var ip, port, instance, hello []byte
	s := scanner{b: raw}
	if raw == nil || !s.members(func(key []byte, simple bool, value []byte) bool {
		switch unquote(key, simple) {
		case "ip":
			ip = value
		case "port":
			port = value
		case "instance":
			instance = value
		case "hello":
			hello = value
		}
		return true
	}) {
		r.fail(abstract.InvalidMessage, `"host" must be an object with "ip" and "port"`)
		return h
	}
	if h.host.IP = r.text(ip, "ip", maxHostName); h.host.IP == "" {
		r.fail(abstract.InvalidMessage, `the "ip" of a host must not be empty`)
	}
	n, ok := integer(port)
	if !ok || n < 1 || n > 65535 {
		r.fail(abstract.InvalidMessage, `the "port" of a host must be an integer from 1 to 65535`)
		n = 0
	}
	h.host.Port = int(n)
	h.instance, h.hello = r.optional(instance, "instance"), r.flag(hello)
	return h
}

// rcode reads the return code that every response has.
func (r *reader) rcode() abstract.RCode {
	v, ok := small(r.f.rcode)
	if !ok {
		r.fail(abstract.InvalidMessage, `a response needs an integer "rcode"`)
	}
	return abstract.RCode(v)
}

// small reads an integer of 32 bits.
func small(raw []byte) (int32, bool) {
	v, ok := integer(raw)
	if !ok || v != int64(int32(v)) {
		return 0, false
	}
	return int32(v), true
}

// count reads an integer from 0 up; missing is 0.
func (r *reader) count(raw []byte, name string) int64 {
	if raw == nil {
		return 0
	}
	v, ok := integer(raw)
	if !ok || v < 0 || v > 1<<53 {
		r.fail(abstract.InvalidMessage, `"`+name+`" must be an integer from 0 up`)
		return 0
	}
	return v
}

// text reads a string that must be there.
func (r *reader) text(raw []byte, name string, limit int) string {
	if KindOf(raw) != String {
		r.fail(abstract.InvalidMessage, `"`+name+`" must be a string`)
		return ""
	}
	s := unquote(raw[1:len(raw)-1], false)
	if len(s) > limit {
		r.fail(abstract.InvalidMessage, `"`+name+`" is longer than `+strconv.Itoa(limit)+` bytes`)
		return ""
	}
	return s
}

// maxText is the longest text of an error or an agent's name that is kept.
const maxText = 64 << 10

// optional reads a string that may be missing.
func (r *reader) optional(raw []byte, name string) string {
	if raw == nil {
		return ""
	}
	return r.text(raw, name, maxText)
}

// flag reads 1 or true.
func (r *reader) flag(raw []byte) bool {
	if v, ok := integer(raw); ok {
		return v == 1
	}
	return string(raw) == "true"
}
