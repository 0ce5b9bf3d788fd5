package server_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestOddInput sends what broken, old and malicious programs send, and checks
// the rule: a readable header with a valid JSON object is a request and is
// answered once, everything else is a bad stream and is closed. Afterwards the
// broker still serves others.
func TestOddInput(t *testing.T) {
	const closed = -1
	rpc := func(body string) []byte { return frame{0, "id", body}.bytes() }
	topic := func(body string) []byte { return frame{2, "id", body}.bytes() }
	service := func(body string) []byte { return frame{4, "id", body}.bytes() }
	header := func(length, mtype, idLen uint32, rest string) []byte {
		b := binary.BigEndian.AppendUint32(nil, length)
		b = binary.BigEndian.AppendUint32(b, mtype)
		b = binary.BigEndian.AppendUint32(b, idLen)
		return append(b, rest...)
	}
	cases := []struct {
		name  string
		send  []byte
		rcode int
		id    string
	}{
		{"empty id", frame{0, "", `{"method":"Add","parameters":{"num1":1,"num2":2}}`}.bytes(), 0, ""},
		{"300-byte id", frame{0, repeat("x", 300), `{"method":"Add","parameters":{"num1":1,"num2":2}}`}.bytes(), 0, repeat("x", 300)},
		{"id with 00 and FF", frame{0, "\x00\xff", `{"method":"Add","parameters":{"num1":1,"num2":2}}`}.bytes(), 0, "\x00\xff"},
		{"unknown extra fields", rpc(`{"x":[1],"method":"Add","parameters":{"num1":1,"num2":2},"y":null}`), 0, "id"},
		{"repeated key, last wins", rpc(`{"method":"nosuch","method":"Add","parameters":{"num1":1,"num2":2}}`), 0, "id"},
		{"keys are case-sensitive", rpc(`{"Method":"Add","parameters":{"num1":1,"num2":2}}`), 6, "id"},
		{"unknown method", rpc(`{"method":"nosuch","parameters":{}}`), 6, "id"},
		{"parameter missing", rpc(`{"method":"Add","parameters":{"num1":1}}`), 5, "id"},
		{"parameter null", rpc(`{"method":"Add","parameters":{"num1":1,"num2":null}}`), 5, "id"},
		{"parameter bool for integer", rpc(`{"method":"Add","parameters":{"num1":1,"num2":true}}`), 5, "id"},
		{"parameter 2.5 for integer", rpc(`{"method":"Add","parameters":{"num1":1,"num2":2.5}}`), 5, "id"},
		{"parameter 2.0 for integer", rpc(`{"method":"Add","parameters":{"num1":1,"num2":2.0}}`), 0, "id"},
		{"undeclared extra parameter", rpc(`{"method":"Add","parameters":{"num1":1,"num2":2,"num3":3}}`), 0, "id"},
		{"integer above int32", rpc(`{"method":"Add","parameters":{"num1":1099511627776,"num2":2}}`), 0, "id"},
		{"integer above int64", rpc(`{"method":"Add","parameters":{"num1":99999999999999999999,"num2":2}}`), 5, "id"},
		{"result of the wrong kind", rpc(`{"method":"wrong","parameters":{}}`), 9, "id"},
		{"handler panics", rpc(`{"method":"panic","parameters":{}}`), 9, "id"},
		{"no method", rpc(`{"parameters":{}}`), 6, "id"},
		{"method a number", rpc(`{"method":5,"parameters":{}}`), 6, "id"},
		{"method an object", rpc(`{"method":{},"parameters":{}}`), 6, "id"},
		{"no parameters", rpc(`{"method":"Add"}`), 5, "id"},
		{"parameters null", rpc(`{"method":"Add","parameters":null}`), 5, "id"},
		{"parameters an array", rpc(`{"method":"Add","parameters":[1,2]}`), 5, "id"},
		{"parameters a string", rpc(`{"method":"Add","parameters":"x"}`), 5, "id"},
		{"nested too deep", rpc(`{"method":"Add","parameters":{"num1":` + repeat("[", 5000) + repeat("]", 5000) + `}}`), 3, "id"},
		{"body not JSON", rpc(`{"method":`), closed, ""},
		{"body empty", rpc(``), closed, ""},
		{"body an array", rpc(`[]`), closed, ""},
		{"body a number", rpc(`5`), closed, ""},
		{"body null", rpc(`null`), closed, ""},
		{"byte-order mark", rpc("\xef\xbb\xbf{}"), closed, ""},
		{"comment", rpc(`{"method":"Add"/**/}`), closed, ""},
		{"text after the value", rpc(`{"method":"Add"} x`), closed, ""},
		{"MType 99", frame{99, "id", `{}`}.bytes(), closed, ""},
		{"MType 6", frame{6, "id", `{}`}.bytes(), closed, ""},
		{"MType -1", frame{-1, "id", `{}`}.bytes(), closed, ""},
		{"PING without HELLO", frame{18, "id", `{}`}.bytes(), closed, ""},
		{"Length 0", header(0, 0, 0, ""), closed, ""},
		{"Length 4", header(4, 0, 0, ""), closed, ""},
		{"Length 8, no id, no body", header(8, 0, 0, ""), closed, ""},
		{"Length -1", header(0xffffffff, 0, 0, ""), closed, ""},
		{"Length 2^31-1", header(0x7fffffff, 0, 0, "xx"), closed, ""},
		{"IdLen above the frame", header(20, 0, 100, "xxxxxxxxxxxx"), closed, ""},
		{"IdLen negative", header(20, 0, 0xffffffff, "xxxxxxxxxxxx"), closed, ""},
		{"id too long", frame{0, repeat("x", 100_000), `{}`}.bytes(), closed, ""},
		{"little-endian integers", []byte("\x76\x00\x00\x00\x00\x00\x00\x00\x24\x00\x00\x00"), closed, ""},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), closed, ""},
		{"TLS", []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), closed, ""},

		{"register without optype", service(`{"method":"m","host":{"ip":"127.0.0.1","port":1}}`), 7, "id"},
		{"register without host", service(`{"method":"m","optype":0}`), 3, "id"},
		{"register, port a string", service(`{"method":"m","optype":0,"host":{"ip":"127.0.0.1","port":"1"}}`), 3, "id"},
		{"register, port 70000", service(`{"method":"m","optype":0,"host":{"ip":"127.0.0.1","port":70000}}`), 3, "id"},
		{"register, port 2.0", service(`{"method":"m2","optype":0,"host":{"ip":"127.0.0.1","port":2.0}}`), 0, "id"},
		{"optype a string", service(`{"method":"m","optype":"0","host":{"ip":"127.0.0.1","port":1}}`), 7, "id"},
		{"service optype 2", service(`{"method":"m","optype":2,"host":{"ip":"127.0.0.1","port":1}}`), 7, "id"},
		{"service optype 3 from a legacy peer", service(`{"method":"m","optype":3,"host":{"ip":"127.0.0.1","port":1}}`), 7, "id"},
		{"service optype 4", service(`{"method":"m","optype":4}`), 7, "id"},
		{"service optype 9", service(`{"method":"m","optype":9}`), 7, "id"},
		{"service optype -1", service(`{"method":"m","optype":-1}`), 7, "id"},
		{"discover, no provider", service(`{"method":"nobody","optype":1}`), 6, "id"},
		{"discover with an empty host", service(`{"method":"nobody","optype":1,"host":{"ip":"","port":0}}`), 6, "id"},

		{"remove unknown topic", topic(`{"optype":1,"topic_key":"nosuch"}`), 8, "id"},
		{"cancel unknown topic", topic(`{"optype":3,"topic_key":"nosuch"}`), 8, "id"},
		{"subscribe unknown topic", topic(`{"optype":2,"topic_key":"nosuch"}`), 8, "id"},
		{"publish unknown topic", topic(`{"optype":4,"topic_key":"nosuch","topic_msg":"x"}`), 8, "id"},
		{"topic optype 5", topic(`{"optype":5,"topic_key":"t"}`), 7, "id"},
		{"topic optype -1", topic(`{"optype":-1,"topic_key":"t"}`), 7, "id"},
		{"empty topic_key", topic(`{"optype":0,"topic_key":""}`), 0, "id"},
		{"no topic_key", topic(`{"optype":0}`), 3, "id"},
		{"no topic optype", topic(`{"topic_key":"t"}`), 7, "id"},
		{"publish without topic_msg", topic(`{"optype":4,"topic_key":"t"}`), 3, "id"},
	}
	b := broker(t)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			peer := dialRaw(t, b.Addr())
			_, err := peer.Write(c.send)
			if c.rcode == closed { // perhaps before all of it is written
				peer.expectClosed()
			} else {
				require.NoError(t, err)
				f := peer.expect()
				assert.Equal(t, c.rcode, f.rcode(), f.body)
				assert.Equal(t, c.id, f.id)
				assert.Equal(t, int32(binary.BigEndian.Uint32(c.send[4:]))+1, f.mtype)
				if f.mtype == 5 && c.rcode == 7 {
					assert.Equal(t, 4.0, f.field("optype"), "an invalid operation is answered as optype 4")
				}
				if f.mtype == 5 && c.rcode == 6 {
					assert.NotContains(t, f.body, `"host"`)
					assert.NotContains(t, f.body, `"method"`)
				}
				peer.silent() // one response per request
			}
			witness := dialRaw(t, b.Addr())
			witness.send(frame{0, "w", `{"method":"Add","parameters":{"num1":1,"num2":2}}`})
			assert.Equal(t, 3.0, witness.expect().field("result"), "the broker serves others as before")
		})
	}
}

