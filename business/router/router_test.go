package router_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/business/router"
	"trefoil/concrete/message"
)

// newRouter makes a router that logs to a buffer.
func newRouter() (*router.RpcRouter, *bytes.Buffer) {
	log := new(bytes.Buffer)
	return router.New(router.Config{Logger: slog.New(slog.NewTextHandler(log, nil))}), log
}

func call(r *router.RpcRouter, method, params string) *message.RpcResponse {
	return r.Call(context.Background(), &message.RpcRequest{Header: message.ID("7"), Method: method, Parameters: message.Raw(params)}, new(router.Answer))
}

// handle adds a typed method.
func handle[In, Out any](t *testing.T, r *router.RpcRouter, method string, fn func(context.Context, In) (Out, error)) {
	t.Helper()
	h, d, err := router.Typed(fn)
	require.NoError(t, err)
	d.Method = method
	require.NoError(t, r.Add(d, h))
}

type addArgs struct {
	Num1 int `json:"num1"`
	Num2 int `json:"num2"`
}

func add(_ context.Context, in addArgs) (int, error) { return in.Num1 + in.Num2, nil }

func TestParametersAreChecked(t *testing.T) {
	r, log := newRouter()
	handle(t, r, "Add", add)
	tests := []struct {
		name   string
		method string
		params string
		code   abstract.RCode
		result string
		text   string // part of the message
	}{
		{"right", "Add", `{"num1":20,"num2":30}`, abstract.OK, `50`, ""},
		{"2.0 is an integer", "Add", `{"num1":2.0,"num2":3e0}`, abstract.OK, `5`, ""},
		{"beyond 32 bits", "Add", `{"num1":9007199254740993,"num2":0}`, abstract.OK, `9007199254740993`, ""},
		{"undeclared parameter", "Add", `{"num1":1,"num2":2,"num3":"x"}`, abstract.OK, `3`, ""},
		{"the last of several counts", "Add", `{"num1":7,"num1":1,"num2":2}`, abstract.OK, `3`, ""},
		{"the last of several is wrong", "Add", `{"num1":1,"num1":"x","num2":2}`, abstract.InvalidParams, "", `"num1" of Add must be integer, not string`},
		{"an escaped name", "Add", `{"n\u0075m1":1,"num2":2}`, abstract.OK, `3`, ""},
		{"names are case-sensitive", "Add", `{"Num1":1,"num2":2}`, abstract.InvalidParams, "", `needs a parameter "num1" (integer)`},
		{"missing", "Add", `{"num1":1}`, abstract.InvalidParams, "", `needs a parameter "num2" (integer)`},
		{"null", "Add", `{"num1":1,"num2":null}`, abstract.InvalidParams, "", `"num2" of Add must be integer, not null`},
		{"bool", "Add", `{"num1":1,"num2":true}`, abstract.InvalidParams, "", `not bool`},
		{"2.5", "Add", `{"num1":1,"num2":2.5}`, abstract.InvalidParams, "", `not number`},
		{"string", "Add", `{"num1":1,"num2":"2"}`, abstract.InvalidParams, "", `not string`},
		{"array", "Add", `{"num1":1,"num2":[]}`, abstract.InvalidParams, "", `not array`},
		{"beyond 64 bits", "Add", `{"num1":1,"num2":99999999999999999999}`, abstract.InvalidParams, "", `"num2" of Add does not fit: it must be from -9223372036854775808 to 9223372036854775807`},
		{"no object", "Add", `[1,2]`, abstract.InvalidParams, "", `no JSON object`},
		{"nothing", "Add", ``, abstract.InvalidParams, "", `no JSON object`},
		{"unknown method", "Sub", `{}`, abstract.ServiceNotFound, "", `"Sub" is not served here`},
		{"empty method", "", `{}`, abstract.ServiceNotFound, "", ``},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rsp := call(r, tt.method, tt.params)
			assert.Equal(t, "7", rsp.ID())
			assert.Equal(t, tt.code, rsp.Code, rsp.Message)
			assert.Equal(t, tt.result, string(rsp.Result))
			assert.Contains(t, rsp.Message, tt.text)
			assert.Equal(t, tt.code == abstract.OK, rsp.Message == "")
			assert.NotContains(t, rsp.Message, "Go ", "the decoder's words are ours alone")
		})
	}
	assert.Empty(t, log.String(), "a caller's mistakes are not logged here")
}

