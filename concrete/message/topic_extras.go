package message

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"trefoil/abstract"
)

// extraNames are the members of a TopicRequest that make its TopicExtras.
var extraNames = [...]string{
	"settings", "epoch", "sub", "from", "group", "where", "name", "ack", "window", "presence",
	"msg_id", "delay_ms", "at_ms", "ttl_ms", "report", "time_ms", "delivery", "delivered", "deliveries", "nack", "progress", "most", "offsets", "resume", "scheduled",
}

var topicNames = append([]string{"optype", "topic_key", "topic_msg", "offset", "meta"}, extraNames[:]...)

// topicExtras reads what only modern peers say; nil when there is nothing.
func (e *envelope) topicExtras(v [][]byte) *TopicExtras {
	if !slices.ContainsFunc(v, func(raw []byte) bool { return raw != nil }) {
		return nil
	}
	x := &TopicExtras{
		Settings: v[0], Epoch: e.optional(v[1], "epoch", MaxTopicID), Sub: e.optional(v[2], "sub", MaxTopicID),
		From: e.topicFrom(v[3]), Group: e.optional(v[4], "group", MaxTopicID), Where: e.where(v[5]),
		Name: e.optional(v[6], "name", MaxTopicID), Ack: flag(v[7]), Window: int(e.count(v[8], "window", math.MaxInt32)), Watch: flag(v[9]),
		MsgID: e.optional(v[10], "msg_id", MaxTopicID), Delay: e.milliseconds(v[11], "delay_ms"), At: e.moment(v[12], "at_ms"),
		TTL: e.milliseconds(v[13], "ttl_ms"), Report: flag(v[14]),
		Time: e.moment(v[15], "time_ms"), Delivery: uint64(e.count(v[16], "delivery", math.MaxInt64)), Delivered: int(e.count(v[17], "delivered", math.MaxInt32)),
		Deliveries: e.numbers(v[18], "deliveries"), Nack: flag(v[19]), Progress: flag(v[20]), Most: int(e.count(v[21], "most", math.MaxInt32)),
		Offsets: e.numbers(v[22], "offsets"), Resume: e.resume(v[23]), Scheduled: e.optional(v[24], "scheduled", MaxTopicID),
	}
	if len(x.Settings) > abstract.MaxTopicSettings {
		e.fail(abstract.InvalidParams, `"settings" are longer than `+strconv.Itoa(abstract.MaxTopicSettings)+` bytes`)
	}
	return x
}

func (e *envelope) milliseconds(raw []byte, name string) time.Duration {
	return time.Duration(e.count(raw, name, longestMs)) * time.Millisecond
}

func (e *envelope) moment(raw []byte, name string) time.Time {
	if raw == nil {
		return time.Time{}
	}
	return time.UnixMilli(e.count(raw, name, longestMs))
}

func (e *envelope) topicFrom(raw []byte) TopicFrom {
	switch KindOf(raw) {
	case Invalid:
		return TopicFrom{}
	case String:
		switch e.text(raw, "from", 16) {
		case "new":
			return TopicFrom{Where: FromNew}
		case "last":
			return TopicFrom{Where: FromLast}
		case "all":
			return TopicFrom{Where: FromAll}
		}
	case Integer:
		return TopicFrom{Where: FromOffset, Offset: uint64(e.count(raw, "from", math.MaxInt64))}
	case Object:
		var v [1][]byte
		s := scanner{b: raw}
		s.collect(v[:], []string{"time_ms"})
		if v[0] != nil {
			return TopicFrom{Where: FromTime, Time: e.moment(v[0], "time_ms")}
		}
	}
	e.fail(abstract.InvalidParams, `"from" must be "new", "last", "all", an offset, or {"time_ms": a time}`)
	return TopicFrom{}
}

// where reads an object of strings.
func (e *envelope) where(raw []byte) map[string]string {
	if raw == nil {
		return nil
	}
	if KindOf(raw) != Object {
		e.fail(abstract.InvalidParams, `"where" must be an object of strings`)
		return nil
	}
	want, bytes := make(map[string]string), 0
	s := scanner{b: raw}
	s.members(func(m member) bool {
		if len(want) == MaxTopicWhere {
			e.fail(abstract.InvalidParams, `"where" has more than `+strconv.Itoa(MaxTopicWhere)+` members`)
			return false
		}
		if len(m.name) > 6*abstract.MaxMetadataName {
			e.fail(abstract.InvalidParams, `a name in "where" is longer than `+strconv.Itoa(abstract.MaxMetadataName)+` bytes`)
			return false
		}
		want[unquote(m.name, m.plain)] = e.text(m.value, "where", abstract.MaxMetadata)
		if bytes += len(m.name) + len(m.value); bytes > 6*abstract.MaxMetadata {
			e.fail(abstract.InvalidParams, `"where" is longer than any metadata, which has at most `+strconv.Itoa(abstract.MaxMetadata)+` bytes`)
		}
		return e.head.fault == nil
	})
	return want
}

func (e *envelope) numbers(raw []byte, name string) []uint64 {
	if raw == nil {
		return nil
	}
	var list []uint64
	e.elements(raw, name, MaxTopicAcks, func(v []byte) {
		list = append(list, uint64(e.count(v, name, math.MaxInt64)))
	})
	return list
}

