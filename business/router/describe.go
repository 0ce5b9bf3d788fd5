package router

import (
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// Describe makes the description of a method, yet without a name, from the Go
// types of its parameters and its result. The parameters are the fields of a
// struct as encoding/json sees them; those that are pointers or interfaces, or
// marked omitempty or omitzero, are optional. A map, an interface or a message.Raw
// takes any object, and has no described parameters. Other types, and what JSON
// has no values for, are an error with code InvalidParams.
func Describe(in, out reflect.Type) (Description, error) {
	fields, err := fieldsOf(in)
	if err != nil {
		return Description{}, err
	}
	result := resultKind(out)
	if result == message.Invalid {
		return Description{}, abstract.Errorf(abstract.InvalidParams, "a result is a JSON value, and %s has none", out)
	}
	return Description{Parameters: parametersOf(fields), Result: result, in: in, out: out}, nil
}

// field is a parameter with what decodes it.
type field struct {
	Parameter
	goType reflect.Type
	quoted bool // a number or bool that is written as a string
	tagged bool // its name is from a tag
	depth  int  // how many embedded structs it lies in
	index  int  // in the struct it lies in
}

func parametersOf(fields []field) []Parameter {
	var list []Parameter
	for _, f := range fields {
		list = append(list, f.Parameter)
	}
	return list
}

// fieldsOf returns the fields of a struct, or of what a pointer leads to; none for
// other types that take an object.
func fieldsOf(t reflect.Type) ([]field, error) {
	named := t
	t = pointedAt(t)
	switch k := kindOf(t, reads); {
	case k == message.Any:
		return nil, nil
	case k != message.Object:
		return nil, abstract.Errorf(abstract.InvalidParams, "parameters are a JSON object: take a struct or a map, not %s", named)
	case t.Kind() != reflect.Struct:
		return nil, nil
	}
	fields := dominant(collect(t, false, 0, nil))
	for _, f := range fields {
		if f.Kind == message.Invalid {
			return nil, abstract.Errorf(abstract.InvalidParams, "a parameter is a JSON value, and %s has none: leave %q of %s out with the tag `json:\"-\"`", f.goType, f.Name, named)
		}
	}
	return fields, nil
}

// pointedAt follows pointers. A type that points at nothing but itself has an end
// here too, which is a pointer.
func pointedAt(t reflect.Type) reflect.Type {
	for range 16 {
		if t.Kind() != reflect.Pointer {
			break
		}
		t = t.Elem()
	}
	return t
}

// collect lists all fields of a struct, those of embedded structs too. outer are
// the structs it is embedded in, which a struct cannot add to again.
func collect(t reflect.Type, optional bool, depth int, outer []reflect.Type) []field {
	if slices.Contains(outer, t) {
		return nil
	}
	outer = append(slices.Clone(outer), t)
	var list []field
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		if tag == "-" {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		if !validName(name) {
			name = ""
		}
		if inner, pointer := embedded(f); inner != nil && name == "" {
			list = append(list, collect(inner, optional || pointer, depth+1, outer)...)
			continue
		}
		if !f.IsExported() {
			continue
		}
		p := parameter(f, name, options)
		p.depth, p.index = depth, i
		p.Optional = p.Optional || optional
		list = append(list, p)
	}
	return list
}

// embedded returns the struct whose fields an embedded field adds to its own, or nil.
func embedded(f reflect.StructField) (inner reflect.Type, pointer bool) {
	t := f.Type
	if !f.Anonymous {
		return nil, false
	}
	if pointer = t.Kind() == reflect.Pointer; pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil, false
	}
	return t, pointer
}

// validName reports whether encoding/json takes a name from a tag.
func validName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", c) && !unicode.IsLetter(c) && !unicode.IsDigit(c)
	})
}

// parameter makes the parameter of one field.
func parameter(f reflect.StructField, name, options string) field {
	p := field{Parameter: Parameter{Name: name, Kind: kindOf(f.Type, reads)}, goType: f.Type, tagged: name != ""}
	if name == "" {
		p.Name = f.Name
	}
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "omitempty", "omitzero":
			p.Optional = true
		case "string":
			p.quoted = quotable(f.Type)
		}
	}
	if p.quoted {
		p.Kind = message.String
	}
	switch f.Type.Kind() {
	case reflect.Pointer, reflect.Interface:
		p.Optional = true
	case reflect.Slice, reflect.Map:
		p.Nullable = !reads.own(f.Type)
	}
	return p
}

// quotable reports whether the tag option "string" has a meaning for a type.
func quotable(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch kindOf(t, reads) {
	case message.Bool, message.Integer, message.Number:
		return true
	}
	return t.Kind() == reflect.String
}

// dominant keeps, of the fields of one name, the one that encoding/json fills: the
// one in the fewest embedded structs, among those the one with a tag; and none
// when that does not decide.
func dominant(all []field) []field {
	var list []field
	for i, f := range all {
		beaten := slices.ContainsFunc(all[:i], func(g field) bool { return g.Name == f.Name && !f.beats(g) }) ||
			slices.ContainsFunc(all[i+1:], func(g field) bool { return g.Name == f.Name && !f.beats(g) })
		if !beaten {
			list = append(list, f)
		}
	}
	return list
}

func (f field) beats(g field) bool {
	return f.depth < g.depth || f.depth == g.depth && f.tagged && !g.tagged
}

var (
	rawType    = reflect.TypeFor[json.RawMessage]()
	numberType = reflect.TypeFor[json.Number]()
)

// direction is whether a type is asked for what it reads or for what it writes:
// it may have methods of its own for one of them only.
type direction struct {
	json, text  reflect.Type // the interfaces of such methods
	addressable bool         // those with pointer receivers count
}

var (
	reads  = direction{reflect.TypeFor[json.Unmarshaler](), reflect.TypeFor[encoding.TextUnmarshaler](), true}
	writes = direction{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[encoding.TextMarshaler](), false}
)

func (d direction) has(t, methods reflect.Type) bool {
	return t.Implements(methods) || d.addressable && reflect.PointerTo(t).Implements(methods)
}

// own reports whether a type has methods of its own.
func (d direction) own(t reflect.Type) bool { return d.has(t, d.json) || d.has(t, d.text) }

// kindOf returns the kind of JSON value that a Go type reads or writes, or
// message.Invalid when it cannot.
func kindOf(t reflect.Type, d direction) message.Kind {
	switch {
	case t == timeType:
		return message.String
	case t == rawType, d.has(t, d.json):
		return message.Any
	case t == numberType:
		return message.Number
	case d.has(t, d.text):
		return message.String
	}
	switch t.Kind() {
	case reflect.Bool:
		return message.Bool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return message.Integer
	case reflect.Float32, reflect.Float64:
		return message.Number
	case reflect.String:
		return message.String
	case reflect.Slice:
		if e := t.Elem(); e.Kind() == reflect.Uint8 && !d.own(e) && !d.own(reflect.PointerTo(e)) {
			return message.String // base64
		}
		return message.Array
	case reflect.Array:
		return message.Array
	case reflect.Map, reflect.Struct:
		return message.Object
	case reflect.Interface:
		return message.Any
	case reflect.Pointer:
		if pointedAt(t).Kind() != reflect.Pointer {
			return kindOf(t.Elem(), d)
		}
	}
	return message.Invalid
}

// resultKind is kindOf for a result: a nil pointer is answered with {}, so only a
// pointer to what is an object anyway has one kind.
func resultKind(t reflect.Type) message.Kind {
	k := kindOf(t, writes)
	if t.Kind() == reflect.Pointer && k != message.Object && k != message.Invalid {
		return message.Any
	}
	return k
}
