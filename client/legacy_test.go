package client_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/server"
)

// program is an existing program of the LV family: a server that knows the six
// old message types and nothing else.
type program struct {
	t        *testing.T
	listener net.Listener
	onHello  string // "close" or "ignore": what it does with what it does not know

	serving sync.WaitGroup // of connections

	mu    sync.Mutex
	types map[int32]int // how often each message type came
	conns []net.Conn
}

func startProgram(t *testing.T, onHello string) *program {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return startProgramAt(t, l, onHello)
}

// startProgramAt is startProgram for what somebody else listens at.
func startProgramAt(t *testing.T, l net.Listener, onHello string) *program {
	t.Helper()
	p := &program{t: t, listener: l, onHello: onHello, types: make(map[int32]int)}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.conns = append(p.conns, conn)
			p.mu.Unlock()
			p.serving.Go(func() { p.serve(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		accepting.Wait()
		p.hangUp()
		p.serving.Wait()
	})
	return p
}

func (p *program) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
}

func (p *program) came(mtype int32) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.types[mtype]
}

// serve answers "Add" calls, accepts registrations, and knows one provider of "Add".
func (p *program) serve(conn net.Conn) {
	defer conn.Close()
	for {
		var head [12]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return
		}
		rest := make([]byte, binary.BigEndian.Uint32(head[:])-8)
		if _, err := io.ReadFull(conn, rest); err != nil {
			return
		}
		mtype := int32(binary.BigEndian.Uint32(head[4:]))
		p.mu.Lock()
		p.types[mtype]++
		p.mu.Unlock()
		idLen := binary.BigEndian.Uint32(head[8:])
		answer := p.answer(mtype, rest[idLen:])
		if answer == "" {
			if p.onHello == "close" {
				return
			}
			continue
		}
		out := binary.BigEndian.AppendUint32(nil, 8+idLen+uint32(len(answer)))
		out = binary.BigEndian.AppendUint32(out, uint32(mtype+1))
		out = binary.BigEndian.AppendUint32(out, idLen)
		if _, err := conn.Write(append(append(out, rest[:idLen]...), answer...)); err != nil {
			return
		}
	}
}

func (p *program) answer(mtype int32, body []byte) string {
	var m struct {
		Optype     int
		Parameters struct{ Num1, Num2 int }
	}
	if json.Unmarshal(body, &m) != nil {
		return ""
	}
	switch mtype {
	case 0:
		out, _ := json.Marshal(map[string]int{"rcode": 0, "result": m.Parameters.Num1 + m.Parameters.Num2})
		return string(out)
	case 2:
		return `{"rcode":0}`
	case 4:
		if m.Optype == 1 {
			return `{"optype":1,"rcode":6}`
		}
		return `{"optype":0,"rcode":0}`
	}
	return ""
}

func (p *program) host() abstract.Host {
	h, err := abstract.ParseHost(p.listener.Addr().String())
	require.NoError(p.t, err)
	return h
}

type add struct {
	Num1 int `json:"num1"`
	Num2 int `json:"num2"`
}

func TestServersThatDoNotKnowHelloAreCalledAllTheSame(t *testing.T) {
	for _, onHello := range []string{"close", "ignore"} {
		t.Run(onHello, func(t *testing.T) {
			p := startProgram(t, onHello)
			rpc, err := client.DialRpc(ctx, p.listener.Addr().String(), patient(client.WithHelloTimeout(200*time.Millisecond))...)
			require.NoError(t, err)
			var sum int
			require.NoError(t, rpc.Call(ctx, "Add", add{1, 2}, &sum))
			assert.Equal(t, 3, sum)
			require.NoError(t, rpc.Close())
			p.serving.Wait() // it has read everything
			assert.Equal(t, 1, p.came(16), "HELLO was tried once")
		})
	}
}

func TestLegacyOptionSaysNoHello(t *testing.T) {
	p := startProgram(t, "close")
	conn, err := client.Dial(ctx, p.listener.Addr().String(), patient(client.WithLegacy())...)
	require.NoError(t, err)
	assert.False(t, conn.Modern())
	rpc := client.NewDirectRpcClient(conn)
	var sum int
	require.NoError(t, rpc.Call(ctx, "Add", add{3, 4}, &sum))
	assert.Equal(t, 7, sum)
	topics := client.NewTopicClient(conn)
	require.NoError(t, topics.Create(ctx, "t"))
	require.NoError(t, topics.Publish(ctx, "t", "x"))
	reg := client.NewRegistryClient(conn)
	provider := abstract.Provider{Method: "m", Host: p.host()}
	require.NoError(t, reg.Register(ctx, provider))
	assert.ErrorIs(t, reg.Unregister(ctx, provider), abstract.ErrUnsupported)
	require.NoError(t, rpc.Close())
	require.NoError(t, conn.Close())
	p.mu.Lock()
	defer p.mu.Unlock()
	for mtype := range p.types {
		assert.LessOrEqual(t, mtype, int32(5), "no goodbye either")
	}
}

// TestLegacyProviderIsCalledWithoutHello registers an existing program as such
// programs do, on a connection without HELLO, and calls it through discovery.
func TestLegacyProviderIsCalledWithoutHello(t *testing.T) {
	b := server.NewBroker("127.0.0.1:0", server.WithLogger(quiet))
	require.NoError(t, b.Listen())
	ended := make(chan error, 1)
	go func() { ended <- b.Serve() }()
	defer func() {
		require.NoError(t, b.Shutdown(context.Background()))
		require.NoError(t, <-ended)
	}()
	p := startProgram(t, "close")
	own, err := client.Dial(ctx, b.Addr().String(), patient(client.WithLegacy())...)
	require.NoError(t, err)
	defer own.Close()
	require.NoError(t, client.NewRegistryClient(own).Register(ctx, abstract.Provider{Method: "Add", Host: p.host()}))

	conn, err := client.Dial(ctx, b.Addr().String(), patient()...)
	require.NoError(t, err)
	defer conn.Close()
	assert.True(t, conn.Modern())
	rpc := client.NewRpcClient(client.NewDiscoveryClient(conn), patient()...)
	defer rpc.Close()
	var sum int
	require.NoError(t, rpc.Call(ctx, "Add", add{20, 30}, &sum))
	assert.Equal(t, 50, sum)
	assert.Zero(t, p.came(16))
	assert.Equal(t, 1, p.came(0))
}
