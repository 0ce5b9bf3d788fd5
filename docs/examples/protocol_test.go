package examples_test

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/concrete/compress"
	"trefoil/concrete/mem"
	"trefoil/server"
)

// mathBroker starts a broker that serves what the examples of protocol.md call,
// and returns a connection of bare bytes to it.
func mathBroker(t *testing.T, opts ...server.Option) net.Conn {
	t.Helper()
	network := mem.NewNetwork()
	broker := server.NewBroker("broker", append(opts, server.WithTransport(network.Server))...)
	type args struct {
		Num1 int `json:"num1"`
		Num2 int `json:"num2"`
	}
	require.NoError(t, server.Handle(broker, "math.add", func(_ context.Context, in args) (int, error) { return in.Num1 + in.Num2, nil }))
	require.NoError(t, broker.Listen())
	served := make(chan error, 1)
	go func() { served <- broker.Serve() }()
	t.Cleanup(func() {
		assert.NoError(t, broker.Shutdown(context.Background()))
		assert.NoError(t, <-served)
	})
	conn, err := network.Dial(t.Context(), "broker")
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// receive reads one frame and its body.
func receive(t *testing.T, conn net.Conn) (frame, body []byte) {
	t.Helper()
	frame = make([]byte, 12)
	_, err := io.ReadFull(conn, frame)
	require.NoError(t, err)
	rest := make([]byte, int(binary.BigEndian.Uint32(frame))-8)
	_, err = io.ReadFull(conn, rest)
	require.NoError(t, err)
	return append(frame, rest...), rest[binary.BigEndian.Uint32(frame[8:]):]
}

func send(t *testing.T, conn net.Conn, mtype uint32, body string) {
	t.Helper()
	b := binary.BigEndian.AppendUint32(nil, uint32(8+1+len(body)))
	b = binary.BigEndian.AppendUint32(b, mtype)
	b = binary.BigEndian.AppendUint32(b, 1)
	_, err := conn.Write(append(append(b, '1'), body...))
	require.NoError(t, err)
}

// documentedFrames returns the whole frames of protocol.md: a request, its
// response, a request as existing programs write it, a publish compressed with s2,
// the same with zstd, and a HELLO.
func documentedFrames(t *testing.T) [][]byte {
	t.Helper()
	var frames [][]byte
	for _, m := range regexp.MustCompile("whole frame: `([0-9a-f]+)`").FindAllStringSubmatch(read(t, "docs/protocol.md"), -1) {
		b, err := hex.DecodeString(m[1])
		require.NoError(t, err)
		frames = append(frames, b)
	}
	require.Len(t, frames, 6)
	return frames
}

func TestDocumentedRequestGetsTheDocumentedResponse(t *testing.T) {
	frames := documentedFrames(t)
	conn := mathBroker(t)
	_, err := conn.Write(frames[0])
	require.NoError(t, err)
	got, _ := receive(t, conn)
	assert.Equal(t, hex.EncodeToString(frames[1]), hex.EncodeToString(got))
}

func TestDocumentedHelloGetsTheDocumentedAnswer(t *testing.T) {
	conn := mathBroker(t)
	_, err := conn.Write(documentedFrames(t)[5])
	require.NoError(t, err)
	_, body := receive(t, conn)
	body = regexp.MustCompile(`"run":"[A-Z2-7]+"`).ReplaceAll(body, []byte(`"run":"GZ4TK..."`)) // another one each time
	assert.True(t, strings.Contains(read(t, "docs/protocol.md"), "\n"+string(body)+"\n"), "protocol.md does not show %s", body)
}

func TestDocumentedCompressedFramesAreTaken(t *testing.T) {
	conn := mathBroker(t, server.WithCompression(compress.New(compress.Config{})))
	send(t, conn, 16, `{"version":1,"compress":["s2","zstd"]}`)
	_, hello := receive(t, conn)
	require.Contains(t, string(hello), `"compress":["s2","zstd"]`)
	send(t, conn, 2, `{"optype":0,"topic_key":"news"}`)
	_, created := receive(t, conn)
	require.Equal(t, `{"rcode":0}`, string(created))

	for _, frame := range documentedFrames(t)[3:5] {
		_, err := conn.Write(frame)
		require.NoError(t, err)
		answer, body := receive(t, conn)
		assert.Equal(t, `{"rcode":0}`, string(body))
		assert.Equal(t, "7", string(answer[12:13]), "the id is as it is")
	}
}

// TestDocumentedBodiesAreWhatABrokerSays sends the requests that protocol.md
// shows, and finds the answers in it.
func TestDocumentedBodiesAreWhatABrokerSays(t *testing.T) {
	text := read(t, "docs/protocol.md")
	conn := mathBroker(t)
	for _, step := range []struct {
		name  string
		mtype uint32
		body  string
		shown bool // the request stands in protocol.md too
	}{
		{"a parameter is missing", 0, `{"method":"math.add","parameters":{"num1":20}}`, false},
		{"nobody provides the method", 4, `{"optype":1,"method":"math.add"}`, true},
		{"register", 4, `{"optype":0,"method":"news.count","host":{"ip":"10.0.0.7","port":9000}}`, false},
		{"create a topic", 2, `{"optype":0,"topic_key":"news"}`, false},
		{"publish", 2, `{"optype":4,"topic_key":"news","topic_msg":"m0"}`, true},
	} {
		send(t, conn, step.mtype, step.body)
		_, body := receive(t, conn)
		assert.True(t, strings.Contains(text, "\n"+string(body)+"\n"), "%s: protocol.md does not show %s", step.name, body)
		assert.True(t, !step.shown || strings.Contains(text, "\n"+step.body+"\n"), "%s: protocol.md does not show %s", step.name, step.body)
	}
}
