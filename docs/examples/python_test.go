package examples_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/business/access"
	"trefoil/client"
	"trefoil/concrete/stdnet"
	"trefoil/server"
)

// script is a Python program of docs/examples/python that runs. What it prints on
// standard output are lines; on standard error must be nothing that Python warns of.
type script struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	lines  chan string
	stderr bytes.Buffer
}

// findPython returns an interpreter that is new enough, or an error.
var findPython = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("python3", "-c", "import sys; assert sys.version_info >= (3, 9), sys.version; print(sys.executable)").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("python3, 3.9 or later: %w: %s", err, out)
	}
	return strings.TrimSpace(string(out)), nil
})

// python3 is the interpreter. Without one the test shows nothing, and says so loudly.
func python3(t *testing.T) string {
	t.Helper()
	path, err := findPython()
	if err == nil {
		return path
	}
	if os.Getenv("TREFOIL_REQUIRE_ALL") != "" {
		t.Fatal(err)
	}
	t.Skipf("NOT TESTED, the client in Python: %v", err)
	return ""
}

func runPython(t *testing.T, args ...string) *script {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*patience)
	s := &script{t: t, lines: make(chan string, 1000)}
	s.cmd = exec.CommandContext(ctx, python3(t), append([]string{"-W", "error", "-X", "dev"}, args...)...)
	s.cmd.Dir = "python"
	s.cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1")
	s.cmd.Stderr = &s.stderr
	var err error
	s.stdin, err = s.cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := s.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, s.cmd.Start())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(s.lines)
		in := bufio.NewScanner(stdout)
		in.Buffer(nil, 64<<20)
		for in.Scan() {
			s.lines <- in.Text()
		}
	}()
	t.Cleanup(func() {
		cancel()
		_ = s.stdin.Close()
		for range s.lines { // it may still want to say something
		}
		<-ended
		_ = s.cmd.Wait()
	})
	return s
}

// line is the next thing the script says.
func (s *script) line() string {
	s.t.Helper()
	select {
	case line, ok := <-s.lines:
		if !ok {
			require.Fail(s.t, "the script has ended", s.stderr.String())
		}
		return line
	case <-time.After(patience):
		require.Fail(s.t, "the script says nothing")
		return ""
	}
}

// expect waits for an event and returns its facts.
func (s *script) expect(event string) map[string]any {
	s.t.Helper()
	var facts map[string]any
	require.NoError(s.t, json.Unmarshal([]byte(s.line()), &facts))
	require.Equal(s.t, event, facts["event"], facts)
	return facts
}

func (s *script) tell(line string) {
	s.t.Helper()
	_, err := fmt.Fprintln(s.stdin, line)
	require.NoError(s.t, err)
}

// end lets the script end, and checks that it does so well.
func (s *script) end() {
	s.t.Helper()
	require.NoError(s.t, s.stdin.Close())
	for range s.lines {
	}
	require.NoError(s.t, s.cmd.Wait(), s.stderr.String())
	for _, fault := range []string{"Traceback", "Exception ignored", "Warning"} {
		assert.NotContains(s.t, s.stderr.String(), fault)
	}
}

// finish hears the last word of a script that was content, and lets it end.
func (s *script) finish() {
	s.t.Helper()
	s.expect("done")
	s.end()
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// brokerAt runs a broker over TCP until the function returned is called.
func brokerAt(t *testing.T, addr string, opts ...server.Option) (*server.Broker, func()) {
	t.Helper()
	b := server.NewBroker(addr, append([]server.Option{server.WithTransport(server.StandardNet), server.WithLogger(quiet()), server.WithPing(time.Minute, 5), server.WithSessions(time.Minute, 5)}, opts...)...)
	require.NoError(t, b.Listen())
	served := make(chan error, 1)
	go func() { served <- b.Serve() }()
	stop := func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = b.Shutdown(ctx) // who is still connected is not waited for longer
		<-served
	}
	return b, stop
}

