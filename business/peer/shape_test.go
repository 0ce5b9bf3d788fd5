package peer_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/business/peer"
	"trefoil/concrete/message"
)

// body is how a message is written.
func body(t *testing.T, m abstract.BaseMessage) string {
	t.Helper()
	b, err := message.New(message.Config{}).AppendBody(nil, m)
	require.NoError(t, err)
	return string(b)
}

func TestMessagesAreShapedForThePeer(t *testing.T) {
	host := abstract.Host{IP: "10.0.0.1", Port: 80}
	id := message.ID("i")
	tests := []struct {
		name           string
		m              abstract.BaseMessage
		legacy, modern string
	}{
		{"a result", &message.RpcResponse{Header: id, Result: message.Raw("50")}, `{"rcode":0,"result":50}`, `{"rcode":0,"result":50}`},
		{"no result", &message.RpcResponse{Header: id}, `{"rcode":0,"result":{}}`, `{"rcode":0,"result":{}}`},
		{"null", &message.RpcResponse{Header: id, Result: message.Raw(" null ")}, `{"rcode":0,"result":{}}`, `{"rcode":0,"result":{}}`},
		{"an old rcode", &message.RpcResponse{Header: id, Code: abstract.Internal, Message: "x"}, `{"rcode":9,"result":null,"message":"x"}`, `{"rcode":9,"result":null,"message":"x"}`},
		{"a new rcode", &message.RpcResponse{Header: id, Code: abstract.Overloaded, Message: "x", Details: message.Raw("1")}, `{"rcode":9,"result":null,"message":"x","details":1}`, `{"rcode":20,"result":null,"message":"x","details":1}`},
		{"an rcode nobody knows", &message.RpcResponse{Header: id, Code: -7}, `{"rcode":9,"result":null}`, `{"rcode":-7,"result":null}`},
		{"topic, old rcode", &message.TopicResponse{Header: id, Code: abstract.TopicNotFound}, `{"rcode":8}`, `{"rcode":8}`},
		{"topic, new rcode", &message.TopicResponse{Header: id, Code: abstract.Unavailable, Message: "x"}, `{"rcode":4,"message":"x"}`, `{"rcode":18,"message":"x"}`},
		{"service, new rcode", &message.ServiceResponse{Header: id, Op: abstract.ServiceRegister, Code: abstract.Denied}, `{"optype":0,"rcode":6}`, `{"optype":0,"rcode":21}`},
		{"discovery", &message.ServiceResponse{Header: id, Op: abstract.ServiceDiscover, Method: "m", Hosts: []message.ProviderHost{{Host: host, Instance: "a", Hello: true}}},
			`{"optype":1,"rcode":0,"method":"m","host":[{"ip":"10.0.0.1","port":80}]}`,
			`{"optype":1,"rcode":0,"method":"m","host":[{"ip":"10.0.0.1","port":80,"instance":"a","hello":1}]}`},
		{"notice", &message.ServiceRequest{Header: id, Op: abstract.ServiceOnline, Method: "m", Host: &host, Instance: "a", Hello: true},
			`{"optype":2,"method":"m","host":{"ip":"10.0.0.1","port":80}}`,
			`{"optype":2,"method":"m","host":{"ip":"10.0.0.1","port":80},"instance":"a","hello":1}`},
	}
	legacy := newServer(t, false)
	receive(t, legacy, frame{abstract.ReqRPC, `{}`})
	modern := newServer(t, true)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := body(t, tt.m)
			assert.Equal(t, tt.legacy, body(t, legacy.Shape(tt.m)))
			assert.Equal(t, tt.modern, body(t, modern.Shape(tt.m)))
			assert.Equal(t, "i", legacy.Shape(tt.m).ID())
			assert.Equal(t, before, body(t, tt.m), "what was given is not changed")
		})
	}
}

func TestFitMessagesAreNotCopied(t *testing.T) {
	modern := newServer(t, true)
	m := &message.RpcResponse{Header: message.ID("i"), Result: message.Raw("1")}
	assert.Same(t, m, modern.Shape(m))
	assert.Zero(t, testing.AllocsPerRun(100, func() { modern.Shape(m) }))
}

func TestLegacySubscribersGetStrings(t *testing.T) {
	for _, tt := range []struct{ name, raw, want string }{
		{"an object", `{"a":[1, "x"]}`, `"{\"a\":[1, \"x\"]}"`},
		{"a number", `1e3`, `"1e3"`},
		{"null", `null`, `"null"`},
		{"not UTF-8", "[\"\xff\"]", `"[\"\ufffd\"]"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := &message.TopicRequest{Header: message.ID("i"), Op: abstract.TopicPublish, Topic: "t", Message: message.Raw(tt.raw)}
			push := peer.LegacyPush(m)
			assert.Equal(t, `{"optype":4,"topic_key":"t","topic_msg":`+tt.want+`}`, body(t, push))
			assert.Equal(t, "i", push.ID())
			assert.Equal(t, tt.raw, string(m.Message))
			var text string
			require.NoError(t, message.Decode(push.Message, &text))
			assert.Equal(t, strings.ToValidUTF8(tt.raw, "\ufffd"), text)
		})
	}
	t.Run("a string stays", func(t *testing.T) {
		m := &message.TopicRequest{Op: abstract.TopicPublish, Message: message.Raw(` "x"`)}
		assert.Same(t, m, peer.LegacyPush(m))
	})
}
