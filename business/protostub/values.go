package protostub

import (
	"encoding/json"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"trefoil/concrete/message"
)

// The values that callers and servers are handed write and read their texts where those
// stand anyway, as go-json does for other values. They have encoding/json's methods too,
// for callers that are not ours.
var (
	_ message.TextWriter = (*outgoing)(nil)
	_ message.TextReader = (*incoming)(nil)
	_ message.TextReader = (*parameters)(nil)
	_ json.Marshaler     = (*outgoing)(nil)
	_ json.Unmarshaler   = (*incoming)(nil)
	_ json.Unmarshaler   = (*parameters)(nil)
)

// outgoing is a message that is sent.
type outgoing struct {
	writer  writer
	shape   *shape
	message proto.Message
}

// AppendJSONText appends the message's text.
func (o *outgoing) AppendJSONText(dst []byte) ([]byte, error) {
	o.shape.init()
	return o.writer.append(dst, o.shape.plan, o.message.ProtoReflect())
}

// MarshalJSON returns the message's text.
func (o *outgoing) MarshalJSON() ([]byte, error) { return o.AppendJSONText(nil) }

// incoming is a result that comes.
type incoming struct {
	shape   *shape
	message proto.Message
}

// ReadJSONText makes a message of its text.
func (i *incoming) ReadJSONText(text json.RawMessage) (err error) {
	i.message, err = i.shape.read(text, "field ", " of the result")
	return err
}

// UnmarshalJSON makes a message of its text.
func (i *incoming) UnmarshalJSON(text []byte) error { return i.ReadJSONText(text) }

// parameters are what a handler is called with, and then what it has returned. They are
// always read: what does not fit is the handler's to answer, in words that name it.
type parameters struct {
	core    *core
	message proto.Message
	fault   error
	result  outgoing
}

// ReadJSONText makes a message of its text.
func (p *parameters) ReadJSONText(text json.RawMessage) error {
	p.message, p.fault = p.core.req.read(text, "parameter ", p.core.of)
	return nil
}

// UnmarshalJSON makes a message of its text.
func (p *parameters) UnmarshalJSON(text []byte) error { return p.ReadJSONText(text) }

// shape is a type of messages. What is known of it is looked up when it is used: when
// variables are initialised, generated types are not ready yet.
type shape struct {
	of    proto.Message
	once  sync.Once
	typ   protoreflect.MessageType
	plan  *plan
	usual atomic.Int32 // bytes that texts have had
}

func (s *shape) init() {
	s.once.Do(func() {
		s.typ = s.of.ProtoReflect().Type()
		s.plan = planOf(s.typ.Descriptor())
	})
}

const mostUsual = 16 << 10

func (s *shape) write(w writer, m proto.Message) (json.RawMessage, error) {
	s.init()
	usual := s.usual.Load()
	text, err := w.append(make([]byte, 0, usual), s.plan, m.ProtoReflect())
	if n := int32(min(len(text), mostUsual)); n > usual {
		s.usual.Store(n)
	}
	return text, err
}

func (s *shape) read(text json.RawMessage, what, of string) (proto.Message, error) {
	s.init()
	m := s.typ.New()
	if err := read(text, s.plan, m, what, of); err != nil {
		return nil, err
	}
	return m.Interface(), nil
}