// world is a broker with a Go client.
type world struct {
	t      *testing.T
	broker *server.Broker
	addr   string
	conn   *client.Conn
}

func newWorld(t *testing.T) *world {
	t.Helper()
	b, stop := brokerAt(t, "127.0.0.1:0")
	t.Cleanup(stop)
	w := &world{t: t, broker: b, addr: b.Addr().String()}
	w.conn = w.dial()
	return w
}

// patient is how clients are here: a machine that stands still for a moment makes nothing
// fail.
func patient() []client.Option {
	return []client.Option{
		client.WithTransport(client.StandardNet), client.WithLogger(quiet()),
		client.WithTimeout(patience), client.WithConnectTimeout(patience), client.WithHelloTimeout(patience),
	}
}

func (w *world) dial(opts ...client.Option) *client.Conn {
	w.t.Helper()
	conn, err := client.Dial(w.t.Context(), w.addr, append(patient(), opts...)...)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// provider serves what handle says, and is registered when it returns.
func (w *world) provider(handle func(*server.RpcServer), opts ...server.Option) *server.RpcServer {
	w.t.Helper()
	srv := server.NewRpcServer("127.0.0.1:0", append([]server.Option{server.WithTransport(server.StandardNet), server.WithLogger(quiet()), server.WithPing(time.Minute, 5),
		server.WithRegistry(client.NewRegistryClient(w.conn))}, opts...)...)
	handle(srv)
	require.NoError(w.t, srv.Announce(w.t.Context()))
	served := make(chan error, 1)
	go func() { served <- srv.Serve() }()
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = srv.Shutdown(ctx)
		<-served
	})
	return srv
}

func (w *world) calls() *client.RpcClient {
	c := client.NewRpcClient(client.NewDiscoveryClient(w.conn), patient()...)
	w.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (w *world) run(story string, args ...string) *script {
	w.t.Helper()
	return runPython(w.t, append([]string{"conformance.py", story, w.addr}, args...)...)
}

type (
	numbers struct {
		Num1 int `json:"num1"`
		Num2 int `json:"num2"`
	}
	anything struct {
		Value json.RawMessage `json:"value"`
	}
	named struct {
		Name string `json:"name"`
	}
)

func add(_ context.Context, in numbers) (int, error) { return in.Num1 + in.Num2, nil }

func echo(_ context.Context, in anything) (json.RawMessage, error) { return in.Value, nil }

func greet(context.Context, struct{}) (string, error) { return "hello", nil }

func refuse(context.Context, struct{}) (string, error) {
	err := abstract.Errorf(abstract.Denied, "not you")
	err.Details = json.RawMessage(`{"why":["because"]}`)
	return "", err
}

func TestPythonAgainstPeersThatLie(t *testing.T) {
	s := runPython(t, "-m", "unittest", "-q", "test_trefoil")
	for range s.lines {
	}
	err := s.cmd.Wait()
	require.NoError(t, err, s.stderr.String())
	assert.Regexp(t, `Ran [3-9]\d tests`, s.stderr.String())
	for _, fault := range []string{"Exception ignored", "ResourceWarning", "skipped"} {
		assert.NotContains(t, s.stderr.String(), fault)
	}
}

func TestPythonCallsGo(t *testing.T) {
	w := newWorld(t)
	hangs, told := make(chan string, 2), make(chan struct{}, 2)
	w.provider(func(srv *server.RpcServer) {
		require.NoError(t, server.Handle(srv, "math.add", add))
		require.NoError(t, server.Handle(srv, "echo", echo))
		require.NoError(t, server.Handle(srv, "refuse", refuse))
		require.NoError(t, server.Handle(srv, "panic", func(context.Context, struct{}) (int, error) { panic("at the python") }))
		require.NoError(t, server.Handle(srv, "hang", func(ctx context.Context, in named) (string, error) {
			hangs <- in.Name
			<-ctx.Done()
			told <- struct{}{}
			return "", ctx.Err()
		}))
	})
	w.provider(func(srv *server.RpcServer) { require.NoError(t, server.Handle(srv, "relayed", echo)) }, server.WithRelayed(true))
	require.NoError(t, server.Handle(w.broker, "broker.serves", func(context.Context, struct{}) (string, error) { return "itself", nil }))

	s := w.run("calls")
	assert.Equal(t, "cancelled", s.from(hangs))
	s.tell("it hangs")
	<-told
	s.tell("it was told")
	assert.Equal(t, "late", s.from(hangs))
	<-told
	s.tell("it was told")
	s.finish()
}

// from waits for what somebody else says.
func (s *script) from(ch <-chan string) string {
	s.t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		require.Fail(s.t, "nothing happens", s.stderr.String())
	}
	return ""
}

