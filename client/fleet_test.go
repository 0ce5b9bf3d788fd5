package client_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/lv"
	"trefoil/concrete/mem"
	"trefoil/concrete/message"
)

// fleet is a registry that says what a test tells it, and providers that do what a
// test tells them, in virtual time.
type fleet struct {
	*testing.T
	net *mem.Network

	mu      sync.Mutex
	list    []abstract.Provider
	follow  map[int]func(abstract.Providers)
	reports []abstract.Provider
	number  int
}

func inFleet(t *testing.T, test func(f *fleet)) {
	synctest.Test(t, func(t *testing.T) {
		test(&fleet{T: t, net: mem.NewNetwork(), follow: make(map[int]func(abstract.Providers))})
	})
}

func (f *fleet) Discover(context.Context, string) ([]abstract.Provider, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.list, nil
}

func (f *fleet) Follow(_ string, fn func(abstract.Providers)) (stop func()) {
	f.mu.Lock()
	f.number++
	number, list := f.number, f.list
	f.follow[number] = fn
	f.mu.Unlock()
	go fn(abstract.Providers{List: list})
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.follow, number)
	}
}

func (f *fleet) Report(p abstract.Provider, _ string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reports = append(f.reports, p)
}

func (f *fleet) reported() []abstract.Provider {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.reports)
}

// say makes list what everybody discovers, and waits until all know.
func (f *fleet) say(list ...abstract.Provider) {
	f.mu.Lock()
	f.list = list
	var all []func(abstract.Providers)
	for _, fn := range f.follow {
		all = append(all, fn)
	}
	f.mu.Unlock()
	for _, fn := range all {
		fn(abstract.Providers{List: list})
	}
	synctest.Wait()
}

// client makes a client of the fleet.
func (f *fleet) client(opts ...client.Option) *client.RpcClient {
	c := client.NewRpcClient(f, append([]client.Option{client.WithTransport(f.net.Client), client.WithLogger(quiet)}, opts...)...)
	f.Cleanup(func() { _ = c.Close() })
	return c
}

// member is one provider of a fleet.
type member struct {
	abstract.Provider
	f     *fleet
	srv   abstract.BaseServer
	ended chan error
	once  sync.Once
	serve func(m *member, bc abstract.BaseConnection, req *message.RpcRequest)
	// stream, unless nil, serves streams.
	stream func(bc abstract.BaseConnection, req *message.StreamRequest)

	mu       sync.Mutex
	requests []*message.RpcRequest
	times    []time.Time // of the requests
	cancels  []string    // ids
	hellos   []*message.Hello
	conns    []abstract.BaseConnection
	lost     int
}

// join starts a provider at host(i) with an instance id, which serves nothing before
// it is listed.
func (f *fleet) join(i int, instance string, serve func(m *member, bc abstract.BaseConnection, req *message.RpcRequest)) *member {
	f.Helper()
	at, err := abstract.ParseHost(host(i))
	require.NoError(f, err)
	m := &member{
		Provider: abstract.Provider{Method: "svc.do", Host: at, Instance: instance, Hello: true}, f: f, serve: serve, ended: make(chan error, 1),
	}
	m.srv = f.net.Server(host(i), abstract.TransportConfig{
		Protocol: lv.New(message.New(message.Config{}), lv.Config{}), Logger: quiet,
		OnOpen: func(bc abstract.BaseConnection) abstract.Receiver {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.conns = append(m.conns, bc)
			return &memberConn{m, bc}
		},
	})
	require.NoError(f, m.srv.Listen())
	go func() { m.ended <- m.srv.Serve() }()
	f.Cleanup(m.leave)
	return m
}

// leave ends the provider: its connections break, nobody listens any more.
func (m *member) leave() {
	m.once.Do(func() {
		stopped, cancel := context.WithCancel(ctx)
		cancel()
		_ = m.srv.Shutdown(stopped)
		<-m.ended
		synctest.Wait()
	})
}

