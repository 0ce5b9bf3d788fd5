package trefoil_test

import (
	"context"
	"encoding/json"
	"iter"
	"maps"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil"
	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/schema"
	"trefoil/server"
)

type item struct {
	SKU   string `json:"sku"`
	Count uint8  `json:"count,omitempty"`
}

type purchase struct {
	ID      int `json:"id"`
	Address struct {
		Street string `json:"street"`
		Zip    string `json:"zip"`
	} `json:"address"`
	Lines  []item            `json:"lines"`
	Labels map[string]string `json:"labels,omitempty"`
	Rate   *float64          `json:"rate"`
	Gift   bool              `json:"gift,omitempty"`
	At     time.Time         `json:"at,omitzero"`
	Next   *purchase         `json:"next,omitempty"`
}

// wrongPurchases are parameters that do not fit purchase, and what is said of them.
var wrongPurchases = []struct{ name, params, want string }{
	{"a string for an integer", `{"id":"7","address":{},"lines":[]}`, `parameter "id" of M must be integer, not string`},
	{"2.5 for an integer", `{"id":2.5,"address":{},"lines":[]}`, `parameter "id" of M must be integer, not number`},
	{"null for an integer", `{"id":null,"address":{},"lines":[]}`, `parameter "id" of M must be integer, not null`},
	{"missing", `{"address":{},"lines":[]}`, `M needs a parameter "id" (integer)`},
	{"a string for an object", `{"id":7,"address":"x","lines":[]}`, `parameter "address" of M must be object, not string`},
	{"an integer in an object", `{"id":7,"address":{"zip":8000},"lines":[]}`, `parameter "address.zip" of M must be string, not integer`},
	{"an object for an array", `{"id":7,"address":{},"lines":{}}`, `parameter "lines" of M must be array, not object`},
	{"in an element", `{"id":7,"address":{},"lines":[{"sku":"a"},{"sku":5}]}`, `parameter "lines[1].sku" of M must be string, not integer`},
	{"out of range in an element", `{"id":7,"address":{},"lines":[{"sku":"a","count":300}]}`, `parameter "lines[0].count" of M`},
	{"in a map", `{"id":7,"address":{},"lines":[],"labels":{"a":"b","c":false}}`, `parameter "labels.c" of M must be string, not bool`},
	{"a string for a number", `{"id":7,"address":{},"lines":[],"rate":"1.5"}`, `parameter "rate" of M must be number, not string`},
	{"a string for a bool", `{"id":7,"address":{},"lines":[],"gift":"yes"}`, `parameter "gift" of M must be bool, not string`},
	{"a number for a time", `{"id":7,"address":{},"lines":[],"at":5}`, `parameter "at" of M must be string, not integer`},
	{"in what holds itself", `{"id":7,"address":{},"lines":[],"next":{"id":8,"address":{},"lines":[],"next":{"id":"9"}}}`, `parameter "next.next.id" of M must be integer, not string`},
}

// TestAFieldOfTheWrongKindIsNamedThroughEveryDoor calls the same method, served from
// Go types and by a raw handler with the schema of those, in the ways that there are.
func TestAFieldOfTheWrongKindIsNamedThroughEveryDoor(t *testing.T) {
	w := newWorld(t)
	never := func(context.Context, purchase) (int, error) {
		t.Error("called")
		return 0, nil
	}
	typed := trefoil.NewMethod[purchase, int]("orders.place")
	require.NoError(t, typed.Handle(w.broker, never))
	require.NoError(t, w.broker.HandleFunc(server.Description{Method: "orders.raw", Result: server.KindAny, ParametersSchema: lenient(t)},
		func(context.Context, json.RawMessage) (any, error) { return never(t.Context(), purchase{}) }))

	conn, err := client.Dial(t.Context(), "broker", client.WithTransport(w.net.Client), client.WithLogger(quiet))
	require.NoError(t, err)
	defer conn.Close()
	srv := server.NewRpcServer("provider", server.WithTransport(w.net.Server), server.WithLogger(quiet), server.WithAdvertise(abstract.Host{IP: "10.0.0.1", Port: 1}), server.WithRegistry(client.NewRegistryClient(conn)))
	require.NoError(t, server.Handle(srv, "orders.far", never))
	ended := make(chan error, 1)
	require.NoError(t, srv.Announce(t.Context()))
	go func() { ended <- srv.Serve() }()
	far := client.NewRpcClient(client.NewDiscoveryClient(w.conn), client.WithRelay(client.RelayAlways))
	defer func() {
		assert.NoError(t, far.Close())
		assert.NoError(t, srv.Shutdown(context.Background()))
		assert.NoError(t, <-ended)
	}()

	doors := map[string]struct {
		method string
		call   func(ctx context.Context, method string, params json.RawMessage) error
	}{
		"untyped": {"orders.place", func(ctx context.Context, m string, p json.RawMessage) error { return w.calls.Call(ctx, m, p, nil) }},
		"future": {"orders.place", func(ctx context.Context, m string, p json.RawMessage) error {
			return w.calls.CallFuture(ctx, m, p).Wait(ctx, nil)
		}},
		"typed, of a caller who knows another type": {"orders.place", func(ctx context.Context, m string, p json.RawMessage) error {
			_, err := trefoil.NewMethod[json.RawMessage, int](m).Call(ctx, w.calls, p)
			return err
		}},
		"raw handler with a schema": {"orders.raw", func(ctx context.Context, m string, p json.RawMessage) error { return w.calls.Call(ctx, m, p, nil) }},
		"through the broker":        {"orders.far", func(ctx context.Context, m string, p json.RawMessage) error { return far.Call(ctx, m, p, nil) }},
	}
	for door, d := range doors {
		for _, tt := range wrongPurchases {
			t.Run(door+"/"+tt.name, func(t *testing.T) {
				err := d.call(t.Context(), d.method, json.RawMessage(tt.params))
				require.ErrorIs(t, err, abstract.ErrInvalidParams)
				assert.Contains(t, err.Error(), replaceM(tt.want, d.method))
			})
		}
	}
}