// checkPythonProvider calls a provider in Python in every way that matters.
func checkPythonProvider(t *testing.T, s *script, calls *client.RpcClient, opts ...client.CallOption) {
	t.Helper()
	ctx := t.Context()
	var sum int64
	require.NoError(t, calls.Call(ctx, "py.add", map[string]any{"num1": int64(math.MaxInt64 - 1), "num2": 1}, &sum, opts...))
	assert.EqualValues(t, math.MaxInt64, sum, "64 bits survive")
	for _, value := range []string{`"h\u00e9llo \ud83d\ude00 世界 \u0000\u2028"`, `[1,[2,{"a":null}]]`, `-9223372036854775808`, `1.5`, `true`, `{"ü":1}`, `"` + strings.Repeat("x", 6<<20) + `"`} {
		var back any
		require.NoError(t, calls.Call(ctx, "py.echo", anything{json.RawMessage(value)}, &back, opts...))
		got, err := json.Marshal(back)
		require.NoError(t, err)
		if value[0] != '-' { // which would not survive a float of this test
			assert.JSONEq(t, value, string(got))
		}
	}
	for field, wrong := range map[string]any{"num1": "x", "num2": 2.5} {
		params := map[string]any{"num1": 1, "num2": 1}
		params[field] = wrong
		err := calls.Call(ctx, "py.add", params, &sum, opts...)
		require.ErrorIs(t, err, abstract.ErrInvalidParams)
		assert.ErrorContains(t, err, `parameter "`+field+`" of py.add must be integer, not `)
	}
	err := calls.Call(ctx, "py.add", map[string]any{"num1": 1}, &sum, opts...)
	require.ErrorIs(t, err, abstract.ErrInvalidParams)
	assert.ErrorContains(t, err, `"num2" (integer)`)

	var e *abstract.Error
	require.ErrorAs(t, calls.Call(ctx, "py.refuse", struct{}{}, nil, opts...), &e)
	assert.Equal(t, abstract.Denied, e.Code)
	assert.JSONEq(t, `{"why":["because"]}`, string(e.Details))
	err = calls.Call(ctx, "py.fail", struct{}{}, nil, opts...)
	require.ErrorIs(t, err, abstract.ErrInternal)
	assert.NotContains(t, err.Error(), "secret")

	cancelled, cancel := context.WithCancel(ctx)
	f := calls.CallFuture(cancelled, "py.hang", named{"cancelled"}, opts...)
	assert.Equal(t, "cancelled", s.expect("hangs")["name"])
	cancel()
	require.ErrorIs(t, f.Wait(ctx, nil), abstract.ErrCancelled)
	assert.Equal(t, true, s.expect("told")["cancelled"])
}