func TestHandlerIsNotCalledWithWrongParameters(t *testing.T) {
	r, _ := newRouter()
	handle(t, r, "m", func(context.Context, addArgs) (int, error) {
		t.Error("called")
		return 0, nil
	})
	assert.Equal(t, abstract.InvalidParams, call(r, "m", `{"num1":1}`).Code)
}

func TestResults(t *testing.T) {
	type object struct {
		A int `json:"a"`
	}
	tests := []struct {
		name string
		add  func(*testing.T, *router.RpcRouter)
		want string // the result, or the start of the message
		code abstract.RCode
	}{
		{"an integer", returns(5), `5`, 0},
		{"an integral float is a number", returns(2.0), `2`, 0},
		{"text", returns("<é>"), `"<é>"`, 0},
		{"an object", returns(object{1}), `{"a":1}`, 0},
		{"a pointer", returns(&object{1}), `{"a":1}`, 0},
		{"a nil pointer", returns((*object)(nil)), `{}`, 0},
		{"a nil pointer to a number", returns((*int)(nil)), `{}`, 0},
		{"nothing", returns(struct{}{}), `{}`, 0},
		{"a nil interface", returns[any](nil), `{}`, 0},
		{"a nil slice", returns([]int(nil)), `[]`, 0},
		{"a nil map", returns(map[string]int(nil)), `{}`, 0},
		{"bytes", returns([]byte("hi")), `"aGk="`, 0},
		{"nil bytes", returns([]byte(nil)), `""`, 0},
		{"JSON text", returns(message.Raw(`{"x":[1, 2]}`)), `{"x":[1, 2]}`, 0},
		{"no JSON text", returns(message.Raw(`{"x":`)), `the method's result cannot be written`, 9},
		{"not a number", returns(math.NaN()), `the method's result cannot be written`, 9},
		{"no value of JSON", returns[any](func() {}), `the method's result cannot be written`, 9},
		{"of another kind", returnsKind("integer", "text"), `m returned string in place of integer`, 9},
		{"nothing in place of an integer", returnsKind("integer", nil), `m returned object in place of integer`, 9},
		{"2.5 in place of an integer", returnsKind("integer", 2.5), `m returned number in place of integer`, 9},
		{"2 in place of a number", returnsKind("number", 2), `2`, 0},
		{"anything in place of any", returnsKind("any", []int{1}), `[1]`, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, log := newRouter()
			tt.add(t, r)
			rsp := call(r, "m", `{}`)
			require.Equal(t, tt.code, rsp.Code, rsp.Message)
			if tt.code == abstract.OK {
				assert.Equal(t, tt.want, string(rsp.Result))
				assert.Empty(t, log.String())
				return
			}
			assert.Empty(t, rsp.Result)
			assert.Contains(t, rsp.Message, tt.want)
			assert.Contains(t, log.String(), "level=ERROR", "our own mistakes are logged")
			assert.Contains(t, log.String(), "method=m id=7")
		})
	}
}

// returns serves "m" with a typed function.
func returns[Out any](v Out) func(*testing.T, *router.RpcRouter) {
	return func(t *testing.T, r *router.RpcRouter) {
		handle(t, r, "m", func(context.Context, map[string]any) (Out, error) { return v, nil })
	}
}

// returnsKind serves "m" with a raw handler that may not keep to its description.
func returnsKind(kind message.Kind, v any) func(*testing.T, *router.RpcRouter) {
	return func(t *testing.T, r *router.RpcRouter) {
		require.NoError(t, r.Add(router.Description{Method: "m", Result: kind}, func(context.Context, message.Raw) (any, error) { return v, nil }))
	}
}

