package transporttest

import (
	"bytes"
	"io"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

func echoes(t *testing.T, open Open, direct bool) {
	srv, cli := newSide(direct), newSide(direct)
	srv.handle = func(p *peer, batch []abstract.BaseMessage) {
		for _, m := range batch {
			assert.NoError(t, p.Send(&Message{Kind: abstract.RspRPC, N: m.(*Message).N, Body: m.(*Message).Body}))
		}
	}
	c, s := start(t, open, srv, cli).connect(t)
	require.NoError(t, c.Send(&Message{Kind: abstract.ReqRPC, N: 7, Body: []byte("hello")}))
	got := await(t, c.got, "the echo")
	assert.Equal(t, uint64(7), got.N)
	assert.Equal(t, "hello", string(got.Body))
	assert.NoError(t, c.Err())
	assert.Equal(t, s.LocalAddr().String(), c.RemoteAddr().String())
	assert.Equal(t, c.LocalAddr().Network(), s.RemoteAddr().Network())
}

func flushesAfterReceiver(t *testing.T, open Open, direct bool) {
	srv, cli := newSide(direct), newSide(direct)
	srv.handle = echo
	c, _ := start(t, open, srv, cli).connect(t)
	require.NoError(t, c.Send(&Message{Kind: abstract.ReqRPC, N: 1}))
	assert.Equal(t, uint64(1), await(t, c.got, "what was queued in OnMessages").N)
}

func sendsFromOnOpen(t *testing.T, open Open, direct bool) {
	srv, cli := newSide(direct), newSide(direct)
	cli.onOpen = func(p *peer) { assert.NoError(t, p.Send(&Message{Kind: abstract.ReqHello, N: 1})) }
	srv.onOpen = func(p *peer) { assert.NoError(t, p.Queue(frame(abstract.RspHello, 2, nil))) }
	c, s := start(t, open, srv, cli).connect(t)
	assert.Equal(t, uint64(1), await(t, s.got, "the client's hello").N)
	assert.Equal(t, uint64(2), await(t, c.got, "the server's hello").N)
}

func keepsOrder(t *testing.T, open Open, direct bool) {
	const senders, each = 8, 1500
	srv, cli := newSide(direct), newSide(direct)
	c, s := start(t, open, srv, cli).connect(t)
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for n := range each {
				m := &Message{Kind: abstract.ReqRPC, N: uint64(n), Body: append([]byte{byte(i)}, make([]byte, n%300)...)}
				assert.NoError(t, c.Send(m))
			}
		})
	}
	next := make([]uint64, senders)
	for range senders * each {
		m := await(t, s.got, "a message")
		require.Equal(t, next[m.Body[0]], m.N)
		require.Len(t, m.Body, 1+int(m.N%300))
		next[m.Body[0]]++
	}
	wg.Wait()
}

func byteByByte(t *testing.T, open Open, direct bool) {
	srv, cli := newSide(direct), newSide(direct)
	srv.handle = echo
	raw, _ := start(t, open, srv, cli).raw(t)
	for n := range uint64(5) {
		for _, b := range frame(abstract.ReqRPC, n, []byte("slowly")).Bytes {
			raw.send(t, []byte{b})
		}
		m := raw.mustNext(t)
		assert.Equal(t, n, m.N)
		assert.Equal(t, "slowly", string(m.Body))
	}
}

func hugeFrame(t *testing.T, open Open, direct bool) {
	srv, cli := newSide(direct), newSide(direct)
	srv.handle = echo
	c, _ := start(t, open, srv, cli).connect(t)
	body := bytes.Repeat([]byte("0123456789abcdef"), MaxFrame/16)
	require.NoError(t, c.Send(&Message{Kind: abstract.ReqRPC, N: 3, Body: body}))
	require.NoError(t, c.Send(&Message{Kind: abstract.ReqRPC, N: 4}))
	got := await(t, c.got, "the echo")
	assert.Equal(t, uint64(3), got.N)
	assert.True(t, bytes.Equal(body, got.Body))
	assert.Equal(t, uint64(4), await(t, c.got, "the second echo").N)
}