func TestGoCallsPython(t *testing.T) {
	for _, story := range []string{"provide", "relayed"} {
		t.Run(story, func(t *testing.T) {
			w := newWorld(t)
			s := w.run(story)
			ready := s.expect("ready")
			list, err := client.NewDiscoveryClient(w.conn).Discover(t.Context(), "py.add")
			require.NoError(t, err)
			require.Len(t, list, 1)
			assert.Equal(t, abstract.Host{IP: "127.0.0.1", Port: int(ready["port"].(float64))}, list[0].Host)
			assert.Equal(t, ready["instance"], list[0].Instance)
			assert.True(t, list[0].Hello)
			assert.Equal(t, "west", list[0].Zone)
			var opts []client.CallOption
			if story == "relayed" {
				opts = append(opts, client.Relay())
			}
			checkPythonProvider(t, s, w.calls(), opts...)
			s.tell("close")
			s.expect("closed")
			s.finish()
		})
	}
}

func TestGoSeesAPythonProviderDie(t *testing.T) {
	w := newWorld(t)
	discovery := client.NewDiscoveryClient(w.conn)
	online, offline := make(chan abstract.Provider, 10), make(chan abstract.Provider, 10)
	discovery.OnOnline(func(p abstract.Provider) { online <- p })
	discovery.OnOffline(func(p abstract.Provider) { offline <- p })
	_, err := discovery.Discover(t.Context(), "py.add")
	require.NoError(t, err)

	s := w.run("provide")
	port := int(s.expect("ready")["port"].(float64))
	assert.Equal(t, port, (<-online).Host.Port)
	require.NoError(t, s.cmd.Process.Kill())
	assert.Equal(t, port, (<-offline).Host.Port)
	err = w.calls().Call(t.Context(), "py.add", numbers{1, 2}, nil)
	require.ErrorIs(t, err, abstract.ErrMethodNotFound)
}

// TestPythonReadsTopicsAsGoDoes: from an offset, with filters, as a member of a group, and
// again after a cut.
func TestPythonReadsTopicsAsGoDoes(t *testing.T) {
	w := newWorld(t)
	topics := client.NewTopicClient(w.conn)
	s := w.run("readers")
	read := func(offset int) {
		said := s.expect("read")
		assert.Equal(t, float64(offset), said["offset"])
		assert.Equal(t, float64(offset), said["value"])
	}
	s.expect("ready")
	read(2)
	read(3)
	s.tell("more")
	s.expect("reading")
	require.NoError(t, topics.Create(t.Context(), "odds.a"), "after it was subscribed to")
	for n := 4; n <= 5; n++ {
		with := abstract.WithMetadata(t.Context(), abstract.Metadata{"odd": strconv.Itoa(n % 2)})
		require.NoError(t, topics.Publish(with, "odds.a", n))
		require.NoError(t, topics.Publish(with, "kept", n))
		if n == 5 {
			assert.Equal(t, map[string]any{"event": "odd", "topic": "odds.a", "value": float64(5)}, s.expect("odd"))
		}
		read(n)
	}
	require.NoError(t, topics.Publish(t.Context(), "jobs", "sweep"))
	assert.Equal(t, float64(1), s.expect("work")["delivered"])
	assert.Equal(t, float64(2), s.expect("work")["delivered"], "it has failed, and comes again")
	s.tell("close")
	s.expect("closed")
	s.tell("end")
	s.finish()
}

func TestPythonAndGoShareTopics(t *testing.T) {
	w := newWorld(t)
	topics := client.NewTopicClient(w.conn)
	require.NoError(t, topics.Create(t.Context(), "news"))
	heard := make(chan string, 100)
	_, err := topics.Subscribe(t.Context(), "news", func(m client.Message) {
		var v json.RawMessage
		if assert.NoError(t, m.Decode(&v)) {
			heard <- string(v)
		}
	})
	require.NoError(t, err)
	s := w.run("topics")
	for _, want := range []string{`"m0"`, `{"n":9223372036854775807,"text":"héllo 世界"}`, `[]`, `null`, `"` + strings.Repeat("x", 1<<20) + `"`} {
		assert.Equal(t, want, s.from(heard), "as it was published")
		var said struct{ Message json.RawMessage }
		require.NoError(t, json.Unmarshal([]byte(s.line()), &said))
		assert.JSONEq(t, want, string(said.Message))
	}
	s.expect("ready")
	require.NoError(t, topics.Publish(t.Context(), "news", map[string]string{"from": "Go, 世界"}))
	assert.Equal(t, map[string]any{"from": "Go, 世界"}, s.expect("heard")["message"])
	<-heard
	s.tell("published")
	s.expect("cancelled")
	assert.Equal(t, `"for others"`, <-heard)
	s.tell("end")
	s.finish()
}

