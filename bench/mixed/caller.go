package mixed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"trefoil/bench/internal/harness"
	"trefoil/bench/topic"
	"trefoil/client"
)

// caller is one connection that calls, and may subscribe too.
type caller interface {
	call(ctx context.Context) error
	subscribe(ctx context.Context, name string) error
	close()
}

// System is one contestant.
type System struct {
	Name  string
	Kind  harness.Kind
	Bus   string // the contestant of the topic table that makes the flood
	Same  bool   // the connection that calls is flooded too
	Serve harness.ServeFunc
	dial  func(ctx context.Context, addr string) (caller, error)
}

// Systems returns the contestants.
func Systems() []System {
	ours := System{Name: "trefoil", Kind: harness.Ours, Bus: "trefoil", Serve: topic.ServeTrefoil, dial: dialTrefoil}
	nats := System{Name: "nats", Kind: harness.Peer, Bus: "nats", Serve: serveNATS, dial: dialNATS}
	return []System{ours, same(ours), nats, same(nats)}
}

func same(s System) System {
	s.Name, s.Same = s.Name+"-same", true
	return s
}

func systemOf(name string) (System, error) {
	for _, s := range Systems() {
		if s.Name == name {
			return s, nil
		}
	}
	return System{}, fmt.Errorf("there is no contestant %q in this table", name)
}

// text is what is echoed.
var text = func() string {
	b := make([]byte, 128)
	for i := range b {
		b[i] = 'x'
	}
	return string(b)
}()

var errEcho = errors.New("the answer is not what was sent")

// patience is every call's deadline.
const patience = 30 * time.Second

type trefoilCaller struct {
	conn *client.Conn
	rpc  *client.RpcClient
}

func dialTrefoil(ctx context.Context, addr string) (caller, error) {
	conn, err := client.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	return &trefoilCaller{conn, client.NewDirectRpcClient(conn)}, nil
}

func (c *trefoilCaller) call(ctx context.Context) error {
	var answer string
	err := c.rpc.Call(ctx, topic.EchoMethod, topic.EchoArgs{Text: text}, &answer, client.Timeout(patience))
	if err == nil && answer != text {
		return errEcho
	}
	return err
}

func (c *trefoilCaller) subscribe(ctx context.Context, name string) error {
	_, err := client.NewTopicClient(c.conn).Subscribe(ctx, name, func(client.Message) {})
	return err
}

func (c *trefoilCaller) close() {
	_ = c.rpc.Close()
	_ = c.conn.Close()
}

// serveNATS is the NATS server with an answering client in the same process,
// which saves it a process that Trefoil's broker, serving the method itself, does
// not have either.
func serveNATS(ctx context.Context, spec json.RawMessage) (*harness.Served, error) {
	served, err := topic.ServeNATS(ctx, spec)
	if err != nil {
		return nil, err
	}
	nc, err := topic.DialNATS(served.Addr)
	if err == nil {
		_, err = nc.Subscribe(topic.EchoMethod, func(m *nats.Msg) { _ = m.Respond(m.Data) })
	}
	if err == nil {
		err = nc.FlushTimeout(patience)
	}
	if err != nil {
		served.Stop()
		return nil, err
	}
	return served, nil
}

type natsCaller struct{ nc *nats.Conn }

func dialNATS(_ context.Context, addr string) (caller, error) {
	nc, err := topic.DialNATS(addr)
	if err != nil {
		return nil, err
	}
	return &natsCaller{nc}, nil
}

// call decodes nothing: a string of JSON comes back as it went.
func (c *natsCaller) call(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	m, err := c.nc.RequestWithContext(ctx, topic.EchoMethod, []byte(text))
	if err == nil && string(m.Data) != text {
		return errEcho
	}
	return err
}

func (c *natsCaller) subscribe(_ context.Context, name string) error {
	sub, err := c.nc.Subscribe(name, func(*nats.Msg) {})
	if err != nil {
		return err
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return err
	}
	return c.nc.FlushTimeout(patience)
}

func (c *natsCaller) close() { c.nc.Close() }
