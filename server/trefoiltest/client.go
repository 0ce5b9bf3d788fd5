package trefoiltest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"trefoil/client"
)

// Client is a connection to the broker, as from a process of its own: its Faults are
// those of the connection, and of those that its RpcClients open to providers. It is
// closed with the test, or before that with Close or Kill.
type Client struct {
	*client.Conn
	Faults
	t      testing.TB
	name   string
	as     string // the common name of its certificate; empty: it has none
	broker *Broker
	gone   sync.Once

	problem atomic.Pointer[error] // what could not be restored last

	mu  sync.Mutex
	rpc *client.RpcClient
}

// Dial connects to the broker. The options are those of client.Dial.
func (b *Broker) Dial(t testing.TB, opts ...client.Option) *Client {
	t.Helper()
	return b.dial(t, "", opts)
}

func (b *Broker) dial(t testing.TB, as string, opts []client.Option) *Client {
	t.Helper()
	c := b.client(t, "a client", as)
	c.dial(opts...)
	return c
}

func (c *Client) dial(opts ...client.Option) {
	c.t.Helper()
	var err error
	if c.Conn, err = client.Dial(context.Background(), addr, c.options(opts)...); err != nil {
		c.t.Fatalf("trefoiltest: %s does not reach the broker: %v", c.name, err)
	}
	c.join()
}

// Open is Dial that does not wait, for programs that start before the broker does.
func (b *Broker) Open(t testing.TB, opts ...client.Option) *Client {
	t.Helper()
	return b.open(t, "", opts)
}

func (b *Broker) open(t testing.TB, as string, opts []client.Option) *Client {
	t.Helper()
	c := b.client(t, "a client", as)
	c.Conn = client.Open(addr, c.options(opts)...)
	c.join()
	return c
}

// Rpc returns a client that calls the methods of whoever provides them, on a connection
// of its own, which ends with the test.
func (b *Broker) Rpc(t testing.TB, opts ...client.Option) *client.RpcClient {
	t.Helper()
	return b.Dial(t, opts...).Rpc()
}

func (b *Broker) client(t testing.TB, name, as string) *Client {
	return &Client{Faults: Faults{b.network.Machine()}, t: t, name: name, as: as, broker: b}
}

func (c *Client) options(opts []client.Option) []client.Option {
	all := append([]client.Option{client.WithLogger(logTo(c.t))}, opts...)
	return append(all, client.WithTransport(c.broker.reaching(c.machine, c.as)), client.OnProblem(func(err error) { c.problem.Store(&err) }))
}

func (c *Client) join() {
	c.broker.mu.Lock()
	c.broker.members = append(c.broker.members, c)
	c.broker.mu.Unlock()
	c.t.Cleanup(func() {
		c.Heal()
		_ = c.Close()
	})
}

// Rpc returns the RpcClient that finds providers over this connection, with the
// connection's settings. It is closed with the connection.
func (c *Client) Rpc() *client.RpcClient {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rpc == nil {
		c.rpc = client.NewRpcClient(c.Discovery())
	}
	return c.rpc
}

// Topics returns the connection's TopicClient.
func (c *Client) Topics() *client.TopicClient { return client.NewTopicClient(c.Conn) }

// Registry returns the connection's RegistryClient.
func (c *Client) Registry() *client.RegistryClient { return client.NewRegistryClient(c.Conn) }

// Discovery returns the connection's DiscoveryClient.
func (c *Client) Discovery() *client.DiscoveryClient { return client.NewDiscoveryClient(c.Conn) }

// Nodes returns the connection's NodeClient.
func (c *Client) Nodes() *client.NodeClient { return client.NewNodeClient(c.Conn) }

// Close says goodbye and closes the connection, and all that stands on it.
func (c *Client) Close() error {
	c.gone.Do(func() {
		c.broker.forget(c)
		c.mu.Lock()
		rpc := c.rpc
		c.mu.Unlock()
		if rpc != nil {
			_ = rpc.Close()
		}
		_ = c.Conn.Close()
	})
	return nil
}

// Kill ends the client as if its process had been killed: the connections break without
// a goodbye.
func (c *Client) Kill() {
	c.Refuse()
	c.Cut()
	_ = c.Close()
}