func replaceM(text, method string) string {
	var out []byte
	for i := range len(text) {
		if text[i] == 'M' {
			out = append(out, method...)
			continue
		}
		out = append(out, text[i])
	}
	return string(out)
}

// lenient is the schema of purchase, without what must be there inside of parameters, as
// reading Go types has it.
func lenient(t *testing.T) json.RawMessage {
	t.Helper()
	text := schema.Parameters(reflect.TypeFor[purchase]()).JSON()
	var all map[string]any
	require.NoError(t, json.Unmarshal(text, &all))
	defs := all["$defs"].(map[string]any)
	defs["top"] = maps.Clone(defs["purchase"].(map[string]any))
	all["$ref"] = "#/$defs/top"
	delete(defs["purchase"].(map[string]any), "required")
	delete(defs["purchase"].(map[string]any)["properties"].(map[string]any)["address"].(map[string]any), "required")
	out, err := json.Marshal(all)
	require.NoError(t, err)
	return out
}

// TestAFieldOfTheWrongKindOfAStreamIsNamed does the same with the parameters of a
// stream, and with messages that are sent.
func TestAFieldOfTheWrongKindOfAStreamIsNamed(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, trefoil.NewServerStream[purchase, int]("orders.watch").Handle(w.broker, func(context.Context, purchase, func(int) error) error {
		t.Error("called")
		return nil
	}))
	require.NoError(t, trefoil.NewClientStream[purchase, int]("orders.all").Handle(w.broker, func(_ context.Context, in iter.Seq2[purchase, error]) (int, error) {
		for _, err := range in {
			if err != nil {
				return 0, err
			}
		}
		return 1, nil
	}))
	for _, tt := range []struct{ name, message, params, all string }{
		{"an integer in an object", `{"id":7,"address":{"zip":8000},"lines":[]}`, `parameter "address.zip" of orders.watch must be string, not integer`, `"address.zip" in a message to orders.all must be string, not integer`},
		{"in an element", `{"id":7,"address":{},"lines":[{"sku":"a"},{"sku":5}]}`, `parameter "lines[1].sku" of orders.watch must be string`, `"lines[1].sku" in a message to orders.all must be string, not integer`},
		{"a string for an integer", `{"id":"7","address":{},"lines":[]}`, `parameter "id" of orders.watch must be integer`, `"id" in a message to orders.all must be integer, not string`},
		{"no object", `[]`, "", `a message to orders.all must be object, not array`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.params != "" {
				for _, err := range trefoil.NewServerStream[json.RawMessage, int]("orders.watch").Call(t.Context(), w.calls, json.RawMessage(tt.message)) {
					require.ErrorIs(t, err, abstract.ErrInvalidParams)
					assert.Contains(t, err.Error(), tt.params)
				}
			}
			s, err := trefoil.NewClientStream[json.RawMessage, int]("orders.all").Open(t.Context(), w.calls)
			require.NoError(t, err)
			require.NoError(t, s.Send(json.RawMessage(`{"id":7,"address":{},"lines":[]}`)))
			_ = s.Send(json.RawMessage(tt.message)) // what becomes of it is told at the end
			_, err = s.CloseAndReceive()
			require.ErrorIs(t, err, abstract.ErrInvalidParams)
			assert.Contains(t, err.Error(), tt.all)
		})
	}
}
