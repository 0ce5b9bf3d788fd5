package server_test

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/business/access"
	"trefoil/client"
	"trefoil/concrete/compress"
	"trefoil/concrete/lv"
	"trefoil/concrete/mem"
	"trefoil/concrete/message"
	"trefoil/server"
)

const (
	s2Bits   = 2 << 28
	zstdBits = 1 << 28
)

// counting is a Compression that counts what it does, by the type of the frames.
type counting struct {
	abstract.Compression
	mu             sync.Mutex
	packed, opened map[abstract.MType]int
	methods        map[abstract.CompressMethod]int
}

func counts(cfg compress.Config) *counting {
	return &counting{
		Compression: compress.New(cfg), packed: map[abstract.MType]int{}, opened: map[abstract.MType]int{},
		methods: map[abstract.CompressMethod]int{},
	}
}

func typeOf(head []byte) abstract.MType {
	return abstract.MType(binary.BigEndian.Uint32(head[4:])).Plain()
}

func (c *counting) Compress(head []byte, m abstract.CompressMethod, body []byte) ([]byte, bool) {
	out, ok := c.Compression.Compress(head, m, body)
	if ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.packed[typeOf(head)]++
		c.methods[m]++
	}
	return out, ok
}

func (c *counting) Decompress(head []byte, m abstract.CompressMethod, data []byte, limit int) ([]byte, error) {
	out, err := c.Compression.Decompress(head, m, data, limit)
	if err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.opened[typeOf(head)]++
	}
	return out, err
}

// types are those that were compressed, and those that were made whole.
func (c *counting) types() (packed, opened []abstract.MType) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.packed)), slices.Sorted(maps.Keys(c.opened))
}

// packed is a frame whose body is compressed, ready for a raw peer to send.
func packed(t testing.TB, m abstract.CompressMethod, f frame) frame {
	t.Helper()
	out, ok := compress.New(compress.Config{Above: -1, MaxBody: 64 << 20}).Compress(nil, m, []byte(f.body))
	require.True(t, ok, "it must become smaller")
	return frame{f.mtype | int32(m)<<28, f.id, string(out)}
}

// whole is what a packed frame was before.
func (f frame) whole(t testing.TB) frame {
	t.Helper()
	m := abstract.MType(f.mtype)
	out, err := compress.New(compress.Config{}).Decompress(nil, m.Compressed(), []byte(f.body), 8<<20)
	require.NoError(t, err)
	return frame{int32(m.Plain()), f.id, string(out)}
}

// helloWith says HELLO with a list of methods, and returns what the answer lists.
func (r *raw) helloWith(methods ...string) []string {
	r.t.Helper()
	list, err := json.Marshal(append([]string{}, methods...))
	require.NoError(r.t, err)
	r.send(frame{16, "h", `{"version":1,"max_frame":8388608,"compress":` + string(list) + `}`})
	answer := r.expect()
	require.Equal(r.t, int32(17), answer.mtype)
	var rsp struct {
		Compress []string `json:"compress"`
	}
	require.NoError(r.t, json.Unmarshal([]byte(answer.body), &rsp))
	return rsp.Compress
}

// echoCall is a call whose answer is as long as its parameters, about size bytes.
func echoCall(id string, size int) frame {
	return frame{0, id, `{"method":"Echo","parameters":{"content":"` + repeat("content ", size/8) + `"}}`}
}

