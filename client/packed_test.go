package client_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/compress"
	"trefoil/concrete/lv"
	"trefoil/concrete/mem"
	"trefoil/concrete/message"
)

// squeezing is a server that answers HELLO and then sends frames.
type squeezing struct {
	bc    abstract.BaseConnection
	heard chan *message.Hello
	sends [][]byte
	early bool // instead of the answer

	pushes [][]byte // sent to who subscribes
}

func (p *squeezing) OnMessages(batch []abstract.BaseMessage) {
	for _, m := range batch {
		if m.Type() == abstract.ReqTopic {
			_ = p.bc.Send(&message.TopicResponse{Header: message.ID(m.ID())})
			p.queue(p.pushes)
		}
		hello, ok := m.(*message.Hello)
		if !ok {
			continue
		}
		p.heard <- hello
		if !p.early {
			_ = p.bc.Send(&message.HelloResponse{Header: message.ID(m.ID()), Version: message.ProtocolVersion, PingMs: 60_000, Misses: 5, MaxFrame: 8 << 20, Compress: []string{"s2", "zstd"}})
		}
		p.queue(p.sends)
	}
}

func (p *squeezing) queue(frames [][]byte) {
	for _, b := range frames {
		_ = p.bc.Queue(abstract.Frame{Class: abstract.ClassTopic, Count: 1, Bytes: b})
	}
	p.bc.Flush()
}

func (p *squeezing) OnClose(error) {}

// frameOf is a frame whose body is compressed with a method, unless that is none.
func frameOf(t abstract.MType, m abstract.CompressMethod, body string) []byte {
	b := []byte(body)
	if m != abstract.CompressNone {
		b, _ = compress.New(compress.Config{Above: -1, MaxBody: 64 << 20}).Compress(nil, m, b)
		t = t.With(m)
	}
	head := binary.BigEndian.AppendUint32(nil, uint32(9+len(b)))
	head = binary.BigEndian.AppendUint32(head, uint32(t))
	head = append(binary.BigEndian.AppendUint32(head, 1), 'x')
	return append(head, b...)
}

func squeeze(t *testing.T, p *squeezing) *mem.Network {
	t.Helper()
	n := mem.NewNetwork()
	p.heard = make(chan *message.Hello, 10)
	srv := n.Server("broker", abstract.TransportConfig{
		Protocol: lv.New(message.New(message.Config{}), lv.Config{}), Logger: quiet,
		OnOpen: func(bc abstract.BaseConnection) abstract.Receiver {
			one := *p
			one.bc = bc
			return &one
		},
	})
	require.NoError(t, srv.Listen())
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve() }()
	t.Cleanup(func() { _, _ = srv.Shutdown(context.Background()), <-ended })
	return n
}

func only(methods ...abstract.CompressMethod) client.Option {
	return client.WithCompression(compress.New(compress.Config{Methods: methods}))
}

func TestClientsCloseOnBadCompression(t *testing.T) {
	both := only(abstract.CompressS2, abstract.CompressZstd)
	push := `{"topic_key":"news","optype":4,"topic_msg":"` + strings.Repeat("long ", 2000) + `"}`
	good := frameOf(abstract.ReqTopic, abstract.CompressS2, push)
	damaged := bytes.Clone(good[:len(good)-2])
	binary.BigEndian.PutUint32(damaged, uint32(len(damaged)-4))
	for name, tt := range map[string]struct {
		option client.Option
		frame  []byte
		early  bool
		code   abstract.RCode
	}{
		"nobody has offered it":      {client.WithLogger(quiet), good, false, abstract.Unsupported},
		"another method was offered": {only(abstract.CompressZstd), good, false, abstract.Unsupported},
		"damaged":                    {both, damaged, false, abstract.ParseFailed},
		"too large":                  {both, frameOf(abstract.ReqTopic, abstract.CompressZstd, `{"a":"`+strings.Repeat("a", 9<<20)+`"}`), false, abstract.TooLarge},
		"no JSON":                    {both, frameOf(abstract.ReqTopic, abstract.CompressS2, strings.Repeat("a", 9000)), false, abstract.ParseFailed},
		"before HELLO is answered":   {both, good, true, abstract.Unsupported},
		"the answer to HELLO": {both, frameOf(abstract.RspHello, abstract.CompressS2,
			`{"rcode":0,"version":1,"max_frame":8388608,"ping_ms":1000,"misses":5,"agent":"`+strings.Repeat("a", 200)+`"}`), true, abstract.Unsupported},
	} {
		t.Run(name, func(t *testing.T) {
			p := &squeezing{early: tt.early, pushes: [][]byte{tt.frame}}
			if tt.early {
				p.sends = p.pushes
			}
			n := squeeze(t, p)
			lost := make(chan error, 100)
			conn, err := client.Dial(context.Background(), "broker", patient(client.WithTransport(n.Client),
				client.WithBackoff(time.Millisecond, time.Hour), client.OnDisconnected(func(err error) { lost <- err }), tt.option)...)
			if tt.early {
				require.Equal(t, tt.code, abstract.CodeOf(err), "%v", err)
				return
			}
			require.NoError(t, err)
			defer conn.Close()
			_ = client.NewTopicClient(conn).Create(context.Background(), "news") // what is sent then ends it
			assert.Equal(t, tt.code, abstract.CodeOf(<-lost))
		})
	}
}

func TestHelloListsWhatTheClientTakes(t *testing.T) {
	for name, tt := range map[string]struct {
		option client.Option
		want   []string
	}{
		"none by default": {client.WithLogger(quiet), nil},
		"in its order":    {only(abstract.CompressZstd, abstract.CompressS2), []string{"zstd", "s2"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := &squeezing{}
			n := squeeze(t, p)
			conn, err := client.Dial(context.Background(), "broker", patient(client.WithTransport(n.Client), tt.option)...)
			require.NoError(t, err)
			defer conn.Close()
			assert.Equal(t, tt.want, (<-p.heard).Compress)
		})
	}
}

// TestCompressedPushesKeepTheirOrder mixes long and short ones: what a client makes
// whole at once is bounded, and that must not show.
func TestCompressedPushesKeepTheirOrder(t *testing.T) {
	const count = 40
	sizes := []int{10, 300 << 10, 200}
	p := &squeezing{}
	for i := range count {
		method := abstract.CompressMethod(i % 3)
		p.pushes = append(p.pushes, frameOf(abstract.ReqTopic, method, fmt.Sprintf(`{"topic_key":"news","optype":4,"topic_msg":{"n":%d,"fill":%q}}`, i, strings.Repeat("a", sizes[i%3]))))
	}
	n := squeeze(t, p)
	ctx := context.Background()
	conn, err := client.Dial(ctx, "broker", patient(client.WithTransport(n.Client),
		only(abstract.CompressS2, abstract.CompressZstd), client.WithSubscriptionQueue(64<<20))...)
	require.NoError(t, err)
	defer conn.Close()
	got := make(chan int, count)
	_, err = client.NewTopicClient(conn).Subscribe(ctx, "news", func(m client.Message) {
		var v struct {
			N    int    `json:"n"`
			Fill string `json:"fill"`
		}
		assert.NoError(t, m.Decode(&v))
		assert.Len(t, v.Fill, sizes[v.N%3])
		got <- v.N
	})
	require.NoError(t, err)
	for i := range count {
		require.Equal(t, i, <-got)
	}
}
