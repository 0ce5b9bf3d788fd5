package router

import (
	"context"
	"reflect"
	"slices"
	"strconv"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// Typed makes a Handler of a typed function, and its Description, yet without a
// name. In is a struct, whose fields are the parameters, or a map, an empty
// interface or a message.Raw, which take any object; see Describe.
func Typed[In, Out any](fn func(ctx context.Context, in In) (Out, error)) (Handler, Description, error) {
	in := reflect.TypeFor[In]()
	fields, err := fieldsOf(in)
	if err != nil {
		return nil, Description{}, err
	}
	d, err := Describe(in, reflect.TypeFor[Out]())
	if err != nil {
		return nil, Description{}, err
	}
	d.checked = flat(in, fields)
	decode := decoder(fields, d.checked)
	text := d.Result == message.String
	return func(ctx context.Context, params message.Raw) (any, error) {
		var in In
		if err := decode(params, &in); err != nil {
			return nil, err
		}
		out, err := fn(ctx, in)
		if err != nil {
			return nil, err
		}
		if text && isNil(out) { // bytes, or what writes itself as text: not an empty array
			return "", nil
		}
		return out, nil
	}, d, nil
}

// flat reports whether parameters can be checked and decoded in one pass: In is a
// struct with a field of its own for each.
func flat(in reflect.Type, fields []field) bool {
	other := func(f field) bool { return f.depth > 0 || f.quoted }
	return in.Kind() == reflect.Struct && len(fields) > 0 && !slices.ContainsFunc(fields, other)
}

// decoder returns what reads parameters into the In that a pointer leads to.
func decoder(fields []field, flat bool) func(params message.Raw, in any) error {
	if flat {
		return func(params message.Raw, in any) error { return decodeFields(fields, params, in) }
	}
	return func(params message.Raw, in any) error {
		if err := message.Decode(params, in); err != nil {
			return misfit(fields, params, err)
		}
		return nil
	}
}

// decodeFields checks the parameters and reads them into the struct that in points
// at. To look at them once and not three times (for their kinds, for letters that
// the decoder would take for others, and in the decoder) saves a tenth of a server.
func decodeFields(fields []field, params message.Raw, in any) error {
	var few [8]message.Raw // enough for most methods, and not on the heap
	values := few[:]
	if len(fields) > len(few) {
		values = make([]message.Raw, len(fields))
	}
	err := message.Members(params, func(key string, value message.Raw) bool {
		for i := range fields {
			if fields[i].Name == key {
				values[i] = value // the last of each name is the one that counts
				break
			}
		}
		return true
	})
	if err != nil {
		return errKind
	}
	for i := range fields {
		if fields[i].check("", message.KindOf(values[i])) != nil {
			return errKind
		}
	}
	target := reflect.ValueOf(in).Elem()
	for i := range fields {
		if values[i] == nil {
			continue
		}
		if err := message.Decode(values[i], target.Field(fields[i].index).Addr().Interface()); err != nil {
			return unfit(fields[i], err)
		}
	}
	return nil
}

// errKind is what a handler that checks its parameters returns when these do not
// fit the description; RpcRouter says it in words, with the method's name.
var errKind error = abstract.Errorf(abstract.InvalidParams, "the parameters do not fit the method's description")

// unfit is the error of a parameter that is of the right kind and still does not fit.
func unfit(f field, cause error) error {
	return &abstract.Error{
		Code: abstract.InvalidParams, Err: cause,
		Message: "parameter " + strconv.Quote(f.Name) + " does not fit: it is out of range, or something inside it is of the wrong kind",
	}
}

func isNil(v any) bool {
	rv := reflect.ValueOf(v)
	return (rv.Kind() == reflect.Slice || rv.Kind() == reflect.Map) && rv.IsNil()
}

// misfit makes the error of parameters that passed the description and still do
// not fit the Go types: a number out of range, or something wrong further inside.
// It names the parameter; the decoder's own words speak of Go.
func misfit(fields []field, params message.Raw, cause error) error {
	values := make([]message.Raw, len(fields)) // the last of each name is the one that counts
	_ = message.Members(params, func(key string, value message.Raw) bool {
		if i := slices.IndexFunc(fields, func(f field) bool { return f.Name == key }); i >= 0 {
			values[i] = value
		}
		return true
	})
	e := &abstract.Error{Code: abstract.InvalidParams, Message: "the parameters do not fit this method", Err: cause}
	for i, f := range fields {
		if values[i] == nil || f.quoted {
			continue
		}
		if message.Decode(values[i], reflect.New(f.goType).Interface()) != nil {
			return unfit(f, cause)
		}
	}
	return e
}