// as is the provider as it is listed with other traits.
func (m *member) as(change func(*abstract.Provider)) abstract.Provider {
	p := m.Provider
	change(&p)
	return p
}

// now changes what the member does with requests.
func (m *member) now(serve func(m *member, bc abstract.BaseConnection, req *message.RpcRequest)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.serve = serve
}

// did returns how many requests the member got.
func (m *member) did() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.requests)
}

// cancelled returns the ids that CANCEL came for.
func (m *member) cancelled() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.cancels)
}

// ids returns the ids of the requests.
func (m *member) ids() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var ids []string
	for _, r := range m.requests {
		ids = append(ids, r.ID())
	}
	return ids
}

func (m *member) connected() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.conns) - m.lost
}

type memberConn struct {
	m  *member
	bc abstract.BaseConnection
}

func (c *memberConn) OnMessages(batch []abstract.BaseMessage) {
	for _, x := range batch {
		switch x := x.(type) {
		case *message.Hello:
			c.hello(x)
		case *message.Ping:
			_ = c.bc.Send(&message.Pong{Header: message.ID(x.ID())})
		case *message.Cancel:
			c.m.mu.Lock()
			c.m.cancels = append(c.m.cancels, x.ID())
			c.m.mu.Unlock()
		case *message.RpcRequest:
			c.m.mu.Lock()
			c.m.requests, c.m.times = append(c.m.requests, x), append(c.m.times, time.Now())
			serve := c.m.serve
			c.m.mu.Unlock()
			serve(c.m, c.bc, x)
		case *message.StreamRequest:
			c.m.stream(c.bc, x)
		}
	}
}

func (c *memberConn) hello(h *message.Hello) {
	c.m.mu.Lock()
	c.m.hellos = append(c.m.hellos, h)
	name := c.m.Instance
	c.m.mu.Unlock()
	rsp := &message.HelloResponse{Header: message.ID(h.ID()), Version: message.ProtocolVersion, PingMs: 60_000, Misses: 5, MaxFrame: 8 << 20}
	if h.Instance != "" && h.Instance != name {
		rsp.Code, rsp.Message = abstract.WrongInstance, "another instance"
	}
	_ = c.bc.Send(rsp)
	if rsp.Code != abstract.OK {
		c.bc.Shutdown(ctx, nil)
	}
}

func (c *memberConn) OnClose(error) {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	c.m.lost++
}

// What members do with requests.

func answers(m *member, bc abstract.BaseConnection, req *message.RpcRequest) {
	m.mu.Lock()
	name := m.Instance
	m.mu.Unlock()
	_ = bc.Send(&message.RpcResponse{Header: message.ID(req.ID()), Result: message.Raw(`"` + name + `"`)})
}

func answersAfter(d time.Duration) func(*member, abstract.BaseConnection, *message.RpcRequest) {
	return func(m *member, bc abstract.BaseConnection, req *message.RpcRequest) {
		time.AfterFunc(d, func() { answers(m, bc, req) })
	}
}

func silent(*member, abstract.BaseConnection, *message.RpcRequest) {}

func hangsUp(_ *member, bc abstract.BaseConnection, _ *message.RpcRequest) { bc.Close(nil) }

func refuses(code abstract.RCode, details string) func(*member, abstract.BaseConnection, *message.RpcRequest) {
	return func(_ *member, bc abstract.BaseConnection, req *message.RpcRequest) {
		_ = bc.Send(&message.RpcResponse{Header: message.ID(req.ID()), Code: code, Message: "no", Details: message.Raw(details)})
	}
}

// inOrder takes the first provider that may be taken.
func inOrder() client.Option {
	return client.WithPicker(func() abstract.Picker { return firstOf{} })
}

type firstOf struct{}

func (firstOf) Pick([]abstract.Provider) int { return 0 }

// failedAs takes a call's error apart.
func failedAs(t require.TestingT, err error) *abstract.Error {
	var e *abstract.Error
	require.ErrorAs(t, err, &e)
	return e
}
