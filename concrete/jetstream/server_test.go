package jetstream

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// serverDir names the directory of a NATS server that runs in a child process, and
// serverPort the port it shall have.
const (
	serverDir  = "TREFOIL_JETSTREAM_SERVER"
	serverPort = "TREFOIL_JETSTREAM_PORT"
	// serverRoutes are the ports of its cluster, its own first; empty when there is none.
	serverRoutes = "TREFOIL_JETSTREAM_ROUTES"
)

// serveUntilKilled is an external NATS server. It ends with its standard input.
func serveUntilKilled(dir string) int {
	port, _ := strconv.Atoi(os.Getenv(serverPort))
	opts := &server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoSigs: true, MaxPayload: 2 << 20}
	if routes := strings.Fields(os.Getenv(serverRoutes)); len(routes) > 0 {
		own, _ := strconv.Atoi(routes[0])
		opts.ServerName, opts.Cluster = "server-"+routes[0], server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: own}
		opts.Routes = server.RoutesFromStr("nats://127.0.0.1:" + strings.Join(routes, ",nats://127.0.0.1:"))
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	srv.Start()
	if !srv.ReadyForConnections(startPatience) {
		return 1
	}
	fmt.Println(srv.Addr())
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
	srv.Shutdown()
	srv.WaitForShutdown()
	return 0
}

// startServer starts a server and returns its URL. It is killed when the test ends.
func startServer(t *testing.T, dir string) string {
	url, _ := startServerAt(t, dir, -1)
	return url
}

// startServerAt starts a server at a port, and returns its process, too.
func startServerAt(t *testing.T, dir string, port int, routes ...string) (url string, p *os.Process) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serverDir+"="+dir, serverPort+"="+strconv.Itoa(port), serverRoutes+"="+strings.Join(routes, " "))
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(stdout)
	require.True(t, lines.Scan(), "the server says its address")
	return "nats://" + lines.Text(), cmd.Process
}

// startCluster starts three servers, and returns their URLs when they can be used.
func startCluster(t *testing.T) string {
	var ports, urls []string
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		_, port, err := net.SplitHostPort(l.Addr().String())
		require.NoError(t, err)
		ports = append(ports, port)
		require.NoError(t, l.Close())
	}
	for i := range ports {
		url, _ := startServerAt(t, t.TempDir(), -1, append(ports[i:len(ports):len(ports)], ports[:i]...)...)
		urls = append(urls, url)
	}
	url := strings.Join(urls, ",")
	require.Eventually(t, func() bool {
		s, err := Open(context.Background(), Config{URL: url, Replicas: 3, Prefix: "ready"})
		if err != nil {
			return false
		}
		defer s.Close()
		_, err = s.Open(within(t), "t", "1", abstract.LogConfig{})
		return err == nil
	}, time.Minute, 100*time.Millisecond)
	return url
}

// TestServerElsewhereMayGoAway kills the server below a consumer and an appender: both
// say so in words, and go on with the next one.
func TestServerElsewhereMayGoAway(t *testing.T) {
	dir := t.TempDir()
	url, server := startServerAt(t, dir, -1)
	s := open(t, Config{URL: url, Timeout: 2 * time.Second})
	l, err := s.Open(within(t), "t", "1", abstract.LogConfig{})
	require.NoError(t, err)
	c, err := l.Consumer(within(t), "c", abstract.ConsumerConfig{From: 1})
	require.NoError(t, err)
	_, err = l.Append(within(t), []abstract.LogEntry{{Data: []byte("before")}})
	require.NoError(t, err)
	require.NoError(t, server.Kill())
	_, err = l.Append(within(t), []abstract.LogEntry{{Data: []byte("lost")}})
	require.Error(t, err)
	assert.Contains(t, []abstract.RCode{abstract.Unavailable, abstract.UnknownFate}, abstract.CodeOf(err), "%v", err)
	_, _, err = l.Bounds(within(t))
	require.Error(t, err)
	assert.NotEqual(t, abstract.TopicNotFound, abstract.CodeOf(err), "%v", err)

	_, portText, err := net.SplitHostPort(url[len("nats://"):])
	require.NoError(t, err)
	port, err := strconv.Atoi(portText)
	require.NoError(t, err)
	startServerAt(t, dir, port)
	ctx := within(t)
	for {
		_, err = l.Append(ctx, []abstract.LogEntry{{Data: []byte("after")}})
		if err == nil {
			break
		}
		require.NoError(t, ctx.Err(), "%v", err)
	}
	got := map[string]bool{}
	for !got["after"] {
		list, err := c.Fetch(ctx, 10)
		require.NoError(t, err)
		for _, d := range list {
			got[string(d.Entry().Data)] = true
			require.NoError(t, d.Ack(ctx))
		}
	}
	assert.True(t, got["before"])
}

func TestServerElsewhereThatIsNotThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	_, err = Open(context.Background(), Config{URL: "nats://" + addr})
	assert.Equal(t, abstract.Unavailable, abstract.CodeOf(err), "%v", err)
	assert.ErrorContains(t, err, "check the URL")
}

func TestServersLimitOfAMessage(t *testing.T) {
	s := open(t, Config{URL: startServer(t, t.TempDir())})
	l, err := s.Open(within(t), "t", "1", abstract.LogConfig{})
	require.NoError(t, err)
	_, err = l.Append(within(t), []abstract.LogEntry{{Data: make([]byte, 3<<20)}})
	assert.Equal(t, abstract.TooLarge, abstract.CodeOf(err), "%v", err)
	_, err = l.Append(within(t), []abstract.LogEntry{{Data: make([]byte, 1<<20)}, {Data: make([]byte, 3<<20)}})
	assert.Equal(t, abstract.TooLarge, abstract.CodeOf(err), "%v", err)
	var e *abstract.Error
	require.ErrorAs(t, err, &e)
	offsets, err := l.Append(within(t), []abstract.LogEntry{{Data: []byte("fits")}})
	require.NoError(t, err)
	assert.Positive(t, offsets[0].Offset)
}
