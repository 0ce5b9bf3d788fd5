package tour_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"trefoil"
	"trefoil/abstract"
	"trefoil/client"
	"trefoil/server"
)

// Nearly everything at a glance, as README.md shows it.
func Example() {
	w := begin()
	defer w.end()
	addr := w.addr

	conn := must(client.Dial(ctx, addr)) // one connection, which comes back by itself with all that stood on it
	calls := client.NewRpcClient(client.NewDiscoveryClient(conn))
	topics := client.NewTopicClient(conn)
	discovery := client.NewDiscoveryClient(conn)
	nodes := client.NewNodeClient(conn)
	defer func() { calls.Close(); conn.Close() }()

	srv := server.NewRpcServer("127.0.0.1:0", server.WithRegistry(client.NewRegistryClient(conn)), server.WithInterceptors(logged))
	check(Add.Handle(srv, func(_ context.Context, in AddArgs) (int, error) { return in.Num1 + in.Num2, nil }))
	check(Upto.Handle(srv, func(ctx context.Context, in AddArgs, send func(int) error) error {
		for n := in.Num1; n <= in.Num2; n++ {
			if err := send(n); err != nil { // waits while the caller does not read
				return err
			}
		}
		return nil
	}))
	check(srv.Announce(ctx)) // listens, and returns when the methods are registered
	go srv.Serve()           // until Shutdown, which takes leave of callers first
	defer srv.Shutdown(ctx)

	called, heard, gone := make(chan int), make(chan string), make(chan string, 2)

	sum := must(Add.Call(ctx, calls, AddArgs{1, 2}))                                            // waits
	future := Add.CallFuture(ctx, calls, AddArgs{20, 30})                                       // goes on, until the result is needed
	Add.CallFunc(ctx, calls, AddArgs{2, 2}, func(sum int, err error) { called <- sum })         // is called back, once
	check(Add.Send(ctx, calls, AddArgs{1, 2}))                                                  // wants no answer
	check(calls.Call(ctx, "math.add", map[string]any{"num1": sum, "num2": sum}, &sum))          // does without types
	fmt.Println(sum, must(future.Wait(ctx)), <-called)                                          // 6 50 4
	for answer, err := range Add.All(ctx, calls, AddArgs{1, 2}, trefoil.Timeout(time.Second)) { // asks everybody who provides it
		fmt.Println(answer.Value, err)
	}
	for n, err := range Upto.Call(ctx, calls, AddArgs{1, 1_000_000}) { // a stream; leaving the loop ends it at both sides
		if err != nil || n > 2 {
			break
		}
		fmt.Println(n)
	}

	check(News.Create(ctx, topics))
	hear := func(_ context.Context, m trefoil.Message[Story], err error) { heard <- m.Value.Title }
	sub := must(News.SubscribeFunc(ctx, topics, hear)) // or: for story, err := range News.Subscribe(ctx, topics)
	check(News.Publish(ctx, topics, Story{"Trefoils have three leaves"}))
	fmt.Println(<-heard)
	check(sub.Cancel(ctx))

	must(nodes.Create(ctx, "/config/db", []byte("host-a"), client.MakeParents())) // a tree for configuration,
	must(nodes.Create(ctx, "/here", nil, client.SessionNode()))                   // presence: it goes when this client does,
	held := must(client.NewLock(nodes, "/lock").Acquire(ctx))                     // and coordination
	check(held.Release(ctx))

	list := must(discovery.Discover(ctx, "math.add")) // from now on we are told who comes and goes
	discovery.OnOffline(func(p abstract.Provider) { gone <- p.Host.String() })
	check(srv.Shutdown(ctx))
	fmt.Println(len(list), "provider, offline:", <-gone == list[0].Host.String())
	// Output:
	// 6 50 4
	// 3 <nil>
	// 1
	// 2
	// Trefoils have three leaves
	// 1 provider, offline: true
}

// logged is an interceptor: it stands round every call, stream and message, on either side.
func logged(ctx context.Context, op *abstract.Operation, next abstract.Next) error {
	err := next(ctx, op)
	if err != nil {
		log.Print(op.Kind, " of ", op.Name, " for ", op.Meta["user"], ": ", err)
	}
	return err
}

func must[T any](v T, err error) T {
	check(err)
	return v
}