func TestResponsesSentToAServerAreIgnored(t *testing.T) {
	peer := dialRaw(t, broker(t).Addr())
	peer.send(
		frame{1, "a", `{"rcode":0,"result":1}`}, frame{3, "b", `{"rcode":0}`}, frame{5, "c", `{"rcode":0,"optype":0}`},
		frame{1, "d", `{}`})
	peer.silent()
}

func TestFramesMayArriveInAnyPieces(t *testing.T) {
	peer := dialRaw(t, broker(t).Addr())
	call := frame{0, "1", `{"method":"Echo","parameters":{"content":"héllo \"世界\"\n😀/"}}`}
	two := append(call.bytes(), frame{0, "2", `{"method":"Add","parameters":{"num1":1,"num2":2}}`}.bytes()...)
	_, err := peer.Write(two)
	require.NoError(t, err)
	got := map[string]any{}
	for range 2 {
		f := peer.expect()
		got[f.id] = f.field("result")
	}
	assert.Equal(t, map[string]any{"1": "héllo \"世界\"\n😀/", "2": 3.0}, got)
	for _, b := range call.bytes() {
		_, err := peer.Write([]byte{b})
		require.NoError(t, err)
	}
	assert.Equal(t, "1", peer.expect().id)
}

func TestRequestsBeforeAnEndAreAnswered(t *testing.T) {
	b := broker(t)
	watcher := dialRaw(t, b.Addr())
	watcher.send(frame{4, "d", `{"optype":1,"method":"fin"}`})
	watcher.expect()
	provider := dialRaw(t, b.Addr())
	provider.send(frame{4, "r", `{"optype":0,"method":"fin","host":{"ip":"127.0.0.1","port":9}}`})
	provider.Close()
	assert.Equal(t, 2.0, watcher.expect().field("optype"), "the registration before the end counts")
	assert.Equal(t, 3.0, watcher.expect().field("optype"), "and the end too")
}