// partialFrames announces big frames and sends little of them.
func partialFrames(t *testing.T, open Open, direct bool) {
	const conns, sent = 64, 1 << 10
	r := start(t, open, newSide(direct), newSide(direct))
	peers := make([]*peer, conns)
	raws := make([]*raw, conns)
	whole := frame(abstract.ReqRPC, 0, make([]byte, MaxFrame)).Bytes
	before := heap()
	for i := range conns {
		raws[i], peers[i] = r.raw(t)
		raws[i].send(t, whole[:sent])
	}
	for _, p := range peers {
		require.Eventually(t, func() bool { return p.Stalled() > 0 }, patience, time.Millisecond)
	}
	assert.Less(t, heap()-before, int64(conns*128<<10), "a partial frame costs what arrived, not what it announced")
	raws[0].send(t, whole[sent:])
	assert.Len(t, await(t, peers[0].got, "the whole frame").Body, MaxFrame)
	require.Eventually(t, func() bool { return peers[0].Stalled() == 0 }, patience, time.Millisecond)
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // what pools held goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func badStream(t *testing.T, open Open, direct bool) {
	srv, cli := newSide(direct), newSide(direct)
	srv.handle = echo
	raw, s := start(t, open, srv, cli).raw(t)
	bad := append(frame(abstract.ReqRPC, 1, []byte("good")).Bytes, frame(abstract.ReqRPC, 2, []byte("good")).Bytes...)
	raw.send(t, append(bad, "GET / HTTP/1.1\r\n\r\n"...))
	assert.Equal(t, uint64(1), raw.mustNext(t).N)
	assert.Equal(t, uint64(2), raw.mustNext(t).N)
	_, err := raw.next()
	assert.ErrorIs(t, err, io.EOF)
	require.NoError(t, raw.Close())
	assert.ErrorIs(t, await(t, s.closed, "OnClose"), abstract.ErrParseFailed)
	assert.ErrorIs(t, s.Err(), abstract.ErrParseFailed)
}

func finAfterData(t *testing.T, open Open, direct bool) {
	const frames = 1000
	srv, cli := newSide(direct), newSide(direct)
	var got []uint64
	srv.handle = func(_ *peer, batch []abstract.BaseMessage) {
		for _, m := range batch {
			got = append(got, m.(*Message).N)
		}
	}
	raw, s := start(t, open, srv, cli).raw(t)
	var all []byte
	for n := range uint64(frames) {
		all = append(all, frame(abstract.ReqRPC, n, make([]byte, n)).Bytes...)
	}
	raw.send(t, append(all, 0, 0, 0)) // and the beginning of one more
	require.NoError(t, raw.Close())
	assert.Equal(t, io.EOF, await(t, s.closed, "OnClose"))
	require.Len(t, got, frames)
	for n := range got {
		require.Equal(t, uint64(n), got[n])
	}
}

// halfClose is a courtesy of transports that throttle; the others may close at once.
func halfClose(t *testing.T, open Open, direct bool) {
	srv, cli := newSide(direct), newSide(direct)
	srv.handle = echo
	r := start(t, open, srv, cli)
	if !r.Throttles {
		return
	}
	raw, s := r.raw(t)
	raw.send(t, frame(abstract.ReqRPC, 1, make([]byte, MaxFrame)).Bytes)
	require.NoError(t, raw.Conn.(interface{ CloseWrite() error }).CloseWrite())
	assert.Len(t, raw.mustNext(t).Body, MaxFrame)
	_, err := raw.next()
	assert.ErrorIs(t, err, io.EOF)
	assert.Equal(t, io.EOF, await(t, s.closed, "OnClose"))
}

// slowReceiver sends more than MaxInbound while the Receiver is busy.
func slowReceiver(t *testing.T, open Open, direct bool) {
	const frames, size = 400, 64 << 10
	srv, cli := newSide(direct), newSide(direct)
	srv.MaxInbound = 4 << 20
	first, goOn, seen := make(chan bool, 1), make(chan bool), uint64(0)
	srv.handle = func(_ *peer, batch []abstract.BaseMessage) {
		if seen == 0 {
			first <- true
			<-goOn
		}
		for _, m := range batch {
			assert.Equal(t, seen, m.(*Message).N)
			seen++
		}
	}
	r := start(t, open, srv, cli)
	raw, s := r.raw(t)
	wrote := make(chan error, 1)
	go func() {
		var err error
		for n := uint64(0); n < frames && err == nil; n++ {
			_, err = raw.Write(frame(abstract.ReqRPC, n, make([]byte, size)).Bytes)
		}
		wrote <- err
	}()
	await(t, first, "the first batch")
	if !r.Throttles {
		await(t, s.Done(), "the end of a peer that sends too much")
		close(goOn)
		assert.ErrorIs(t, await(t, s.closed, "OnClose"), abstract.ErrOverloaded)
		_ = raw.Close()
		await(t, wrote, "the writer")
		return
	}
	close(goOn)
	require.NoError(t, await(t, wrote, "the writer"))
	require.NoError(t, raw.Close())
	assert.Equal(t, io.EOF, await(t, s.closed, "OnClose"))
	assert.Equal(t, uint64(frames), seen)
}
