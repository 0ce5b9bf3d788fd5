package transporttest

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// Integrity sends a million small frames from eight writers over one connection:
// nothing may be lost, changed or reordered. The race detector, under which fewer
// are sent, does not see misuse of memory that a library keeps for itself, so run
// it without as well.
func Integrity(t *testing.T, open Open) {
	const writers = 8
	frames := integrityFrames
	if testing.Short() {
		frames = min(frames, 50_000)
	}
	srv, cli := newSide(false), newSide(false)
	srv.MaxInbound = 1 << 30 // a transport that cannot throttle must not give up
	got, bad := 0, ""
	var next [writers]uint32
	all := make(chan bool, 1)
	srv.handle = func(_ *peer, batch []abstract.BaseMessage) {
		for _, m := range batch {
			w, n := m.(*Message).N>>32, uint32(m.(*Message).N)
			if n != next[w] || !intact(m.(*Message)) {
				bad = fmt.Sprintf("writer %d: got frame %d, expected %d, intact %v", w, n, next[w], intact(m.(*Message)))
			}
			next[w] = n + 1
			if got++; got == frames/writers*writers || bad != "" {
				select {
				case all <- true:
				default:
				}
			}
		}
	}
	c, _ := start(t, open, srv, cli).connect(t)
	var wg sync.WaitGroup
	for w := range uint64(writers) {
		wg.Go(func() {
			for n := range uint64(frames / writers) {
				if !sendPatiently(t, c, stamped(w<<32|n)) {
					return
				}
			}
		})
	}
	wg.Wait()
	await(t, all, "the last frame")
	assert.Empty(t, bad)
}

// sendPatiently tries again while the queue is full.
func sendPatiently(t *testing.T, c *peer, m *Message) bool {
	for {
		err := c.Send(m)
		if err == nil {
			return true
		}
		if abstract.CodeOf(err) != abstract.Overloaded {
			return assert.NoError(t, err)
		}
		runtime.Gosched() // the peer is slower than we are
	}
}

// stamped makes a message whose body repeats its number.
func stamped(n uint64) *Message {
	m := &Message{Kind: abstract.ReqRPC, N: n, Body: make([]byte, 8*(1+n%4))}
	for i := 0; i < len(m.Body); i += 8 {
		binary.BigEndian.PutUint64(m.Body[i:], n)
	}
	return m
}

func intact(m *Message) bool {
	for i := 0; i+8 <= len(m.Body); i += 8 {
		if binary.BigEndian.Uint64(m.Body[i:]) != m.N {
			return false
		}
	}
	return len(m.Body) == int(8*(1+m.N%4))
}

// CloseWhileWriting opens and closes connections from both sides while both write,
// and looks whether one ever gets bytes of another: what a transport that writes to
// descriptors must be able to prove.
func CloseWhileWriting(t *testing.T, open Open, conns int) {
	srv, cli := newSide(false), newSide(false)
	srv.MaxQueued, cli.MaxQueued = 64<<10, 64<<10
	srv.handle = func(*peer, []abstract.BaseMessage) {}
	r := start(t, open, srv, cli)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for n := range conns / 4 {
				closeWhileWriting(t, r, n%2 == 0)
			}
		})
	}
	wg.Wait()
	c, s := connectEnds(t, r)
	require.NoError(t, c.Send(&Message{Kind: abstract.ReqRPC, N: 99}), "the transport still works")
	c.Close(nil)
	assert.Equal(t, io.EOF, await(t, s.closed, "the server's OnClose"))
}

// connectEnds opens a connection and finds the server's end of it by the address.
// Several goroutines do so at the same time.
func connectEnds(t *testing.T, r *rig) (c, s *peer) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := r.Client.Connect(ctx)
	require.NoError(t, err)
	addr := conn.LocalAddr().String()
	for s == nil {
		p := await(t, r.server.opened, "the server's OnOpen")
		if p.RemoteAddr().String() == addr {
			s = p
		} else {
			r.server.opened <- p
		}
	}
	for c == nil {
		p := await(t, r.client.opened, "the client's OnOpen")
		if p.BaseConnection == conn {
			c = p
		} else {
			r.client.opened <- p
		}
	}
	return c, s
}

func closeWhileWriting(t *testing.T, r *rig, serverCloses bool) {
	c, s := connectEnds(t, r)
	mine := []byte(c.LocalAddr().String())
	var wg sync.WaitGroup
	for _, p := range []*peer{s, c} {
		for range 2 {
			wg.Go(func() {
				m := &Message{Kind: abstract.RspRPC, Body: append(mine[:len(mine):len(mine)], make([]byte, 2000)...)}
				for abstract.CodeOf(p.Send(m)) != abstract.Disconnected {
					runtime.Gosched() // overloaded, as a rule
				}
			})
		}
	}
	for range 20 {
		select {
		case m := <-c.got:
			assert.Equal(t, string(mine), string(m.Body[:len(mine)]))
		case <-c.Done():
		}
	}
	if serverCloses {
		s.Close(nil)
	} else {
		c.Close(nil)
	}
	drainUntilClosed(c)
	wg.Wait()
	await(t, s.closed, "the server's OnClose")
	c.checkRules(t)
	s.checkRules(t)
}

// drainUntilClosed takes what a client gets, so that its Receiver can end.
func drainUntilClosed(p *peer) {
	for {
		select {
		case <-p.got:
		case <-p.closed:
			return
		}
	}
}
