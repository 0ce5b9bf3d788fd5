package message

import (
	"bytes"
	"encoding"
	stdjson "encoding/json"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/goccy/go-json"
	"github.com/goccy/go-json/jsontext"
	jsonv2 "github.com/goccy/go-json/v2"

	"trefoil/abstract"
)

// Encode returns the JSON text of v as encoding/json writes it, but without
// escaping HTML. A Raw that is valid JSON is returned as it is; a nil one is null.
// What cannot be encoded is an error with code InvalidParams.
func Encode(v any) (Raw, error) {
	var own []byte
	return EncodeTo(&own, v)
}

// EncodeTo is Encode with memory to use again: the text lies in *buf, which is
// overwritten and may grow, unless v is a Raw.
func EncodeTo(buf *[]byte, v any) (Raw, error) {
	if raw, ok := v.(Raw); ok && raw != nil {
		if Valid(raw) != nil {
			return nil, abstract.Errorf(abstract.InvalidParams, "this is no JSON: %s", excerpt(raw))
		}
		return raw, nil
	}
	if text, ok := appendScalar((*buf)[:0], v); ok {
		*buf = text
		return text, nil
	}
	if w, ok := v.(TextWriter); ok {
		return writeOwn(buf, w)
	}
	text, err := appendAny((*buf)[:0], v)
	if err != nil {
		return nil, &abstract.Error{Code: abstract.InvalidParams, Message: "the value cannot be written as JSON", Err: textError(err.Error())}
	}
	*buf = text
	return text, nil
}

// encoder is go-json's, with what it writes to.
type encoder struct {
	json *json.Encoder
	out  []byte
}

var encoders = sync.Pool{New: func() any {
	e := new(encoder)
	e.json = json.NewEncoder(e)
	e.json.SetEscapeHTML(false)
	return e
}}

// Write takes the text from go-json, which gives it in one piece.
func (e *encoder) Write(p []byte) (int, error) {
	e.out = append(e.out, p...)
	return len(p), nil
}

// appendAny appends the text of any value, in memory of exactly its size when dst
// has none.
func appendAny(dst []byte, v any) ([]byte, error) {
	e := encoders.Get().(*encoder)
	e.out = dst
	err := e.json.Encode(v)
	out := e.out
	e.out = nil
	encoders.Put(e) // not after a panic of v's own methods
	if err != nil {
		return nil, err
	}
	return out[:len(out)-1], nil // a line's end
}

// appendScalar writes the commonest small values, for which the way through
// reflection is several times the work.
func appendScalar(dst []byte, v any) ([]byte, bool) {
	switch v := v.(type) {
	case string:
		start := len(dst)
		if cap(dst)-start < len(v)+2 {
			dst = append(make([]byte, 0, start+len(v)+2), dst...)
		}
		dst = append(append(append(dst, '"'), v...), '"')
		end, plain := skipText(dst, start)
		return dst, plain && end == len(dst)
	case bool:
		return strconv.AppendBool(dst, v), true
	case int:
		return strconv.AppendInt(dst, int64(v), 10), true
	case int64:
		return strconv.AppendInt(dst, v, 10), true
	}
	return dst, false
}

// decodeScalar reads what appendScalar writes. It is not ok for anything that
// takes a second look: escapes, letters beyond ASCII, numbers that do not fit.
func decodeScalar(raw Raw, v any) (ok bool) {
	switch v := v.(type) {
	case *string:
		if end, plain := skipText(raw, 0); v != nil && plain && end == len(raw) {
			*v = string(raw[1 : end-1])
			return true
		}
	case *int:
		if n, ok := integer(raw); ok && v != nil && n == int64(int(n)) {
			*v = int(n)
			return true
		}
	case *int64:
		if n, ok := integer(raw); ok && v != nil {
			*v = n
			return true
		}
	case *bool:
		if text := string(raw); v != nil && (text == "true" || text == "false") {
			*v = text == "true"
			return true
		}
	}
	return false
}

// EncodeResult is Encode for a call's result, which existing programs do not take
// as null: a nil slice is [], a nil []byte "", and everything else that Encode
// makes null of is {}: nothing, a nil pointer, a nil map, a nil Raw.
func EncodeResult(v any) (Raw, error) {
	var own []byte
	return EncodeResultTo(&own, v)
}

// EncodeResultTo is EncodeResult with memory to use again, as EncodeTo is Encode.
func EncodeResultTo(buf *[]byte, v any) (Raw, error) {
	raw, err := EncodeTo(buf, v)
	if err != nil || len(raw) > 0 && (raw[0] == '"' || raw[0] == '{' || raw[0] >= '0' && raw[0] <= '9') || string(trim(raw)) != "null" {
		return raw, err
	}
	t := reflect.TypeOf(v)
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == nil, t.Kind() != reflect.Slice, t == reflect.TypeFor[Raw]():
		return Raw(`{}`), nil
	case t.Elem().Kind() == reflect.Uint8:
		return Raw(`""`), nil
	}
	return Raw(`[]`), nil
}

func trim(raw []byte) []byte { return bytes.Trim(raw, " \t\r\n") }