func TestPeersAgreeOnCompression(t *testing.T) {
	const zstd, s2 = abstract.CompressZstd, abstract.CompressS2
	for name, tt := range map[string]struct {
		ours   []abstract.CompressMethod // nil: the server has no compression
		theirs []string
		lists  []string
		sends  int32
	}{
		"the server's order":          {[]abstract.CompressMethod{s2, zstd}, []string{"zstd", "s2"}, []string{"s2", "zstd"}, s2Bits},
		"the server's other order":    {[]abstract.CompressMethod{zstd, s2}, []string{"s2", "zstd"}, []string{"zstd", "s2"}, zstdBits},
		"what both have":              {[]abstract.CompressMethod{s2, zstd}, []string{"zstd"}, []string{"s2", "zstd"}, zstdBits},
		"names that are not known":    {[]abstract.CompressMethod{s2}, []string{"brotli", "", "s2"}, []string{"s2"}, s2Bits},
		"nothing in common":           {[]abstract.CompressMethod{s2}, []string{"zstd"}, []string{"s2"}, 0},
		"a peer that lists none":      {[]abstract.CompressMethod{s2}, nil, []string{"s2"}, 0},
		"a server without":            {nil, []string{"s2", "zstd"}, nil, 0},
		"none is no way to do it":     {[]abstract.CompressMethod{s2}, []string{"none"}, []string{"s2"}, 0},
		"numbers of methods no names": {[]abstract.CompressMethod{s2}, []string{"method 2", "2"}, []string{"s2"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var opts []server.Option
			if tt.ours != nil {
				opts = append(opts, server.WithCompression(compress.New(compress.Config{Methods: tt.ours})))
			}
			r := dialRaw(t, broker(t, opts...).Addr())
			assert.Equal(t, tt.lists, r.helloWith(tt.theirs...))
			r.send(echoCall("long", 20_000), echoCall("short", 1000))
			long, short := r.expect(), r.expect()
			if long.id == "short" { // responses need not come in the order of their requests
				long, short = short, long
			}
			assert.Equal(t, 1|tt.sends, long.mtype)
			assert.Equal(t, int32(1), short.mtype, "below the threshold")
			if tt.sends != 0 {
				assert.Less(t, len(long.body), 2000)
				long = long.whole(t)
			}
			assert.Equal(t, 0, long.rcode())
			assert.Len(t, long.field("result"), 20_000)
		})
	}
}

func TestLegacyPeersGetBodiesAsTheyAre(t *testing.T) {
	r := dialRaw(t, broker(t, server.WithCompression(compress.New(compress.Config{}))).Addr())
	r.send(echoCall("1", 20_000))
	assert.Equal(t, int32(1), r.expect().mtype)
}