func TestPythonSpeaksAsExistingProgramsDo(t *testing.T) {
	w := newWorld(t)
	w.provider(func(srv *server.RpcServer) { require.NoError(t, server.Handle(srv, "math.add", add)) })
	require.NoError(t, server.Handle(w.broker, "broker.serves", func(context.Context, struct{}) (string, error) { return "itself", nil }))
	w.run("legacy").finish()
}

func TestPythonIsToldWhoComesAndGoes(t *testing.T) {
	w := newWorld(t)
	s := w.run("watch")
	s.expect("ready")
	srv := w.provider(func(srv *server.RpcServer) { require.NoError(t, server.Handle(srv, "greet", greet)) }, server.WithTraits(abstract.Traits{Zone: "west"}))
	facts := s.expect("online")
	assert.Equal(t, srv.Addr().String(), facts["host"])
	assert.Equal(t, []any{true, "west"}, []any{facts["hello"], facts["zone"]})
	require.NoError(t, srv.Drain(t.Context()))
	assert.Equal(t, srv.Addr().String()+" (draining)", s.expect("online")["host"])
	require.NoError(t, srv.Shutdown(t.Context()))
	assert.Contains(t, s.expect("offline")["host"], srv.Addr().String())
	s.tell("end")
	s.finish()
}

func TestPythonMovesOnToTheNextProvider(t *testing.T) {
	w := newWorld(t)
	registry := client.NewRegistryClient(w.conn)
	nobody := abstract.Provider{Method: "greet", Host: abstract.Host{IP: "127.0.0.1", Port: 1}, Instance: "nobody", Hello: true}
	require.NoError(t, registry.Register(t.Context(), nobody))
	srv := w.provider(func(srv *server.RpcServer) { require.NoError(t, server.Handle(srv, "greet", greet)) })
	s := w.run("moves_on")
	assert.EqualValues(t, 2, s.expect("ready")["hosts"])
	s.expect("called")
	discovery := client.NewDiscoveryClient(w.conn)
	offline := make(chan abstract.Provider, 10)
	discovery.OnOffline(func(p abstract.Provider) { offline <- p })
	_, err := discovery.Discover(t.Context(), "greet")
	require.NoError(t, err)
	require.NoError(t, srv.Shutdown(t.Context()))
	assert.Equal(t, srv.Addr().String(), (<-offline).Host.String())
	s.tell("gone")
	s.finish()
}

func TestPythonTalksToPython(t *testing.T) {
	newWorld(t).run("talk").finish()
}

