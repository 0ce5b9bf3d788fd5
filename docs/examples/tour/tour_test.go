package tour_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log"
	"log/slog"
	"sync/atomic"
	"time"

	"trefoil"
	"trefoil/abstract"
	"trefoil/client"
	"trefoil/server"
)

// The contract: in a real program it is in a package that callers and providers import.

type AddArgs struct {
	Num1 int `json:"num1"`
	Num2 int `json:"num2"`
}

type Story struct {
	Title string `json:"title"`
}

var (
	Add  = trefoil.NewMethod[AddArgs, int]("math.add", trefoil.Idempotent(), trefoil.Doc("Adds two numbers."))
	News = trefoil.NewTopic[Story]("news")

	Upto = trefoil.NewServerStream[AddArgs, int]("math.upto") // parameters, and many messages back
	Sum  = trefoil.NewClientStream[int, int]("math.sum")      // many messages, and one back
	Chat = trefoil.NewBidiStream[string, string]("chat")      // many both ways
)

func add(_ context.Context, in AddArgs) (int, error) { return in.Num1 + in.Num2, nil }

var (
	ctx   = context.Background()
	quiet = slog.New(slog.DiscardHandler)
)

// tour is a broker, with a connection to it and what can be done over that.
type tour struct {
	addr      string
	conn      *client.Conn
	calls     *client.RpcClient
	topics    *client.TopicClient
	discovery *client.DiscoveryClient
	nodes     *client.NodeClient
	end       func()
}

func begin() *tour {
	broker := server.NewBroker("127.0.0.1:0", server.WithLogger(quiet))
	check(broker.Listen())
	go broker.Serve()
	addr := broker.Addr().String()

	conn, err := client.Dial(ctx, addr) // one connection, which comes back by itself, for all of these
	check(err)
	calls := client.NewRpcClient(client.NewDiscoveryClient(conn))
	topics := client.NewTopicClient(conn)
	discovery := client.NewDiscoveryClient(conn)
	nodes := client.NewNodeClient(conn)

	return &tour{addr, conn, calls, topics, discovery, nodes, func() {
		calls.Close()
		conn.Close()
		broker.Shutdown(ctx)
	}}
}

