package lv_test

import (
	"encoding/hex"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/lv"
	"trefoil/concrete/message"
)

// golden reads a frame of testdata: hexadecimal text, and comments after #.
func golden(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".hex"))
	require.NoError(t, err)
	var digits strings.Builder
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.TrimSpace(line))
	}
	frame, err := hex.DecodeString(digits.String())
	require.NoError(t, err)
	return frame
}

// TestGoldenFrames holds the promise of docs/protocol.md: these frames, as
// existing programs send them, mean what they always meant.
func TestGoldenFrames(t *testing.T) {
	const addID = "73b1b921-b894-51bb-0000-000000000001"
	host := func(port int) *abstract.Host { return &abstract.Host{IP: "127.0.0.1", Port: port} }
	text := "{\n\t\t\"content\" : \"h\\u00e9llo \\\"\\u4e16\\u754c\\\"\\n\\ud83d\\ude00/\"\n\t}"
	raw := "{\n\t\t\"content\" : \"héllo \\\"世界\\\"\\n😀/\"\n\t}"
	service := func(id string, op abstract.ServiceOp, h *abstract.Host) *message.ServiceRequest {
		return &message.ServiceRequest{Header: message.ID(id), Op: op, Method: "Add", Host: h}
	}
	topic := func(id string, op abstract.TopicOp, name, msg string) *message.TopicRequest {
		m := &message.TopicRequest{Header: message.ID(id), Op: op, Topic: name}
		if msg != "" {
			m.Message = message.Raw(msg)
		}
		return m
	}
	rpc := func(id, method, parameters string) *message.RpcRequest {
		return &message.RpcRequest{Header: message.ID(id), Method: method, Parameters: message.Raw(parameters)}
	}
	answer := func(id string, code abstract.RCode, result string) *message.RpcResponse {
		return &message.RpcResponse{Header: message.ID(id), Code: code, Result: message.Raw(result)}
	}
	const testID = "0f1e2d3c-4b5a-6978-0000-000000000001"
	cases := map[string]abstract.BaseMessage{
		"01-req-rpc":                rpc(addID, "Add", "{\n\t\t\"num1\" : 20,\n\t\t\"num2\" : 30\n\t}"),
		"02-rsp-rpc-ok":             answer(addID, 0, "50"),
		"03-rsp-rpc-unknown-method": answer(testID, 6, "null"),
		"04-rsp-rpc-bad-parameter":  answer(testID, 5, "null"),
		"05-rsp-rpc-bad-result":     answer(testID, 9, "null"),
		"06-req-rpc-escaped-text":   rpc("2fd9d5b0-5181-7662-0000-000000000001", "Echo", text),
		"07-req-rpc-utf8-text":      rpc("200a57cd-e01b-efb0-0000-000000000001", "Echo", raw),
		"08-req-service-register":   service("9be71176-b1f2-3fc9-0000-000000000001", abstract.ServiceRegister, host(21106)),
		"09-rsp-service-register":   &message.ServiceResponse{Header: message.ID("9be71176-b1f2-3fc9-0000-000000000001")},
		"10-req-service-discover":   service("19597595-8e0d-efe1-0000-000000000001", abstract.ServiceDiscover, nil),
		"11-rsp-service-one-host": &message.ServiceResponse{
			Header: message.ID("19597595-8e0d-efe1-0000-000000000001"), Op: abstract.ServiceDiscover, Method: "Add",
			Hosts: []message.ProviderHost{{Host: *host(21106)}}},
		"12-rsp-service-two-hosts": &message.ServiceResponse{
			Header: message.ID(testID), Op: abstract.ServiceDiscover, Method: "Add",
			Hosts: []message.ProviderHost{{Host: *host(8081)}, {Host: *host(8082)}}},
		"13-rsp-service-nobody":              &message.ServiceResponse{Header: message.ID("c88bb0b0-67ec-ea99-0000-000000000001"), Op: abstract.ServiceDiscover, Code: 6},
		"14-req-service-online":              service("ea0174da-9246-9018-0000-000000000001", abstract.ServiceOnline, host(21107)),
		"15-req-service-offline":             service("c96e0b73-8cf2-3820-0000-000000000002", abstract.ServiceOffline, host(21106)),
		"16-rsp-service-bad-optype":          &message.ServiceResponse{Header: message.ID(testID), Op: abstract.ServiceUnknown, Code: 7},
		"17-req-topic-create":                topic("22260715-defb-6b78-0000-000000000001", abstract.TopicCreate, "news", ""),
		"18-rsp-topic-ok":                    &message.TopicResponse{Header: message.ID("22260715-defb-6b78-0000-000000000001")},
		"19-req-topic-subscribe":             topic("9abc2397-c5bf-6524-0000-000000000002", abstract.TopicSubscribe, "news", ""),
		"20-req-topic-cancel":                topic("9cae4616-0896-ad89-0000-000000000002", abstract.TopicCancel, "nosuch", ""),
		"21-req-topic-publish":               topic("c973e8e9-dc95-0718-0000-000000000001", abstract.TopicPublish, "news", `"m0"`),
		"22-req-topic-push":                  topic("c973e8e9-dc95-0718-0000-000000000001", abstract.TopicPublish, "news", `"m0"`),
		"23-rsp-topic-unknown":               &message.TopicResponse{Header: message.ID("05fcc928-517c-4c05-0000-000000000001"), Code: 8},
		"24-rsp-topic-bad-optype":            &message.TopicResponse{Header: message.ID(testID), Code: 7},
		"25-req-topic-remove":                topic("d0818291-8b1c-df77-0000-000000000002", abstract.TopicRemove, "news", ""),
		"26-req-rpc-uuid-id":                 rpc("d6f46734-c630-4034-bffe-48d93012790c", "add", "{\n\t\t\"num1\" : 20,\n\t\t\"num2\" : 30\n\t}"),
		"28-req-service-discover-empty-host": service("8f274b21-c5e6-43e1-accf-678cd8564e8b", abstract.ServiceDiscover, &abstract.Host{}),
	}
	maps.Copy(cases, goldenNodes())
	maps.Copy(cases, goldenStreams())
	maps.Copy(cases, goldenTopics())
	files, err := filepath.Glob("testdata/*.hex")
	require.NoError(t, err)
	assert.Len(t, files, len(cases)+4, "every golden frame is tested here, but for the two bad ones below, and the compressed ones in packed_test.go")
	p := lv.New(message.New(message.Config{}), lv.Config{})
	for name, want := range cases {
		t.Run(name, func(t *testing.T) {
			frame := golden(t, name)
			buf := buffer{frame}
			m, ok, err := p.Decode(&buf)
			require.NoError(t, err)
			require.True(t, ok)
			require.NoError(t, m.Check())
			assert.Zero(t, buf.Len())
			assert.Equal(t, frame, m.(interface{ Frame() []byte }).Frame(), "it can be passed on as it came")

			again, err := p.Append(nil, want)
			require.NoError(t, err)
			assert.JSONEq(t, string(body(frame)), string(body(again)))
			assert.Equal(t, frame[4:8], again[4:8], "type")
			second := buffer{again}
			back, ok, err := p.Decode(&second)
			require.NoError(t, err)
			require.True(t, ok)
			assert.Equal(t, content(want), content(m), "parsed from the golden frame")
			assert.Equal(t, content(want), content(back), "parsed from what we write")
		})
	}
}

