package protostub

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// Unmarshal reads the JSON text of a message into m, which it resets first. What does
// not fit is an error with code InvalidParams that names the place; m is filled in part
// then, so throw it away.
func Unmarshal(text json.RawMessage, m proto.Message) error {
	if err := message.Valid(text); err != nil {
		return err
	}
	proto.Reset(m)
	return read(text, planOf(m.ProtoReflect().Descriptor()), m.ProtoReflect(), "field ", "")
}

// read fills the empty message m from valid JSON. what and of are put round the place
// that is named in errors: "parameter " and " of math.add".
func read(text json.RawMessage, p *plan, m protoreflect.Message, what, of string) error {
	r := reader{message.NewCursor(text)}
	err := r.message(p, m)
	if err == nil {
		return nil
	}
	var f *misfitError // escapes, so not before
	if !errors.As(err, &f) {
		return err
	}
	place := "the message"
	if f.place != "" {
		place = what + strconv.Quote(f.place)
	}
	return abstract.Errorf(abstract.InvalidParams, "%s%s %s", place, of, f.fault)
}

// misfitError is what does not fit, and where. The place is put together on the way
// out, so that nothing is spent on it while all is well.
type misfitError struct{ place, fault string }

// Error returns both.
func (e *misfitError) Error() string { return e.place + " " + e.fault }

func misfit(fault string) error { return &misfitError{fault: fault} }

// under puts the name of what something lies in before the place of an error.
func under(name string, err error) error {
	var f *misfitError
	if errors.As(err, &f) {
		if f.place != "" && f.place[0] != '[' {
			name += "."
		}
		f.place = name + f.place
	}
	return err
}

// mustBe says what stands where something else is wanted.
func mustBe(want string, found message.Kind) error {
	return misfit("must be " + want + ", not " + string(found))
}

// reader reads messages.
type reader struct{ message.Cursor }

func (r *reader) message(p *plan, m protoreflect.Message) error {
	if p.custom {
		return r.custom(p, m)
	}
	if found := r.Kind(); found != message.Object {
		return mustBe("object", found)
	}
	for more := r.Open(); more; more = r.More() {
		f := p.byName[r.Name()]
		if f == nil {
			r.Skip()
			continue
		}
		if err := r.field(p, f, m); err != nil {
			return under(f.JSONName(), err)
		}
	}
	for i := range p.fields {
		if f := &p.fields[i]; f.required && !m.Has(f.FieldDescriptor) {
			return under(f.JSONName(), misfit("is needed, and is not there"))
		}
	}
	return nil
}

func (r *reader) field(p *plan, f *field, m protoreflect.Message) error {
	found := r.Kind()
	if found == message.Null && (f.list || f.key != nil || !f.element.isNull) {
		r.Skip()
		m.Clear(f.FieldDescriptor)
		return nil
	}
	if f.direct >= 0 && found == message.String {
		if text := r.Text(); !p.setText(m, f, text) {
			m.Set(f.FieldDescriptor, protoreflect.ValueOfString(text))
		}
		return nil
	}
	if f.oneof != nil {
		if other := m.WhichOneof(f.oneof); other != nil && other.Number() != f.Number() {
			return misfit("and " + strconv.Quote(other.JSONName()) + " exclude each other: only one of them may be there")
		}
	}
	var v protoreflect.Value
	var err error
	switch {
	case f.list:
		v = m.NewField(f.FieldDescriptor)
		err = r.list(f, v.List(), found)
	case f.key != nil:
		v = m.NewField(f.FieldDescriptor)
		err = r.entries(f, v.Map(), found)
	case f.element.plan != nil:
		v = m.NewField(f.FieldDescriptor)
		err = r.message(f.element.plan, v.Message())
	default:
		v, err = r.scalar(f.element, found)
	}
	if err != nil {
		return err
	}
	m.Set(f.FieldDescriptor, v)
	return nil
}

func (r *reader) list(f *field, list protoreflect.List, found message.Kind) error {
	if found != message.Array {
		return mustBe("array", found)
	}
	for more := r.Open(); more; more = r.More() {
		v, err := r.element(f.element, list.NewElement)
		if err != nil {
			return under("["+strconv.Itoa(list.Len())+"]", err)
		}
		list.Append(v)
	}
	return nil
}

