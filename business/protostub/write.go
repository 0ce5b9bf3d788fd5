package protostub

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"math"
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// Marshal returns the JSON text of a message; see the package on what it looks like.
// What cannot be written is an error with code InvalidParams.
func Marshal(m proto.Message) (json.RawMessage, error) {
	return writer{}.append(nil, planOf(m.ProtoReflect().Descriptor()), m.ProtoReflect())
}

// writer writes messages.
type writer struct {
	numbers bool // 64-bit integers as numbers
}

func (w writer) append(dst []byte, p *plan, m protoreflect.Message) ([]byte, error) {
	if p.custom {
		return appendCustom(dst, p, m)
	}
	dst = append(dst, '{')
	first := true
	for i := range p.fields {
		f := &p.fields[i]
		if f.presence && !m.Has(f.FieldDescriptor) {
			if f.required {
				return nil, abstract.Errorf(abstract.InvalidParams, "field %q of %s is required and not set", f.Name(), p.name)
			}
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, f.label...)
		var err error
		if dst, err = w.field(dst, f, m.Get(f.FieldDescriptor)); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

func (w writer) field(dst []byte, f *field, v protoreflect.Value) ([]byte, error) {
	switch {
	case f.list:
		return w.list(dst, f, v.List())
	case f.key != nil:
		return w.entries(dst, f, v.Map())
	}
	return w.value(dst, f.element, v)
}

func (w writer) list(dst []byte, f *field, list protoreflect.List) ([]byte, error) {
	dst = append(dst, '[')
	for i := range list.Len() {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = w.value(dst, f.element, list.Get(i)); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

// entries writes a map by its keys' order, so that equal messages have equal texts.
func (w writer) entries(dst []byte, f *field, entries protoreflect.Map) ([]byte, error) {
	keys := make([]protoreflect.MapKey, 0, entries.Len())
	entries.Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
		keys = append(keys, k)
		return true
	})
	slices.SortFunc(keys, compareKeys)
	dst = append(dst, '{')
	for i, k := range keys {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(message.AppendText(dst, k.String()), ':')
		var err error
		if dst, err = w.value(dst, f.element, entries.Get(k)); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

func compareKeys(a, b protoreflect.MapKey) int {
	switch x := a.Interface().(type) {
	case int32, int64:
		return cmp.Compare(a.Int(), b.Int())
	case uint32, uint64:
		return cmp.Compare(a.Uint(), b.Uint())
	case string:
		return cmp.Compare(x, b.String())
	}
	return cmp.Compare(a.String(), b.String()) // false comes before true
}

func (w writer) value(dst []byte, e *element, v protoreflect.Value) ([]byte, error) {
	switch e.kind {
	case protoreflect.StringKind:
		return message.AppendText(dst, v.String()), nil
	case protoreflect.BoolKind:
		return strconv.AppendBool(dst, v.Bool()), nil
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return strconv.AppendInt(dst, v.Int(), 10), nil
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return strconv.AppendUint(dst, v.Uint(), 10), nil
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return w.long(dst, func(dst []byte) []byte { return strconv.AppendInt(dst, v.Int(), 10) }), nil
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return w.long(dst, func(dst []byte) []byte { return strconv.AppendUint(dst, v.Uint(), 10) }), nil
	case protoreflect.FloatKind:
		return appendFloat(dst, v.Float(), 32), nil
	case protoreflect.DoubleKind:
		return appendFloat(dst, v.Float(), 64), nil
	case protoreflect.BytesKind:
		dst = base64.StdEncoding.AppendEncode(append(dst, '"'), v.Bytes())
		return append(dst, '"'), nil
	case protoreflect.EnumKind:
		return appendEnum(dst, e, v.Enum()), nil
	}
	return w.append(dst, e.plan, v.Message())
}

// long writes an integer of 64 bits.
func (w writer) long(dst []byte, digits func(dst []byte) []byte) []byte {
	if w.numbers {
		return digits(dst)
	}
	return append(digits(append(dst, '"')), '"')
}

func appendEnum(dst []byte, e *element, n protoreflect.EnumNumber) []byte {
	if e.isNull {
		return append(dst, "null"...)
	}
	if v := e.Enum().Values().ByNumber(n); v != nil {
		return message.AppendText(dst, string(v.Name()))
	}
	return strconv.AppendInt(dst, int64(n), 10)
}

// appendFloat writes a number as encoding/json does, and what JSON has no number for as
// a text.
func appendFloat(dst []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(dst, `"-Infinity"`...)
	}
	format := byte('f')
	if size := math.Abs(f); size != 0 && (bits == 64 && (size < 1e-6 || size >= 1e21) || bits == 32 && (float32(size) < 1e-6 || float32(size) >= 1e21)) {
		format = 'e'
	}
	dst = strconv.AppendFloat(dst, f, format, -1, bits)
	if n := len(dst); format == 'e' && n >= 4 && dst[n-4] == 'e' && dst[n-3] == '-' && dst[n-2] == '0' { // e-09 to e-9
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst
}

// appendCustom writes what protojson knows. It puts white space where it likes, which
// is taken out, so that equal messages have equal texts.
func appendCustom(dst []byte, p *plan, m protoreflect.Message) ([]byte, error) {
	text, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m.Interface())
	if err != nil {
		return nil, &abstract.Error{Code: abstract.InvalidParams, Message: "a " + string(p.name) + " cannot be written as JSON", Err: err}
	}
	out := bytes.NewBuffer(dst)
	if err := json.Compact(out, text); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