// TestBadCompressionClosesTheConnection sends what no honest peer does.
func TestBadCompressionClosesTheConnection(t *testing.T) {
	const limit = 1 << 20
	only := func(m ...abstract.CompressMethod) server.Option {
		return server.WithCompression(compress.New(compress.Config{Methods: m, MaxBody: limit}))
	}
	both := only(abstract.CompressS2, abstract.CompressZstd)
	long := echoCall("x", 20_000)
	block := packed(t, abstract.CompressS2, long)
	spaces := frame{0, "x", `{"method":"Echo",` + repeat(" ", limit) + `"parameters":{}}`}
	fill := limit - 12 - 1 - len(`{"method":"Echo","parameters":{"content":""}}`)
	for name, tt := range map[string]struct {
		option server.Option
		hello  bool
		send   frame
		code   abstract.RCode
		text   string
	}{
		"before HELLO":              {both, false, block, 0, ""},
		"a HELLO":                   {both, false, packed(t, abstract.CompressS2, frame{16, "h", `{"version":1,"agent":"` + repeat("a", 200) + `"}`}), 0, ""},
		"a second HELLO":            {both, true, packed(t, abstract.CompressS2, frame{16, "h", `{"version":1,"agent":"` + repeat("a", 200) + `"}`}), abstract.InvalidMessage, "REQ_HELLO"},
		"a method that was not":     {only(abstract.CompressZstd), true, block, abstract.Unsupported, "s2"},
		"a server without":          {server.WithMaxFrame(limit), true, block, abstract.Unsupported, "nobody has offered"},
		"an unknown method":         {both, true, frame{0 | 3<<28, "x", block.body}, abstract.Unsupported, "method 3"},
		"the last method":           {both, true, frame{0 | 7<<28, "x", block.body}, abstract.Unsupported, "method 7"},
		"the other method":          {both, true, frame{0 | zstdBits, "x", block.body}, abstract.ParseFailed, "zstd"},
		"damaged":                   {both, true, frame{block.mtype, "x", block.body[:len(block.body)-3]}, abstract.ParseFailed, "s2"},
		"empty":                     {both, true, frame{block.mtype, "x", ""}, abstract.ParseFailed, "s2"},
		"no JSON":                   {both, true, packed(t, abstract.CompressS2, frame{0, "x", repeat("a", 9000)}), abstract.ParseFailed, "JSON"},
		"too large, s2":             {both, true, packed(t, abstract.CompressS2, spaces), abstract.TooLarge, "limit of 1048563 bytes"},
		"too large, zstd":           {both, true, packed(t, abstract.CompressZstd, spaces), abstract.TooLarge, "limit of 1048563 bytes"},
		"a byte too large":          {both, true, packed(t, abstract.CompressZstd, echoOf(fill+1)), abstract.TooLarge, "limit"},
		"announced and not there":   {both, true, frame{s2Bits, "x", string(binary.AppendUvarint(nil, limit/2)) + "x"}, abstract.ParseFailed, "s2"},
		"far more is announced":     {both, true, frame{s2Bits, "x", string(binary.AppendUvarint(nil, 1<<31)) + "x"}, abstract.TooLarge, "limit"},
		"a type between the others": {both, true, frame{6 | s2Bits, "x", block.body}, abstract.InvalidMessage, "no message type"},
	} {
		t.Run(name, func(t *testing.T) {
			r := dialRaw(t, broker(t, server.WithMaxFrame(limit), tt.option).Addr())
			if tt.hello {
				r.hello()
			}
			r.send(tt.send, frame{0, "after", `{"method":"Add","parameters":{"num1":1,"num2":2}}`})
			if tt.hello && tt.code != abstract.InvalidMessage || name == "a second HELLO" {
				bye := r.expect()
				require.Equal(t, int32(20), bye.mtype, "%+v", bye)
				assert.Equal(t, int(tt.code), bye.rcode(), bye.body)
				assert.Contains(t, bye.field("message"), tt.text)
			}
			r.expectClosed()
		})
	}
	t.Run("but the limit itself is taken", func(t *testing.T) {
		r := dialRaw(t, broker(t, server.WithMaxFrame(limit), both).Addr()).hello()
		r.send(packed(t, abstract.CompressZstd, echoOf(fill)))
		assert.Equal(t, int32(1), r.expect().mtype)
	})
}

func echoOf(size int) frame {
	return frame{0, "x", `{"method":"Echo","parameters":{"content":"` + repeat("a", size) + `"}}`}
}

// TestLiesAboutSizeCostNoMemory opens connections whose first words after HELLO
// announce what would fill the memory, or become it.
func TestLiesAboutSizeCostNoMemory(t *testing.T) {
	const limit, peers = 8 << 20, 20
	b := broker(t, server.WithCompression(compress.New(compress.Config{})))
	bomb := packed(t, abstract.CompressZstd, frame{0, "x", `{"a":"` + repeat("a", 64<<20) + `"}`})
	for name, f := range map[string]frame{
		"what is announced is not there": {s2Bits, "x", string(binary.AppendUvarint(nil, limit-100)) + "x"},
		"too much is announced":          {s2Bits, "x", string(binary.AppendUvarint(nil, 1<<32-1)) + "x"},
		"too much is there":              bomb,
	} {
		t.Run(name, func(t *testing.T) {
			attack := func() {
				r := dialRaw(t, b.Addr()).hello()
				r.send(f)
				assert.Equal(t, int32(20), r.expect().mtype)
				r.expectClosed()
			}
			attack()                                         // what the process needs once
			defer debug.SetGCPercent(debug.SetGCPercent(-1)) // which empties pools
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range peers {
				attack()
			}
			runtime.ReadMemStats(&after)
			// Scratch memory is pooled; the race detector drops some of it.
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(peers*limit*3/4), "of %d, if each had cost what it may be", peers*limit)
		})
	}
}