func TestErrors(t *testing.T) {
	secret := errors.New("password of the database")
	tests := []struct {
		name    string
		err     error
		code    abstract.RCode
		text    string
		details string
		logged  bool
	}{
		{"authored", abstract.Errorf(abstract.Denied, "not you"), abstract.Denied, "not you", "", false},
		{"authored with details", &abstract.Error{Code: 42, Message: "m", Details: json.RawMessage(`{"a":1}`), Err: secret}, 42, "m", `{"a":1}`, false},
		{"authored and wrapped", fmt.Errorf("%w: %w", secret, abstract.Errorf(abstract.Exists, "taken")), abstract.Exists, "taken", "", false},
		{"details that are no JSON", &abstract.Error{Code: abstract.Denied, Message: "m", Details: json.RawMessage(`{"a":`)}, abstract.Denied, "m", "", true},
		{"a stranger's", secret, abstract.Internal, "the method failed", "", true},
		{"without a code", &abstract.Error{Message: "m", Err: secret}, abstract.Internal, "the method failed", "", true},
		{"of a call that the handler made", &abstract.Error{Code: abstract.Draining, Op: "call other", Message: "m", Attempts: 1, Instance: "x", Sent: abstract.SentYes, FromPeer: true, Err: secret}, abstract.Internal, "the method failed", "", true},
		{"of a call that the handler could not make", &abstract.Error{Code: abstract.Unavailable, Op: "call other", Sent: abstract.SentNo}, abstract.Internal, "the method failed", "", true},
		{"with a number of attempts", &abstract.Error{Code: abstract.ServiceNotFound, Message: "m", Attempts: 1}, abstract.Internal, "the method failed", "", true},
		{"with somebody's name", &abstract.Error{Code: abstract.ServiceNotFound, Message: "m", Instance: "x"}, abstract.Internal, "the method failed", "", true},
		{"that a peer has said", &abstract.Error{Code: abstract.ServiceNotFound, Message: "m", FromPeer: true}, abstract.Internal, "the method failed", "", true},
		{"of its context's deadline", fmt.Errorf("reading: %w", context.DeadlineExceeded), abstract.Timeout, "the method did not end before the deadline", "", false},
		{"of its cancelled context", context.Canceled, abstract.Cancelled, "the method was cancelled", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, log := newRouter()
			handle(t, r, "m", func(context.Context, map[string]any) (int, error) { return 5, tt.err })
			rsp := call(r, "m", `{}`)
			assert.Equal(t, tt.code, rsp.Code)
			assert.Equal(t, tt.text, rsp.Message)
			assert.Equal(t, tt.details, string(rsp.Details))
			assert.Empty(t, rsp.Result)
			assert.Equal(t, tt.logged, strings.Contains(log.String(), "level=ERROR"), log.String())
			if tt.code == abstract.Internal {
				assert.Contains(t, log.String(), tt.err.Error(), "the cause is in our log")
			}
		})
	}
}

func TestLongErrorTextIsCut(t *testing.T) {
	r, _ := newRouter()
	handle(t, r, "m", func(context.Context, map[string]any) (int, error) {
		return 0, abstract.Errorf(abstract.Denied, "%s", strings.Repeat("é", 100_000))
	})
	rsp := call(r, "m", `{}`)
	assert.Less(t, len(rsp.Message), 5000)
	assert.True(t, strings.HasPrefix(rsp.Message, "éé") && strings.HasSuffix(rsp.Message, "é..."))
}

// bomb panics when it is written as JSON.
type bomb struct{}

func (bomb) MarshalJSON() ([]byte, error) { panic("boom") }

// fuse panics when it is read from JSON.
type fuse struct{}

func (*fuse) UnmarshalJSON([]byte) error { panic("boom") }

func TestPanicIsAnsweredAndLoggedWithItsStack(t *testing.T) {
	r, log := newRouter()
	handle(t, r, "in the handler", func(context.Context, map[string]any) (int, error) { panic("boom") })
	handle(t, r, "by the runtime", func(_ context.Context, in map[string]any) (int, error) {
		return []int{}[len(in)], nil
	})
	handle(t, r, "in the result", func(context.Context, map[string]any) (bomb, error) { return bomb{}, nil })
	handle(t, r, "in a parameter", func(context.Context, struct {
		F fuse `json:"f"`
	}) (int, error) {
		return 1, nil
	})
	for _, method := range r.Methods() {
		t.Run(method, func(t *testing.T) {
			log.Reset()
			rsp := call(r, method, `{"f":1}`)
			assert.Equal(t, abstract.Internal, rsp.Code)
			assert.Equal(t, "the method failed", rsp.Message)
			assert.Empty(t, rsp.Result)
			assert.Contains(t, log.String(), "goroutine")
			assert.Contains(t, log.String(), "id=7")
		})
	}
}

func TestHandlerGetsContextAndParameters(t *testing.T) {
	type key struct{}
	r, _ := newRouter()
	require.NoError(t, r.Add(router.Description{Method: "m", Result: message.Any}, func(ctx context.Context, params message.Raw) (any, error) {
		assert.Equal(t, 5, ctx.Value(key{}))
		return params, nil
	}))
	rsp := r.Call(context.WithValue(context.Background(), key{}, 5), &message.RpcRequest{Method: "m", Parameters: message.Raw(`{"a": 1}`)}, new(router.Answer))
	assert.Equal(t, `{"a": 1}`, string(rsp.Result))
}

