package client_test

import (
	"context"
	"errors"
	"fmt"

	"trefoil/abstract"
	"trefoil/client"
)

// A lock with its fencing token: a write that was meant under the lock is refused
// when somebody else has got it in the meantime.
func ExampleLock() {
	_, conn, stop := exampleBroker()
	defer stop()
	ctx := context.Background()
	nodes := client.NewNodeClient(conn)
	if _, err := nodes.Create(ctx, "/balance", []byte("100")); err != nil {
		fmt.Println(err)
		return
	}
	lock := client.NewLock(nodes, "/locks/balance")

	first, err := lock.Acquire(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = nodes.Multi(ctx, first.Check(), client.SetOp("/balance", []byte("90")))
	fmt.Println("with the lock:", err)
	err = first.Release(ctx) // as if its session had been lost without its knowing
	if err != nil {
		fmt.Println(err)
	}
	<-first.Lost()

	second, err := lock.Acquire(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer second.Release(ctx)
	fmt.Println("the token grows:", second.Token() > first.Token())
	_, err = nodes.Multi(ctx, first.Check(), client.SetOp("/balance", []byte("0")))
	fmt.Println("with the old token:", errors.Is(err, abstract.ErrNotFound))
	balance, err := nodes.Get(ctx, "/balance")
	fmt.Println(string(balance.Data), err)
	// Output:
	// with the lock: <nil>
	// the token grows: true
	// with the old token: true
	// 90 <nil>
}

// Writing only to the very node, in the very version, that was read.
func ExampleNodeClient_Set() {
	_, conn, stop := exampleBroker()
	defer stop()
	ctx := context.Background()
	nodes := client.NewNodeClient(conn)
	_, err := nodes.Create(ctx, "/config/db", []byte("host-1"), client.MakeParents())
	if err != nil {
		fmt.Println(err)
		return
	}
	read, err := nodes.Get(ctx, "/config/db")
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 2 {
		set, err := nodes.Set(ctx, "/config/db", []byte("host-2"), client.IfCreated(read.Stat.Created), client.IfVersion(read.Stat.Version))
		fmt.Println(set.Stat.Version, errors.Is(err, abstract.ErrConflict))
	}
	// Output:
	// 2 false
	// 0 true
}

// Watching a part of the tree: what one revision changes comes together.
func ExampleNodeClient_Watch() {
	_, conn, stop := exampleBroker()
	defer stop()
	ctx := context.Background()
	nodes := client.NewNodeClient(conn)
	watch, err := nodes.Watch(ctx, "/jobs", client.ScopeSubtree)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer watch.Close(ctx)

	_, err = nodes.Multi(ctx, client.CreateOp("/jobs", nil), client.CreateOp("/jobs/1", []byte("sweep")))
	if err == nil {
		err = nodes.Delete(ctx, "/jobs/1")
	}
	if err != nil {
		fmt.Println(err)
	}
	for event, err := range watch.Events(ctx) {
		if err != nil || event.Resync { // with Resync: read /jobs again
			fmt.Println(err)
			return
		}
		for _, c := range event.Changes {
			fmt.Printf("%s deleted=%t %q\n", c.Path, c.Deleted, c.Node.Data)
			if c.Deleted {
				return
			}
		}
		fmt.Println("--")
	}
	// Output:
	// /jobs deleted=false ""
	// /jobs/1 deleted=false "sweep"
	// --
	// /jobs/1 deleted=true ""
}

// A copy of a part of the tree that follows it.
func ExampleNodeClient_Cache() {
	_, conn, stop := exampleBroker()
	defer stop()
	ctx := context.Background()
	nodes := client.NewNodeClient(conn)
	_, err := nodes.Create(ctx, "/config/limit", []byte("10"), client.MakeParents())
	if err != nil {
		fmt.Println(err)
		return
	}

	changed := make(chan client.NodeChange)
	cache, err := nodes.Cache(ctx, "/config", func(changes []client.NodeChange) {
		for _, c := range changes {
			changed <- c
		}
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cache.Close(ctx)
	limit, there := cache.Get("/config/limit")
	fmt.Println(string(limit.Data), there)

	if _, err := nodes.Set(ctx, "/config/limit", []byte("20")); err != nil {
		fmt.Println(err)
	}
	fmt.Println("changed:", (<-changed).Path)
	limit, _ = cache.Get("/config/limit")
	fmt.Println(string(limit.Data))
	// Output:
	// 10 true
	// changed: /config/limit
	// 20
}