// TestABatchIsNeverWholeAllAtOnce sends much that takes little room, in one piece.
func TestABatchIsNeverWholeAllAtOnce(t *testing.T) {
	const each, calls = 1 << 20, 60
	b := newBroker(server.WithCompression(compress.New(compress.Config{})))
	live := make(chan uint64, calls)
	require.NoError(t, b.HandleFunc(server.Description{Method: "live", Result: "any"}, func(context.Context, json.RawMessage) (any, error) {
		runtime.GC()
		var now runtime.MemStats
		runtime.ReadMemStats(&now)
		live <- now.HeapAlloc
		return nil, nil
	}))
	serve(t, b)
	r := dialRaw(t, b.Addr()).hello()
	fill := packed(t, abstract.CompressS2, frame{3, "x", `{"a":"` + repeat("a", each) + `"}`}) // handled and forgotten
	batch := slices.Repeat([]frame{fill}, calls)
	last := frame{0, "last", `{"method":"live","parameters":{}}`}
	r.send(last)
	require.Equal(t, "last", r.expect().id)
	before := <-live
	r.send(append(batch, last)...)
	require.Equal(t, "last", r.expectNot(20).id)
	after := <-live
	assert.Less(t, max(after, before)-before, uint64(each*calls/4))
}

// TestAQuotaOfBytesCountsWhatTheyBecome sends two calls that are short as they arrive.
func TestAQuotaOfBytesCountsWhatTheyBecome(t *testing.T) {
	p, err := access.ParsePolicy([]byte(`{"identities": {"anonymous": {"allow": {"call": [">"]}, "quota": {"bytes_per_second": 1, "burst_bytes": 100000}}}}`))
	require.NoError(t, err)
	none, err := access.NewTokens()
	require.NoError(t, err)
	b := broker(t, server.WithGuard(access.NewGuard(p, none)), server.WithCompression(compress.New(compress.Config{})))
	r := dialRaw(t, b.Addr()).hello()
	for _, code := range []abstract.RCode{abstract.OK, abstract.Overloaded} {
		r.send(packed(t, abstract.CompressS2, echoCall("x", 60_000)))
		assert.Equal(t, int(code), r.expect().rcode())
	}
}

