package peer_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/business/peer"
	"trefoil/concrete/message"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)

// parse makes the message of a frame, faults included.
func parse(t *testing.T, typ abstract.MType, body string) abstract.BaseMessage {
	t.Helper()
	m, err := message.New(message.Config{}).Unmarshal(typ, "id", []byte(body), nil)
	require.NoError(t, err)
	return m
}

const hello = `{"version":1,"agent":"test","max_frame":100000}`

// receive feeds messages given as type and body, and returns the last verdict.
func receive(t *testing.T, p *peer.Peer, frames ...frame) peer.Verdict {
	t.Helper()
	var v peer.Verdict
	for _, f := range frames {
		v = p.Receive(parse(t, f.typ, f.body), epoch)
	}
	return v
}

type frame struct {
	typ  abstract.MType
	body string
}

// newServer and newClient make the two ends of a connection, meeting them when asked to.
func newServer(t *testing.T, met bool) *peer.Peer {
	t.Helper()
	p := peer.New(peer.Config{Role: peer.Server, Agent: "srv"}, epoch)
	if met {
		require.NoError(t, receive(t, p, frame{abstract.ReqHello, hello}).Close)
		require.True(t, p.Modern())
	}
	return p
}

func newClient(t *testing.T, met bool) *peer.Peer {
	t.Helper()
	p := peer.New(peer.Config{Role: peer.Client, Agent: "cli"}, epoch)
	if met {
		require.True(t, receive(t, p, frame{abstract.RspHello, `{"rcode":0,"version":1,"max_frame":100000,"ping_ms":2000,"misses":5}`}).Met)
		require.True(t, p.Modern())
	}
	return p
}

func TestServerJudgesByTheFirstMessage(t *testing.T) {
	tests := []struct {
		name   string
		first  frame
		modern bool
		deliv  bool
		reply  abstract.RCode // of a RSP_HELLO; -1: none
		close  abstract.RCode
	}{
		{"HELLO", frame{abstract.ReqHello, hello}, true, false, abstract.OK, abstract.OK},
		{"HELLO of a later version", frame{abstract.ReqHello, `{"version":7}`}, true, false, abstract.OK, abstract.OK},
		{"HELLO with members we do not know", frame{abstract.ReqHello, `{"version":1,"ticket":{"a":[1]}}`}, true, false, abstract.OK, abstract.OK},
		{"HELLO without a version", frame{abstract.ReqHello, `{}`}, false, false, abstract.Unsupported, abstract.Unsupported},
		{"HELLO of version 0", frame{abstract.ReqHello, `{"version":0}`}, false, false, abstract.Unsupported, abstract.Unsupported},
		{"HELLO with a version that is no number", frame{abstract.ReqHello, `{"version":"1"}`}, false, false, abstract.InvalidMessage, abstract.InvalidMessage},
		{"HELLO with a negative version", frame{abstract.ReqHello, `{"version":-1}`}, false, false, abstract.InvalidMessage, abstract.InvalidMessage},
		{"HELLO of a peer that takes nothing", frame{abstract.ReqHello, `{"version":1,"max_frame":100}`}, false, false, abstract.InvalidMessage, abstract.InvalidMessage},
		{"REQ_RPC", frame{abstract.ReqRPC, `{"method":"m","parameters":{}}`}, false, true, -1, abstract.OK},
		{"REQ_TOPIC", frame{abstract.ReqTopic, `{"optype":0,"topic_key":"t"}`}, false, true, -1, abstract.OK},
		{"REQ_SERVICE", frame{abstract.ReqService, `{"optype":1,"method":"m"}`}, false, true, -1, abstract.OK},
		{"a faulty request is answered by who serves it", frame{abstract.ReqRPC, `{}`}, false, true, -1, abstract.OK},
		{"a response", frame{abstract.RspRPC, `{"rcode":0,"result":1}`}, false, true, -1, abstract.OK},
		{"PING", frame{abstract.Ping, `{}`}, false, false, -1, abstract.InvalidMessage},
		{"GOODBYE", frame{abstract.Goodbye, `{}`}, false, false, -1, abstract.InvalidMessage},
		{"RSP_HELLO", frame{abstract.RspHello, `{"rcode":0,"version":1}`}, false, false, -1, abstract.InvalidMessage},
		{"a type nobody knows", frame{99, `{}`}, false, false, -1, abstract.InvalidMessage},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newServer(t, false)
			v := receive(t, p, tt.first)
			assert.Equal(t, tt.modern, p.Modern())
			assert.Equal(t, tt.deliv, v.Deliver)
			assert.Equal(t, tt.close, abstract.CodeOf(v.Close))
			assert.False(t, v.Met)
			if tt.reply < 0 {
				assert.Nil(t, v.Reply)
			} else {
				rsp, ok := v.Reply.(*message.HelloResponse)
				require.True(t, ok)
				assert.Equal(t, "id", rsp.ID())
				assert.Equal(t, tt.reply, rsp.Code)
				assert.Equal(t, 1, rsp.Version)
				assert.Equal(t, tt.reply == abstract.OK, rsp.Message == "", "a refusal says why")
			}
			if v.Close != nil {
				again := receive(t, p, frame{abstract.ReqRPC, `{"method":"m","parameters":{}}`})
				assert.Equal(t, peer.Verdict{}, again, "what comes after the end is not looked at")
			}
		})
	}
}