// TestLegacyPeerNeedsNothingNew plays the whole life of existing programs: every
// message they get is of the six old types, in the shapes they know.
func TestLegacyPeerNeedsNothingNew(t *testing.T) {
	b := broker(t)
	client, provider := dialRaw(t, b.Addr()), dialRaw(t, b.Addr())

	client.send(frame{4, "1", `{"optype":1,"method":"m"}`})
	f := client.expect()
	assert.JSONEq(t, `{"optype":1,"rcode":6}`, strip(f.body))

	provider.send(frame{4, "2", `{"optype":0,"method":"m","host":{"ip":"127.0.0.1","port":8081}}`})
	assert.JSONEq(t, `{"optype":0,"rcode":0}`, provider.expect().body)
	f = client.expect()
	assert.Equal(t, int32(4), f.mtype)
	assert.JSONEq(t, `{"optype":2,"method":"m","host":{"ip":"127.0.0.1","port":8081}}`, f.body)

	client.send(frame{4, "3", `{"optype":1,"method":"m"}`})
	assert.JSONEq(t, `{"optype":1,"rcode":0,"method":"m","host":[{"ip":"127.0.0.1","port":8081}]}`, client.expect().body)

	client.send(frame{0, "4", `{"method":"void","parameters":{}}`})
	assert.JSONEq(t, `{"rcode":0,"result":{}}`, client.expect().body, "a result is there and not null")
	client.send(frame{0, "5", `{"method":"nosuch","parameters":{}}`})
	assert.JSONEq(t, `{"rcode":6,"result":null}`, strip(client.expect().body))

	client.send(frame{2, "6", `{"optype":0,"topic_key":"t"}`}, frame{2, "7", `{"optype":2,"topic_key":"t"}`}, frame{2, "8", `{"optype":2,"topic_key":"t"}`})
	for range 3 {
		assert.JSONEq(t, `{"rcode":0}`, client.expect().body)
	}
	provider.send(frame{2, "9", `{"optype":4,"topic_key":"t","topic_msg":"m0","extra":[1]}`})
	assert.JSONEq(t, `{"rcode":0}`, provider.expect().body)
	f = client.expect()
	assert.Equal(t, "9", f.id, "the push is the publisher's message")
	assert.JSONEq(t, `{"optype":4,"topic_key":"t","topic_msg":"m0","extra":[1]}`, f.body)
	client.silent() // one push, though subscribed twice

	modern := dialRaw(t, b.Addr()).hello()
	modern.send(frame{2, "10", `{"optype":4,"topic_key":"t","topic_msg":{"a":1}}`})
	modern.expect()
	assert.Equal(t, `{"a":1}`, client.expect().field("topic_msg"), "a message that is no string comes as the string of its text")
	modern.send(frame{2, "11", sprintf(`{"optype":4,"topic_key":"t","topic_msg":%q}`, repeat("x", 70_000))})
	modern.expect()
	client.silent() // larger than existing programs take

	provider.Close()
	f = client.expect()
	assert.JSONEq(t, `{"optype":3,"method":"m","host":{"ip":"127.0.0.1","port":8081}}`, f.body)
}

