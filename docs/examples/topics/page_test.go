package main_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"time"

	"trefoil"
	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/mem"
	"trefoil/server"
)

// What docs/topics.md shows, apart from what needs a disk: each part of it stands here, in
// an example that runs.

type Price struct {
	Item  string `json:"item"`
	Cents int    `json:"cents"`
}

var Prices = trefoil.NewTopic[Price]("prices.tea", trefoil.Settings(abstract.TopicSettings{
	History: abstract.History{Count: 1000}, // who comes later can have the last 1,000
	Dedup:   time.Minute,                   // and a message is taken once, however often it is published
}))

var (
	ctx   = context.Background()
	quiet = slog.New(slog.DiscardHandler)
)

// begin is a broker in the process, and a client of it.
func begin() (topics *client.TopicClient, end func()) {
	network := mem.NewNetwork()
	broker := server.NewBroker("broker", server.WithTransport(network.Server), server.WithLogger(quiet))
	check(broker.Listen())
	go broker.Serve()
	conn, err := client.Dial(ctx, "broker", client.WithTransport(network.Client), client.WithLogger(quiet))
	check(err)
	return client.NewTopicClient(conn), func() { _, _ = conn.Close(), broker.Shutdown(ctx) }
}

func Example_begin() {
	topics, end := begin()
	defer end()

	err := Prices.Create(ctx, topics)
	fmt.Println(err)
	err = Prices.Publish(ctx, topics, Price{"tea", 310}) // returns when the broker has it
	fmt.Println(err)
	for m, err := range Prices.Messages(ctx, topics, client.FromAll()) {
		fmt.Println(m.Offset, m.Value, err)
		break // ends the subscription
	}
	// Output:
	// <nil>
	// <nil>
	// 1 {tea 310} <nil>
}

func Example_untyped() {
	topics, end := begin()
	defer end()

	err := topics.CreateWith(ctx, "prices.tea", abstract.TopicSettings{Retain: true})
	fmt.Println(err)
	err = topics.Publish(ctx, "prices.tea", map[string]any{"item": "tea", "cents": 310})
	fmt.Println(err)
	for m, err := range topics.Messages(ctx, "prices.*", client.FromLast()) { // a filter: the last message of each topic, and what follows
		fmt.Println(m.Topic, m.Offset, string(m.Data), err)
		break
	}
	// Output:
	// <nil>
	// <nil>
	// prices.tea 1 {"cents":310,"item":"tea"} <nil>
}

func Example_settings() {
	topics, end := begin()
	defer end()
	check(Prices.Create(ctx, topics))

	info, err := topics.Info(ctx, "prices.tea")
	check(err)
	fmt.Println(info.First, info.Last, info.Subscribers)
	settings := info.Settings
	settings.TTL = time.Hour
	err = topics.Set(ctx, "prices.tea", settings) // for what is published from now on
	fmt.Println(err)
	for name, err := range topics.List(ctx, "prices.>") {
		fmt.Println(name, err)
	}
	// Output:
	// 1 0 0
	// <nil>
	// prices.tea <nil>
}

func Example_subscribe() {
	topics, end := begin()
	defer end()
	check(Prices.Create(ctx, topics))
	heard := make(chan struct{})

	sub, err := topics.Subscribe(ctx, "prices.*", func(m client.Message) {
		fmt.Println(m.Topic, m.Offset, string(m.Data), m.Meta)
		close(heard)
	},
		client.Where(abstract.Metadata{"shop": "north"}), // only messages with this metadata
		client.Workers(4), // as many callbacks at a time, in no order
		client.OnGap(func(g client.Gap) { fmt.Println("lost:", g.Missed, g.Unrecovered) }),
	)
	check(err)
	_, err = Prices.PublishWith(ctx, topics, Price{"tea", 300}, abstract.Publishing{Meta: abstract.Metadata{"shop": "south"}})
	check(err)
	_, err = Prices.PublishWith(ctx, topics, Price{"tea", 310}, abstract.Publishing{Meta: abstract.Metadata{"shop": "north"}})
	check(err)
	<-heard
	check(sub.Cancel(ctx))
	// Output:
	// prices.tea 2 {"item":"tea","cents":310} map[shop:north]
}

func Example_publish() {
	topics, end := begin()
	defer end()
	check(Prices.Create(ctx, topics))
	price := Price{"tea", 310}

	receipt, err := Prices.PublishWith(ctx, topics, price, abstract.Publishing{ID: "p-17", TTL: time.Hour})
	fmt.Println(receipt.Offset, receipt.Subscribers, receipt.Duplicate, err)
	receipt, err = Prices.PublishWith(ctx, topics, price, abstract.Publishing{ID: "p-17"}) // once more, to be sure
	fmt.Println(receipt.Offset, receipt.Subscribers, receipt.Duplicate, err)
	err = Prices.Send(ctx, topics, price) // nobody answers
	fmt.Println(err)

	line := Prices.Pipeline(topics, 256) // up to 256 without an answer, in order
	for range 1000 {
		check(line.Publish(ctx, price)) // waits only while the window is full
	}
	fmt.Println(line.Flush(ctx)) // waits for all, and says which were not taken

	batch := []trefoil.Outgoing[Price]{{Value: price}, {Value: price, With: &abstract.Publishing{ID: "p-18"}}}
	outcomes, err := Prices.PublishBatch(ctx, topics, batch)
	fmt.Println(len(outcomes), outcomes[1].Offset, err)
	// Output:
	// 1 0 false <nil>
	// 1 0 true <nil>
	// <nil>
	// <nil>
	// 2 1004 <nil>
}

func Example_group() {
	topics, end := begin()
	defer end()
	check(topics.Create(ctx, "jobs"))
	done := make(chan string)
	work := func(m client.Message) { done <- string(m.Data) }

	for range 3 { // mostly in as many programs
		_, err := topics.Subscribe(ctx, "jobs", work, client.QueueGroup("workers"))
		check(err)
	}
	receipt, err := topics.PublishWith(ctx, "jobs", "sweep", client.Publishing{})
	fmt.Println(<-done, receipt.Subscribers, err)
	// Output:
	// "sweep" 1 <nil>
}

func Example_epoch() {
	topics, end := begin()
	defer end()
	check(Prices.Create(ctx, topics))

	info, err := topics.Info(ctx, "prices.tea")
	check(err)
	check(topics.Remove(ctx, "prices.tea"))
	check(Prices.Create(ctx, topics)) // another one, of the same name
	_, err = Prices.PublishWith(ctx, topics, Price{"tea", 310}, abstract.Publishing{Epoch: info.Epoch})
	fmt.Println(errors.Is(err, abstract.ErrConflict))
	// Output:
	// true
}

func Example_presence() {
	topics, end := begin()
	defer end()
	check(topics.CreateWith(ctx, "room", abstract.TopicSettings{Presence: true}))
	come := make(chan client.Presence)

	sub, err := topics.Subscribe(ctx, "room", nil, client.OnPresence(func(p client.Presence) { come <- p }))
	check(err)
	other, err := topics.Subscribe(ctx, "room", nil, client.FromNew())
	check(err)
	p := <-come // also its address, its identity, its group
	fmt.Println(p.Topic, p.Joined)
	info, err := topics.Info(ctx, "room")
	fmt.Println(len(info.Present), err)
	go other.Cancel(ctx)
	fmt.Println((<-come).Joined)
	check(sub.Cancel(ctx))
	// Output:
	// room true
	// 2 <nil>
	// false
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
