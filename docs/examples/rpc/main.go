// Command rpc shows remote calls: two providers register at a broker, and a
// caller finds them there and calls in all three ways. Here all of it runs in one
// process, over TCP on loopback.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/server"
)

type (
	countArgs struct {
		Text string `json:"text"`
	}
	counts struct{ Lines, Words int }
)

func count(_ context.Context, in countArgs) (counts, error) {
	if in.Text == "" {
		return counts{}, abstract.Errorf(abstract.InvalidParams, "there is nothing to count")
	}
	return counts{strings.Count(in.Text, "\n"), len(strings.Fields(in.Text))}, nil
}

func main() {
	ctx := context.Background()
	broker := server.NewBroker("127.0.0.1:0")
	check(broker.Listen())
	go broker.Serve()
	defer broker.Shutdown(ctx)

	conn, err := client.Dial(ctx, broker.Addr().String())
	check(err)
	defer conn.Close()

	for range 2 {
		provider := server.NewRpcServer("127.0.0.1:0", server.WithRegistry(client.NewRegistryClient(conn)))
		check(server.Handle(provider, "text.count", count))
		check(provider.Announce(ctx)) // listens, and is registered when it returns
		go provider.Serve()
		defer provider.Shutdown(ctx)
	}

	calls := client.NewRpcClient(client.NewDiscoveryClient(conn))
	defer calls.Close()
	text := countArgs{"a line\nanother line\n"}

	var c counts
	check(calls.Call(ctx, "text.count", text, &c))
	fmt.Println("sync:    ", c)
	future := calls.CallFuture(ctx, "text.count", text, client.Idempotent())
	check(future.Wait(ctx, &c))
	fmt.Println("future:  ", c)
	done := make(chan error)
	calls.CallFunc(ctx, "text.count", text, func(r client.Reply, err error) {
		if err == nil {
			err = r.Decode(&c)
		}
		done <- err
	})
	check(<-done)
	fmt.Println("callback:", c)

	err = calls.Call(ctx, "text.count", countArgs{}, &c)
	fmt.Println("refused: ", errors.Is(err, abstract.ErrInvalidParams), "-", err)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
