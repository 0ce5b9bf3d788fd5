package peer_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/business/peer"
	"trefoil/concrete/message"
)

func TestServerIsToldOfTheSessionAsked(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want *message.SessionRequest
	}{
		"none":      {hello, nil},
		"a new one": {`{"version":1,"session":{}}`, &message.SessionRequest{}},
		"an old one": {`{"version":1,"session":{"id":"ab","secret":"cd","sequence":7}}`,
			&message.SessionRequest{ID: "ab", Secret: "cd", Sequence: 7}},
	} {
		t.Run(name, func(t *testing.T) {
			v := receive(t, newServer(t, false), frame{abstract.ReqHello, c.body})
			assert.Equal(t, c.want, v.Session)
			rsp, ok := v.Reply.(*message.HelloResponse)
			require.True(t, ok)
			assert.Nil(t, rsp.Session, "that is for who knows of sessions")
		})
	}
}

func TestRefusedHelloAsksForNoSession(t *testing.T) {
	for name, body := range map[string]string{
		"version":      `{"version":0,"session":{}}`,
		"the session":  `{"version":1,"session":5}`,
		"the max size": `{"version":1,"session":{},"max_frame":5}`,
	} {
		t.Run(name, func(t *testing.T) {
			v := receive(t, newServer(t, false), frame{abstract.ReqHello, body})
			assert.Nil(t, v.Session)
			require.Error(t, v.Close)
		})
	}
}

func TestClientAsksForItsSessionAndIsGivenOne(t *testing.T) {
	const granted = `{"rcode":0,"version":1,"session":{"id":"ab","secret":"cd","interval_ms":2000,"misses":5,"udp":7700}}`
	ask := &message.SessionRequest{ID: "ab", Secret: "cd"}
	p := peer.New(peer.Config{Role: peer.Client, Session: ask}, epoch)
	sent, ok := p.Hello("1").(*message.Hello)
	require.True(t, ok)
	assert.Equal(t, ask, sent.Session)
	v := receive(t, p, frame{abstract.RspHello, granted})
	require.True(t, v.Met)
	assert.Equal(t, &message.SessionGrant{ID: "ab", Secret: "cd", IntervalMs: 2000, Misses: 5, UDP: 7700}, v.Granted)

	v = receive(t, peer.New(peer.Config{Role: peer.Client, Session: ask}, epoch), frame{abstract.RspHello, `{"rcode":0,"version":1}`})
	require.True(t, v.Met)
	assert.Nil(t, v.Granted, "a server without sessions gives none")

	p = peer.New(peer.Config{Role: peer.Client}, epoch)
	assert.Nil(t, p.Hello("1").(*message.Hello).Session)
	v = receive(t, p, frame{abstract.RspHello, granted})
	require.True(t, v.Met)
	assert.Nil(t, v.Granted, "what was not asked for is not taken")
}

// TestNodeMessagesAreForModernPeersOnly, as all types from 16 up.
func TestNodeMessagesAreForModernPeersOnly(t *testing.T) {
	for _, typ := range []abstract.MType{abstract.ReqNode, abstract.RspNode, abstract.NodeEvent} {
		t.Run(typ.String(), func(t *testing.T) {
			assert.False(t, typ.Legacy())
			assert.Equal(t, peer.Verdict{Deliver: true}, receive(t, newServer(t, true), frame{typ, `{}`}))
			assert.Equal(t, peer.Verdict{Deliver: true}, receive(t, newClient(t, true), frame{typ, `{}`}))
			v := receive(t, newServer(t, false), frame{typ, `{}`})
			assert.Equal(t, abstract.InvalidMessage, abstract.CodeOf(v.Close))
		})
	}
}
