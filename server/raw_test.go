package server_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/server"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/cloudwego/netpoll.(*defaultPoll).Wait"))
}

// patience is how long a test waits for what must come; it is never waited out
// when all is well.
const patience = 2 * time.Minute

// patiently is for clients over sockets, which would else give up on a slow machine.
func patiently(opts ...client.Option) []client.Option {
	return append([]client.Option{client.WithTimeout(patience), client.WithConnectTimeout(patience), client.WithHelloTimeout(patience)}, opts...)
}

// frame is a message as it is on the wire.
type frame struct {
	mtype int32
	id    string
	body  string
}

func (f frame) bytes() []byte {
	var b []byte
	b = binary.BigEndian.AppendUint32(b, uint32(8+len(f.id)+len(f.body)))
	b = binary.BigEndian.AppendUint32(b, uint32(f.mtype))
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.id)))
	return append(append(b, f.id...), f.body...)
}

// field returns a member of the body, or nil.
func (f frame) field(name string) any {
	var m map[string]any
	if json.Unmarshal([]byte(f.body), &m) != nil {
		return nil
	}
	return m[name]
}

func (f frame) rcode() int {
	v, ok := f.field("rcode").(float64)
	if !ok {
		return -1
	}
	return int(v)
}

// raw is a peer that speaks bytes: an existing program, a broken one, a malicious one.
type raw struct {
	t *testing.T
	net.Conn
}

func dialRaw(t *testing.T, addr net.Addr) *raw {
	t.Helper()
	conn, err := net.Dial(addr.Network(), addr.String())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return &raw{t, conn}
}

func (r *raw) send(frames ...frame) {
	r.t.Helper()
	var b []byte
	for _, f := range frames {
		b = append(b, f.bytes()...)
	}
	_, err := r.Write(b)
	require.NoError(r.t, err)
}

// throw is send to a server that may close before it has read everything.
func (r *raw) throw(frames ...frame) {
	r.t.Helper()
	var b []byte
	for _, f := range frames {
		b = append(b, f.bytes()...)
	}
	thrown := make(chan struct{})
	r.t.Cleanup(func() {
		_ = r.Close()
		<-thrown
	})
	go func() {
		defer close(thrown)
		_, _ = r.Write(b)
	}()
}

// read returns the next frame, or io.EOF when the server has closed. Pings are answered
// and passed over: a machine that is slow for a while is no test's affair.
func (r *raw) read() (frame, error) {
	r.t.Helper()
	for begun := time.Now(); ; {
		f, err := r.readAny()
		if err != nil || f.mtype != 18 {
			return f, err
		}
		if time.Since(begun) > patience { // in virtual time, where there is no other deadline
			require.FailNow(r.t, "nothing comes but pings")
		}
		_, _ = r.Write(frame{19, f.id, `{}`}.bytes()) // who has closed meanwhile is seen by the next read
	}
}

// readAny is read that returns pings, too, and answers none.
func (r *raw) readAny() (frame, error) {
	r.t.Helper()
	require.NoError(r.t, r.SetReadDeadline(time.Now().Add(patience)))
	var head [12]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			require.Fail(r.t, "the server neither answered nor closed")
		}
		return frame{}, io.EOF
	}
	rest := make([]byte, binary.BigEndian.Uint32(head[:4])-8)
	if _, err := io.ReadFull(r, rest); err != nil { // closed in the middle of a frame
		return frame{}, io.EOF
	}
	n := binary.BigEndian.Uint32(head[8:])
	return frame{int32(binary.BigEndian.Uint32(head[4:])), string(rest[:n]), string(rest[n:])}, nil
}

func (r *raw) expect() frame {
	r.t.Helper()
	f, err := r.read()
	require.NoError(r.t, err, "the server closed the connection")
	return f
}

// expectNot is expect that passes over messages of a type.
func (r *raw) expectNot(mtype int32) frame {
	r.t.Helper()
	for {
		if f := r.expect(); f.mtype != mtype {
			return f
		}
	}
}

func (r *raw) expectClosed() {
	r.t.Helper()
	f, err := r.read()
	require.ErrorIs(r.t, err, io.EOF, "got %+v", f)
}

// silent makes sure that nothing has come for what was sent so far: the answer
// to one more request is the next thing that comes.
func (r *raw) silent() {
	r.t.Helper()
	r.send(frame{2, "probe", `{"optype":0,"topic_key":"probe"}`})
	require.Equal(r.t, "probe", r.expect().id)
}

// hello makes a modern peer of a fresh one.
func (r *raw) hello() *raw {
	r.t.Helper()
	r.send(frame{16, "h", `{"version":1,"agent":"test","max_frame":8388608}`})
	f := r.expect()
	require.Equal(r.t, int32(17), f.mtype)
	require.Equal(r.t, 0, f.rcode())
	return r
}

// serve starts a server and shuts it down at the test's end.
func serve[S abstract.BaseServer](t *testing.T, srv S) S {
	t.Helper()
	type listener interface{ Listen() error }
	require.NoError(t, any(srv).(listener).Listen())
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, srv.Shutdown(ctx))
		require.NoError(t, <-ended)
	})
	return srv
}

type addArgs struct {
	Num1 int `json:"num1"`
	Num2 int `json:"num2"`
}

// newBroker makes a broker that has patience with its peers: these tests read when they
// have a reason to.
func newBroker(opts ...server.Option) *server.Broker {
	return server.NewBroker("127.0.0.1:0", append([]server.Option{server.WithPing(time.Minute, 5), server.WithSessions(time.Minute, 5)}, opts...)...)
}

// broker starts a broker that serves "Add", "Echo", "wrong", "panic" and "void".
func broker(t *testing.T, opts ...server.Option) *server.Broker {
	t.Helper()
	b := newBroker(opts...)
	methods(t, b)
	return serve(t, b)
}

type handles interface {
	abstract.MethodServer
	HandleFunc(server.Description, server.Handler) error
}

func methods(t *testing.T, srv handles) {
	t.Helper()
	require.NoError(t, server.Handle(srv, "Add", func(_ context.Context, in addArgs) (int, error) { return in.Num1 + in.Num2, nil }))
	require.NoError(t, server.Handle(srv, "Echo", func(_ context.Context, in struct {
		Content string `json:"content"`
	}) (string, error) {
		return in.Content, nil
	}))
	require.NoError(t, srv.HandleFunc(server.Description{Method: "wrong", Result: "integer"}, func(context.Context, json.RawMessage) (any, error) { return "text", nil }))
	require.NoError(t, srv.HandleFunc(server.Description{Method: "panic", Result: "any"}, func(context.Context, json.RawMessage) (any, error) { panic("boom") }))
	require.NoError(t, srv.HandleFunc(server.Description{Method: "void", Result: "any"}, func(context.Context, json.RawMessage) (any, error) { return nil, nil }))
}

func repeat(s string, n int) string { return string(bytes.Repeat([]byte(s), n)) }

func sprintf(format string, args ...any) string { return fmt.Sprintf(format, args...) }