// exact are encoding/json's rules but for one: names match a struct's fields only
// when they are the same, as everywhere in the protocol.
var exact = jsonv2.JoinOptions(json.DefaultOptionsV1(), jsonv2.MatchCaseInsensitiveNames(false), json.ReportErrorsWithLegacySemantics(false))

// lossless makes a json.Number of every number in an untyped place, since a
// float64 does not hold every 64-bit integer.
var lossless = jsonv2.JoinOptions(exact, jsonv2.WithUnmarshalers(jsonv2.UnmarshalFromFunc(untypedNumber)))

func untypedNumber(d *jsontext.Decoder, v *any) error {
	if d.PeekKind() != '0' || reflect.ValueOf(*v).Kind() == reflect.Pointer {
		return errors.ErrUnsupported // then go-json goes on as without this function
	}
	text, err := d.ReadValue()
	if plain, ok := plainInteger(text); ok {
		text = plain
	}
	*v = stdjson.Number(text)
	return err
}

// Decode reads JSON text into v, a non-nil pointer, as encoding/json does, but
// names are case-sensitive, an integral number is an integer also where it is
// written as 2.0 or 2e0, and a number in an untyped place becomes a json.Number.
// Empty text is null. A *Raw gets the text as it is, sharing its memory; nothing
// else of v shares raw's. An error has the code InvalidParams, and a message that
// says where in the text; v may then be filled in part, so throw it away.
func Decode(raw Raw, v any) error {
	if len(raw) == 0 {
		raw = Raw("null")
	}
	if p, ok := v.(*Raw); ok && p != nil {
		*p = raw
		return nil
	}
	if decodeScalar(raw, v) {
		return nil
	}
	if r, ok := v.(TextReader); ok {
		return r.ReadJSONText(raw)
	}
	err := decode(raw, v)
	if err == nil {
		return nil
	}
	if Valid(raw) != nil {
		return &abstract.Error{Code: abstract.InvalidParams, Message: "this is no JSON: " + excerpt(raw), Err: textError(err.Error())}
	}
	if plain, changed := plainIntegers(raw); changed {
		// Once more, for those who write integers as 2.0; most never pay for it.
		if err = decode(plain, v); err == nil {
			return nil
		}
	}
	return &abstract.Error{Code: abstract.InvalidParams, Message: misfit(err), Err: textError(err.Error())}
}

// decode takes the fast decoder where its rules cannot differ from ours, and else
// the one that knows them. That one refuses a few odd types that encoding/json
// takes, so what it refuses gets another try.
func decode(raw Raw, v any) error {
	t := reflect.TypeOf(v)
	if t == nil || t.Kind() != reflect.Pointer {
		return json.Unmarshal(raw, v) // says what is wrong with v
	}
	traits := traitsOf(t.Elem())
	if !traits.untyped && (!traits.named || traits.lower && !unusual(raw)) {
		return json.Unmarshal(raw, v)
	}
	rules := exact
	if traits.untyped {
		rules = lossless
	}
	err := jsonv2.Unmarshal(raw, v, rules)
	if err != nil && traits.named && json.Unmarshal(raw, v) == nil {
		return nil
	}
	return err
}

// unusual says whether raw holds a byte with which a name could match a field of
// lower case without being the same: an upper-case letter, an escape, or a letter
// that is not ASCII.
func unusual(raw Raw) bool {
	for _, c := range raw {
		if c >= 'A' && c <= 'Z' || c == '\\' || c >= 0x80 {
			return true
		}
	}
	return false
}

// misfit says which value does not fit, without words of Go.
func misfit(err error) string {
	var e *jsonv2.SemanticError
	if !errors.As(err, &e) || e.JSONPointer == "" {
		return "the value is not of the kind that is wanted"
	}
	return "the value at " + excerpt([]byte(e.JSONPointer)) + " is not of the kind that is wanted"
}

// textError carries the text of go-json's errors, whose types are its own affair.
type textError string

// Error returns the text.
func (e textError) Error() string { return string(e) }

// traits are what matters of a type for the choice of a decoder.
type traits struct {
	untyped bool // it holds an interface somewhere
	named   bool // it holds a struct somewhere
	lower   bool // all names of those structs' fields are ASCII without upper case
}

// knownTraits remembers types; that never changes.
var knownTraits sync.Map // reflect.Type -> traits

func traitsOf(t reflect.Type) traits {
	if known, ok := knownTraits.Load(t); ok {
		return known.(traits)
	}
	found := traits{lower: true}
	found.add(t, make(map[reflect.Type]bool))
	knownTraits.Store(t, found)
	return found
}

var (
	jsonReader = reflect.TypeFor[stdjson.Unmarshaler]()
	textReader = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// add walks a type; seen ends recursive types.
func (f *traits) add(t reflect.Type, seen map[reflect.Type]bool) {
	if seen[t] || reflect.PointerTo(t).Implements(jsonReader) || reflect.PointerTo(t).Implements(textReader) {
		return
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Interface:
		f.untyped = true
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		f.add(t.Elem(), seen)
	case reflect.Struct:
		f.named = true
		for i := range t.NumField() {
			field := t.Field(i)
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if name == "" && !(field.Anonymous && field.Type.Kind() == reflect.Struct) {
				name = field.Name
			}
			f.lower = f.lower && !unusual(Raw(name))
			f.add(field.Type, seen)
		}
	}
}
