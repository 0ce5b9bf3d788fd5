package topic

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"trefoil/bench/internal/harness"
)

// pending is how many bytes may wait for a subscriber before NATS calls it a
// slow consumer and cuts it off. The window of the publishers stays far below.
const pending = 1 << 30

// ServeNATS starts a NATS server in this process: core NATS, no JetStream.
func ServeNATS(context.Context, json.RawMessage) (*harness.Served, error) {
	srv, err := natsserver.NewServer(&natsserver.Options{
		Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, NoLog: true, NoSigs: true,
		MaxPending: pending, MaxConn: 100_000, WriteDeadline: time.Minute, MaxPayload: 8 << 20,
	})
	if err != nil {
		return nil, err
	}
	go srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		srv.Shutdown()
		return nil, errors.New("the NATS server takes no connections within 10 s")
	}
	return &harness.Served{Addr: srv.Addr().String(), Stop: srv.Shutdown}, nil
}

type natsConn struct{ nc *nats.Conn }

// DialNATS opens a connection that never reconnects.
func DialNATS(addr string) (*nats.Conn, error) {
	return nats.Connect("nats://"+addr, nats.NoReconnect(), nats.Timeout(30*time.Second))
}

func dialNATS(_ context.Context, addr string) (Conn, error) {
	nc, err := DialNATS(addr)
	if err != nil {
		return nil, err
	}
	return &natsConn{nc}, nil
}

func (c *natsConn) Create(context.Context, string) error { return nil }

func (c *natsConn) Publish(_ context.Context, topic string, payload []byte) error {
	return c.nc.Publish(topic, payload)
}

// Flush has nothing to do: the library writes by itself as soon as it can.
func (c *natsConn) Flush() error { return nil }

func (c *natsConn) Subscribe(_ context.Context, topic string, fn func([]byte, uint64)) error {
	sub, err := c.nc.Subscribe(topic, func(m *nats.Msg) { fn(m.Data, 0) })
	if err != nil {
		return err
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return err
	}
	return c.nc.FlushTimeout(30 * time.Second)
}

func (c *natsConn) Close() { c.nc.Close() }
