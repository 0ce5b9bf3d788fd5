package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/mem"
	"trefoil/server"
)

type addArgs struct {
	Num1 int `json:"num1"`
	Num2 int `json:"num2"`
}

// exampleBroker starts a broker that serves math.add, and a connection to it, in
// this process. Over TCP all of it is the same without WithTransport.
func exampleBroker() (network *mem.Network, conn *client.Conn, stop func()) {
	ctx := context.Background()
	network = mem.NewNetwork()
	broker := server.NewBroker("broker", server.WithTransport(network.Server))
	err := server.Handle(broker, "math.add", func(_ context.Context, in addArgs) (int, error) { return in.Num1 + in.Num2, nil })
	if err == nil {
		err = broker.Listen()
	}
	if err != nil {
		log.Fatal(err)
	}
	go broker.Serve()
	conn, err = client.Dial(ctx, "broker", client.WithTransport(network.Client))
	if err != nil {
		log.Fatal(err)
	}
	return network, conn, func() { conn.Close(); broker.Shutdown(ctx) }
}

// The three ways to call: wait, take a Future, or be called back.
func ExampleRpcClient() {
	_, conn, stop := exampleBroker()
	defer stop()
	ctx := context.Background()
	calls := client.NewDirectRpcClient(conn)
	defer calls.Close()

	var sum int
	err := calls.Call(ctx, "math.add", addArgs{1, 2}, &sum)
	fmt.Println("sync:", sum, err)

	future := calls.CallFuture(ctx, "math.add", addArgs{20, 30})
	// ... anything else, until the sum is needed
	err = future.Wait(ctx, &sum)
	fmt.Println("future:", sum, err)

	done := make(chan struct{})
	calls.CallFunc(ctx, "math.add", addArgs{100, 200}, func(r client.Reply, err error) {
		defer close(done)
		if err == nil {
			err = r.Decode(&sum)
		}
		fmt.Println("callback:", sum, err)
	})
	<-done
	// Output:
	// sync: 3 <nil>
	// future: 50 <nil>
	// callback: 300 <nil>
}

// An error has a code to compare, and says whether the request left this process.
func ExampleRpcClient_Call_error() {
	_, conn, stop := exampleBroker()
	defer stop()
	calls := client.NewDirectRpcClient(conn)
	defer calls.Close()

	err := calls.Call(context.Background(), "math.subtract", addArgs{1, 2}, nil)
	fmt.Println(errors.Is(err, abstract.ErrMethodNotFound))
	var e *abstract.Error
	if errors.As(err, &e) {
		fmt.Println(e.Code, "| sent:", e.Sent, "| said by the peer:", e.FromPeer)
	}
	// Output:
	// true
	// service not found | sent: yes | said by the peer: true
}

// A subscription with a callback. Messages come one at a time and in order.
func ExampleTopicClient_Subscribe() {
	_, conn, stop := exampleBroker()
	defer stop()
	ctx := context.Background()
	topics := client.NewTopicClient(conn)
	if err := topics.Create(ctx, "news"); err != nil {
		fmt.Println(err)
		return
	}

	done := make(chan struct{})
	sub, err := topics.Subscribe(ctx, "news", func(m client.Message) {
		var text string
		_ = m.Decode(&text)
		fmt.Println(m.Topic, text, m.Missed)
		if text == "last" {
			close(done)
		}
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, text := range []string{"first", "last"} {
		if err := topics.Publish(ctx, "news", text); err != nil {
			fmt.Println(err)
		}
	}
	<-done
	fmt.Println(sub.Cancel(ctx))
	// Output:
	// news first 0
	// news last 0
	// <nil>
}

// A subscription as an iterator: leaving the loop ends it.
func ExampleTopicClient_Messages() {
	_, conn, stop := exampleBroker()
	defer stop()
	ctx := context.Background()
	topics := client.NewTopicClient(conn)
	if err := topics.Create(ctx, "counts"); err != nil {
		fmt.Println(err)
		return
	}

	// The loop subscribes when it begins; what was published before is not seen.
	// So this example publishes for as long as the loop runs.
	publishing, cancel := context.WithCancel(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for n := 0; publishing.Err() == nil; n++ {
			_ = topics.Publish(publishing, "counts", n)
		}
	}()
	last, seen := -1, 0
	for m, err := range topics.Messages(ctx, "counts") {
		if err != nil {
			fmt.Println(err)
			break
		}
		var n int
		if err := m.Decode(&n); err != nil || n <= last {
			fmt.Println("out of order:", n, err)
		}
		last = n
		if seen++; seen == 3 {
			break
		}
	}
	cancel()
	<-stopped
	fmt.Println(seen, "messages in order")
	// Output: 3 messages in order
}

// Who provides a method, and being told when that changes.
func ExampleDiscoveryClient_OnOffline() {
	network, conn, stop := exampleBroker()
	defer stop()
	ctx := context.Background()
	provider := server.NewRpcServer("host-1:9000", server.WithTransport(network.Server),
		server.WithRegistry(client.NewRegistryClient(conn)))
	_ = server.Handle(provider, "greet", func(context.Context, struct{}) (string, error) { return "hello", nil })

	discovery := client.NewDiscoveryClient(conn)
	list, err := discovery.Discover(ctx, "greet") // from now on we are told about greet
	fmt.Println("at first:", len(list), err)

	came, gone := make(chan struct{}), make(chan struct{})
	discovery.OnOnline(func(p abstract.Provider) { fmt.Println("online:", p.Method, p.Host); close(came) })
	discovery.OnOffline(func(p abstract.Provider) { fmt.Println("offline:", p.Method, p.Host); close(gone) })

	if err := provider.Announce(ctx); err != nil {
		fmt.Println(err)
		return
	}
	go provider.Serve()
	<-came
	if err := provider.Shutdown(ctx); err != nil { // unregisters first
		fmt.Println(err)
	}
	<-gone
	// Output:
	// at first: 0 <nil>
	// online: greet host-1:9000
	// offline: greet host-1:9000
}

// Watching a method: its providers now, and again after every change.
func ExampleDiscoveryClient_Watch() {
	_, conn, stop := exampleBroker()
	defer stop()
	ctx := context.Background()
	registry, discovery := client.NewRegistryClient(conn), client.NewDiscoveryClient(conn)
	// Usually an RpcServer does this for the methods it serves.
	greeter := abstract.Provider{Method: "greet", Host: abstract.Host{IP: "10.0.0.7", Port: 9000}}

	for p, err := range discovery.Watch(ctx, "greet") {
		switch {
		case err != nil:
			fmt.Println(err)
		case len(p.Online) > 0:
			fmt.Println("came:", p.Online[0].Host)
			err = registry.Unregister(ctx, greeter)
		case len(p.Offline) > 0:
			fmt.Println("left:", p.Offline[0].Host)
			return
		default:
			fmt.Println("providers:", len(p.List))
			err = registry.Register(ctx, greeter)
		}
		if err != nil {
			fmt.Println(err)
			return
		}
	}
	// Output:
	// providers: 0
	// came: 10.0.0.7:9000
	// left: 10.0.0.7:9000
}
