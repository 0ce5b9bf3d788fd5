package protostub

import (
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"trefoil/concrete/message"
)

// schemas are what a method takes and returns, as JSON Schemas: for people who describe
// it, and for completion. Messages are not checked against them.
func (c *core) schemas() (in, out json.RawMessage) {
	c.req.init()
	c.res.init()
	return schemaOf(c.req.plan, c.writer), schemaOf(c.res.plan, c.writer)
}

// schemaOf writes the schema of a type of messages: its own members, and below "$defs"
// those of the messages inside.
func schemaOf(p *plan, w writer) json.RawMessage {
	s := schemaText{writer: w, defined: map[protoreflect.FullName]bool{}}
	s.body(p)
	if len(s.waiting) == 0 {
		return json.RawMessage(s.String())
	}
	root := strings.TrimSuffix(s.String(), "}")
	s.Reset()
	for i := 0; i < len(s.waiting); i++ { // it grows
		s.separate(i)
		s.name(string(s.waiting[i].name))
		s.body(s.waiting[i])
	}
	return json.RawMessage(root + `,"$defs":{` + s.String() + `}}`)
}

// schemaText is a schema while it is written.
type schemaText struct {
	strings.Builder
	writer  writer
	defined map[protoreflect.FullName]bool
	waiting []*plan // that are referred to, in the order of that
}

func (s *schemaText) separate(i int) {
	if i > 0 {
		s.WriteByte(',')
	}
}

func (s *schemaText) name(text string) {
	s.Write(append(message.AppendText(nil, text), ':'))
}

// body writes what a message is.
func (s *schemaText) body(p *plan) {
	if p.custom {
		s.WriteString(customSchema(p.name))
		return
	}
	s.WriteString(`{"type":"object","properties":{`)
	var required []string
	for i := range p.fields {
		f := &p.fields[i]
		s.separate(i)
		s.name(f.JSONName())
		s.field(f)
		if f.required {
			required = append(required, f.JSONName())
		}
	}
	s.WriteByte('}')
	if required != nil {
		names, _ := json.Marshal(required) // strings can always be written
		fmt.Fprintf(s, `,"required":%s`, names)
	}
	s.WriteByte('}')
}

func (s *schemaText) field(f *field) {
	switch {
	case f.list:
		s.WriteString(`{"type":"array","items":`)
	case f.key != nil:
		s.WriteString(`{"type":"object","additionalProperties":`)
	default:
		s.value(f.element)
		return
	}
	s.value(f.element)
	s.WriteByte('}')
}

func (s *schemaText) value(e *element) {
	switch e.kind {
	case protoreflect.BoolKind:
		s.WriteString(`{"type":"boolean"}`)
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		s.WriteString(`{"type":"integer","minimum":-2147483648,"maximum":2147483647}`)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		s.WriteString(`{"type":"integer","minimum":0,"maximum":4294967295}`)
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		if s.writer.numbers {
			s.WriteString(`{"type":"integer"}`)
		} else {
			s.WriteString(`{"type":["string","integer"],"description":"an integer of 64 bits"}`)
		}
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		s.WriteString(`{"type":"number"}`)
	case protoreflect.StringKind:
		s.WriteString(`{"type":"string"}`)
	case protoreflect.BytesKind:
		s.WriteString(`{"type":"string","contentEncoding":"base64"}`)
	case protoreflect.EnumKind:
		s.enum(e)
	default:
		s.message(e.plan)
	}
}

func (s *schemaText) enum(e *element) {
	if e.isNull {
		s.WriteString(`{"type":"null"}`)
		return
	}
	var names []string
	for i := range e.Enum().Values().Len() {
		names = append(names, string(e.Enum().Values().Get(i).Name()))
	}
	list, _ := json.Marshal(names) // strings can always be written
	fmt.Fprintf(s, `{"type":"string","enum":%s}`, list)
}

// message refers to a message, or writes what a known one is.
func (s *schemaText) message(p *plan) {
	if p.custom {
		s.WriteString(customSchema(p.name))
		return
	}
	if !s.defined[p.name] {
		s.defined[p.name] = true
		s.waiting = append(s.waiting, p)
	}
	fmt.Fprintf(s, `{"$ref":"#/$defs/%s"}`, p.name)
}

// customSchema is the schema of what protojson writes.
func customSchema(name protoreflect.FullName) string {
	switch name {
	case "google.protobuf.Any":
		return `{"type":"object","properties":{"@type":{"type":"string"}},"required":["@type"]}`
	case "google.protobuf.Timestamp":
		return `{"type":"string","format":"date-time"}`
	case "google.protobuf.Duration":
		return `{"type":"string","description":"seconds, such as 1.5s"}`
	case "google.protobuf.FieldMask":
		return `{"type":"string","description":"paths of fields, with commas between them"}`
	case "google.protobuf.Value":
		return `{}`
	case "google.protobuf.ListValue":
		return `{"type":"array"}`
	case "google.protobuf.DoubleValue", "google.protobuf.FloatValue":
		return `{"type":"number"}`
	case "google.protobuf.Int32Value", "google.protobuf.UInt32Value":
		return `{"type":"integer"}`
	case "google.protobuf.Int64Value", "google.protobuf.UInt64Value":
		return `{"type":["string","integer"],"description":"an integer of 64 bits"}`
	case "google.protobuf.BoolValue":
		return `{"type":"boolean"}`
	case "google.protobuf.StringValue":
		return `{"type":"string"}`
	case "google.protobuf.BytesValue":
		return `{"type":"string","contentEncoding":"base64"}`
	}
	return `{"type":"object"}` // a Struct, or one with extensions
}