func TestServerSaysItsTerms(t *testing.T) {
	tests := []struct {
		name   string
		cfg    peer.Config
		ping   int64
		misses int
		frame  int
	}{
		{"defaults", peer.Config{}, 2000, 5, 8 << 20},
		{"as configured", peer.Config{Ping: 300 * time.Millisecond, Misses: 3, MaxFrame: 1 << 20}, 300, 3, 1 << 20},
		{"too often", peer.Config{Ping: time.Microsecond, Misses: 1}, 10, 2, 8 << 20},
		{"too seldom", peer.Config{Ping: 100 * time.Hour, Misses: 1e6}, 3_600_000, 1000, 8 << 20},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := peer.New(tt.cfg, epoch)
			rsp, ok := receive(t, p, frame{abstract.ReqHello, hello}).Reply.(*message.HelloResponse)
			require.True(t, ok)
			assert.Equal(t, tt.ping, rsp.PingMs)
			assert.Equal(t, tt.misses, rsp.Misses)
			assert.Equal(t, tt.frame, rsp.MaxFrame)
			assert.Equal(t, time.Duration(tt.ping)*time.Millisecond, p.PingInterval())
			assert.Equal(t, 100_000, p.MaxFrame(), "what the client said")
		})
	}
}

func TestClientJudgesTheResponseToItsHello(t *testing.T) {
	tests := []struct {
		name  string
		first frame
		met   bool
		close abstract.RCode
	}{
		{"accepted", frame{abstract.RspHello, `{"rcode":0,"version":1,"max_frame":5000,"ping_ms":700,"misses":3}`}, true, abstract.OK},
		{"refused", frame{abstract.RspHello, `{"rcode":25,"version":1,"message":"no"}`}, false, abstract.Unsupported},
		{"refused with a code nobody knows", frame{abstract.RspHello, `{"rcode":42}`}, false, 42},
		{"without rcode", frame{abstract.RspHello, `{"version":1}`}, false, abstract.InvalidMessage},
		{"without version", frame{abstract.RspHello, `{"rcode":0}`}, false, abstract.Unsupported},
		{"of a version above ours", frame{abstract.RspHello, `{"rcode":0,"version":2}`}, false, abstract.Unsupported},
		{"another message", frame{abstract.RspRPC, `{"rcode":0,"result":1}`}, false, abstract.WrongMessageType},
		{"a HELLO", frame{abstract.ReqHello, hello}, false, abstract.WrongMessageType},
		{"a GOODBYE", frame{abstract.Goodbye, `{"rcode":19,"message":"shutting down"}`}, false, abstract.Draining},
		{"a type nobody knows", frame{99, `{}`}, false, abstract.WrongMessageType},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newClient(t, false)
			v := receive(t, p, tt.first)
			assert.Equal(t, tt.met, v.Met)
			assert.Equal(t, tt.met, p.Modern())
			assert.Equal(t, tt.close, abstract.CodeOf(v.Close))
			assert.False(t, v.Deliver)
			assert.Nil(t, v.Reply)
			if tt.met {
				assert.Equal(t, 5000, p.MaxFrame())
				assert.Equal(t, 700*time.Millisecond, p.PingInterval())
			}
		})
	}
}