func (r *reader) entries(f *field, entries protoreflect.Map, found message.Kind) error {
	if found != message.Object {
		return mustBe("object", found)
	}
	for more := r.Open(); more; more = r.More() {
		name := r.Name()
		key, err := mapKey(f.key.Kind(), name)
		if err != nil {
			return under(strings.Clone(name), err)
		}
		v, err := r.element(f.element, entries.NewValue)
		if err != nil {
			return under(strings.Clone(name), err)
		}
		entries.Set(key, v)
	}
	return nil
}

// element reads one value of a list or a map.
func (r *reader) element(e *element, empty func() protoreflect.Value) (protoreflect.Value, error) {
	found := r.Kind()
	if found == message.Null && !e.isNull {
		return protoreflect.Value{}, mustBe(e.wanted(), found)
	}
	if e.plan != nil {
		v := empty()
		return v, r.message(e.plan, v.Message())
	}
	return r.scalar(e, found)
}

// mapKey makes a key of a member's name.
func mapKey(kind protoreflect.Kind, name string) (protoreflect.MapKey, error) {
	switch kind {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(strings.Clone(name)).MapKey(), nil
	case protoreflect.BoolKind:
		if name == "true" || name == "false" {
			return protoreflect.ValueOfBool(name == "true").MapKey(), nil
		}
		return protoreflect.MapKey{}, misfit(`must have a name that is "true" or "false"`)
	}
	v, err := integer(kind, message.Raw(name))
	if err != nil {
		return protoreflect.MapKey{}, misfit("must have a name that is an integer in range")
	}
	return v.MapKey(), nil
}

// scalar reads whatever is no message.
func (r *reader) scalar(e *element, found message.Kind) (v protoreflect.Value, err error) {
	switch e.kind {
	case protoreflect.StringKind:
		if found == message.String {
			return protoreflect.ValueOfString(r.Text()), nil
		}
	case protoreflect.BoolKind:
		if found == message.Bool {
			return protoreflect.ValueOfBool(r.Skip()[0] == 't'), nil
		}
	case protoreflect.BytesKind:
		if found == message.String {
			return decodeBytes(r.Text())
		}
	case protoreflect.EnumKind:
		return r.enum(e, found)
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		if text, ok := r.number(found); ok {
			return float(e.kind, string(text))
		}
	default:
		if text, ok := r.number(found); ok && (found == message.String || message.KindOf(text) == message.Integer) {
			return integer(e.kind, text)
		}
	}
	return v, mustBe(e.wanted(), found)
}

// number returns the text of a number, which may be written as a string.
func (r *reader) number(found message.Kind) (text message.Raw, ok bool) {
	switch found {
	case message.Integer, message.Number:
		return r.Skip(), true
	case message.String:
		return message.Raw(r.Text()), true
	}
	return nil, false
}

// integer makes an integer of a number's text, or of any other.
func integer(kind protoreflect.Kind, text message.Raw) (v protoreflect.Value, err error) {
	if len(text) == 0 || message.Valid(text) != nil || text[len(text)-1] <= ' ' || message.KindOf(text) != message.Integer {
		return v, mustBe("integer", message.String)
	}
	switch kind {
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		if n, ok := message.Int(text); ok && n >= math.MinInt32 && n <= math.MaxInt32 {
			return protoreflect.ValueOfInt32(int32(n)), nil
		}
		return v, misfit("is out of range: it is an integer of 32 bits")
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		if n, ok := message.Uint(text); ok && n <= math.MaxUint32 {
			return protoreflect.ValueOfUint32(uint32(n)), nil
		}
		return v, misfit("is out of range: it is an integer of 32 bits without a sign")
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		if n, ok := message.Uint(text); ok {
			return protoreflect.ValueOfUint64(n), nil
		}
		return v, misfit("is out of range: it is an integer of 64 bits without a sign")
	}
	if n, ok := message.Int(text); ok {
		return protoreflect.ValueOfInt64(n), nil
	}
	return v, misfit("is out of range: it is an integer of 64 bits")
}