func TestPythonComesBackAfterARestartOfTheBroker(t *testing.T) {
	b, stop := brokerAt(t, "127.0.0.1:0")
	w := &world{t: t, broker: b, addr: b.Addr().String()}
	w.conn = w.dial(client.WithBackoff(10*time.Millisecond, 100*time.Millisecond))
	srv := w.provider(func(srv *server.RpcServer) { require.NoError(t, server.Handle(srv, "greet", greet)) })
	s := w.run("restart")
	s.expect("online")
	port := int(s.expect("ready")["port"].(float64))
	s.tell("call")
	assert.Equal(t, "hello", s.expect("greeted")["result"])

	stop()
	s.tell("call")
	assert.Equal(t, "hello", s.expect("greeted")["result"], "providers are called while the broker is away")
	_, stop = brokerAt(t, w.addr)
	t.Cleanup(stop)

	list, err := client.NewDiscoveryClient(w.dial()).WaitFor(t.Context(), "py.hello")
	require.NoError(t, err)
	assert.Equal(t, port, list[0].Host.Port, "the registration is back")
	var text string
	require.NoError(t, w.calls().Call(t.Context(), "py.hello", struct{}{}, &text))
	assert.Equal(t, "hello", text)

	topics := client.NewTopicClient(w.dial())
	require.NoError(t, topics.Publish(t.Context(), "news", "again"), "the topic is back with its registrations: they are restored together")
	assert.Equal(t, "again", s.expect("heard")["message"])
	assert.Equal(t, "again", s.expect("heard too")["message"], "and so are its subscriptions")

	require.NoError(t, srv.Drain(t.Context()))
	assert.Contains(t, s.expect("online")["host"], "draining")
	require.NoError(t, srv.Shutdown(t.Context()))
	assert.Contains(t, s.expect("offline")["host"], srv.Addr().String(), "and so is what it watches")
	s.end()
}

func TestPythonSaysWhoItIs(t *testing.T) {
	token, entry, err := access.NewToken("billing", "", time.Time{})
	require.NoError(t, err)
	tokens, err := access.NewTokens(entry)
	require.NoError(t, err)
	policy, err := access.ParsePolicy([]byte(`{"identities": {"billing": {"allow": {"discover": ["greet"]}}}}`))
	require.NoError(t, err)
	b, stop := brokerAt(t, "127.0.0.1:0", server.WithGuard(access.NewGuard(policy, tokens)))
	t.Cleanup(stop)
	w := &world{t: t, broker: b, addr: b.Addr().String()}

	s := w.run("watch", token.Reveal())
	s.expect("ready")
	s.tell("end")
	s.finish()

	wrong := w.run("watch", "tfl_wrong")
	for range wrong.lines {
	}
	var exit *exec.ExitError
	require.ErrorAs(t, wrong.cmd.Wait(), &exit)
	assert.Contains(t, wrong.stderr.String(), "rcode 21, DENIED")
}

// certificate makes one for loopback that signs itself, and returns its files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &private.PublicKey, private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	dir := t.TempDir()
	write := func(name, typ string, b []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: b}), 0o600))
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", pkcs8)
}

func TestPythonSpeaksTLS(t *testing.T) {
	cert, key := certificate(t)
	secure, err := stdnet.NewTLS(stdnet.TLSConfig{CertFile: cert, KeyFile: key, Logger: quiet()})
	require.NoError(t, err)
	b, stop := brokerAt(t, "127.0.0.1:0", server.WithTLS(secure))
	t.Cleanup(stop)
	require.NoError(t, server.Handle(b, "broker.echo", echo))
	runPython(t, "conformance.py", "secure", b.Addr().String(), cert, key).finish()
}

func TestPythonProgramsDoWhatTheySay(t *testing.T) {
	w := newWorld(t)
	provider := runPython(t, "provide.py", w.addr)
	assert.Contains(t, provider.line(), "math.add")
	for _, tt := range []struct {
		args []string
		want string
		code int
	}{
		{[]string{"math.add", `{"num1":20,"num2":30}`}, "50", 0},
		{[]string{"text.upper", `{"text":"héllo"}`}, `"HÉLLO"`, 0},
		{[]string{"math.add", `{"num1":"x","num2":30}`}, "", 1},
		{[]string{"nobody.provides"}, "", 1},
		{[]string{"math.add", `{"num1":`}, "", 2},
		{nil, "", 2},
	} {
		call := runPython(t, append([]string{"call.py", w.addr}, tt.args...)...)
		var out []string
		for line := range call.lines {
			out = append(out, line)
		}
		var exit *exec.ExitError
		if err := call.cmd.Wait(); tt.code != 0 {
			require.ErrorAs(t, err, &exit)
			assert.Equal(t, tt.code, exit.ExitCode())
			assert.NotContains(t, call.stderr.String(), "Traceback")
		} else {
			require.NoError(t, err, call.stderr.String())
		}
		assert.Equal(t, tt.want, strings.Join(out, "\n"))
	}
	provider.end()

	ann, ben := runPython(t, "chat.py", w.addr, "ann"), runPython(t, "chat.py", w.addr, "ben")
	assert.Contains(t, ann.line(), "ann")
	assert.Contains(t, ben.line(), "ben")
	ann.tell("hello, 世界")
	assert.Equal(t, "ann: hello, 世界", ben.line())
	assert.Equal(t, "ann: hello, 世界", ann.line())
	ann.end()
	ben.end()
}

