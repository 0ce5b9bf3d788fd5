package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/server"
)

type described struct {
	Num1 int `json:"num1" jsonschema:"the first one"`
	Num2 int `json:"num2"`
}

func addMethod(name string) abstract.Method {
	return abstract.Method{
		Name: name, In: reflect.TypeFor[described](), Out: reflect.TypeFor[int](), Doc: "Adds two integers.", Idempotent: true, Examples: []json.RawMessage{json.RawMessage(`{"num1":1,"num2":2}`)},
		Call: func(_ context.Context, in any) (any, error) { return in.(*described).Num1 + in.(*described).Num2, nil },
	}
}

// describer is a client of one server.
func describer(t *testing.T, addr string, opts ...client.Option) *client.RpcClient {
	t.Helper()
	c, err := client.DialRpc(t.Context(), addr, append(patiently(opts...), client.WithLogger(quietLog()))...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	return c
}

func TestServersDescribeWhatTheyServe(t *testing.T) {
	b := newBroker()
	require.NoError(t, b.ServeMethod(addMethod("math.add")))
	nothing := func(context.Context, json.RawMessage) (any, error) { return nil, nil }
	require.NoError(t, b.HandleFunc(server.Description{Method: "raw", Result: server.KindAny}, nothing))
	require.NoError(t, b.HandleFunc(server.Description{
		Method: "raw.kinds", Result: server.KindArray, Doc: "Has kinds.",
		Parameters: []server.Parameter{{Name: "b", Kind: server.KindBool}, {Name: "a", Kind: server.KindObject, Optional: true}},
	}, nothing))
	require.NoError(t, b.HandleFunc(server.Description{
		Method: "raw.schema", Result: server.KindAny,
		ParametersSchema: json.RawMessage(`{"properties":{"z":{"type":"string"},"a":{"type":["integer","null"]}},"required":["z"]}`), ResultSchema: json.RawMessage(`{"type":"boolean"}`),
	}, nothing))
	for kind, name := range map[abstract.MethodKind]string{abstract.ServerStream: "down", abstract.ClientStream: "up", abstract.BidiStream: "both"} {
		require.NoError(t, b.ServeMethod(abstract.Method{
			Name: "stream." + name, Kind: kind, In: reflect.TypeFor[described](), Out: reflect.TypeFor[[]string](), Stream: func(any, abstract.Stream) error { return nil },
		}))
	}
	require.NoError(t, b.HandleStream(server.Description{Method: "stream.raw", Result: server.KindAny}, func(json.RawMessage, abstract.Stream) error { return nil }))
	c := describer(t, serve(t, b).Addr().String())

	tests := []struct{ method, want string }{
		{"math.add", `{"method":"math.add","kind":"unary","signature":"math.add(num1 integer, num2 integer) integer","doc":"Adds two integers.","idempotent":true,
			"parameters":{"type":"object","properties":{"num1":{"type":"integer","description":"the first one"},"num2":{"type":"integer"}},"required":["num1","num2"]},
			"result":{"type":"integer"},"examples":[{"num1":1,"num2":2}]}`},
		{"raw", `{"method":"raw","kind":"unary","signature":"raw(...) any"}`},
		{"raw.kinds", `{"method":"raw.kinds","kind":"unary","signature":"raw.kinds(b bool, a object?) array","doc":"Has kinds."}`},
		{"raw.schema", `{"method":"raw.schema","kind":"unary","signature":"raw.schema(z string, a integer?) bool",
			"parameters":{"properties":{"z":{"type":"string"},"a":{"type":["integer","null"]}},"required":["z"]},"result":{"type":"boolean"}}`},
	}
	const numbers = `{"type":"object","properties":{"num1":{"type":"integer","description":"the first one"},"num2":{"type":"integer"}},"required":["num1","num2"]}`
	const texts = `{"type":"array","items":{"type":"string"}}`
	for name, said := range map[string]string{
		"down": `"kind":"server stream","signature":"stream.down(num1 integer, num2 integer) stream of array"`,
		"up":   `"kind":"client stream","signature":"stream.up(stream of object) array"`,
		"both": `"kind":"bidirectional stream","signature":"stream.both(stream of object) stream of array"`,
	} {
		tests = append(tests, struct{ method, want string }{"stream." + name, `{"method":"stream.` + name + `",` + said + `,"parameters":` + numbers + `,"result":` + texts + `}`})
	}
	tests = append(tests, struct{ method, want string }{"stream.raw", `{"method":"stream.raw","kind":"bidirectional stream","signature":"stream.raw(stream of any) stream of any"}`})
	for _, tt := range tests {
		t.Run(tt.method, func(t *testing.T) {
			r, err := c.CallReply(t.Context(), abstract.DescribeMethod, map[string]string{"method": tt.method})
			require.NoError(t, err)
			assert.JSONEq(t, tt.want, string(r.Raw))
			info, err := c.Describe(t.Context(), tt.method)
			require.NoError(t, err)
			again, err := json.Marshal(info)
			require.NoError(t, err)
			assert.JSONEq(t, tt.want, string(again))
		})
	}

	for method, want := range map[string]string{
		"math.ad":  `method "math.ad" is not served here; did you mean math.add?`,
		"ad":       `method "ad" is not served here`,
		"add":      `did you mean math.add?`,
		"raw.schm": `did you mean raw.schema?`,
	} {
		_, err := c.Describe(t.Context(), method)
		require.ErrorIs(t, err, abstract.ErrMethodNotFound, method)
		assert.Contains(t, err.Error(), want)
		var e *abstract.Error
		require.ErrorAs(t, err, &e)
		assert.Contains(t, string(e.Details), `"nearest":[`, "whoever asks sees that it was the method that is not there, not the question")
	}
	err := c.Call(t.Context(), abstract.DescribeMethod, nil, nil)
	require.ErrorIs(t, err, abstract.ErrInvalidParams)
	assert.Contains(t, err.Error(), `needs a parameter "method" (string)`)

	var names []string
	for m, err := range c.Methods(t.Context(), abstract.MethodQuery{}) {
		require.NoError(t, err)
		names = append(names, m.Method+": "+m.Doc)
	}
	assert.Equal(t, []string{"math.add: Adds two integers.", "raw: ", "raw.kinds: Has kinds.", "raw.schema: ", "stream.both: ", "stream.down: ", "stream.raw: ", "stream.up: "}, names)
}

func TestMethodsAreListedPieceByPiece(t *testing.T) {
	b := newBroker()
	for i := range 1200 {
		require.NoError(t, b.HandleFunc(server.Description{Method: fmt.Sprintf("m.%04d", i), Result: server.KindAny, Doc: strings.Repeat("x", i%7*500)}, func(context.Context, json.RawMessage) (any, error) { return nil, nil }))
	}
	c := describer(t, serve(t, b).Addr().String())
	list := func(q abstract.MethodQuery) (names []string) {
		for m, err := range c.Methods(t.Context(), q) {
			require.NoError(t, err)
			names = append(names, m.Method)
		}
		return names
	}
	all := list(abstract.MethodQuery{})
	assert.Len(t, all, 1200)
	assert.IsIncreasing(t, all)
	assert.Equal(t, all[1000:1100], list(abstract.MethodQuery{Prefix: "m.10"}))
	assert.Equal(t, all[1195:], list(abstract.MethodQuery{After: "m.1194", Limit: 2}), "a limit is of one answer")

	for _, ask := range []string{`{}`, `{"limit":100000}`, `{"limit":-1}`} {
		r, err := c.CallReply(t.Context(), abstract.ListMethods, json.RawMessage(ask))
		require.NoError(t, err)
		var got abstract.MethodList
		require.NoError(t, r.Decode(&got))
		assert.True(t, got.More)
		assert.LessOrEqual(t, len(got.Methods), 500)
		assert.LessOrEqual(t, len(r.Raw), 400<<10, "an answer is bounded in bytes, too")
	}
}

func TestReservedNamesAreNotServedForUsers(t *testing.T) {
	b := newBroker()
	for _, name := range []string{"trefoil.describe", "trefoil.methods", "trefoil.mine"} {
		require.ErrorIs(t, b.ServeMethod(addMethod(name)), abstract.ErrInvalidParams, name)
		require.ErrorIs(t, b.HandleFunc(server.Description{Method: name, Result: server.KindAny}, func(context.Context, json.RawMessage) (any, error) { return nil, nil }), abstract.ErrInvalidParams, name)
	}
	require.NoError(t, b.ServeMethod(addMethod("trefoils")))
}

func TestBadDescriptionsAreNotServed(t *testing.T) {
	b := newBroker()
	for name, d := range map[string]server.Description{
		"a schema that is none":   {ParametersSchema: json.RawMessage(`{"type":5}`)},
		"a schema of the result":  {ResultSchema: json.RawMessage(`{"$ref":"#/nowhere"}`)},
		"an example of no object": {Examples: []json.RawMessage{json.RawMessage(`5`)}},
		"a long text":             {Doc: strings.Repeat("x", 5000)},
		"a long example":          {Examples: []json.RawMessage{json.RawMessage(`{"a":"` + strings.Repeat("x", 17<<10) + `"}`)}},
		"many examples":           {Examples: make([]json.RawMessage, 17)},
	} {
		d.Method, d.Result = "m", server.KindAny
		err := b.HandleFunc(d, func(context.Context, json.RawMessage) (any, error) { return nil, nil })
		require.ErrorIs(t, err, abstract.ErrInvalidParams, name)
	}
}

// TestDescriptionsAreForThoseWhoMayCall asks as somebody who may call some methods.
func TestDescriptionsAreForThoseWhoMayCall(t *testing.T) {
	guard, tokens := guardBy(t, `{"identities":{
		"clerk": {"allow":{"call":["math.*"]},"deny":{"call":["math.secret"]}},
		"admin": {"allow":{"call":[">"],"admin":[">"]}},
		"nobody": {"allow":{}}}}`, "clerk", "admin", "nobody")
	b := newBroker(server.WithGuard(guard), server.WithLogger(quietLog()))
	for _, name := range []string{"math.add", "math.secret", "pay.all"} {
		require.NoError(t, b.ServeMethod(addMethod(name)))
	}
	addr := serve(t, b).Addr().String()
	as := func(who string) *client.RpcClient { return describer(t, addr, client.WithToken(tokens[who])) }
	listed := func(c *client.RpcClient) (names []string) {
		for m, err := range c.Methods(t.Context(), abstract.MethodQuery{}) {
			require.NoError(t, err)
			names = append(names, m.Method)
		}
		return names
	}

	clerk := as("clerk")
	_, err := clerk.Describe(t.Context(), "math.add")
	require.NoError(t, err)
	assert.Equal(t, []string{"math.add"}, listed(clerk))
	_, err = clerk.Describe(t.Context(), "math.ad")
	require.ErrorIs(t, err, abstract.ErrMethodNotFound)
	assert.Contains(t, err.Error(), "did you mean math.add?")
	_, err = clerk.Describe(t.Context(), "math.secre")
	require.ErrorIs(t, err, abstract.ErrMethodNotFound)
	assert.NotContains(t, err.Error(), "math.secret?", "what may not be seen is not proposed")
	for _, method := range []string{"math.secret", "pay.all", "pay.nothing", server.MethodRegistryStatus} {
		_, err := clerk.Describe(t.Context(), method)
		require.ErrorIs(t, err, abstract.ErrDenied, "the same, whether it is there or not: %s", method)
	}

	nobody := as("nobody")
	assert.Empty(t, listed(nobody))
	_, err = nobody.Describe(t.Context(), "math.add")
	require.ErrorIs(t, err, abstract.ErrDenied)

	admin := as("admin")
	assert.Equal(t, []string{"math.add", "math.secret", "pay.all"}, listed(admin))
	_, err = admin.Describe(t.Context(), server.MethodRegistryStatus)
	require.NoError(t, err)
}

// TestDescriptionComesFromAProvider asks providers that a broker names, directly and
// through the broker, also beside a provider that is an existing program.
func TestDescriptionComesFromAProvider(t *testing.T) {
	b := broker(t)
	dial := func() *client.Conn {
		conn, err := client.Dial(t.Context(), b.Addr().String(), patiently(client.WithLogger(quietLog()))...)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, conn.Close()) })
		return conn
	}
	srv := server.NewRpcServer("127.0.0.1:0", server.WithRegistry(client.NewRegistryClient(dial())), server.WithInstance("calc"), server.WithLogger(quietLog()))
	require.NoError(t, srv.ServeMethod(addMethod("math.add")))
	require.NoError(t, srv.Announce(t.Context()))
	serve(t, srv)
	conn := dial()
	d := client.NewDiscoveryClient(conn)
	for mode, relay := range map[string]client.RelayMode{"direct": client.RelayNever, "through the broker": client.RelayAlways} {
		t.Run(mode, func(t *testing.T) {
			c := client.NewRpcClient(d, patiently(client.WithRelay(relay))...)
			defer c.Close()
			info, err := c.Describe(t.Context(), "math.add")
			require.NoError(t, err)
			assert.Equal(t, "math.add(num1 integer, num2 integer) integer", info.Signature)
			var names []string
			for m, err := range c.Methods(t.Context(), abstract.MethodQuery{Method: "math.add"}) {
				require.NoError(t, err)
				names = append(names, m.Method)
			}
			assert.Equal(t, []string{"math.add"}, names)
			for _, err := range c.Methods(t.Context(), abstract.MethodQuery{}) {
				require.ErrorIs(t, err, abstract.ErrInvalidParams, "nobody in particular is asked")
			}
		})
	}
	for _, name := range []string{abstract.DescribeMethod, abstract.ListMethods} {
		found, err := d.Discover(t.Context(), name)
		require.NoError(t, err)
		assert.Empty(t, found, "%s is nobody's in particular", name)
	}

	c := client.NewRpcClient(d, patiently()...)
	defer c.Close()
	_, err := c.Describe(t.Context(), "math.sub")
	require.ErrorIs(t, err, abstract.ErrMethodNotFound, "nobody provides it")
}

func TestExistingProgramsAskToo(t *testing.T) {
	b := newBroker()
	require.NoError(t, b.ServeMethod(addMethod("math.add")))
	r := dialRaw(t, serve(t, b).Addr())
	r.send(frame{0, "1", `{"method":"trefoil.describe","parameters":{"method":"math.add"}}`})
	f := r.expect()
	require.Equal(t, 0, f.rcode(), f.body)
	result, _ := f.field("result").(map[string]any)
	assert.Equal(t, "math.add(num1 integer, num2 integer) integer", result["signature"])
	r.send(frame{0, "2", `{"method":"trefoil.describe","parameters":{"method":["math.add"]}}`})
	assert.Equal(t, 5, r.expect().rcode())
}
