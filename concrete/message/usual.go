package message

import (
	"bytes"

	"trefoil/abstract"
)

// Most bodies are written the way AppendBody writes them: the same members, in the
// same order, without white space. The functions here read such bodies without
// looking for names, which takes half the time. They return nil for a body that is
// anything else, and say nothing about what is wrong with it: that is for the
// readers in read.go, whose result is the same for every body that both take.

// after returns where prefix ends in the body when it stands at i, else 0.
func (e *envelope) after(i int, prefix string) int {
	if end := i + len(prefix); i > 0 && end <= len(e.body) && string(e.body[i:end]) == prefix {
		return end
	}
	return 0
}

// begins is after for the body's beginning.
func (e *envelope) begins(prefix string) int {
	if len(e.body) > len(prefix) && string(e.body[:len(prefix)]) == prefix {
		return len(prefix)
	}
	return 0
}

// usualText returns the string whose quote stands at i, and where it ends; end is 0
// when it is longer than limit or not plain.
func (e *envelope) usualText(i, limit int) (s string, end int) {
	if i == 0 {
		return "", 0
	}
	end, plain := skipText(e.body, i)
	if !plain || end-i-2 > limit {
		return "", 0
	}
	return unquote(e.body[i+1:end-1], true), end
}

// usualValue returns the value at i, and where it ends; end is 0 when there is none,
// or one that is nested too deep.
func (e *envelope) usualValue(i int) (raw Raw, end int) {
	if i == 0 {
		return nil, 0
	}
	s := scanner{b: e.body}
	end = s.skip(i)
	if end == 0 || s.deepest >= e.cfg.MaxDepth {
		return nil, 0
	}
	return e.body[i:end:end], end
}

// closes reports whether nothing but the body's closing bracket stands at i.
func (e *envelope) closes(i int) bool {
	return i > 0 && i == len(e.body)-1 && e.body[i] == '}'
}

func (e *envelope) usualRpcRequest() *RpcRequest {
	method, i := e.usualText(e.begins(`{"method":`), e.cfg.MaxMethod)
	if i = e.after(i, `,"parameters":`); at(e.body, i) != '{' {
		return nil
	}
	params, i := e.usualValue(i)
	var timeout int64
	if from := e.after(i, `,"timeout_ms":`); from > 0 {
		if i = skipDigits(e.body, from); i == 0 || e.body[from] == '0' || i-from > 15 {
			return nil
		}
		timeout, _ = integer(e.body[from:i])
	}
	meta, i := e.usualMetadata(i)
	if !e.closes(i) {
		return nil
	}
	m := &RpcRequest{Method: method, Parameters: params, TimeoutMs: min(timeout, longestMs)}
	if meta != nil {
		m.Meta = e.metadata(meta) // which may find a fault
	}
	m.Header = e.head
	return m
}

func (e *envelope) usualRpcResponse() *RpcResponse {
	result, i := e.usualValue(e.begins(`{"rcode":0,"result":`))
	if !e.closes(i) {
		return nil
	}
	return &RpcResponse{Header: e.head, Result: result}
}

func (e *envelope) usualPublish() *TopicRequest {
	topic, i := e.usualTopic()
	message, i := e.usualValue(i)
	meta, i := e.usualMetadata(i)
	var offset int64
	if from := e.after(i, `,"offset":`); from > 0 { // a push
		if i = skipDigits(e.body, from); i == 0 || e.body[from] == '0' || i-from > 15 {
			return nil
		}
		offset, _ = integer(e.body[from:i])
	}
	if !e.closes(i) {
		return nil
	}
	m := e.cfg.Pushes.take()
	m.Op, m.Topic, m.Message, m.Offset = abstract.TopicPublish, topic, message, uint64(offset)
	if meta != nil {
		m.Meta = e.metadata(meta)
	}
	m.Header = e.head
	return m
}

// usualTopic returns the topic of a publish, and where its message begins.
func (e *envelope) usualTopic() (topic string, at int) {
	if topic, at = e.cfg.Pushes.again(e.body); at > 0 {
		return topic, at
	}
	topic, at = e.usualText(e.begins(`{"optype":4,"topic_key":`), e.cfg.MaxTopic)
	if at = e.after(at, `,"topic_msg":`); at > 0 {
		e.cfg.Pushes.note(e.body[:at], topic)
	}
	return topic, at
}

// usualMetadata returns the value of the member "meta" at i, and where it ends; nil, and
// i, when something else stands there.
func (e *envelope) usualMetadata(i int) (meta Raw, end int) {
	if from := e.after(i, `,"meta":`); from > 0 {
		return e.usualValue(from)
	}
	return nil, i
}

func (e *envelope) usualTopicResponse() *TopicResponse {
	if !bytes.Equal(e.body, []byte(`{"rcode":0}`)) {
		return nil
	}
	return &TopicResponse{Header: e.head}
}
