package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/mem"
	"trefoil/server"
)

// A broker that also serves a method of its own. Over TCP it is the same without
// the two WithTransport options, and with addresses such as "127.0.0.1:7700".
func Example() {
	ctx := context.Background()
	network := mem.NewNetwork()

	broker := server.NewBroker("broker", server.WithTransport(network.Server))
	type args struct {
		Num1 int `json:"num1"`
		Num2 int `json:"num2"`
	}
	err := server.Handle(broker, "math.add", func(_ context.Context, in args) (int, error) {
		return in.Num1 + in.Num2, nil
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := broker.Listen(); err != nil {
		fmt.Println(err)
		return
	}
	go broker.Serve()
	defer broker.Shutdown(ctx)

	calls, err := client.DialRpc(ctx, "broker", client.WithTransport(network.Client))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer calls.Close()

	var sum int
	err = calls.Call(ctx, "math.add", args{20, 30}, &sum)
	fmt.Println(sum, err)
	// Output: 50 <nil>
}

// A typed handler's parameters are checked before it runs; what it returns as an
// *abstract.Error reaches the caller with its code and message.
func ExampleHandle() {
	ctx := context.Background()
	network := mem.NewNetwork()
	srv := server.NewRpcServer("math", server.WithTransport(network.Server))
	type args struct {
		Num   int  `json:"num"`
		By    int  `json:"by"`
		Round bool `json:"round,omitempty"` // may be missing
	}
	_ = server.Handle(srv, "math.divide", func(_ context.Context, in args) (int, error) {
		if in.By == 0 {
			return 0, abstract.Errorf(abstract.InvalidParams, "by must not be 0")
		}
		return in.Num / in.By, nil
	})
	if err := srv.Listen(); err != nil {
		fmt.Println(err)
		return
	}
	go srv.Serve()
	defer srv.Shutdown(ctx)

	calls, err := client.DialRpc(ctx, "math", client.WithTransport(network.Client))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer calls.Close()

	var n int
	err = calls.Call(ctx, "math.divide", args{Num: 12, By: 4}, &n)
	fmt.Println(n, err)
	err = calls.Call(ctx, "math.divide", args{Num: 12}, &n)
	fmt.Println(errors.Is(err, abstract.ErrInvalidParams), err)
	err = calls.Call(ctx, "math.divide", map[string]any{"num": "twelve", "by": 4}, &n)
	fmt.Println(errors.Is(err, abstract.ErrInvalidParams))
	// Output:
	// 3 <nil>
	// true call math.divide: invalid params: by must not be 0
	// true
}

// A handler of raw JSON serves methods whose parameters are only known at run time.
func ExampleRpcServer_HandleFunc() {
	ctx := context.Background()
	network := mem.NewNetwork()
	srv := server.NewRpcServer("echo", server.WithTransport(network.Server))
	echo := server.Description{Method: "echo", Result: "object"}
	err := srv.HandleFunc(echo, func(_ context.Context, params json.RawMessage) (any, error) {
		return params, nil
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := srv.Listen(); err != nil {
		fmt.Println(err)
		return
	}
	go srv.Serve()
	defer srv.Shutdown(ctx)

	calls, err := client.DialRpc(ctx, "echo", client.WithTransport(network.Client))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer calls.Close()

	var back map[string]any
	err = calls.Call(ctx, "echo", map[string]any{"hello": "world"}, &back)
	fmt.Println(back, err)
	// Output: map[hello:world] <nil>
}

// A provider registers what it serves, and callers find it through the broker:
// nobody is configured with the provider's address.
func ExampleWithRegistry() {
	ctx := context.Background()
	network := mem.NewNetwork()
	broker := server.NewBroker("broker", server.WithTransport(network.Server))
	if err := broker.Listen(); err != nil {
		fmt.Println(err)
		return
	}
	go broker.Serve()
	defer broker.Shutdown(ctx)

	conn, err := client.Dial(ctx, "broker", client.WithTransport(network.Client))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()

	provider := server.NewRpcServer("host-1:9000",
		server.WithTransport(network.Server),
		server.WithRegistry(client.NewRegistryClient(conn)))
	_ = server.Handle(provider, "greet", func(_ context.Context, in struct {
		Name string `json:"name"`
	}) (string, error) {
		return "hello " + in.Name, nil
	})
	if err := provider.Announce(ctx); err != nil { // registered when it returns
		fmt.Println(err)
		return
	}
	go provider.Serve()
	defer provider.Shutdown(ctx)

	calls := client.NewRpcClient(client.NewDiscoveryClient(conn), client.WithTransport(network.Client))
	defer calls.Close()
	var text string
	err = calls.Call(ctx, "greet", map[string]string{"name": "world"}, &text)
	fmt.Println(text, err)
	// Output: hello world <nil>
}