func TestMethodsComeAndGo(t *testing.T) {
	r, _ := newRouter()
	assert.Empty(t, r.Methods())
	handle(t, r, "b", add)
	handle(t, r, "a", add)
	assert.Equal(t, []string{"a", "b"}, r.Methods())

	d, ok := r.Lookup("a")
	require.True(t, ok)
	assert.Equal(t, "a(num1 integer, num2 integer) integer", d.String())
	_, ok = r.Lookup("c")
	assert.False(t, ok)

	h, d2, err := router.Typed(add)
	require.NoError(t, err)
	d2.Method = "a"
	require.ErrorIs(t, r.Add(d2, h), abstract.ErrExists)

	assert.True(t, r.Remove("a"))
	assert.False(t, r.Remove("a"))
	assert.Equal(t, abstract.ServiceNotFound, call(r, "a", `{}`).Code)
	require.NoError(t, r.Add(d2, h))
	assert.Equal(t, abstract.OK, call(r, "a", `{"num1":1,"num2":2}`).Code)
}

func TestWrongDescriptionsAreRefused(t *testing.T) {
	nothing := func(context.Context, message.Raw) (any, error) { return struct{}{}, nil }
	tests := []struct {
		name    string
		d       router.Description
		handler router.Handler
	}{
		{"no handler", router.Description{Method: "m", Result: "any"}, nil},
		{"no method", router.Description{Result: "any"}, nothing},
		{"a name that no request can carry", router.Description{Method: strings.Repeat("x", 257), Result: "any"}, nothing},
		{"no kind of result", router.Description{Method: "m"}, nothing},
		{"an unknown kind of result", router.Description{Method: "m", Result: "int"}, nothing},
		{"null as a result", router.Description{Method: "m", Result: "null"}, nothing},
		{"an unknown kind of parameter", router.Description{Method: "m", Result: "any", Parameters: []router.Parameter{{Name: "a"}}}, nothing},
		{"a parameter twice", router.Description{Method: "m", Result: "any", Parameters: []router.Parameter{{Name: "a", Kind: "any"}, {Name: "a", Kind: "any"}}}, nothing},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, _ := newRouter()
			require.ErrorIs(t, r.Add(tt.d, tt.handler), abstract.ErrInvalidParams)
			assert.Empty(t, r.Methods())
		})
	}
}

func TestDescriptionIsTheRoutersOwn(t *testing.T) {
	r, _ := newRouter()
	d := router.Description{Method: "m", Result: "any", Parameters: []router.Parameter{{Name: "a", Kind: "integer"}}}
	require.NoError(t, r.Add(d, func(context.Context, message.Raw) (any, error) { return 1, nil }))
	d.Parameters[0].Name = "b"
	assert.Equal(t, abstract.OK, call(r, "m", `{"a":1}`).Code)
}

func TestMethodsMayChangeWhileServing(t *testing.T) {
	r, _ := newRouter()
	handle(t, r, "stays", add)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			name := fmt.Sprint("m", i)
			for range 100 {
				handle(t, r, name, add)
				assert.Equal(t, abstract.OK, call(r, name, `{"num1":1,"num2":2}`).Code)
				assert.True(t, r.Remove(name))
				assert.Equal(t, abstract.OK, call(r, "stays", `{"num1":1,"num2":2}`).Code)
			}
		})
	}
	all.Wait()
	assert.Equal(t, []string{"stays"}, r.Methods())
}

func TestDefaultLogger(t *testing.T) {
	assert.Equal(t, abstract.ServiceNotFound, call(router.New(router.Config{}), "m", `{}`).Code)
}

func TestAllocationsOfACheck(t *testing.T) {
	_, d, err := router.Typed(add)
	require.NoError(t, err)
	params := message.Raw(`{"num1":20,"num2":30}`)
	assert.LessOrEqual(t, testing.AllocsPerRun(100, func() {
		if d.CheckParameters(params) != nil {
			t.Fatal("refused")
		}
	}), 1.0)
}

func BenchmarkCall(b *testing.B) {
	h, d, err := router.Typed(add)
	require.NoError(b, err)
	d.Method = "Add"
	r := router.New(router.Config{})
	require.NoError(b, r.Add(d, h))
	req := &message.RpcRequest{Header: message.ID("7"), Method: "Add", Parameters: message.Raw(`{"num1":20,"num2":30}`)}
	ctx := context.Background()
	var a router.Answer
	b.ReportAllocs()
	for b.Loop() {
		r.Call(ctx, req, &a)
	}
}
