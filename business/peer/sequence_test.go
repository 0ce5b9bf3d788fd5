package peer_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"trefoil/abstract"
	"trefoil/business/peer"
	"trefoil/concrete/message"
)

// bodies are members that matter to somebody, right and wrong.
var bodies = []string{
	`{}`, hello, `{"rcode":0,"version":1}`, `{"rcode":0,"version":1,"ping_ms":100,"misses":3,"max_frame":4096}`,
	`{"version":0}`, `{"version":"1"}`, `{"rcode":7}`, `{"rcode":"x","message":5}`, `{"method":"m","parameters":{}}`,
}

var types = []abstract.MType{0, 1, 2, 3, 4, 5, 16, 17, 18, 19, 20, 21, 22, 23, 99, 1<<31 - 1}

// step is one event of a connection's life.
type step struct {
	typ   abstract.MType // -1: time passes
	body  string
	after time.Duration
}

// play runs events against a Peer and checks what must hold in any life.
func play(t require.TestingT, role peer.Role, steps []step) {
	p := peer.New(peer.Config{Role: role}, epoch)
	now := epoch
	heardModern := false // a HELLO, or a response to ours
	legacyOnly := role == peer.LegacyClient
	closed := false
	codec := message.New(message.Config{})
	for _, s := range steps {
		now = now.Add(s.after)
		var v peer.Verdict
		if s.typ < 0 {
			v = p.Tick(now)
			require.False(t, v.Deliver)
		} else {
			m, err := codec.Unmarshal(s.typ, "id", []byte(s.body), nil)
			require.NoError(t, err)
			v = p.Receive(m, now)
			if s.typ == abstract.ReqHello && role == peer.Server && !legacyOnly || s.typ == abstract.RspHello && role == peer.Client {
				heardModern = true
			} else if !heardModern {
				legacyOnly = true
			}
		}
		if closed {
			require.Equal(t, peer.Verdict{}, v, "nothing happens after the end")
			continue
		}
		if v.Reply != nil && !v.Reply.Type().Legacy() {
			require.True(t, heardModern, "%s to a peer that does not know it", v.Reply.Type())
		}
		if legacyOnly && role != peer.Client {
			require.False(t, p.Modern())
			require.Nil(t, v.Reply)
		}
		if v.Deliver {
			require.True(t, s.typ.Legacy() || p.Modern(), "%s delivered from a peer without HELLO", s.typ)
			require.NotContains(t, []abstract.MType{abstract.ReqHello, abstract.RspHello, abstract.Ping, abstract.Pong, abstract.Goodbye}, s.typ)
			require.NoError(t, v.Close)
			if role == peer.Client {
				require.True(t, p.Modern(), "nothing is delivered before HELLO is answered")
			}
		}
		if p.Modern() {
			require.GreaterOrEqual(t, p.MaxFrame(), 1024)
			require.GreaterOrEqual(t, p.PingInterval(), 10*time.Millisecond)
		} else {
			require.Equal(t, 65_532, p.MaxFrame())
		}
		closed = v.Close != nil && !v.Leaving
	}
}

// TestNoSequenceOfMessagesConfusesThePeer plays random lives.
func TestNoSequenceOfMessagesConfusesThePeer(t *testing.T) {
	oneStep := rapid.Custom(func(t *rapid.T) step {
		return step{
			typ:   rapid.OneOf(rapid.SampledFrom(types), rapid.Just(abstract.MType(-1))).Draw(t, "type"),
			body:  rapid.SampledFrom(bodies).Draw(t, "body"),
			after: time.Duration(rapid.Int64Range(0, 5000).Draw(t, "ms")) * time.Millisecond,
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		role := rapid.SampledFrom([]peer.Role{peer.Server, peer.Client, peer.LegacyClient}).Draw(t, "role")
		play(t, role, rapid.SliceOfN(oneStep, 1, 30).Draw(t, "steps"))
	})
}

// FuzzPeer plays lives made of bytes: two for each step, its type and body, and the time before it.
func FuzzPeer(f *testing.F) {
	f.Add(uint8(peer.Server), []byte{6, 1, 8, 0, 0xff, 0x70, 16, 2})
	f.Add(uint8(peer.Client), []byte{7, 3, 1, 2, 10, 0})
	f.Add(uint8(peer.LegacyClient), []byte{1, 2, 6, 1})
	f.Fuzz(func(t *testing.T, role uint8, life []byte) {
		var steps []step
		for ; len(life) >= 2; life = life[2:] {
			s := step{typ: -1, body: bodies[int(life[1])%len(bodies)], after: time.Duration(life[1]) * 100 * time.Millisecond}
			if i := int(life[0]); i < len(types) {
				s.typ = types[i]
			}
			steps = append(steps, s)
		}
		play(t, peer.Role(role%3), steps)
	})
}

func ExamplePeer() {
	now := time.Now()
	server := peer.New(peer.Config{Role: peer.Server, Agent: "server/1"}, now)
	client := peer.New(peer.Config{Role: peer.Client, Agent: "client/1"}, now)

	v := server.Receive(client.Hello("1"), now)
	v = client.Receive(v.Reply, now)
	fmt.Println(v.Met, server.Modern(), client.Modern(), client.PingInterval())
	// Output: true true true 2s
}