// TestPythonKnowsEveryCodeAndType holds the numbers in trefoil.py against ours.
func TestPythonKnowsEveryCodeAndType(t *testing.T) {
	text := read(t, "docs/examples/python/trefoil.py")
	for name, n := range constants(t, "abstract/errors.go", "RCode") {
		upper := strings.ToUpper(regexp.MustCompile(`([a-z])([A-Z])`).ReplaceAllString(name, "${1}_$2"))
		assert.Contains(t, text, fmt.Sprintf("    %s = %d\n", upper, n), "trefoil.py lacks the code %s", name)
	}
	assert.Contains(t, text, "REQ_RPC, RSP_RPC, REQ_TOPIC, RSP_TOPIC, REQ_SERVICE, RSP_SERVICE = range(6)")
	assert.Contains(t, text, "REQ_HELLO, RSP_HELLO, PING, PONG, GOODBYE, RSP_UNSUPPORTED, GAP, CANCEL = range(16, 24)")
	for n, name := range []string{"REQ_HELLO", "RSP_HELLO", "PING", "PONG", "GOODBYE", "RSP_UNSUPPORTED", "GAP", "CANCEL"} {
		assert.Equal(t, name, abstract.MType(16+n).String())
	}
}

// TestClientsPageNamesWhatIsThere: what clients.md writes like `Link.request` is in
// trefoil.py, and the files it names exist.
func TestClientsPageNamesWhatIsThere(t *testing.T) {
	page, source := read(t, "docs/clients.md"), read(t, "docs/examples/python/trefoil.py")
	names := regexp.MustCompile("`(_?[A-Z]\\w*)\\.(\\w+)`|`(_?[a-z]\\w*)\\(\\)`|`(_?[A-Z][a-z]\\w*)`").FindAllStringSubmatch(page, -1)
	require.Greater(t, len(names), 30)
	for _, m := range names {
		switch {
		case m[1] != "":
			body := regexp.MustCompile(`(?ms)^class ` + m[1] + `\b.*?(?:^\S|\z)`).FindString(source)
			there := regexp.MustCompile(`(?m)^    (def )?` + m[2] + `\b|\bself\.` + m[2] + `\b`).MatchString(body)
			assert.True(t, there, "trefoil.py has no %s.%s", m[1], m[2])
		case m[3] != "":
			assert.True(t, strings.Contains(source, "\ndef "+m[3]+"("), "trefoil.py has no function %s", m[3])
		default:
			there := regexp.MustCompile(`(?m)^class ` + m[4] + `\b`).MatchString(source)
			assert.True(t, there, "trefoil.py has no class %s", m[4])
		}
	}
	for _, m := range regexp.MustCompile(`\]\(([^)#]+)\)`).FindAllStringSubmatch(page, -1) {
		assertThere(t, "docs/clients.md", filepath.Join("docs", m[1]))
	}
	for _, m := range regexp.MustCompile("`(\\d\\d-[\\w-]+)`").FindAllStringSubmatch(page, -1) {
		assertThere(t, "docs/clients.md", "concrete/lv/testdata/"+m[1]+".hex")
	}
}
