//go:build unix

package main

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/client"
)

// Message types as they are on the wire.
const (
	wireHello = 16
	wireNode  = 32
	wireDone  = 33
)

// wirePeer is a peer that speaks bytes, and need not keep to any rule.
type wirePeer struct {
	t *testing.T
	net.Conn
}

type wireGrant struct {
	ID      string `json:"id"`
	Secret  string `json:"secret"`
	Resumed bool   `json:"resumed"`
	UDP     int    `json:"udp"`
}

type wireAnswer struct {
	RCode   int       `json:"rcode"`
	Message string    `json:"message"`
	Session wireGrant `json:"session"`
}

// dialWire connects and says hello, with session as what it asks for.
func dialWire(t *testing.T, addr, session string) (*wirePeer, wireGrant) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	p := &wirePeer{t, conn}
	_, err = p.Write(wireFrame(wireHello, "h", `{"version":1,"agent":"test","max_frame":8388608,"session":`+session+`}`))
	require.NoError(t, err)
	return p, p.answer("h").Session
}

func wireFrame(mtype uint32, id, body string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(id)+len(body)))
	b = binary.BigEndian.AppendUint32(b, mtype)
	b = binary.BigEndian.AppendUint32(b, uint32(len(id)))
	return append(append(b, id...), body...)
}

// answer reads on to the answer with an id.
func (p *wirePeer) answer(id string) (a wireAnswer) {
	p.t.Helper()
	require.NoError(p.t, p.SetReadDeadline(time.Now().Add(patience)))
	for {
		var head [12]byte
		_, err := io.ReadFull(p, head[:])
		require.NoError(p.t, err, "no answer to %s", id)
		rest := make([]byte, binary.BigEndian.Uint32(head[:4])-8)
		_, err = io.ReadFull(p, rest)
		require.NoError(p.t, err)
		if n := binary.BigEndian.Uint32(head[8:]); string(rest[:n]) == id {
			require.NoError(p.t, json.Unmarshal(rest[n:], &a), "%s", rest[n:])
			return a
		}
	}
}

// drain reads as many answers as there are, up to most. The error is nil or says that
// the connection is closed.
func (p *wirePeer) drain(most int) (answers int, size int64, err error) {
	p.t.Helper()
	require.NoError(p.t, p.SetReadDeadline(time.Now().Add(patience)))
	for answers < most {
		var head [12]byte
		if _, err = io.ReadFull(p, head[:]); err != nil {
			break
		}
		n := int64(binary.BigEndian.Uint32(head[:4])) - 8
		if _, err = io.CopyN(io.Discard, p, n); err != nil {
			break
		}
		if binary.BigEndian.Uint32(head[4:]) == wireDone {
			answers++
			size += n
		}
	}
	require.NotErrorIs(p.t, err, os.ErrDeadlineExceeded, "neither answered nor closed")
	return answers, size, err
}

// ask is one request for an operation on the tree.
func (p *wirePeer) ask(id, body string) wireAnswer {
	p.t.Helper()
	_, err := p.Write(wireFrame(wireNode, id, body))
	require.NoError(p.t, err)
	return p.answer(id)
}

// heartbeat is a datagram as the protocol describes it.
func heartbeat(id, secret []byte, sequence uint64) []byte {
	b := append([]byte("TFHB\x01"), id...)
	b = binary.BigEndian.AppendUint64(b, sequence)
	mac := hmac.New(sha256.New, secret)
	mac.Write(b)
	return append(b, mac.Sum(nil)[:16]...)
}

// droppedAt is how many datagrams the kernel has dropped at a port of this machine.
// It is not known where there is no such table.
func droppedAt(port int) (n int, known bool) {
	table, err := os.ReadFile("/proc/net/udp")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) > 2 && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) {
			drops, _ := strconv.Atoi(fields[len(fields)-1])
			n, known = n+drops, true
		}
	}
	return n, known
}