// strip removes the member that existing programs do not know from an answer.
func strip(body string) string {
	i := strings.Index(body, `,"message":`)
	if i < 0 {
		return body
	}
	return body[:i] + "}"
}

func TestLargeResultToALegacyPeerIsAnError(t *testing.T) {
	b := broker(t)
	call := frame{0, "1", sprintf(`{"method":"Echo","parameters":{"content":%q}}`, repeat("x", 70_000))}
	legacy := dialRaw(t, b.Addr())
	legacy.send(call)
	assert.Equal(t, 9, legacy.expect().rcode())
	modern := dialRaw(t, b.Addr()).hello()
	modern.send(call)
	assert.Equal(t, 0, modern.expect().rcode())
}

func TestPushOrder(t *testing.T) {
	t.Run("ONLINE precedes the registrar's own response", func(t *testing.T) {
		p := dialRaw(t, broker(t).Addr())
		p.send(frame{4, "1", `{"optype":1,"method":"s"}`}, frame{4, "2", `{"optype":0,"method":"s","host":{"ip":"127.0.0.1","port":1}}`})
		assert.Equal(t, "1", p.expect().id)
		assert.Equal(t, 2.0, p.expect().field("optype"))
		assert.Equal(t, "2", p.expect().id)
	})
	t.Run("a push precedes the publisher's response", func(t *testing.T) {
		p := dialRaw(t, broker(t).Addr())
		p.send(frame{2, "1", `{"optype":0,"topic_key":"t"}`}, frame{2, "2", `{"optype":2,"topic_key":"t"}`}, frame{2, "3", `{"optype":4,"topic_key":"t","topic_msg":1}`})
		p.expect()
		p.expect()
		f := p.expect()
		assert.Equal(t, int32(2), f.mtype)
		assert.Equal(t, "3", f.id)
		assert.Equal(t, int32(3), p.expect().mtype)
	})
	t.Run("a topic made again has lost its subscribers", func(t *testing.T) {
		p := dialRaw(t, broker(t).Addr())
		for i, body := range []string{`{"optype":0,"topic_key":"t"}`, `{"optype":2,"topic_key":"t"}`, `{"optype":0,"topic_key":"t"}`, `{"optype":1,"topic_key":"t"}`, `{"optype":0,"topic_key":"t"}`} {
			p.send(frame{2, sprintf("%d", i), body})
			assert.Equal(t, 0, p.expect().rcode())
		}
		p.send(frame{2, "9", `{"optype":4,"topic_key":"t","topic_msg":1}`})
		assert.Equal(t, int32(3), p.expect().mtype)
	})
}

