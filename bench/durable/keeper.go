package durable

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	natsjet "github.com/nats-io/nats.go/jetstream"

	"trefoil/abstract"
	"trefoil/bench/internal/harness"
	"trefoil/client"
	"trefoil/concrete/jetstream"
	"trefoil/server"
)

// Keeper is one contestant.
type Keeper struct {
	Name  string
	Kind  harness.Kind
	Serve harness.ServeFunc // takes a store
	Dial  func(ctx context.Context, addr string) (Conn, error)
}

// store is what a server is started with.
type store struct {
	Sync string `json:"sync"` // "always", "os", or "interval=200ms"
}

// Conn is one connection to a Keeper.
type Conn interface {
	// Create makes the topic. It may be called again.
	Create(ctx context.Context) error
	// Publish returns when the message is kept.
	Publish(ctx context.Context, payload []byte) error
	// Consume makes a consumer that begins with the first message kept, and has 1,000
	// that are not acknowledged at most. Each message is acknowledged when fn returns;
	// calls come one at a time.
	Consume(ctx context.Context, fn func()) error
	Close()
}

const (
	topicName  = "bench.durable"
	streamName = "bench"
	unacked    = 1000
)

// Keepers returns the contestants.
func Keepers() []Keeper {
	return []Keeper{
		{Name: "trefoil", Kind: harness.Ours, Serve: serveTrefoil, Dial: dialTrefoil},
		{Name: "jetstream", Kind: harness.Peer, Serve: serveJetStream, Dial: dialJetStream},
	}
}

// KeeperOf returns the contestant with a name.
func KeeperOf(name string) (Keeper, error) {
	for _, k := range Keepers() {
		if k.Name == name {
			return k, nil
		}
	}
	return Keeper{}, errors.New("there is no contestant " + name + " in this table")
}

// open reads what a server is started with, and makes its directory.
func open(raw json.RawMessage) (sync jetstream.Sync, dir string, err error) {
	var s store
	if err = json.Unmarshal(raw, &s); err != nil {
		return 0, "", err
	}
	if sync, err = jetstream.ParseSync(s.Sync); err != nil {
		return 0, "", err
	}
	dir, err = os.MkdirTemp("", "bench-durable-") // on a disk, as a rule: /tmp, or $TMPDIR
	return sync, dir, err
}

func serveTrefoil(ctx context.Context, raw json.RawMessage) (*harness.Served, error) {
	sync, dir, err := open(raw)
	if err != nil {
		return nil, err
	}
	quiet := slog.New(slog.DiscardHandler)
	logs, err := jetstream.Open(ctx, jetstream.Config{Dir: dir, Sync: sync, Logger: quiet})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	broker := server.NewBroker("127.0.0.1:0", server.WithLogger(quiet), server.WithTopicLog(logs))
	if err := broker.Listen(); err != nil {
		return nil, errors.Join(err, logs.Close(), os.RemoveAll(dir))
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
		_ = logs.Close()
		_ = os.RemoveAll(dir)
	}}, nil
}

// serveJetStream starts a NATS server that keeps and syncs as ours does.
func serveJetStream(_ context.Context, raw json.RawMessage) (*harness.Served, error) {
	sync, dir, err := open(raw)
	if err != nil {
		return nil, err
	}
	o := &natsserver.Options{
		Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: dir, JetStreamMaxStore: 1 << 40, SyncAlways: sync == jetstream.SyncAlways,
	}
	if sync > 0 {
		o.SyncInterval = time.Duration(sync) // without it, every two minutes
	}
	srv, err := natsserver.NewServer(o)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	go srv.Start()
	stop := func() {
		srv.Shutdown()
		srv.WaitForShutdown()
		_ = os.RemoveAll(dir)
	}
	if !srv.ReadyForConnections(10 * time.Second) {
		stop()
		return nil, errors.New("the NATS server takes no connections within 10 s")
	}
	return &harness.Served{Addr: srv.Addr().String(), Stop: stop}, nil
}

type trefoilConn struct {
	conn   *client.Conn
	topics *client.TopicClient
}

func dialTrefoil(ctx context.Context, addr string) (Conn, error) {
	conn, err := client.Dial(ctx, addr, client.WithLogger(slog.New(slog.DiscardHandler)), client.WithTimeout(patience))
	if err != nil {
		return nil, err
	}
	return &trefoilConn{conn, client.NewTopicClient(conn)}, nil
}

// patience bounds every operation: a disk can be slow.
const patience = time.Minute

func (c *trefoilConn) Create(ctx context.Context) error {
	return c.topics.CreateWith(ctx, topicName, abstract.TopicSettings{Durable: true})
}

func (c *trefoilConn) Publish(ctx context.Context, payload []byte) error {
	return c.topics.Publish(ctx, topicName, json.RawMessage(payload))
}

func (c *trefoilConn) Consume(ctx context.Context, fn func()) error {
	_, err := c.topics.Subscribe(ctx, topicName, func(client.Message) { fn() }, client.Consumer("bench"), client.FromAll(), client.Window(unacked))
	return err
}

func (c *trefoilConn) Close() { _ = c.conn.Close() }

type jetConn struct {
	nc *nats.Conn
	js natsjet.JetStream
}

func dialJetStream(_ context.Context, addr string) (Conn, error) {
	nc, err := nats.Connect("nats://"+addr, nats.NoReconnect(), nats.Timeout(patience))
	if err != nil {
		return nil, err
	}
	js, err := natsjet.New(nc)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return &jetConn{nc, js}, nil
}

func (c *jetConn) Create(ctx context.Context) error {
	_, err := c.js.CreateOrUpdateStream(ctx, natsjet.StreamConfig{Name: streamName, Subjects: []string{topicName}, Storage: natsjet.FileStorage})
	return err
}

func (c *jetConn) Publish(ctx context.Context, payload []byte) error {
	_, err := c.js.Publish(ctx, topicName, payload)
	return err
}

func (c *jetConn) Consume(ctx context.Context, fn func()) error {
	consumer, err := c.js.CreateConsumer(ctx, streamName, natsjet.ConsumerConfig{Durable: "bench", AckPolicy: natsjet.AckExplicitPolicy, MaxAckPending: unacked})
	if err != nil {
		return err
	}
	_, err = consumer.Consume(func(m natsjet.Msg) {
		fn()
		_ = m.Ack() // it is only sent here; the connection's end says what is wrong with it
	})
	return err
}

func (c *jetConn) Close() { c.nc.Close() }