func float(kind protoreflect.Kind, text string) (v protoreflect.Value, err error) {
	var f float64
	switch text {
	case "NaN":
		f = math.NaN()
	case "Infinity":
		f = math.Inf(1)
	case "-Infinity":
		f = math.Inf(-1)
	default:
		if last := len(text) - 1; message.Valid(message.Raw(text)) != nil || text[0] != '-' && text[0]-'0' > 9 || text[last]-'0' > 9 {
			return v, mustBe("number", message.String)
		}
		bits := 64
		if kind == protoreflect.FloatKind {
			bits = 32
		}
		if f, err = strconv.ParseFloat(text, bits); err != nil {
			return v, misfit("is out of range: it is a number of " + strconv.Itoa(bits) + " bits")
		}
	}
	if kind == protoreflect.FloatKind {
		return protoreflect.ValueOfFloat32(float32(f)), nil
	}
	return protoreflect.ValueOfFloat64(f), nil
}

// decodeBytes reads base64, of either alphabet, with or without padding.
func decodeBytes(text string) (v protoreflect.Value, err error) {
	alphabet := base64.StdEncoding
	if strings.ContainsAny(text, "-_") {
		alphabet = base64.URLEncoding
	}
	if len(text)%4 != 0 {
		alphabet = alphabet.WithPadding(base64.NoPadding)
	}
	b, err := alphabet.DecodeString(text)
	if err != nil {
		return v, misfit("must be text in base64, and is another")
	}
	return protoreflect.ValueOfBytes(b), nil
}

func (r *reader) enum(e *element, found message.Kind) (v protoreflect.Value, err error) {
	values := e.Enum().Values()
	switch {
	case found == message.Null && e.isNull:
		r.Skip()
		return protoreflect.ValueOfEnum(0), nil
	case found == message.String:
		if value := values.ByName(protoreflect.Name(r.Text())); value != nil {
			return protoreflect.ValueOfEnum(value.Number()), nil
		}
		return v, misfit("must be one of " + e.names())
	case found == message.Integer:
		n, ok := message.Int(r.Skip())
		if !ok || n != int64(int32(n)) || e.Enum().IsClosed() && values.ByNumber(protoreflect.EnumNumber(n)) == nil {
			return v, misfit("must be one of " + e.names())
		}
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n)), nil
	}
	return v, mustBe(e.wanted(), found)
}

// names lists what an enum may be, as far as that helps.
func (e *element) names() string {
	const most = 8
	var list []string
	for i := range min(e.Enum().Values().Len(), most) {
		list = append(list, string(e.Enum().Values().Get(i).Name()))
	}
	if e.Enum().Values().Len() > most {
		list = append(list, "...")
	}
	return strings.Join(list, ", ")
}

// wanted is the kind of JSON value that a value is, in words.
func (e *element) wanted() string {
	switch e.kind {
	case protoreflect.StringKind, protoreflect.BytesKind:
		return "string"
	case protoreflect.BoolKind:
		return "bool"
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return "number"
	case protoreflect.EnumKind:
		return "string (one of " + e.names() + ")"
	case protoreflect.MessageKind, protoreflect.GroupKind:
		if shape := shapes[e.plan.name]; shape != "" {
			return shape
		}
		return "object"
	}
	return "integer"
}

// custom reads what protojson knows.
func (r *reader) custom(p *plan, m protoreflect.Message) error {
	found, text := r.Kind(), r.Skip()
	err := protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(text, m.Interface())
	switch shape := shapes[p.name]; {
	case err == nil:
		return nil
	case shape == "" && found == message.Object:
		return misfit("does not fit " + string(p.name))
	case shape == "":
		return mustBe("object", found)
	default:
		return misfit("must be " + shape + "; it is " + article(found))
	}
}

// article is a kind with what stands before it.
func article(k message.Kind) string {
	if k == message.Array || k == message.Object || k == message.Integer {
		return "an " + string(k)
	}
	return "a " + string(k)
}
