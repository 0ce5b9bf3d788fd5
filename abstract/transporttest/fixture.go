package transporttest

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// patience is how long a test waits for what must happen. It is no measurement.
const patience = 2 * time.Minute

func await[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		require.FailNow(t, "waited in vain for "+what)
		panic("unreachable")
	}
}

// side is one end of the connections of a test: its config, and what it saw.
type side struct {
	abstract.TransportConfig
	opened chan *peer
	// handle takes a batch, on the transport's goroutine; nil collects messages
	handle func(p *peer, batch []abstract.BaseMessage)
	// onOpen is called in OnOpen
	onOpen func(p *peer)
}

// peer is the Receiver of one connection.
type peer struct {
	abstract.BaseConnection
	side   *side
	got    chan *Message
	closed chan error

	mu     sync.Mutex
	ends   int
	within bool
	wrong  string // the first breach of the Receiver's rules
}

func newSide(direct bool) *side {
	s := &side{opened: make(chan *peer, 4096)}
	s.Protocol = Protocol{}
	s.Direct = direct
	s.Logger = slog.New(slog.DiscardHandler)
	s.OnOpen = func(c abstract.BaseConnection) abstract.Receiver {
		p := &peer{BaseConnection: c, side: s, got: make(chan *Message, 256), closed: make(chan error, 8)}
		if s.onOpen != nil {
			s.onOpen(p)
		}
		s.opened <- p
		return p
	}
	return s
}

// enter and leave watch that the Receiver is called by one goroutine at a time.
func (p *peer) enter() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.within {
		p.wrong = "the Receiver is called twice at a time"
	}
	if p.ends > 0 {
		p.wrong = "the Receiver is called after OnClose"
	}
	p.within = true
}

func (p *peer) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.within = false
}

// OnMessages implements abstract.Receiver.
func (p *peer) OnMessages(batch []abstract.BaseMessage) {
	p.enter()
	defer p.leave()
	if p.side.handle != nil {
		p.side.handle(p, batch)
		return
	}
	for _, m := range batch {
		p.got <- m.(*Message)
	}
}

// OnClose implements abstract.Receiver.
func (p *peer) OnClose(err error) {
	p.enter()
	p.mu.Lock()
	p.ends++
	p.mu.Unlock()
	p.leave()
	p.closed <- err
}

// checkRules fails the test when the Receiver was called in a wrong way.
func (p *peer) checkRules(t testing.TB) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	assert.Empty(t, p.wrong)
}

// echo answers every message with its own body, queued and flushed by the transport.
func echo(p *peer, batch []abstract.BaseMessage) {
	for _, m := range batch {
		_ = p.Queue(frame(abstract.RspRPC, m.(*Message).N, m.(*Message).Body))
	}
}

// rig is a running server with its client.
type rig struct {
	Transport
	server, client *side
	served         chan error
}

// start runs the server. The test's end shuts it down and looks whether everybody's
// Receiver was called as it must be.
func start(t *testing.T, open Open, server, client *side) *rig {
	t.Helper()
	r := &rig{Transport: open(t, server.TransportConfig, client.TransportConfig), server: server, client: client,
		served: make(chan error, 1)}
	require.NoError(t, r.Server.Listen())
	go func() { r.served <- r.Server.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		assert.NoError(t, r.Server.Shutdown(ctx))
		assert.NoError(t, await(t, r.served, "Serve to return"))
		for _, s := range []*side{server, client} {
			for len(s.opened) > 0 {
				(<-s.opened).checkRules(t)
			}
		}
	})
	return r
}

// connect opens a connection and returns both of its ends.
func (r *rig) connect(t *testing.T) (client, server *peer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := r.Client.Connect(ctx)
	require.NoError(t, err)
	client = await(t, r.client.opened, "the client's OnOpen")
	server = await(t, r.server.opened, "the server's OnOpen")
	t.Cleanup(func() {
		c.Close(nil)
		await(t, c.Done(), "the client's end")
		client.checkRules(t)
		server.checkRules(t)
	})
	return client, server
}

// raw is a connection of bare bytes to the server.
type raw struct {
	net.Conn
	r *bufio.Reader
}

func (r *rig) raw(t *testing.T) (*raw, *peer) {
	t.Helper()
	nc := r.Dial(t)
	t.Cleanup(func() { _ = nc.Close() })
	return &raw{Conn: nc, r: bufio.NewReader(nc)}, await(t, r.server.opened, "the server's OnOpen")
}

// next reads one message; io.EOF at the clean end.
func (c *raw) next() (*Message, error) {
	var head [headerLen]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return nil, err
	}
	body := make([]byte, int(binary.BigEndian.Uint32(head[:]))-(headerLen-4))
	if _, err := io.ReadFull(c.r, body); err != nil {
		return nil, err
	}
	return &Message{Kind: abstract.MType(head[4]), N: binary.BigEndian.Uint64(head[5:]), Body: body}, nil
}

func (c *raw) mustNext(t testing.TB) *Message {
	t.Helper()
	m, err := c.next()
	require.NoError(t, err)
	return m
}

func (c *raw) send(t testing.TB, p []byte) {
	t.Helper()
	_, err := c.Write(p)
	require.NoError(t, err)
}

// fill queues requests of a size until the connection's peer takes no more: two
// queues' worth was refused or waits.
func fill(t testing.TB, p *peer, kind abstract.MType, body []byte, bytes int) (sent uint64) {
	t.Helper()
	for total := 0; total < bytes; total += len(body) {
		require.NoError(t, p.Queue(frame(kind, sent, body)))
		p.Flush()
		sent++
	}
	return sent
}