func appendTopicExtras(dst []byte, x *TopicExtras) []byte {
	if x == nil {
		return dst
	}
	if x.Settings != nil {
		dst = append(append(dst, `,"settings":`...), x.Settings...)
	}
	dst = appendText(dst, `,"epoch":`, x.Epoch)
	dst = appendText(dst, `,"sub":`, x.Sub)
	dst = appendFrom(dst, x.From)
	dst = appendText(dst, `,"group":`, x.Group)
	dst = appendWhere(dst, x.Where)
	dst = appendText(dst, `,"name":`, x.Name)
	dst = appendFlag(dst, `,"ack":1`, x.Ack)
	dst = appendCount(dst, `,"window":`, uint64(max(0, x.Window)))
	dst = appendFlag(dst, `,"presence":1`, x.Watch)
	dst = appendText(dst, `,"msg_id":`, x.MsgID)
	dst = appendCount(dst, `,"delay_ms":`, uint64(max(0, x.Delay.Milliseconds())))
	dst = appendMoment(dst, `,"at_ms":`, x.At)
	dst = appendCount(dst, `,"ttl_ms":`, uint64(max(0, x.TTL.Milliseconds())))
	dst = appendFlag(dst, `,"report":1`, x.Report)
	dst = appendMoment(dst, `,"time_ms":`, x.Time)
	dst = appendCount(dst, `,"delivery":`, x.Delivery)
	dst = appendCount(dst, `,"delivered":`, uint64(max(0, x.Delivered)))
	dst = appendNumbers(dst, `,"deliveries":[`, x.Deliveries)
	dst = appendFlag(dst, `,"nack":1`, x.Nack)
	dst = appendFlag(dst, `,"progress":1`, x.Progress)
	dst = appendCount(dst, `,"most":`, uint64(max(0, x.Most)))
	dst = appendNumbers(dst, `,"offsets":[`, x.Offsets)
	dst = appendResume(dst, x.Resume)
	return appendText(dst, `,"scheduled":`, x.Scheduled)
}

func appendNumbers(dst []byte, begin string, list []uint64) []byte {
	if len(list) == 0 {
		return dst
	}
	dst = append(dst, begin...)
	for i, n := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendUint(dst, n, 10)
	}
	return append(dst, ']')
}

func appendMoment(dst []byte, name string, t time.Time) []byte {
	if t.IsZero() {
		return dst
	}
	return appendCount(dst, name, uint64(max(0, t.UnixMilli())))
}

func appendFrom(dst []byte, f TopicFrom) []byte {
	switch f.Where {
	case FromNew:
		return append(dst, `,"from":"new"`...)
	case FromLast:
		return append(dst, `,"from":"last"`...)
	case FromAll:
		return append(dst, `,"from":"all"`...)
	case FromOffset:
		return strconv.AppendUint(append(dst, `,"from":`...), f.Offset, 10)
	case FromTime:
		dst = append(dst, `,"from":{"time_ms":`...)
		return append(strconv.AppendInt(dst, max(0, f.Time.UnixMilli()), 10), '}')
	}
	return dst
}

func appendWhere(dst []byte, want map[string]string) []byte {
	if len(want) == 0 {
		return dst
	}
	dst = append(dst, `,"where":{`...)
	for i, name := range slices.Sorted(maps.Keys(want)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(append(appendString(dst, name), ':'), want[name])
	}
	return append(dst, '}')
}

func appendTopicResponse(dst []byte, m *TopicResponse) []byte {
	dst = appendInt(dst, `{"rcode":`, int64(m.Code))
	dst = appendText(dst, `,"message":`, m.Message)
	dst = appendCount(dst, `,"offset":`, m.Offset)
	dst = appendCount(dst, `,"subscribers":`, uint64(max(0, m.Subscribers)))
	dst = appendFlag(dst, `,"duplicate":1`, m.Duplicate)
	dst = appendMoment(dst, `,"due_ms":`, m.Due)
	dst = appendText(dst, `,"scheduled":`, m.Scheduled)
	dst = appendText(dst, `,"epoch":`, m.Epoch)
	if m.Recovered != Unsaid {
		dst = strconv.AppendBool(append(dst, `,"recovered":`...), m.Recovered == Yes)
	}
	if m.Info != nil {
		dst = append(append(dst, `,"info":`...), m.Info...)
	}
	return append(appendResume(dst, m.Resume), '}')
}

func (e *envelope) fullTopicResponse() abstract.BaseMessage {
	var v [11][]byte
	if !e.collect(v[:], "rcode", "message", "offset", "subscribers", "duplicate", "epoch", "recovered", "info", "due_ms", "resume", "scheduled") {
		return nil
	}
	m := &TopicResponse{
		Code: e.rcode(v[0]), Message: e.optional(v[1], "message", maxWords),
		Offset: uint64(e.count(v[2], "offset", math.MaxInt64)), Subscribers: int(e.count(v[3], "subscribers", math.MaxInt32)),
		Duplicate: flag(v[4]), Epoch: e.optional(v[5], "epoch", MaxTopicID), Info: v[7], Due: e.moment(v[8], "due_ms"),
		Resume: e.resume(v[9]), Scheduled: e.optional(v[10], "scheduled", MaxTopicID),
	}
	if v[6] != nil {
		m.Recovered = TriOf(flag(v[6]))
	}
	m.Header = e.head
	return m
}
