package server_test

import (
	"context"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/server"
)

type (
	endless []endless
	byName  map[string]byName
	turtles *turtles
)

// TestMethodsThatAreNoneAreRefused: with an error, not when they are called.
func TestMethodsThatAreNoneAreRefused(t *testing.T) {
	srv := server.NewRpcServer("127.0.0.1:0", server.WithLogger(quiet))
	call := func(context.Context, any) (any, error) { return 1, nil }
	serve := func(any, abstract.Stream) error { return nil }
	num, object := reflect.TypeFor[int](), reflect.TypeFor[numbers]()
	for name, m := range map[string]abstract.Method{
		"no handler":                   {Name: "m", In: object, Out: num},
		"a handler of the other kind":  {Name: "m", In: object, Out: num, Stream: serve},
		"no type of parameters":        {Name: "m", Out: num, Call: call},
		"no type of a result":          {Name: "m", In: object, Call: call},
		"parameters that are a number": {Name: "m", In: num, Out: num, Call: call},
		"a result that is a function":  {Name: "m", In: object, Out: reflect.TypeFor[func()](), Call: call},
		"a stream without a handler":   {Name: "m", Kind: abstract.BidiStream, In: num, Out: num, Call: call},
		"a stream without types":       {Name: "m", Kind: abstract.BidiStream, Stream: serve},
		"messages that are channels":   {Name: "m", Kind: abstract.ClientStream, In: reflect.TypeFor[chan int](), Out: num, Stream: serve},
		"parameters of a stream":       {Name: "m", Kind: abstract.ServerStream, Out: num, Stream: serve},
		"a pointer to itself":          {Name: "m", In: object, Out: reflect.TypeFor[turtles](), Call: call},
		"a kind that is none":          {Name: "m", Kind: 9, In: object, Out: num, Call: call, Stream: serve},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, srv.ServeMethod(m), abstract.ErrInvalidParams)
			require.Empty(t, srv.Methods())
		})
	}
	require.NoError(t, srv.ServeMethod(abstract.Method{Name: "endless", In: reflect.TypeFor[byName](), Out: reflect.TypeFor[endless](), Call: call}))
}

// TestInterceptorsThatAreNilAreLeftOut: so one that is there only sometimes is easily given.
func TestInterceptorsThatAreNilAreLeftOut(t *testing.T) {
	called := 0
	count := func(ctx context.Context, op *abstract.Operation, next abstract.Next) error {
		called++
		return next(ctx, op)
	}
	require.Nil(t, abstract.Chain(make([]abstract.Interceptor, 2)...))
	some := make([]abstract.Interceptor, 5)
	some[1], some[3] = count, count
	all := abstract.Chain(some...)
	require.NoError(t, all(t.Context(), nil, func(context.Context, *abstract.Operation) error { return nil }))
	require.Equal(t, 2, called)
}
