package rpc

import (
	"context"
	"errors"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"trefoil/bench/internal/harness"
)

// helperNATS is a NATS server, which stands between caller and responder.
const helperNATS = "nats-server"

const subject = "bench.echo"

func natsContestant() contestant {
	return contestant{
		name: "nats", kind: harness.Peer, helper: helperNATS, serve: serveNATS, dial: dialNATS,
		note: "is request-reply through its server: the server column is the NATS server and the responder together",
	}
}

// serveNATSServer runs a NATS server in this process, with room for all that the
// largest cells have in flight.
func serveNATSServer(context.Context, serveSpec) (*harness.Served, error) {
	srv, err := natsserver.NewServer(&natsserver.Options{
		Host: "127.0.0.1", Port: natsserver.RANDOM_PORT,
		NoSigs: true, NoLog: true,
		MaxPending: 512 << 20,
	})
	if err != nil {
		return nil, err
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		return nil, errors.New("the NATS server does not take connections")
	}
	return &harness.Served{Addr: srv.ClientURL(), Stop: srv.Shutdown}, nil
}

// serveNATS runs the responder: one subscription whose handler answers at once,
// or on a goroutine of its own when some requests are slow.
func serveNATS(_ context.Context, spec serveSpec) (*harness.Served, error) {
	nc, err := nats.Connect(spec.Helper)
	if err != nil {
		return nil, err
	}
	answer := func(m *nats.Msg) {
		workBytes(m.Data)
		_ = m.Respond(m.Data) // the caller notices when it fails
	}
	handler := answer
	if spec.Slow {
		handler = func(m *nats.Msg) { go answer(m) }
	}
	sub, err := nc.Subscribe(subject, handler)
	if err != nil {
		return nil, err
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, err
	}
	return &harness.Served{Addr: spec.Helper, Stop: nc.Close}, nc.Flush()
}

type natsCaller struct{ nc *nats.Conn }

func dialNATS(_ context.Context, addr string) (caller, error) {
	nc, err := nats.Connect(addr)
	return natsCaller{nc}, err
}

func (c natsCaller) Close() { c.nc.Close() }

// Call uses Conn.Request.
func (c natsCaller) Call(_ context.Context, p payload) error {
	m, err := c.nc.Request(subject, p.bytes, callTimeout)
	if err != nil {
		return err
	}
	return p.checkBytes(m.Data)
}
