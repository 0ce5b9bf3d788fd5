package message

import (
	stdjson "encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-json"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// echoBody is a call whose body is size bytes long.
func echoBody(size int) []byte {
	const head, tail = `{"method":"bench.echo","parameters":{"msg":"`, `"},"timeout_ms":5000}`
	return []byte(head + strings.Repeat("x", size-len(head)-len(tail)) + tail)
}

// orderBody is a call with many small values instead of one long one.
func orderBody() []byte {
	var items []string
	for i := range 20 {
		items = append(items, `{"sku":"A-`+strconv.Itoa(i)+`","count":`+strconv.Itoa(i)+`,"price":12.5,"gift":false}`)
	}
	return []byte(`{"method":"order.put","parameters":{"id":123456,"items":[` + strings.Join(items, ",") + `]}}`)
}

func BenchmarkUnmarshalRpcRequest(b *testing.B) {
	codec := New(Config{})
	for name, body := range map[string][]byte{"128": echoBody(128), "1024": echoBody(1024), "order": orderBody()} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if _, err := codec.Unmarshal(abstract.ReqRPC, "1", body, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"-gojson", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var m struct {
					Method     string             `json:"method"`
					Parameters stdjson.RawMessage `json:"parameters"`
					TimeoutMs  int64              `json:"timeout_ms"`
				}
				if err := json.Unmarshal(body, &m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkUnmarshalRpcResponse(b *testing.B) {
	codec := New(Config{})
	body := []byte(`{"rcode":0,"result":"` + strings.Repeat("x", 100) + `"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := codec.Unmarshal(abstract.RspRPC, "1", body, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendRpcRequest(b *testing.B) {
	codec := New(Config{})
	m := &RpcRequest{Header: ID("1"), Method: "bench.echo", Parameters: Raw(`{"msg":"` + strings.Repeat("x", 80) + `"}`), TimeoutMs: 5000}
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := codec.AppendBody(buf, m); err != nil {
			b.Fatal(err)
		}
	}
}

type echoArgs struct {
	Msg string `json:"msg"`
}

func BenchmarkDecode(b *testing.B) {
	raw := Raw(`{"msg":"` + strings.Repeat("x", 80) + `"}`)
	b.Run("struct", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var v echoArgs
			if err := Decode(raw, &v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("struct-gojson", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var v echoArgs
			if err := json.Unmarshal(raw, &v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("any", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var v any
			if err := Decode(raw, &v); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	v := echoArgs{Msg: strings.Repeat("x", 80)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Encode(v); err != nil {
			b.Fatal(err)
		}
	}
}

func TestDecodingACallAllocatesTheMessageOnly(t *testing.T) {
	codec := New(Config{})
	for name, c := range map[string]struct {
		t    abstract.MType
		body []byte
	}{
		"request":  {abstract.ReqRPC, echoBody(128)},
		"response": {abstract.RspRPC, []byte(`{"rcode":0,"result":{"sum":3}}`)},
		"publish":  {abstract.ReqTopic, []byte(`{"optype":4,"topic_key":"news","topic_msg":"m0"}`)},
	} {
		t.Run(name, func(t *testing.T) {
			allocs := testing.AllocsPerRun(100, func() {
				if _, err := codec.Unmarshal(c.t, "1", c.body, nil); err != nil {
					t.Error(err)
				}
			})
			require.LessOrEqual(t, allocs, 1.0)
		})
	}
}
