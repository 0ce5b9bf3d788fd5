// Command topics shows a durable topic at work. Orders are published to it, and a consumer
// bills each of them: what fails comes again, after a pause, and what fails too often ends
// as a dead letter, which holds up nobody and can be looked at and tried again. The topic
// and the consumer's place in it are the broker's: start the program twice, or kill it in the
// middle, and it goes on where it was. It needs a broker that keeps messages:
//
//	trefoil broker --data DIR
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"time"

	"trefoil"
	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/schema"
)

// Order is what a customer wants.
type Order struct {
	ID    int    `json:"id"`
	Item  string `json:"item"`
	Cents int    `json:"cents"`
}

// Orders is shared by everybody who publishes or bills orders.
var Orders = trefoil.NewTopic[Order]("orders", trefoil.Schema(schema.Of), trefoil.Settings(abstract.TopicSettings{
	Durable:    true,                                      // a publish is answered when the message is on the disk
	History:    abstract.History{Age: 7 * 24 * time.Hour}, // and it stays there for a week
	Dedup:      time.Hour,                                 // an order with the same id is taken once
	MaxDeliver: 2,                                         // then it goes to the topic orders.dead
}))

func main() {
	broker := flag.String("broker", "127.0.0.1:7700", "address of the broker")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := client.Dial(ctx, *broker)
	check(err)
	defer conn.Close()
	topics := client.NewTopicClient(conn)
	check(Orders.Create(ctx, topics))
	info, err := topics.Info(ctx, Orders.Name())
	check(err)

	last := publish(ctx, topics, int(info.Last)+1)
	bill(ctx, topics, last)
	bury(ctx, topics)
	postpone(ctx, topics, Order{last + 1, "ham", 520})
}

// publish publishes three orders, one of them twice, and what is no order. It returns the
// number of the last one.
func publish(ctx context.Context, topics *client.TopicClient, first int) (last int) {
	for _, o := range []Order{{first, "tea", 310}, {first + 1, "trap", -1}, {first, "tea", 310}, {first + 2, "jam", 450}} {
		receipt, err := Orders.PublishWith(ctx, topics, o, abstract.Publishing{ID: fmt.Sprint("order-", o.ID)})
		check(err)
		fmt.Printf("order %d has offset %d; published before: %t\n", o.ID, receipt.Offset, receipt.Duplicate)
	}
	err := topics.Publish(ctx, Orders.Name(), map[string]any{"id": "four", "item": "tin", "cents": 100})
	fmt.Println("what is no order:", err)
	return first + 2
}

// bill bills orders, until the last one has been dealt with, and something has ended as a
// dead letter.
func bill(ctx context.Context, topics *client.TopicClient, last int) {
	billed := make(chan int)
	sub, err := Orders.Consume(ctx, topics, "billing", func(_ context.Context, m trefoil.Message[Order]) error {
		if m.Value.Cents < 0 {
			fmt.Printf("order %d: no bill, time %d\n", m.Value.ID, m.Delivered)
			return errors.New("a negative amount") // it comes again, and ends in orders.dead
		}
		fmt.Printf("order %d: billed\n", m.Value.ID)
		billed <- m.Value.ID
		return nil // acknowledged: it does not come again
	}, client.FromAll())
	check(err)
	for billed := range billed {
		if billed == last {
			break
		}
	}
	for m, err := range topics.Messages(ctx, "orders.*", client.FromLast()) { // a filter: the broker makes orders.dead when it needs it
		check(err)
		fmt.Printf("%s: %s\n", m.Topic, m.Data)
		break
	}
	check(sub.Cancel(ctx))
}

// bury looks at the dead letters, and drops them. Whoever has mended what was wrong with
// them calls RetryDeadLetters.
func bury(ctx context.Context, topics *client.TopicClient) {
	letters, err := topics.DeadLetters(ctx, Orders.Name(), 0, 0)
	check(err)
	for _, l := range letters {
		fmt.Printf("%s was delivered %d times to %s\n", l.Data, l.Deliveries, l.Consumer)
	}
	n, err := topics.DropDeadLetters(ctx, Orders.Name())
	check(err)
	fmt.Println("dropped:", n)
	info, err := topics.Info(ctx, Orders.Name())
	check(err)
	for _, c := range info.Consumers {
		fmt.Printf("%s: %d messages to come\n", c.Name, c.Pending)
	}
}

// postpone publishes an order for later, and then thinks better of it.
func postpone(ctx context.Context, topics *client.TopicClient, order Order) {
	receipt, err := topics.PublishWith(ctx, "orders", order, abstract.Publishing{Delay: time.Hour})
	check(err)
	for m, err := range topics.Scheduled(ctx, "orders") { // what waits, for who may publish
		fmt.Println(m.ID == receipt.Scheduled, time.Until(m.Due) > 0, string(m.Data), err)
	}
	err = topics.CancelScheduled(ctx, "orders", receipt.Scheduled) // it will not be delivered
	fmt.Println(err)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
