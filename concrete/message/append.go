package message

import (
	"strconv"

	"trefoil/abstract"
)

// AppendBody appends the JSON text of a message's body: compact, with its members
// in a fixed order. Raw members are written as they are and not validated again;
// an empty one is null, or {} for parameters.
func (c *Codec) AppendBody(dst []byte, m abstract.BaseMessage) ([]byte, error) {
	switch m := m.(type) {
	case *RpcRequest:
		return appendRpcRequest(dst, m), nil
	case *RpcResponse:
		return appendRpcResponse(dst, m), nil
	case *TopicRequest:
		return appendTopicRequest(dst, m), nil
	case *TopicResponse:
		return appendTopicResponse(dst, m), nil
	case *ServiceRequest:
		return appendServiceRequest(dst, m), nil
	case *ServiceResponse:
		return appendServiceResponse(dst, m), nil
	case *GapNotice:
		dst = appendString(append(dst, `{"topic_key":`...), m.Topic)
		dst = appendText(dst, `,"sub":`, m.Sub)
		dst = strconv.AppendUint(append(dst, `,"missed":`...), m.Missed, 10)
		return append(dst, '}'), nil
	case *NodeRequest:
		return appendNodeRequest(dst, m), nil
	case *NodeResponse:
		return appendNodeResponse(dst, m), nil
	case *NodeEvent:
		return appendNodeEvent(dst, m), nil
	case *StreamRequest:
		return appendStreamRequest(dst, m), nil
	case *StreamMessage:
		return append(appendRaw(append(dst, `{"data":`...), m.Data, "null"), '}'), nil
	case *CreditNotice:
		return append(appendInt(dst, `{"bytes":`, m.Bytes), '}'), nil
	case *EndNotice:
		dst = appendText(appendInt(dst, `{"rcode":`, int64(m.Code)), `,"message":`, m.Message)
		if len(m.Details) > 0 {
			dst = append(append(dst, `,"details":`...), m.Details...)
		}
		return append(dst, '}'), nil
	case *Unknown:
		return appendRaw(dst, m.Body, "{}"), nil
	}
	return appendConnectionMessage(dst, m)
}

// appendConnectionMessage appends the messages that are about the connection itself.
func appendConnectionMessage(dst []byte, m abstract.BaseMessage) ([]byte, error) {
	switch m := m.(type) {
	case *Ping, *Pong, *Cancel:
		return append(dst, "{}"...), nil
	case *Hello:
		dst = appendInt(dst, `{"version":`, int64(m.Version))
		dst = appendText(dst, `,"agent":`, m.Agent)
		dst = appendInt(dst, `,"max_frame":`, int64(m.MaxFrame))
		dst = appendSessionRequest(dst, m.Session)
		dst = appendText(dst, `,"token":`, m.Token)
		dst = appendText(dst, `,"instance":`, m.Instance)
		return append(appendStrings(dst, `,"compress":`, m.Compress), '}'), nil
	case *HelloResponse:
		dst = appendInt(dst, `{"rcode":`, int64(m.Code))
		dst = appendInt(dst, `,"version":`, int64(m.Version))
		dst = appendText(dst, `,"agent":`, m.Agent)
		dst = appendInt(dst, `,"max_frame":`, int64(m.MaxFrame))
		dst = appendInt(dst, `,"ping_ms":`, m.PingMs)
		dst = appendInt(dst, `,"misses":`, int64(m.Misses))
		dst = appendText(dst, `,"run":`, m.Run)
		dst = appendText(dst, `,"message":`, m.Message)
		dst = appendStrings(appendSessionGrant(dst, m.Session), `,"compress":`, m.Compress)
		return append(appendCount(dst, `,"retry_after_ms":`, uint64(max(0, m.RetryAfterMs))), '}'), nil
	case *Goodbye:
		dst = appendInt(dst, `{"rcode":`, int64(m.Code))
		return append(appendText(dst, `,"message":`, m.Reason), '}'), nil
	case *Unsupported:
		dst = appendInt(dst, `{"rcode":`, int64(m.Code))
		dst = appendInt(dst, `,"mtype":`, int64(m.MType))
		return append(appendText(dst, `,"message":`, m.Message), '}'), nil
	}
	return dst, abstract.Errorf(abstract.Internal, "a %s of Go type %T cannot be written", m.Type(), m)
}

func appendRpcRequest(dst []byte, m *RpcRequest) []byte {
	dst = appendString(append(dst, `{"method":`...), m.Method)
	dst = appendRaw(append(dst, `,"parameters":`...), m.Parameters, "{}")
	if m.TimeoutMs > 0 {
		dst = appendInt(dst, `,"timeout_ms":`, m.TimeoutMs)
	}
	dst = appendText(dst, `,"instance":`, m.Instance)
	if m.Relay {
		dst = append(dst, `,"relay":1`...)
	}
	if m.OneWay {
		dst = append(dst, `,"oneway":1`...)
	}
	return append(appendMetadata(dst, m.Meta), '}')
}