func TestProviderThatReconnectsKeepsItsPlace(t *testing.T) {
	b := broker(t)
	watcher := dialRaw(t, b.Addr())
	watcher.send(frame{4, "d", `{"optype":1,"method":"m"}`}, frame{4, "d", `{"optype":1,"method":"marker"}`})
	watcher.expect()
	watcher.expect()
	register := frame{4, "r", `{"optype":0,"method":"m","host":{"ip":"127.0.0.1","port":1}}`}
	marker := frame{4, "r", `{"optype":0,"method":"marker","host":{"ip":"127.0.0.1","port":1}}`}
	first := dialRaw(t, b.Addr())
	first.send(register, marker)
	assert.Equal(t, "m", watcher.expect().field("method"))
	assert.Equal(t, "marker", watcher.expect().field("method"))
	second := dialRaw(t, b.Addr())
	second.send(register)
	second.expect()
	first.Close()
	f := watcher.expect() // so the broker has noticed the first one's end
	assert.Equal(t, "marker", f.field("method"))
	assert.Equal(t, 3.0, f.field("optype"))
	watcher.send(frame{4, "d", `{"optype":1,"method":"m"}`})
	assert.Equal(t, 0, watcher.expect().rcode(), "no OFFLINE came, and the provider is still known")
	second.Close()
	f = watcher.expect()
	assert.Equal(t, "m", f.field("method"))
	assert.Equal(t, 3.0, f.field("optype"), "OFFLINE when the last one goes")
}

func TestOneConnectionProvidesManyHosts(t *testing.T) {
	b := broker(t)
	p, watcher := dialRaw(t, b.Addr()), dialRaw(t, b.Addr())
	for i := range 3 {
		p.send(frame{4, "r", sprintf(`{"optype":0,"method":"m","host":{"ip":"127.0.0.1","port":%d}}`, i+1)})
		assert.Equal(t, 0, p.expect().rcode())
	}
	watcher.send(frame{4, "d", `{"optype":1,"method":"m"}`})
	assert.Len(t, watcher.expect().field("host"), 3)
	p.Close()
	seen := map[string]bool{}
	for range 3 {
		f := watcher.expect()
		assert.Equal(t, 3.0, f.field("optype"))
		seen[f.body] = true
	}
	assert.Len(t, seen, 3)
}