// transports are all there are, with an address for a server.
func transports(t *testing.T) map[string]struct {
	addr   string
	server server.Transport
	client client.Transport
} {
	net := mem.NewNetwork()
	return map[string]struct {
		addr   string
		server server.Transport
		client client.Transport
	}{
		"netpoll": {"127.0.0.1:0", server.Netpoll, client.Netpoll},
		"stdnet":  {"127.0.0.1:0", server.StandardNet, client.StandardNet},
		"unix":    {"unix:" + filepath.Join(t.TempDir(), "s"), server.StandardNet, client.StandardNet},
		"mem":     {"broker", net.Server, net.Client},
	}
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// TestEveryKindOfMessageIsCompressed makes each kind of message long, on each
// transport, with each method, and looks at what arrives.
func TestEveryKindOfMessageIsCompressed(t *testing.T) {
	for name, tr := range transports(t) {
		for _, method := range []abstract.CompressMethod{abstract.CompressS2, abstract.CompressZstd} {
			t.Run(name+" "+method.String(), func(t *testing.T) {
				ours := counts(compress.Config{})
				theirs := counts(compress.Config{Methods: []abstract.CompressMethod{method}})
				addr := tr.addr
				if path, ok := strings.CutPrefix(addr, "unix:"); ok {
					addr = "unix:" + path + method.String()
				}
				b := server.NewBroker(addr, server.WithTransport(tr.server), server.WithCompression(ours), server.WithLogger(quiet))
				methods(t, b)
				serve(t, b)
				if !strings.HasPrefix(addr, "unix:") {
					addr = b.Addr().String()
				}
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				conn, err := client.Dial(ctx, addr, patiently(client.WithTransport(tr.client), client.WithCompression(theirs), client.WithLogger(quiet))...)
				require.NoError(t, err)
				defer conn.Close()
				longCalls(ctx, t, conn)
				longPushes(ctx, t, conn)
				longRegistrations(ctx, t, conn)
				longNodes(ctx, t, conn)

				requests := []abstract.MType{abstract.ReqRPC, abstract.ReqTopic, abstract.ReqService, abstract.ReqNode}
				answers := []abstract.MType{abstract.RspRPC, abstract.ReqTopic, abstract.ReqService, abstract.RspService, abstract.RspNode, abstract.NodeEvent}
				packed, opened := theirs.types()
				assert.Equal(t, requests, packed, "by the client")
				assert.Equal(t, answers, opened, "at the client")
				packed, opened = ours.types()
				assert.Equal(t, answers, packed, "by the broker")
				assert.Equal(t, requests, opened, "at the broker")
				assert.Equal(t, []abstract.CompressMethod{method}, slices.Collect(maps.Keys(ours.methods)))
			})
		}
	}
}

var text = repeat("a text that is long and says little. ", 500)

func longCalls(ctx context.Context, t *testing.T, conn *client.Conn) {
	t.Helper()
	var back string
	rpc := client.NewDirectRpcClient(conn)
	require.NoError(t, rpc.Call(ctx, "Echo", map[string]string{"content": text}, &back))
	assert.Equal(t, text, back)
}

func longPushes(ctx context.Context, t *testing.T, conn *client.Conn) {
	t.Helper()
	topics := client.NewTopicClient(conn)
	require.NoError(t, topics.Create(ctx, "news"))
	sub, err := topics.Subscribe(ctx, "news", nil)
	require.NoError(t, err)
	require.NoError(t, topics.Publish(ctx, "news", text))
	for m, err := range sub.Messages(ctx) {
		require.NoError(t, err)
		var back string
		require.NoError(t, m.Decode(&back))
		assert.Equal(t, text, back)
		break
	}
}

func longRegistrations(ctx context.Context, t *testing.T, conn *client.Conn) {
	t.Helper()
	meta := abstract.NewMeta(map[string]string{"about": repeat("b", abstract.MaxMeta-100)})
	traits := abstract.Traits{Meta: meta, Zone: repeat("z", abstract.MaxTrait), Version: repeat("v", abstract.MaxTrait), Tags: abstract.NewTags(repeat("t", 100))}
	registry, discovery := client.NewRegistryClient(conn), client.NewDiscoveryClient(conn)
	provider := func(port int) abstract.Provider {
		return abstract.Provider{Method: "long", Host: abstract.Host{IP: "127.0.0.1", Port: port}, Traits: traits}
	}
	require.NoError(t, registry.Register(ctx, provider(1)))
	found, err := discovery.Discover(ctx, "long")
	require.NoError(t, err)
	require.Len(t, found, 1)
	assert.Equal(t, meta, found[0].Meta)
	require.NoError(t, registry.Register(ctx, provider(2))) // the notice
	require.Eventually(t, func() bool {
		found, err := discovery.Discover(ctx, "long")
		return err == nil && len(found) == 2
	}, patience, 1)
}

func longNodes(ctx context.Context, t *testing.T, conn *client.Conn) {
	t.Helper()
	nodes := client.NewNodeClient(conn)
	watch, err := nodes.Watch(ctx, "/", client.ScopeSubtree)
	require.NoError(t, err)
	_, err = nodes.Create(ctx, "/long", []byte(text))
	require.NoError(t, err)
	n, err := nodes.Get(ctx, "/long")
	require.NoError(t, err)
	assert.Equal(t, text, string(n.Data))
	event, err := watch.Next(ctx)
	require.NoError(t, err)
	require.NotNil(t, event.Changes)
	require.NoError(t, watch.Close(ctx))
}

// TestAPublishIsCompressedOnce has many subscribers of all kinds.
func TestAPublishIsCompressedOnce(t *testing.T) {
	const each = 40
	c := counts(compress.Config{})
	b := broker(t, server.WithCompression(c))
	control := dialRaw(t, b.Addr()).hello()
	control.send(frame{2, "c", `{"optype":0,"topic_key":"news"}`})
	require.Equal(t, 0, control.expect().rcode())
	kinds := map[string]func(*raw){
		"s2":     func(r *raw) { r.helloWith("s2") },
		"zstd":   func(r *raw) { r.helloWith("zstd", "brotli") },
		"plain":  func(r *raw) { r.helloWith() },
		"legacy": func(*raw) {},
	}
	subscribers := map[string][]*raw{}
	for kind, greet := range kinds {
		for range each {
			r := dialRaw(t, b.Addr())
			greet(r)
			r.send(frame{2, "s", `{"optype":2,"topic_key":"news"}`})
			require.Equal(t, 0, r.expect().rcode())
			subscribers[kind] = append(subscribers[kind], r)
		}
	}
	body := `{"optype":4,"topic_key":"news","topic_msg":"` + text + `"}`
	control.send(frame{2, "1", body}, frame{2, "2", `{"optype":4,"topic_key":"news","topic_msg":"short"}`}, frame{2, "3", body})
	short := `{"optype":4,"topic_key":"news","topic_msg":"short"}`
	old := []frame{{2, "1", body}, {2, "2", short}, {2, "3", body}}
	var numbered []frame
	for i, f := range old {
		f.body = strings.TrimSuffix(f.body, "}") + `,"offset":` + strconv.Itoa(i+1) + "}"
		numbered = append(numbered, f)
	}
	bits := map[string]int32{"s2": s2Bits, "zstd": zstdBits}
	for kind, list := range subscribers {
		for _, r := range list {
			want := numbered
			if kind == "legacy" {
				want = old
			}
			for _, push := range want {
				got := r.expect()
				if bits[kind] != 0 && push.id != "2" {
					require.Equal(t, 2|bits[kind], got.mtype, kind)
					require.Less(t, len(got.body), len(body)/10)
					got = got.whole(t)
				}
				require.Equal(t, push.id, got.id)
				require.Equal(t, push.mtype, got.mtype)
				require.JSONEq(t, push.body, got.body)
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	assert.Equal(t, map[abstract.CompressMethod]int{abstract.CompressS2: 2, abstract.CompressZstd: 2}, c.methods, "two long messages, once for each method")
}

// TestCompressedPushesKeepTheLimitOfTheirSubscriber has a subscriber that takes less
// than the message is when it is whole.
func TestCompressedPushesKeepTheLimitOfTheirSubscriber(t *testing.T) {
	b := broker(t, server.WithCompression(compress.New(compress.Config{})))
	sub := dialRaw(t, b.Addr())
	sub.send(frame{16, "h", `{"version":1,"max_frame":10000,"compress":["s2"]}`})
	require.Equal(t, 0, sub.expect().rcode())
	sub.send(frame{2, "c", `{"optype":0,"topic_key":"news"}`}, frame{2, "s", `{"optype":2,"topic_key":"news"}`})
	sub.expect()
	sub.expect()
	pub := dialRaw(t, b.Addr()).hello()
	publish := func(id string, size int) frame {
		return frame{2, id, `{"optype":4,"topic_key":"news","topic_msg":"` + repeat("a", size) + `"}`}
	}
	pub.send(publish("long", 20_000), publish("fits", 8000))
	gap := sub.expect()
	assert.Equal(t, int32(22), gap.mtype, "it is told of what it could not take")
	assert.JSONEq(t, `{"topic_key":"news","missed":1}`, gap.body)
	got := sub.expect()
	assert.Equal(t, "fits", got.id)
	assert.Equal(t, int32(2|s2Bits), got.mtype)
	assert.EqualValues(t, 1, b.SkippedPushes())
}

// TestGoldenPackedFrame holds the promise of docs/protocol.md.
func TestGoldenPackedFrame(t *testing.T) {
	read := func(name string) []byte {
		text, err := os.ReadFile(filepath.Join("..", "concrete", "lv", "testdata", name+".hex"))
		require.NoError(t, err)
		var digits strings.Builder
		for line := range strings.Lines(string(text)) {
			line, _, _ = strings.Cut(line, "#")
			digits.WriteString(strings.TrimSpace(line))
		}
		b, err := hex.DecodeString(digits.String())
		require.NoError(t, err)
		return b
	}
	p := lv.New(message.New(message.Config{}), lv.Config{Compression: compress.New(compress.Config{Above: -1})})
	for name, method := range map[string]abstract.CompressMethod{"44-packed-s2": abstract.CompressS2, "45-packed-zstd": abstract.CompressZstd} {
		m, ok, err := p.Decode(&bytesBuffer{read(name)})
		require.NoError(t, err)
		require.True(t, ok)
		require.IsType(t, (*lv.Packed)(nil), m)
		assert.Equal(t, method, m.Type().Compressed())
		whole, err := p.Unpack(m.(*lv.Packed))
		require.NoError(t, err)
		push := whole.(*message.TopicRequest)
		require.NoError(t, push.Check())
		assert.Equal(t, "7", push.ID())
		assert.Equal(t, `"`+repeat("abcd", 16)+`"`, string(push.Message))
	}
}

// bytesBuffer is the simplest BaseBuffer.
type bytesBuffer struct{ b []byte }

func (b *bytesBuffer) Len() int { return len(b.b) }
func (b *bytesBuffer) Peek(n int) ([]byte, error) {
	if n > len(b.b) {
		return nil, io.ErrUnexpectedEOF
	}
	return b.b[:n:n], nil
}
func (b *bytesBuffer) Next(n int) ([]byte, error) {
	p, err := b.Peek(n)
	if err == nil {
		b.b = b.b[n:]
	}
	return p, err
}

// FuzzPackedFrames decodes and unpacks whatever comes: what is whole is within the
// limit, and can be passed on as it is.
func FuzzPackedFrames(f *testing.F) {
	const limit = 64 << 10
	p := lv.New(message.New(message.Config{}), lv.Config{MaxFrame: limit, Compression: compress.New(compress.Config{Above: -1, MaxBody: limit})})
	for _, m := range []abstract.CompressMethod{abstract.CompressS2, abstract.CompressZstd} {
		for _, size := range []int{100, 1000, limit, 2 * limit} {
			f.Add(packed(f, m, echoCall("x", size)).bytes())
		}
	}
	f.Add(frame{s2Bits, "x", string(binary.AppendUvarint(nil, limit-50))}.bytes())
	f.Add(frame{3 << 28, "x", "{}"}.bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok, err := p.Decode(&bytesBuffer{b})
		packed, is := m.(*lv.Packed)
		if err != nil || !ok || !is {
			return
		}
		whole, err := p.Unpack(packed)
		if err != nil {
			code := abstract.CodeOf(err)
			require.Contains(t, []abstract.RCode{abstract.TooLarge, abstract.ParseFailed, abstract.Unsupported, abstract.InvalidMessage}, code, fmt.Sprint(err))
			return
		}
		raw := whole.(interface{ Frame() []byte }).Frame()
		require.LessOrEqual(t, len(raw), limit)
		require.Equal(t, packed.ID(), whole.ID())
		require.Equal(t, packed.Type().Plain(), whole.Type())
		again, ok, err := p.Decode(&bytesBuffer{raw})
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, whole.Type(), again.Type())
		back := p.Pack(abstract.CompressS2, raw)
		require.LessOrEqual(t, len(back), len(raw))
	})
}