func TestClientDoesNotFollowMadTerms(t *testing.T) {
	for name, terms := range map[string]struct {
		body string
		ping time.Duration
	}{
		"none":           {`{"rcode":0,"version":1}`, 2 * time.Second},
		"beyond reason":  {`{"rcode":0,"version":1,"ping_ms":9007199254740992,"misses":9007199254740992}`, time.Hour},
		"a tiny limit":   {`{"rcode":0,"version":1,"max_frame":0,"ping_ms":1}`, 10 * time.Millisecond},
		"at the maximum": {`{"rcode":0,"version":1,"ping_ms":3600000}`, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			p := newClient(t, false)
			require.True(t, receive(t, p, frame{abstract.RspHello, terms.body}).Met)
			assert.Equal(t, terms.ping, p.PingInterval())
			assert.GreaterOrEqual(t, p.MaxFrame(), 1024)
			p.Tick(epoch.Add(time.Nanosecond))
		})
	}
}

func TestHelloSaysWhoWeAre(t *testing.T) {
	p := peer.New(peer.Config{Role: peer.Client, Agent: "cli/1", MaxFrame: 5000}, epoch)
	assert.Equal(t, &message.Hello{Header: message.ID("7"), Version: 1, Agent: "cli/1", MaxFrame: 5000}, p.Hello("7"))
}

func TestLegacyPeerStaysLegacy(t *testing.T) {
	call := frame{abstract.ReqRPC, `{"method":"m","parameters":{}}`}
	ends := map[string]func() *peer.Peer{
		"server's end": func() *peer.Peer { return newServer(t, false) },
		"client's end": func() *peer.Peer { return peer.New(peer.Config{Role: peer.LegacyClient}, epoch) },
	}
	for end, open := range ends {
		for typ := abstract.ReqRPC; typ <= abstract.RspService; typ++ {
			t.Run(end+" takes "+typ.String(), func(t *testing.T) {
				v := receive(t, open(), call, frame{typ, `{}`})
				assert.Equal(t, peer.Verdict{Deliver: true}, v)
			})
		}
		for _, typ := range []abstract.MType{abstract.ReqHello, abstract.RspHello, abstract.Ping, abstract.Pong, abstract.Goodbye, abstract.RspUnsupported, abstract.Gap, 23, 1 << 30} {
			t.Run(end+" closes on "+typ.String(), func(t *testing.T) {
				p := open()
				v := receive(t, p, call, frame{typ, hello})
				assert.Equal(t, abstract.InvalidMessage, abstract.CodeOf(v.Close))
				assert.False(t, v.Deliver)
				assert.Nil(t, v.Reply)
				assert.False(t, p.Modern())
			})
		}
	}
}