// TestReplayedHeartbeatsRenewNothing records heartbeats that were good once, and
// floods the broker with them and with forgeries when the connection is gone.
func TestReplayedHeartbeatsRenewNothing(t *testing.T) {
	broker := startCommand(t, exec.Command(fastBinary(t), "broker", "--listen", "127.0.0.1:0", "--session-interval", "600ms", "--session-misses", "5", "--log-level", "error"))
	addr := strings.TrimPrefix(broker.line(broker.out), "listening on ")
	_, nodes := dialBroker(t, addr)
	peer, grant := dialWire(t, addr, `{}`)
	created := peer.ask("c", `{"op":"create","path":"/mine","session":true}`)
	require.Zero(t, created.RCode, created.Message)
	id, err := hex.DecodeString(grant.ID)
	require.NoError(t, err)
	secret, err := hex.DecodeString(grant.Secret)
	require.NoError(t, err)
	host, _, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	conn, err := net.Dial("udp", net.JoinHostPort(host, strconv.Itoa(grant.UDP)))
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, peer.Close())

	var good [][]byte // for twice the time a session lives without any
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for begun := time.Now(); time.Since(begun) < 6*time.Second; <-ticker.C {
		good = append(good, heartbeat(id, secret, uint64(len(good)+1)))
		_, _ = conn.Write(good[len(good)-1])
	}
	there, err := nodes.Exists(t.Context(), "/mine")
	require.NoError(t, err)
	require.True(t, there, "heartbeats that are good keep a session without a connection")

	before, sent, begun := cpuOf(t, broker), 0, time.Now()
	dropped, _ := droppedAt(grant.UDP)
	for most := long(20_000, 1_000_000); there || sent < most; {
		for range 250 {
			_, _ = conn.Write(good[sent%len(good)])
			forged := heartbeat(id, secret, uint64(1_000_000+sent))
			_, _ = rand.Read(forged[29:])
			_, _ = conn.Write(forged)
			sent += 2
		}
		there, err = nodes.Exists(t.Context(), "/mine")
		require.NoError(t, err)
		if there {
			require.Less(t, time.Since(begun), patience, "the session lives by what nobody renewed it with")
		}
	}
	used := cpuOf(t, broker) - before
	lost, known := droppedAt(grant.UDP)
	lost -= dropped
	received := sent - lost
	require.Positive(t, received)
	t.Logf("%d datagrams, half of them replayed, half forged, in %v; %d dropped by the kernel (known: %v); %v of the broker's processor time: %v for each that was received",
		sent, time.Since(begun), lost, known, used, used/time.Duration(received))
	_, next := dialWire(t, addr, fmt.Sprintf(`{"id":%q,"secret":%q}`, grant.ID, grant.Secret))
	assert.False(t, next.Resumed)
	assert.NotEqual(t, grant.ID, next.ID)
}

// TestPeerThatReadsNoAnswersCostsBoundedMemory asks for far more than it reads.
func TestPeerThatReadsNoAnswersCostsBoundedMemory(t *testing.T) {
	broker := startCommand(t, exec.Command(fastBinary(t), "broker", "--listen", "127.0.0.1:0", "--log-level", "error"))
	addr := strings.TrimPrefix(broker.line(broker.out), "listening on ")
	_, nodes := dialBroker(t, addr)
	_, err := nodes.Create(t.Context(), "/large", nil)
	require.NoError(t, err)
	for i := range 8 {
		_, err := nodes.Create(t.Context(), fmt.Sprintf("/large/%d", i), []byte(strings.Repeat("x", 500_000)))
		require.NoError(t, err)
	}
	for op, body := range map[string]string{
		"ls":  `{"op":"ls","path":"/large","recursive":true,"with_data":true}`,
		"get": `{"op":"get","path":"/large/0"}`,
	} {
		t.Run(op, func(t *testing.T) {
			const asked = 800 // answers of half a megabyte or more
			peer, _ := dialWire(t, addr, `{}`)
			before := memory(broker)
			wrote := make(chan string, 1)
			require.NoError(t, peer.SetWriteDeadline(time.Now().Add(3*time.Second)))
			go func() {
				for i := range asked {
					if _, err := peer.Write(wireFrame(wireNode, strconv.Itoa(i), body)); err != nil {
						wrote <- fmt.Sprintf("%d were taken, then: %v", i, err)
						return
					}
				}
				wrote <- "all were taken"
			}()
			most := before
			what := ""
			for what == "" {
				_, err := nodes.Set(t.Context(), "/large", []byte("x")) // others are served meanwhile
				require.NoError(t, err)
				most = max(most, memory(broker))
				select {
				case what = <-wrote:
				default:
				}
			}
			for range 2000 {
				_, err := nodes.Set(t.Context(), "/large", []byte("x"))
				require.NoError(t, err)
				most = max(most, memory(broker))
			}
			t.Logf("%d requests: %s; the broker's memory: %d KiB, then at most %d KiB", asked, what, before, most)
			assert.Less(t, most-before, 256<<10, "KiB that the broker holds for who does not read")
			answers, size, end := peer.drain(asked)
			t.Logf("when it reads at last: %d answers of %d MiB together, then %v", answers, size>>20, end)
			assert.True(t, end != nil || answers == asked, "it is held, or closed: no answer is left out")
		})
	}
}

