package router

import (
	"context"
	"encoding"
	"encoding/json"
	"reflect"
	"strings"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// Typed makes a Handler and a Description, yet without a name, of a typed
// function. In is a struct, whose fields are the parameters as encoding/json sees
// them, or a map, an empty interface or a message.Raw, which take any object.
// Fields that are pointers or marked omitempty or omitzero are optional.
func Typed[In, Out any](fn func(ctx context.Context, in In) (Out, error)) (Handler, Description, error) {
	d, err := Describe(reflect.TypeFor[In](), reflect.TypeFor[Out]())
	if err != nil {
		return nil, Description{}, err
	}
	h := func(ctx context.Context, params message.Raw) (any, error) {
		var in In
		if err := message.Decode(params, &in); err != nil {
			return nil, abstract.Errorf(abstract.InvalidParams, "%v", err)
		}
		out, err := fn(ctx, in)
		if err != nil {
			return nil, err
		}
		return out, nil
	}
	return h, d, nil
}

// Describe makes the description of a method from the Go types of its parameters
// and its result.
func Describe(in, out reflect.Type) (Description, error) {
	d := Description{Result: kindOf(out)}
	for in.Kind() == reflect.Pointer {
		in = in.Elem()
	}
	if kindOf(in) != message.Object && kindOf(in) != message.Any {
		return d, abstract.Errorf(abstract.InvalidParams, "parameters are a JSON object: take a struct or a map, not %s", in)
	}
	if in.Kind() == reflect.Struct && !custom(in) {
		d.Parameters = parameters(in, nil)
	}
	return d, nil
}

// parameters lists the fields of a struct by the rules of encoding/json: names
// from tags, embedded structs flattened, the shallower of two of one name wins.
func parameters(t reflect.Type, outer []Parameter) []Parameter {
	var embedded []reflect.Type
	own := outer
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" && options == "" {
			continue
		}
		ft := f.Type
		if f.Anonymous && name == "" {
			if ft.Kind() == reflect.Pointer {
				ft = ft.Elem()
			}
			if ft.Kind() == reflect.Struct && !custom(ft) {
				embedded = append(embedded, ft)
				continue
			}
		}
		if !f.IsExported() {
			continue
		}
		if name == "" {
			name = f.Name
		}
		own = add(own, parameter(name, options, f.Type))
	}
	for _, e := range embedded {
		for _, p := range parameters(e, nil) {
			p.Optional = true // two embedded structs may hide each other's fields; the decoder decides
			own = add(own, p)
		}
	}
	return own
}

func add(list []Parameter, p Parameter) []Parameter {
	for _, q := range list {
		if q.Name == p.Name {
			return list
		}
	}
	return append(list, p)
}

func parameter(name, options string, t reflect.Type) Parameter {
	p := Parameter{Name: name, Kind: kindOf(t)}
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "omitempty", "omitzero":
			p.Optional = true
		case "string": // encoding/json writes such a number or bool in quotes
			p.Kind = message.String
		}
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Interface:
		p.Optional = true
	}
	return p
}

var (
	rawType    = reflect.TypeFor[json.RawMessage]()
	numberType = reflect.TypeFor[json.Number]()
	jsonTypes  = []reflect.Type{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[json.Unmarshaler]()}
	textTypes  = []reflect.Type{reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.TextUnmarshaler]()}
)

// kindOf returns the kind of JSON value that a Go type is written as.
func kindOf(t reflect.Type) message.Kind {
	switch t {
	case rawType:
		return message.Any
	case numberType:
		return message.Number
	}
	if implements(t, jsonTypes) {
		return message.Any
	}
	if implements(t, textTypes) {
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
		if t.Elem().Kind() == reflect.Uint8 {
			return message.String // base64
		}
		return message.Array
	case reflect.Array:
		return message.Array
	case reflect.Map, reflect.Struct:
		return message.Object
	case reflect.Pointer:
		return kindOf(t.Elem())
	}
	return message.Any
}

// custom says whether a type writes or reads its JSON itself.
func custom(t reflect.Type) bool { return implements(t, jsonTypes) || implements(t, textTypes) }

func implements(t reflect.Type, interfaces []reflect.Type) bool {
	for _, i := range interfaces {
		if t.Implements(i) || reflect.PointerTo(t).Implements(i) {
			return true
		}
	}
	return false
}