func appendRpcResponse(dst []byte, m *RpcResponse) []byte {
	dst = appendInt(dst, `{"rcode":`, int64(m.Code))
	dst = appendRaw(append(dst, `,"result":`...), m.Result, "null")
	dst = appendText(dst, `,"message":`, m.Message)
	if len(m.Details) > 0 {
		dst = append(append(dst, `,"details":`...), m.Details...)
	}
	return append(dst, '}')
}

func appendTopicRequest(dst []byte, m *TopicRequest) []byte {
	dst = appendInt(dst, `{"optype":`, int64(m.Op))
	dst = appendString(append(dst, `,"topic_key":`...), m.Topic)
	if m.Op.Publishes() || m.Message != nil {
		dst = appendRaw(append(dst, `,"topic_msg":`...), m.Message, "null")
		dst = appendMetadata(dst, m.Meta)
	}
	dst = appendCount(dst, `,"offset":`, m.Offset)
	return append(appendTopicExtras(dst, m.More), '}')
}

func appendServiceRequest(dst []byte, m *ServiceRequest) []byte {
	dst = appendInt(dst, `{"optype":`, int64(m.Op))
	dst = appendString(append(dst, `,"method":`...), m.Method)
	dst = appendStrings(dst, `,"methods":`, m.Methods)
	if m.Host != nil {
		dst = append(appendHost(append(dst, `,"host":`...), *m.Host), '}')
	}
	dst = appendText(dst, `,"instance":`, m.Instance)
	if m.Hello {
		dst = append(dst, `,"hello":1`...)
	}
	dst = appendCount(dst, `,"ttl_ms":`, uint64(max(0, m.TTLMs)))
	dst = appendCount(dst, `,"revision":`, m.Revision)
	dst = appendText(dst, `,"reason":`, m.Reason)
	return append(appendTraits(dst, &m.Traits), '}')
}

// appendCount appends a number that is left out when it is 0.
func appendCount(dst []byte, name string, n uint64) []byte {
	if n == 0 {
		return dst
	}
	return strconv.AppendUint(append(dst, name...), n, 10)
}

// appendStrings appends an array that is left out when it is empty.
func appendStrings(dst []byte, name string, list []string) []byte {
	if len(list) == 0 {
		return dst
	}
	dst = append(dst, name...)
	for i, s := range list {
		comma := byte(',')
		if i == 0 {
			comma = '['
		}
		dst = appendString(append(dst, comma), s)
	}
	return append(dst, ']')
}

func appendTraits(dst []byte, t *abstract.Traits) []byte {
	if *t == (abstract.Traits{}) {
		return dst
	}
	if t.Weight != 0 {
		dst = appendInt(dst, `,"weight":`, int64(t.Weight))
	}
	dst = appendText(appendText(dst, `,"zone":`, t.Zone), `,"version":`, t.Version)
	dst = appendStrings(dst, `,"tags":`, t.Tags.All())
	if t.Meta != "" {
		dst = append(append(dst, `,"metadata":`...), t.Meta...)
	}
	if t.State != abstract.Up {
		dst = appendText(dst, `,"state":`, t.State.String())
	}
	if t.Relay {
		dst = append(dst, `,"relay":1`...)
	}
	return dst
}

func appendServiceResponse(dst []byte, m *ServiceResponse) []byte {
	dst = appendInt(dst, `{"optype":`, int64(m.Op))
	dst = appendInt(dst, `,"rcode":`, int64(m.Code))
	if m.Op == abstract.ServiceDiscover && m.Code == abstract.OK {
		dst = appendString(append(dst, `,"method":`...), m.Method)
		dst = append(dst, `,"host":[`...)
		for i, h := range m.Hosts {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendText(appendHost(dst, h.Host), `,"instance":`, h.Instance)
			if h.Hello {
				dst = append(dst, `,"hello":1`...)
			}
			dst = append(appendTraits(dst, &h.Traits), '}')
		}
		dst = append(dst, ']')
		if m.Unchanged {
			dst = append(dst, `,"unchanged":1`...)
		}
	}
	dst = appendCount(dst, `,"revision":`, m.Revision)
	if m.Registered != nil {
		dst = append(appendHost(append(dst, `,"registered":`...), *m.Registered), '}')
	}
	return append(appendText(dst, `,"message":`, m.Message), '}')
}

// appendHost leaves the object open, for more members.
func appendHost(dst []byte, h abstract.Host) []byte {
	dst = appendString(append(dst, `{"ip":`...), h.IP)
	return appendInt(dst, `,"port":`, int64(h.Port))
}

func appendInt(dst []byte, before string, v int64) []byte {
	return strconv.AppendInt(append(dst, before...), v, 10)
}

// appendText appends a member that is left out when it is empty.
func appendText(dst []byte, before, s string) []byte {
	if s == "" {
		return dst
	}
	return appendString(append(dst, before...), s)
}

func appendRaw(dst []byte, raw Raw, empty string) []byte {
	if len(raw) == 0 {
		return append(dst, empty...)
	}
	return append(dst, raw...)
}

// AppendMember appends a member of an object, with the comma before it: for a body that
// is written already.
func AppendMember(dst []byte, name, value string) []byte {
	dst = appendString(append(dst, ','), name)
	return appendString(append(dst, ':'), value)
}
