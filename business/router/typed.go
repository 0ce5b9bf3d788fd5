package router

import (
	"reflect"
	"slices"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

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
		if message.Decode(params, in) != nil {
			return errKind
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
		if message.Decode(values[i], target.Field(fields[i].index).Addr().Interface()) != nil {
			return errKind
		}
	}
	return nil
}

// errKind is what a typed handler returns when its parameters cannot be read;
// RpcRouter says it in words, with the method's name.
var errKind error = abstract.Errorf(abstract.InvalidParams, "the parameters do not fit the method's description")

func isNil(v any) bool {
	rv := reflect.ValueOf(v)
	return (rv.Kind() == reflect.Slice || rv.Kind() == reflect.Map) && rv.IsNil()
}
