package message

import (
	"encoding"
	stdjson "encoding/json"
	"errors"
	"reflect"
	"sync"

	"github.com/goccy/go-json"
	"github.com/goccy/go-json/jsontext"
	jsonv2 "github.com/goccy/go-json/v2"

	"trefoil/abstract"
)

// Encode returns the JSON text of v as encoding/json writes it, but without
// escaping HTML. A Raw stays as it is, when it is valid JSON. What cannot be
// encoded is an error with code InvalidParams.
func Encode(v any) (Raw, error) {
	if raw, ok := v.(Raw); ok {
		if !Valid(raw) {
			return nil, abstract.Errorf(abstract.InvalidParams, "not valid JSON: %.60q", string(raw))
		}
		return raw, nil
	}
	raw, err := json.MarshalWithOption(v, json.DisableHTMLEscape())
	if err != nil {
		return nil, &abstract.Error{Code: abstract.InvalidParams, Message: "the value cannot be written as JSON", Err: textOf(err)}
	}
	return raw, nil
}

// EncodeResult is Encode for a call's result: nothing and a nil pointer are {}, a
// nil slice is [] and a nil map {}, for existing programs take no null.
func EncodeResult(v any) (Raw, error) {
	switch rv := reflect.ValueOf(v); rv.Kind() {
	case reflect.Invalid:
		return Raw("{}"), nil
	case reflect.Slice:
		if _, ok := v.(Raw); rv.IsNil() && !ok {
			return Raw("[]"), nil
		}
		if rv.IsNil() {
			return Raw("{}"), nil
		}
	case reflect.Map, reflect.Pointer, reflect.Interface:
		if rv.IsNil() {
			return Raw("{}"), nil
		}
	}
	raw, err := Encode(v)
	if err == nil && string(raw) == "null" {
		return Raw("{}"), nil
	}
	return raw, err
}

// exact are encoding/json's rules but for one: names match a struct's fields only
// when they are the same, as everywhere in the protocol.
var exact = jsonv2.JoinOptions(json.DefaultOptionsV1(), jsonv2.MatchCaseInsensitiveNames(false))

// lossless keeps numbers in untyped places as they are written, since a float64
// cannot hold every 64-bit integer.
var lossless = jsonv2.JoinOptions(exact, jsonv2.WithUnmarshalers(jsonv2.UnmarshalFromFunc(func(d *jsontext.Decoder, v *any) error {
	if d.PeekKind() != '0' {
		return errors.ErrUnsupported // this function leaves other values to the next one
	}
	text, err := d.ReadValue()
	*v = stdjson.Number(text)
	return err
})))

// Decode reads JSON text into v, a non-nil pointer, as encoding/json does, but
// names are case-sensitive, 2.0 is an integer, and a number in an untyped place
// becomes a json.Number.
// The error has the code InvalidParams; v may then be filled in part, so throw it
// away.
func Decode(raw Raw, v any) error {
	if p, ok := v.(*Raw); ok {
		*p = raw
		return nil
	}
	rules := exact
	if t := reflect.TypeOf(v); t != nil && t.Kind() == reflect.Pointer && untyped(t.Elem()) {
		rules = lossless
	}
	err := jsonv2.Unmarshal(raw, v, rules)
	if err != nil && Valid(raw) {
		if plain := plainIntegers(raw); len(plain) != len(raw) {
			err = jsonv2.Unmarshal(plain, v, rules)
		}
	}
	if err != nil {
		return &abstract.Error{Code: abstract.InvalidParams, Message: "the JSON value does not fit", Err: textOf(err)}
	}
	return nil
}

// textError carries the text of go-json's errors, whose types are its own affair.
type textError string

func (e textError) Error() string { return string(e) }

func textOf(err error) error { return textError(err.Error()) }

// untypedTypes remembers which types hold an interface somewhere.
var untypedTypes sync.Map // reflect.Type -> bool

func untyped(t reflect.Type) bool {
	if known, ok := untypedTypes.Load(t); ok {
		return known.(bool)
	}
	found := holdsInterface(t, make(map[reflect.Type]bool))
	untypedTypes.Store(t, found)
	return found
}

var (
	jsonReader = reflect.TypeFor[stdjson.Unmarshaler]()
	textReader = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// holdsInterface walks a type; seen ends recursive types.
func holdsInterface(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] || reflect.PointerTo(t).Implements(jsonReader) || reflect.PointerTo(t).Implements(textReader) {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Interface:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return holdsInterface(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if holdsInterface(t.Field(i).Type, seen) {
				return true
			}
		}
	}
	return false
}