// TestOversizedRequestsAreAnswered sends what is over a limit. The peer is told, and
// served on.
func TestOversizedRequestsAreAnswered(t *testing.T) {
	_, addr := startBroker(t)
	quoted := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	ops := strings.TrimSuffix(strings.Repeat(`{"op":"check","path":"/"},`, 129), ",")
	for name, body := range map[string]string{
		"data":        `{"op":"create","path":"/a","data":` + quoted(strings.Repeat("x", 1<<20+1)) + `}`,
		"path":        `{"op":"create","path":` + quoted("/"+strings.Repeat(strings.Repeat("x", 200)+"/", 6)+"x") + `}`,
		"segment":     `{"op":"create","path":` + quoted("/"+strings.Repeat("x", 256)) + `}`,
		"depth":       `{"op":"create","parents":true,"path":` + quoted(strings.Repeat("/x", 65)) + `}`,
		"operations":  `{"op":"multi","ops":[` + ops + `]}`,
		"key":         `{"op":"create","path":"/a","key":` + quoted(strings.Repeat("k", 257)) + `}`,
		"data, multi": `{"op":"multi","ops":[{"op":"create","path":"/a","data":` + quoted(strings.Repeat("x", 1<<20+1)) + `}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			peer, _ := dialWire(t, addr, `{}`)
			a := peer.ask("1", body)
			t.Logf("%d: %s", a.RCode, a.Message)
			assert.NotZero(t, a.RCode)
			assert.NotEmpty(t, a.Message)
			assert.Less(t, len(a.Message), 4096, "what was too long is not sent back whole")
			assert.Zero(t, peer.ask("2", `{"op":"stat","path":"/"}`).RCode, "it is served on")
		})
	}
	_, nodes := dialBroker(t, addr)
	there, err := nodes.Exists(t.Context(), "/a")
	require.NoError(t, err)
	assert.False(t, there)
}

// TestFloodOfWatchesMeetsALimit begins watches without an end.
func TestFloodOfWatchesMeetsALimit(t *testing.T) {
	broker := startCommand(t, exec.Command(fastBinary(t), "broker", "--listen", "127.0.0.1:0", "--log-level", "error"))
	addr := strings.TrimPrefix(broker.line(broker.out), "listening on ")
	peer, _ := dialWire(t, addr, `{}`)
	before, accepted := memory(broker), 0
	const most = 200_000
	var refused wireAnswer
	for accepted < most && refused.RCode == 0 {
		refused = peer.ask(strconv.Itoa(accepted), fmt.Sprintf(`{"op":"watch","path":"/flood/%d","scope":"subtree"}`, accepted))
		if refused.RCode == 0 {
			accepted++
		}
	}
	t.Logf("%d watches, then %d: %s; the broker's memory: %d KiB, then %d KiB", accepted, refused.RCode, refused.Message, before, memory(broker))
	require.NotZero(t, refused.RCode, "there is no limit")
	assert.NotEmpty(t, refused.Message)
	assert.Zero(t, peer.ask("ended", `{"op":"unwatch","path":"/flood/0","scope":"subtree"}`).RCode)
	assert.Zero(t, peer.ask("more", `{"op":"watch","path":"/flood/more","scope":"subtree"}`).RCode, "there is room again")
	_, nodes := dialBroker(t, addr)
	watch, err := nodes.Watch(t.Context(), "/others", client.ScopeNode)
	require.NoError(t, err, "the limit is each peer's own")
	require.NoError(t, watch.Close(t.Context()))
}