// provide starts a provider of Add.
func (w *tour) provide(fn func(context.Context, AddArgs) (int, error), opts ...server.Option) *server.RpcServer {
	conn := w.conn
	srv := server.NewRpcServer("127.0.0.1:0", append(opts, server.WithLogger(quiet), server.WithRegistry(client.NewRegistryClient(conn)))...)
	check(Add.Handle(srv, fn))
	check(srv.Announce(ctx))
	go srv.Serve()
	return srv
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// A provider serves a method, and registers it where callers look.
func Example_provide() {
	w := begin()
	defer w.end()
	conn := w.conn

	srv := server.NewRpcServer("127.0.0.1:0", server.WithLogger(quiet), server.WithRegistry(client.NewRegistryClient(conn)))
	err := Add.Handle(srv, func(_ context.Context, in AddArgs) (int, error) { return in.Num1 + in.Num2, nil })
	fmt.Println(err)
	fmt.Println(srv.Announce(ctx)) // listens, and returns when the methods are registered
	go srv.Serve()                 // until Shutdown, which takes leave of callers first
	defer srv.Shutdown(ctx)

	sum, err := Add.Call(ctx, w.calls, AddArgs{1, 2})
	fmt.Println(sum, err)
	// Output:
	// <nil>
	// <nil>
	// 3 <nil>
}

// The ways to call.
func Example_call() {
	w := begin()
	defer w.end()
	defer w.provide(add).Shutdown(ctx)
	calls := w.calls
	done := make(chan struct{})

	sum, err := Add.Call(ctx, calls, AddArgs{1, 2}) // waits
	fmt.Println(sum, err)

	future := Add.CallFuture(ctx, calls, AddArgs{20, 30}) // goes on
	sum, err = future.Wait(ctx)
	fmt.Println(sum, err)

	Add.CallFunc(ctx, calls, AddArgs{100, 200}, func(sum int, err error) { // is called back, once
		fmt.Println(sum, err)
		close(done)
	})
	<-done

	err = Add.Send(ctx, calls, AddArgs{1, 2}) // nobody answers
	fmt.Println(err)

	err = calls.Call(ctx, "math.add", map[string]any{"num1": 3, "num2": 4}, &sum) // without types
	fmt.Println(sum, err)
	// Output:
	// 3 <nil>
	// 50 <nil>
	// 300 <nil>
	// <nil>
	// 7 <nil>
}

// Options say what one call, or every call of a method, asks for; errors have a code.
func Example_options() {
	w := begin()
	defer w.end()
	fussy := func(_ context.Context, in AddArgs) (int, error) {
		if in.Num1 < 0 {
			return 0, abstract.Errorf(abstract.Denied, "no negative numbers")
		}
		return in.Num1 + in.Num2, nil
	}
	defer w.provide(fussy).Shutdown(ctx)
	calls := w.calls

	_, err := Add.Call(ctx, calls, AddArgs{-1, 2}, trefoil.Timeout(time.Second), trefoil.Retry(3), trefoil.Key("user-7"))
	fmt.Println(errors.Is(err, abstract.ErrDenied), err)
	var e *abstract.Error
	if errors.As(err, &e) {
		fmt.Println(e.Code, "| sent:", e.Sent, "| attempts:", e.Attempts)
	}
	// Output:
	// true call math.add: denied: no negative numbers
	// denied | sent: yes | attempts: 1
}

// Every provider at the same time.
func Example_all() {
	w := begin()
	defer w.end()
	defer w.provide(add).Shutdown(ctx)
	defer w.provide(add).Shutdown(ctx)
	calls := w.calls
	_, err := w.discovery.WaitFor(ctx, Add.Name())
	check(err)

	for answer, err := range Add.All(ctx, calls, AddArgs{1, 2}) { // ends when all have answered or left
		fmt.Println(answer.Value, err) // answer.From says who
	}
	// Output:
	// 3 <nil>
	// 3 <nil>
}

// Streams of messages, on the same connection as everything else.
func Example_streams() {
	w := begin()
	defer w.end()
	calls := w.calls
	srv := server.NewRpcServer("127.0.0.1:0", server.WithLogger(quiet), server.WithRegistry(client.NewRegistryClient(w.conn)))
	defer srv.Shutdown(ctx)

	check(Upto.Handle(srv, func(ctx context.Context, in AddArgs, send func(int) error) error {
		for n := in.Num1; n <= in.Num2; n++ {
			if err := send(n); err != nil { // waits while the caller does not read
				return err
			}
		}
		return nil
	}))
	check(Sum.Handle(srv, func(_ context.Context, in iter.Seq2[int, error]) (sum int, err error) {
		for n, err := range in {
			if err != nil {
				return 0, err
			}
			sum += n
		}
		return sum, nil
	}))
	check(Chat.Handle(srv, func(_ context.Context, in iter.Seq2[string, error], send func(string) error) error {
		for text, err := range in {
			if err != nil {
				return err
			}
			if err := send("you say " + text); err != nil {
				return err
			}
		}
		return nil
	}))
	check(srv.Announce(ctx))
	go srv.Serve()

	for n, err := range Upto.Call(ctx, calls, AddArgs{1, 1_000_000}) {
		if err != nil || n > 2 {
			break // ends the stream at both sides
		}
		fmt.Println(n)
	}

	upload, err := Sum.Open(ctx, calls)
	check(err)
	for n := range 10 {
		check(upload.Send(n))
	}
	sum, err := upload.CloseAndReceive()
	fmt.Println(sum, err)

	chat, err := Chat.Open(ctx, calls)
	check(err)
	check(chat.Send("hello"))
	check(chat.CloseSend())
	for text, err := range chat.All() {
		fmt.Println(text, err)
	}
	// Output:
	// 1
	// 2
	// 45 <nil>
	// you say hello <nil>
}

// A topic, heard in a loop and by a callback.
func Example_topic() {
	w := begin()
	defer w.end()
	topics := w.topics
	heard := make(chan string)

	err := News.Create(ctx, topics)
	fmt.Println(err)
	sub, err := News.SubscribeFunc(ctx, topics, func(_ context.Context, m trefoil.Message[Story], err error) {
		heard <- m.Value.Title // m.Lost: how many were lost because we were too slow
	})
	fmt.Println(err)
	err = News.Publish(ctx, topics, Story{"Trefoils have three leaves"})
	fmt.Println(<-heard, err)
	fmt.Println(sub.Cancel(ctx))

	publishing, stop := context.WithCancel(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for publishing.Err() == nil {
			_ = News.Publish(publishing, topics, Story{"again"})
		}
	}()
	for story, err := range News.Subscribe(ctx, topics) { // subscribes, until the loop is left
		fmt.Println(story.Title, err)
		break
	}
	stop()
	<-stopped
	// Output:
	// <nil>
	// <nil>
	// Trefoils have three leaves <nil>
	// <nil>
	// again <nil>
}

// Who provides a method, and who comes and goes.
func Example_discovery() {
	w := begin()
	defer w.end()
	discovery := w.discovery
	gone := make(chan struct{})

	list, err := discovery.Discover(ctx, Add.Name()) // from now on we are told
	fmt.Println(len(list), err)
	discovery.OnOnline(func(p abstract.Provider) { fmt.Println("online: ", p.Method) })
	discovery.OnOffline(func(p abstract.Provider) { fmt.Println("offline:", p.Method); close(gone) })

	provider := w.provide(add)
	check(provider.Shutdown(ctx))
	<-gone
	// Output:
	// 0 <nil>
	// online:  math.add
	// offline: math.add
}

// The tree of nodes: configuration, presence, locks.
func Example_nodes() {
	w := begin()
	defer w.end()
	nodes := w.nodes

	path, err := nodes.Create(ctx, "/config/db", []byte("host-a"), client.MakeParents())
	fmt.Println(path, err)
	watch, err := nodes.Watch(ctx, "/config", client.ScopeSubtree)
	fmt.Println(err)
	_, err = nodes.Set(ctx, "/config/db", []byte("host-b"))
	fmt.Println(err)
	event, err := watch.Next(ctx)
	fmt.Println(event.Changes[0].Path, err)
	node, err := nodes.Get(ctx, "/config/db")
	fmt.Println(string(node.Data), err)

	_, err = nodes.Create(ctx, "/here", nil, client.SessionNode()) // goes when this client does
	fmt.Println(err)
	held, err := client.NewLock(nodes, "/lock").Acquire(ctx) // one holder at a time; see also Election, Barrier, Group
	fmt.Println(err)
	fmt.Println(held.Release(ctx))
	// Output:
	// /config/db <nil>
	// <nil>
	// <nil>
	// /config/db <nil>
	// host-b <nil>
	// <nil>
	// <nil>
	// <nil>
}

// Interceptors stand round every call, stream and message, on both sides; metadata
// travels beside the parameters.
func Example_interceptor() {
	w := begin()
	defer w.end()
	discovery := w.discovery

	count := func(n *atomic.Int64) abstract.Interceptor {
		return func(ctx context.Context, op *abstract.Operation, next abstract.Next) error {
			n.Add(1)
			return next(ctx, op) // op knows name, metadata, parameters and, after this, the result
		}
	}
	var called, served atomic.Int64
	calls := client.NewRpcClient(discovery, client.WithInterceptors(count(&called)))
	srv := server.NewRpcServer("127.0.0.1:0", server.WithInterceptors(count(&served)),
		server.WithLogger(quiet), server.WithRegistry(client.NewRegistryClient(w.conn)))
	err := Add.Handle(srv, func(ctx context.Context, in AddArgs) (int, error) {
		fmt.Println("asked by", abstract.MetadataOf(ctx)["user"])
		return in.Num1 + in.Num2, nil
	})
	check(err)
	check(srv.Announce(ctx))
	go srv.Serve()
	defer srv.Shutdown(ctx)
	defer calls.Close()

	sum, err := Add.Call(ctx, calls, AddArgs{1, 2}, trefoil.Metadata(map[string]string{"user": "eve"}))
	fmt.Println(sum, err, called.Load(), served.Load())
	// Output:
	// asked by eve
	// 3 <nil> 1 1
}
