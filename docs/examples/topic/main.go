// Command topic shows publish and subscribe: a subscriber with a callback, one
// with an iterator, and a publisher, at a broker in this process.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/server"
)

type reading struct {
	Sensor  string  `json:"sensor"`
	Celsius float64 `json:"celsius"`
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
	topics := client.NewTopicClient(conn)

	err = topics.Publish(ctx, "readings", reading{"roof", 21.5})
	fmt.Println("before it is created:", errors.Is(err, abstract.ErrTopicNotFound))
	check(topics.Create(ctx, "readings"))

	// A callback: one message at a time, in the order they were published.
	done := make(chan struct{})
	sub, err := topics.Subscribe(ctx, "readings", func(m client.Message) {
		var r reading
		check(m.Decode(&r))
		fmt.Printf("callback: %s %.1f\n", r.Sensor, r.Celsius)
		if r.Sensor == "cellar" {
			close(done)
		}
	})
	check(err)
	check(topics.Publish(ctx, "readings", reading{"roof", 21.5}))
	check(topics.Publish(ctx, "readings", reading{"cellar", 12}))
	<-done
	check(sub.Cancel(ctx))

	// An iterator: it subscribes when the loop begins, and what was published
	// before is not seen. So the publisher goes on until the loop is left.
	publishing, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		for publishing.Err() == nil {
			_ = topics.Publish(publishing, "readings", reading{"attic", 25})
		}
	}()
	for m, err := range topics.Messages(ctx, "readings") {
		check(err)
		fmt.Println("iterator:", string(m.Data))
		break // ends the subscription
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
