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
	fields, err := fieldsOf(reflect.TypeFor[In]())
	if err != nil {
		return nil, Description{}, err
	}
	d, err := Describe(reflect.TypeFor[In](), reflect.TypeFor[Out]())
	if err != nil {
		return nil, Description{}, err
	}
	text := d.Result == message.String
	return func(ctx context.Context, params message.Raw) (any, error) {
		var in In
		if err := message.Decode(params, &in); err != nil {
			return nil, misfit(fields, params, err)
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
			e.Message = "parameter " + strconv.Quote(f.Name) + " does not fit: it is out of range, or something inside it is of the wrong kind"
			break
		}
	}
	return e
}