// content is what a message says, without the bytes it came in.
func content(m abstract.BaseMessage) abstract.BaseMessage {
	switch m := m.(type) {
	case *message.RpcRequest:
		c := *m
		c.Header = message.ID(m.ID())
		return &c
	case *message.RpcResponse:
		c := *m
		c.Header = message.ID(m.ID())
		return &c
	case *message.TopicRequest:
		c := *m
		c.Header = message.ID(m.ID())
		return &c
	case *message.TopicResponse:
		c := *m
		c.Header = message.ID(m.ID())
		return &c
	case *message.GapNotice:
		c := *m
		c.Header = message.ID(m.ID())
		return &c
	case *message.ServiceRequest:
		c := *m
		c.Header = message.ID(m.ID())
		return &c
	case *message.ServiceResponse:
		c := *m
		c.Header = message.ID(m.ID())
		return &c
	}
	if c := streamContent(m); c != nil {
		return c
	}
	return nodeContent(m)
}

func body(frame []byte) []byte {
	idLen := int(frame[8])<<24 | int(frame[9])<<16 | int(frame[10])<<8 | int(frame[11])
	return frame[12+idLen:]
}

// TestNoticeWithoutTypeReadsAsABadCall: some existing program leaves the type of
// this notice to chance.
func TestNoticeWithoutTypeReadsAsABadCall(t *testing.T) {
	p := lv.New(message.New(message.Config{}), lv.Config{})
	m, ok, err := p.Decode(&buffer{golden(t, "27-offline-without-type")})
	require.NoError(t, err)
	require.True(t, ok)
	assert.Equal(t, abstract.ReqRPC, m.Type())
	assert.Equal(t, abstract.InvalidParams, abstract.CodeOf(m.Check()), "it has no parameters")
}

func TestLittleEndianIsRefused(t *testing.T) {
	p := lv.New(message.New(message.Config{}), lv.Config{})
	_, _, err := p.Decode(&buffer{golden(t, "29-little-endian")})
	assert.Equal(t, abstract.TooLarge, abstract.CodeOf(err))
}