func TestModernPeerIsServed(t *testing.T) {
	ends := map[string]func() *peer.Peer{
		"server's end": func() *peer.Peer { return newServer(t, true) },
		"client's end": func() *peer.Peer { return newClient(t, true) },
	}
	for end, open := range ends {
		for _, typ := range []abstract.MType{abstract.ReqRPC, abstract.RspRPC, abstract.ReqTopic, abstract.RspTopic, abstract.ReqService, abstract.RspService, abstract.RspUnsupported, abstract.Gap, abstract.Cancel} {
			t.Run(end+" delivers "+typ.String(), func(t *testing.T) {
				assert.Equal(t, peer.Verdict{Deliver: true}, receive(t, open(), frame{typ, `{}`}))
			})
		}
		t.Run(end+" answers PING with PONG", func(t *testing.T) {
			assert.Equal(t, peer.Verdict{Reply: &message.Pong{Header: message.ID("id")}}, receive(t, open(), frame{abstract.Ping, `{}`}))
		})
		t.Run(end+" takes PONG as a sign of life", func(t *testing.T) {
			assert.Equal(t, peer.Verdict{}, receive(t, open(), frame{abstract.Pong, `{}`}))
		})
		for _, typ := range []abstract.MType{24, 1 << 30} {
			t.Run(end+" does not know "+typ.String(), func(t *testing.T) {
				v := receive(t, open(), frame{typ, `{}`})
				rsp, ok := v.Reply.(*message.Unsupported)
				require.True(t, ok)
				assert.Equal(t, "id", rsp.ID())
				assert.Equal(t, typ, rsp.MType)
				assert.Equal(t, abstract.Unsupported, rsp.Code)
				require.NoError(t, v.Close)
			})
		}
		for _, typ := range []abstract.MType{abstract.ReqHello, abstract.RspHello} {
			t.Run(end+" closes on a second "+typ.String(), func(t *testing.T) {
				p := open()
				v := receive(t, p, frame{typ, `{"rcode":0,"version":1}`})
				assert.Equal(t, abstract.InvalidMessage, abstract.CodeOf(v.Close))
				assert.True(t, p.Modern(), "it still understands a goodbye")
			})
		}
	}
}

func TestGoodbyeLetsTheLastResponsesThrough(t *testing.T) {
	p := newClient(t, true)
	v := receive(t, p, frame{abstract.Goodbye, `{"rcode":19,"message":"shutting down"}`})
	assert.True(t, v.Leaving)
	require.ErrorIs(t, v.Close, abstract.ErrDraining)
	var e *abstract.Error
	require.ErrorAs(t, v.Close, &e)
	assert.True(t, e.FromPeer)
	assert.Equal(t, "shutting down", e.Message)
	assert.True(t, receive(t, p, frame{abstract.RspRPC, `{"rcode":0,"result":1}`}).Deliver)

	v = receive(t, newServer(t, true), frame{abstract.Goodbye, `{}`})
	assert.True(t, v.Leaving)
	require.Error(t, v.Close, "an orderly end is an end too")
}

func TestFramesAreLimitedByWhatThePeerTakes(t *testing.T) {
	tests := []struct {
		name  string
		peer  *peer.Peer
		limit int // 0: none
	}{
		{"fresh", newServer(t, false), 65_532},
		{"legacy", func() *peer.Peer {
			p := newServer(t, false)
			receive(t, p, frame{abstract.ReqRPC, `{}`})
			return p
		}(), 65_532},
		{"modern", newServer(t, true), 100_000},
		{"modern without a limit", func() *peer.Peer {
			p := newServer(t, false)
			receive(t, p, frame{abstract.ReqHello, `{"version":1}`})
			return p
		}(), 8 << 20},
		{"a legacy server may take more", peer.New(peer.Config{Role: peer.LegacyClient}, epoch), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.limit == 0 {
				require.NoError(t, tt.peer.CheckSize(1<<30))
				return
			}
			assert.Equal(t, tt.limit, tt.peer.MaxFrame())
			require.NoError(t, tt.peer.CheckSize(tt.limit))
			err := tt.peer.CheckSize(tt.limit + 1)
			require.ErrorIs(t, err, abstract.ErrTooLarge)
			var e *abstract.Error
			require.ErrorAs(t, err, &e)
			var details map[string]int
			require.NoError(t, message.Decode(e.Details, &details))
			assert.Equal(t, map[string]int{"limit": tt.limit, "size": tt.limit + 1}, details)
		})
	}
}
