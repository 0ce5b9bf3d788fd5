package protostub

import (
	"reflect"
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"

	"trefoil/concrete/message"
)

// plan is what is known of a type of messages: made once, and never changed.
type plan struct {
	name   protoreflect.FullName
	custom bool         // its text is not made of its fields: protojson knows it
	goType reflect.Type // the struct that direct fields are of; nil: there are none
	fields []field
	byName map[string]*field
}

// field is one field of a message.
type field struct {
	protoreflect.FieldDescriptor
	label    []byte // `"name":`
	kind     protoreflect.Kind
	list     bool
	presence bool
	required bool
	oneof    protoreflect.OneofDescriptor // nil: none that was written as one
	element  *element
	direct   int                          // which field of the Go struct it is, for a plain string; -1: see directFields
	key      protoreflect.FieldDescriptor // of a map; element is its value then
}

// element is what one value of a field is.
type element struct {
	protoreflect.FieldDescriptor
	kind   protoreflect.Kind
	plan   *plan // of a message
	isNull bool  // null is a value of it
}

// plans are all that were made. Messages refer to each other in circles, so a plan is
// only seen by others when all that it leads to are there.
type plans struct {
	mu    sync.Mutex
	ready sync.Map // protoreflect.MessageDescriptor -> *plan
}

var known plans

func planOf(d protoreflect.MessageDescriptor) *plan {
	if p, ok := known.ready.Load(d); ok {
		return p.(*plan)
	}
	known.mu.Lock()
	defer known.mu.Unlock()
	made := make(map[protoreflect.MessageDescriptor]*plan)
	p := known.make(d, made)
	for d, p := range made {
		known.ready.Store(d, p)
	}
	return p
}

// make is called with the lock held.
func (k *plans) make(d protoreflect.MessageDescriptor, made map[protoreflect.MessageDescriptor]*plan) *plan {
	if p, ok := k.ready.Load(d); ok {
		return p.(*plan)
	}
	if p := made[d]; p != nil {
		return p
	}
	p := &plan{name: d.FullName(), custom: shapes[d.FullName()] != "" || d.ExtensionRanges().Len() > 0}
	made[d] = p
	if p.custom {
		return p
	}
	list := d.Fields()
	p.fields, p.byName = make([]field, list.Len()), make(map[string]*field, 2*list.Len())
	for i := range list.Len() {
		f := &p.fields[i]
		*f = k.field(list.Get(i), made)
		p.byName[f.TextName()] = f
	}
	p.goType = directFields(d, p.fields)
	for i := range p.fields { // a JSON name counts before another field's own
		p.byName[p.fields[i].JSONName()] = &p.fields[i]
	}
	return p
}

func (k *plans) field(d protoreflect.FieldDescriptor, made map[protoreflect.MessageDescriptor]*plan) field {
	f := field{
		FieldDescriptor: d,
		label:           append(message.AppendText(nil, d.JSONName()), ':'),
		kind:            d.Kind(),
		list:            d.IsList(),
		presence:        d.HasPresence(),
		required:        d.Cardinality() == protoreflect.Required,
	}
	if o := d.ContainingOneof(); o != nil && !o.IsSynthetic() {
		f.oneof = o
	}
	value := d
	if d.IsMap() {
		f.key, value = d.MapKey(), d.MapValue()
	}
	f.element = &element{FieldDescriptor: value, kind: value.Kind()}
	if m := value.Message(); m != nil {
		f.element.plan = k.make(m, made)
		f.element.isNull = m.FullName() == "google.protobuf.Value"
	}
	if e := value.Enum(); e != nil {
		f.element.isNull = e.FullName() == "google.protobuf.NullValue"
	}
	return f
}

// shapes are the types whose text protojson writes and reads, and what it looks like.
var shapes = map[protoreflect.FullName]string{
	"google.protobuf.Any":         `an object whose "@type" names a type that this program knows`,
	"google.protobuf.Timestamp":   `a text such as "2006-01-02T15:04:05Z"`,
	"google.protobuf.Duration":    `a text such as "1.5s"`,
	"google.protobuf.FieldMask":   `a text such as "name,address.zip"`,
	"google.protobuf.Struct":      "an object",
	"google.protobuf.Value":       "any value",
	"google.protobuf.ListValue":   "an array",
	"google.protobuf.DoubleValue": "a number",
	"google.protobuf.FloatValue":  "a number",
	"google.protobuf.Int64Value":  "an integer of 64 bits",
	"google.protobuf.UInt64Value": "an integer from 0 to the largest of 64 bits",
	"google.protobuf.Int32Value":  "an integer of 32 bits",
	"google.protobuf.UInt32Value": "an integer from 0 to the largest of 32 bits",
	"google.protobuf.BoolValue":   "a bool",
	"google.protobuf.StringValue": "a string",
	"google.protobuf.BytesValue":  "a text in base64",
}
