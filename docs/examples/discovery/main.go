// Command discovery shows service discovery: providers come and go, and whoever
// asked about their method is told at once. The parts talk over an in-memory
// network, as in a test of your own; leave the transport options out for TCP.
package main

import (
	"context"
	"fmt"
	"log"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/mem"
	"trefoil/server"
)

func main() {
	ctx := context.Background()
	network := mem.NewNetwork()
	broker := server.NewBroker("broker", server.WithTransport(network.Server))
	check(broker.Listen())
	go broker.Serve()
	defer broker.Shutdown(ctx)

	conn, err := client.Dial(ctx, "broker", client.WithTransport(network.Client))
	check(err)
	defer conn.Close()
	discovery := client.NewDiscoveryClient(conn)

	list, err := discovery.Discover(ctx, "greet")
	check(err)
	fmt.Println("providers at first:", len(list))

	// From its first question on, the connection is told who comes and goes.
	online, offline := make(chan abstract.Provider), make(chan abstract.Provider)
	discovery.OnOnline(func(p abstract.Provider) { online <- p })
	discovery.OnOffline(func(p abstract.Provider) { offline <- p })

	first := provide(ctx, network, conn, "host-1:9000")
	fmt.Println("online: ", (<-online).Host)
	second := provide(ctx, network, conn, "host-2:9000")
	fmt.Println("online: ", (<-online).Host)

	list, err = discovery.WaitFor(ctx, "greet") // at once: there are two
	check(err)
	for _, p := range list {
		fmt.Println("listed: ", p.Method, "at", p.Host)
	}

	check(first.Shutdown(ctx)) // unregisters first, so that nobody calls it any more
	fmt.Println("offline:", (<-offline).Host)
	check(second.Shutdown(ctx))
	fmt.Println("offline:", (<-offline).Host)
}

// provide starts a provider of greet and returns when it is registered.
func provide(ctx context.Context, network *mem.Network, conn *client.Conn, addr string) *server.RpcServer {
	srv := server.NewRpcServer(addr,
		server.WithTransport(network.Server),
		server.WithRegistry(client.NewRegistryClient(conn)))
	check(server.Handle(srv, "greet", func(context.Context, struct{}) (string, error) { return "hello", nil }))
	check(srv.Announce(ctx))
	go srv.Serve()
	return srv
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
