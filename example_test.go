package trefoil_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"trefoil"
	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/mem"
	"trefoil/server"
)

// What both sides share: a package of their own, in a real program.
type (
	DivideArgs struct {
		Num int `json:"num"`
		By  int `json:"by"`
	}
	Price struct {
		Item  string `json:"item"`
		Cents int    `json:"cents"`
	}
)

var (
	Divide = trefoil.NewMethod[DivideArgs, int]("math.divide", trefoil.Idempotent(), trefoil.Timeout(10*time.Second))
	Name   = trefoil.NewMethod[struct{}, string]("host.name")
	Prices = trefoil.NewTopic[Price]("prices")
)

// start runs a broker inside the process. Over TCP it is the same without the two
// WithTransport options, and with addresses such as "127.0.0.1:7700".
func start(ctx context.Context) (conn *client.Conn, network *mem.Network, stop func()) {
	network = mem.NewNetwork()
	broker := server.NewBroker("broker", server.WithTransport(network.Server), server.WithLogger(quiet))
	if err := broker.Listen(); err != nil {
		panic(err)
	}
	go broker.Serve()
	conn, err := client.Dial(ctx, "broker", client.WithTransport(network.Client), client.WithLogger(quiet))
	if err != nil {
		panic(err)
	}
	return conn, network, func() { _, _ = conn.Close(), broker.Shutdown(ctx) }
}

// provide starts a server that registers its methods at the broker.
func provide(ctx context.Context, addr string, conn *client.Conn, network *mem.Network, handle func(srv *server.RpcServer) error) (stop func()) {
	srv := server.NewRpcServer(addr, server.WithTransport(network.Server), server.WithLogger(quiet), server.WithRegistry(client.NewRegistryClient(conn)))
	if err := handle(srv); err != nil {
		panic(err)
	}
	if err := srv.Announce(ctx); err != nil {
		panic(err)
	}
	go srv.Serve()
	return func() { _ = srv.Shutdown(ctx) }
}

func divide(_ context.Context, in DivideArgs) (int, error) {
	if in.By == 0 {
		return 0, abstract.Errorf(abstract.InvalidParams, "by must not be 0")
	}
	return in.Num / in.By, nil
}

// A method is a variable that server and client share.
func ExampleMethod() {
	ctx := context.Background()
	conn, network, stop := start(ctx)
	defer stop()
	defer provide(ctx, "math-1:9000", conn, network, func(srv *server.RpcServer) error { return Divide.Handle(srv, divide) })()

	calls := client.NewRpcClient(client.NewDiscoveryClient(conn))
	defer calls.Close()

	n, err := Divide.Call(ctx, calls, DivideArgs{Num: 12, By: 4})
	fmt.Println(n, err)
	_, err = Divide.Call(ctx, calls, DivideArgs{Num: 12}, trefoil.Timeout(time.Second), trefoil.Retry(1))
	fmt.Println(errors.Is(err, abstract.ErrInvalidParams))

	future := Divide.CallFuture(ctx, calls, DivideArgs{Num: 100, By: 5})
	n, err = future.Wait(ctx)
	fmt.Println(n, err)

	done := make(chan struct{})
	Divide.CallFunc(ctx, calls, DivideArgs{Num: 9, By: 3}, func(n int, err error) {
		fmt.Println(n, err)
		close(done)
	})
	<-done
	// Output:
	// 3 <nil>
	// true
	// 20 <nil>
	// 3 <nil>
}

// All calls every provider, each once.
func ExampleMethod_All() {
	ctx := context.Background()
	conn, network, stop := start(ctx)
	defer stop()
	var stops []func()
	for _, name := range []string{"anna", "bert", "carl"} {
		stops = append(stops, provide(ctx, name+":9000", conn, network, func(srv *server.RpcServer) error {
			return Name.Handle(srv, func(context.Context, struct{}) (string, error) { return name, nil })
		}))
	}
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()

	calls := client.NewRpcClient(client.NewDiscoveryClient(conn))
	defer calls.Close()
	var lines []string
	for answer, err := range Name.All(ctx, calls, struct{}{}) {
		lines = append(lines, fmt.Sprintln(answer.From, "is", answer.Value, err))
	}
	slices.Sort(lines) // they come as they are answered
	for _, line := range lines {
		fmt.Print(line)
	}
	// Output:
	// anna:9000 is anna <nil>
	// bert:9000 is bert <nil>
	// carl:9000 is carl <nil>
}

// A topic is a variable, too. The loop ends with break, with ctx, or with the connection.
func ExampleTopic() {
	ctx := context.Background()
	conn, _, stop := start(ctx)
	defer stop()
	topics := client.NewTopicClient(conn)
	if err := Prices.Create(ctx, topics); err != nil {
		fmt.Println(err)
		return
	}
	seen := make(chan Price)
	sub, err := Prices.SubscribeFunc(ctx, topics, func(_ context.Context, m trefoil.Message[Price], err error) {
		if err == nil {
			seen <- m.Value
		}
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sub.Cancel(ctx)

	fmt.Println(Prices.Publish(ctx, topics, Price{"tea", 310}))
	fmt.Println(<-seen)
	// Output:
	// <nil>
	// {tea 310}
}

// Metadata travels beside the parameters, and interceptors stand around every call.
func ExampleMetadata() {
	ctx := context.Background()
	conn, network, stop := start(ctx)
	defer stop()
	greet := trefoil.NewMethod[struct{}, string]("greet")
	defer provide(ctx, "greeter:9000", conn, network, func(srv *server.RpcServer) error {
		return greet.Handle(srv, func(ctx context.Context, _ struct{}) (string, error) {
			return "hello, " + abstract.MetadataOf(ctx)["user"], nil
		})
	})()

	sign := func(ctx context.Context, op *abstract.Operation, next abstract.Next) error {
		if op.Meta["user"] == "" {
			op.Meta["user"] = "whoever you are"
		}
		return next(ctx, op)
	}
	calls := client.NewRpcClient(client.NewDiscoveryClient(conn), client.WithInterceptors(sign))
	defer calls.Close()
	fmt.Println(greet.Call(ctx, calls, struct{}{}, trefoil.Metadata(map[string]string{"user": "ann"})))
	fmt.Println(greet.Call(ctx, calls, struct{}{}))
	// Output:
	// hello, ann <nil>
	// hello, whoever you are <nil>
}
