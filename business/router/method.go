package router

import (
	"context"
	"reflect"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// Of makes a Handler of a unary method that is described by Go types, and its
// Description. The parameters are a struct, whose fields they are, or a map, an empty
// interface or a message.Raw, which take any object; see Describe.
func Of(m abstract.Method) (Handler, Description, error) {
	if m.Call == nil {
		return nil, Description{}, abstract.Errorf(abstract.InvalidParams, "method %q needs a handler", m.Name)
	}
	fields, err := fieldsOf(m.In)
	if err != nil {
		return nil, Description{}, err
	}
	d, err := Describe(m.In, m.Out)
	if err != nil {
		return nil, Description{}, err
	}
	d.Method, d.Kind, d.Doc, d.Examples, d.Idempotent = m.Name, m.Kind, m.Doc, m.Examples, m.Idempotent
	d.checked, d.fields, d.schemas = flat(m.In, fields), fields, m.Schemas
	decode, fresh := decoder(fields, d.checked), m.New
	if fresh == nil {
		fresh = func() any { return reflect.New(m.In).Interface() }
	}
	text, call := d.Result == message.String, m.Call
	return func(ctx context.Context, params message.Raw) (any, error) {
		in := fresh()
		if err := decode(params, in); err != nil {
			return nil, err
		}
		out, err := call(ctx, in)
		if err != nil {
			return nil, err
		}
		if text && isNil(out) { // bytes, or what writes itself as text: not an empty array
			return "", nil
		}
		return out, nil
	}, d, nil
}

// Typed is Of for a function, yet without a name.
func Typed[In, Out any](fn func(ctx context.Context, in In) (Out, error)) (Handler, Description, error) {
	return Of(MethodOf("", fn))
}

// MethodOf makes the abstract.Method of a function.
func MethodOf[In, Out any](name string, fn func(ctx context.Context, in In) (Out, error)) abstract.Method {
	return abstract.Method{
		Name: name, In: reflect.TypeFor[In](), Out: reflect.TypeFor[Out](),
		New:  func() any { return new(In) },
		Call: func(ctx context.Context, in any) (any, error) { return fn(ctx, *in.(*In)) },
	}
}
