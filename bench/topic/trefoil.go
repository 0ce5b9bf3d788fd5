package topic

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"trefoil/abstract"
	"trefoil/bench/internal/harness"
	"trefoil/client"
	"trefoil/server"
)

// quiet logs nowhere: what a broker says about connections that end with the
// measurement is of no interest.
func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// EchoMethod is the method that ServeTrefoil's broker serves: it answers with
// its parameters' member "text".
const EchoMethod = "bench.echo"

// EchoArgs are the parameters of EchoMethod.
type EchoArgs struct {
	Text string `json:"text"`
}

// ServeTrefoil starts a broker with its default settings, which also serves
// EchoMethod.
func ServeTrefoil(context.Context, json.RawMessage) (*harness.Served, error) {
	broker := server.NewBroker("127.0.0.1:0", server.WithLogger(quiet()))
	err := server.Handle(broker, EchoMethod, func(_ context.Context, in EchoArgs) (string, error) { return in.Text, nil })
	if err != nil {
		return nil, err
	}
	if err := broker.Listen(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		_ = broker.Serve()
		close(ended)
	}()
	return &harness.Served{Addr: broker.Addr().String(), Stop: func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = broker.Shutdown(ctx)
		<-ended
	}}, nil
}

// history is how many messages the topics of trefoil-history keep.
const history = 1000

type trefoilConn struct {
	conn   *client.Conn
	topics *client.TopicClient
	create abstract.TopicSettings
	failed atomic.Pointer[error] // of a publish; told by the next Flush
	note   func(error)
}

func dialTrefoil(ctx context.Context, addr string) (Conn, error) {
	return dialTopics(ctx, addr, abstract.TopicSettings{})
}

func dialHistory(ctx context.Context, addr string) (Conn, error) {
	return dialTopics(ctx, addr, abstract.TopicSettings{History: abstract.History{Count: history}})
}

// dialTopics makes topics with settings; the zero value is a plain topic.
func dialTopics(ctx context.Context, addr string, settings abstract.TopicSettings) (Conn, error) {
	conn, err := client.Dial(ctx, addr, client.WithLogger(quiet()), client.WithConnectTimeout(30*time.Second), client.WithHelloTimeout(30*time.Second))
	if err != nil {
		return nil, err
	}
	c := &trefoilConn{conn: conn, topics: client.NewTopicClient(conn), create: settings}
	c.note = func(err error) {
		if err != nil {
			c.failed.Store(&err)
		}
	}
	return c, nil
}

func (c *trefoilConn) Create(ctx context.Context, topic string) error {
	return c.topics.CreateWith(ctx, topic, c.create)
}

// Publish does not wait for the broker's answer, which comes all the same.
func (c *trefoilConn) Publish(ctx context.Context, topic string, payload []byte) error {
	c.topics.PublishFunc(ctx, topic, json.RawMessage(payload), c.note)
	return c.Flush()
}

// Flush tells of a publish that has failed. The client writes by itself.
func (c *trefoilConn) Flush() error {
	if err := c.failed.Load(); err != nil && c.failed.CompareAndSwap(err, nil) {
		return *err
	}
	return nil
}

func (c *trefoilConn) Subscribe(ctx context.Context, topic string, fn func([]byte, uint64)) error {
	_, err := c.topics.Subscribe(ctx, topic, func(m client.Message) { fn(m.Data, m.Missed) })
	return err
}

func (c *trefoilConn) Close() { _ = c.conn.Close() }
