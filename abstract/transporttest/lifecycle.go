package transporttest

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

func closeInside(t *testing.T, open Open, direct bool) {
	srv, cli := newSide(direct), newSide(direct)
	srv.handle = func(p *peer, _ []abstract.BaseMessage) { p.Close(nil) }
	c, s := start(t, open, srv, cli).connect(t)
	require.NoError(t, c.Send(&Message{Kind: abstract.ReqRPC}))
	assert.NoError(t, await(t, s.closed, "the server's OnClose"))
	assert.NoError(t, s.Err())
	assert.Equal(t, io.EOF, await(t, c.closed, "the client's OnClose"))
}

func closeInOnOpen(t *testing.T, open Open, direct bool) {
	srv, cli := newSide(direct), newSide(direct)
	reason := errors.New("not you")
	srv.onOpen = func(p *peer) { p.Close(reason) }
	r := start(t, open, srv, cli)
	s := dialClosed(t, r)
	assert.Equal(t, reason, await(t, s.closed, "OnClose"))
}

// dialClosed opens a connection that the server closes at once.
func dialClosed(t *testing.T, r *rig) *peer {
	nc := r.Dial(t)
	t.Cleanup(func() { _ = nc.Close() })
	n, err := nc.Read(make([]byte, 1))
	assert.Zero(t, n)
	assert.Error(t, err)
	return await(t, r.server.opened, "the server's OnOpen")
}

func closeOnceLast(t *testing.T, open Open, direct bool) {
	for range 20 {
		srv, cli := newSide(direct), newSide(direct)
		srv.handle = func(*peer, []abstract.BaseMessage) {}
		c, s := start(t, open, srv, cli).connect(t)
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for range 50 {
					_ = c.Send(&Message{Kind: abstract.ReqRPC, Body: make([]byte, 100)})
				}
				s.Close(nil)
				if i == 0 {
					c.Close(nil)
				}
			})
		}
		wg.Wait()
		for _, p := range []*peer{c, s} {
			await(t, p.closed, "OnClose")
			await(t, p.Done(), "Done")
			assert.Empty(t, p.closed, "OnClose comes once")
			p.checkRules(t)
		}
	}
}

func lossSeenByBoth(t *testing.T, open Open, direct bool) {
	r := start(t, open, newSide(direct), newSide(direct))
	c, s := r.connect(t)
	reason := errors.New("the client had enough")
	c.Close(reason)
	assert.Equal(t, io.EOF, await(t, s.closed, "the server's OnClose"))
	assert.Equal(t, io.EOF, s.Err())
	assert.Equal(t, reason, await(t, c.closed, "the client's OnClose"))
	c, s = r.connect(t)
	s.Close(nil)
	assert.Equal(t, io.EOF, await(t, c.closed, "the client's OnClose"))
	await(t, c.Done(), "the client's Done")
	assert.NoError(t, await(t, s.closed, "the server's OnClose"))
}

func shutdownFlushes(t *testing.T, open Open, direct bool) {
	raw, s := start(t, open, newSide(direct), newSide(direct)).raw(t)
	sent := fill(t, s, abstract.RspRPC, make([]byte, 16<<10), flood)
	// unread input would make a plain close reset the connection
	raw.send(t, make([]byte, 3))
	reason, over := errors.New("going away"), make(chan bool)
	go func() {
		defer close(over)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		s.Shutdown(ctx, reason)
	}()
	for n := range sent {
		require.Equal(t, n, raw.mustNext(t).N)
	}
	_, err := raw.next()
	assert.ErrorIs(t, err, io.EOF)
	require.NoError(t, raw.Close())
	await(t, over, "Shutdown")
	assert.Equal(t, reason, await(t, s.closed, "OnClose"))
}

func shutdownRefuses(t *testing.T, open Open, direct bool) {
	_, s := start(t, open, newSide(direct), newSide(direct)).raw(t)
	fill(t, s, abstract.RspRPC, make([]byte, 16<<10), flood)
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan bool)
	go func() {
		defer close(over)
		s.Shutdown(ctx, nil)
	}()
	for s.Queue(frame(abstract.Ping, 0, nil)) == nil { // until Shutdown has begun
		continue
	}
	assert.ErrorIs(t, s.Queue(frame(abstract.Ping, 0, nil)), abstract.ErrDisconnected)
	select {
	case <-s.Done():
		assert.Fail(t, "Shutdown waits for what is queued")
	default:
	}
	cancel()
	await(t, over, "Shutdown to end with its context")
	await(t, s.Done(), "Done")
}

func serverShutdownBounded(t *testing.T, open Open, direct bool) {
	srv, cli := newSide(direct), newSide(direct)
	busy, goOn := make(chan bool, 1), make(chan bool)
	srv.handle = func(*peer, []abstract.BaseMessage) {
		busy <- true
		<-goOn
	}
	r := start(t, open, srv, cli)
	c, s := r.connect(t)
	require.NoError(t, c.Send(&Message{Kind: abstract.ReqRPC}))
	await(t, busy, "the busy Receiver")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	assert.ErrorIs(t, r.Server.Shutdown(ctx), context.Canceled)
	await(t, s.Done(), "Done, though the Receiver is busy")
	assert.Empty(t, s.closed, "OnClose waits for OnMessages")
	close(goOn)
	ctx, cancel = context.WithTimeout(context.Background(), patience)
	defer cancel()
	assert.NoError(t, r.Server.Shutdown(ctx))
	assert.NoError(t, await(t, s.closed, "OnClose"))
	_, err := r.Client.Connect(ctx)
	assert.ErrorIs(t, err, abstract.ErrUnavailable)
}

func shutdownBeforeServe(t *testing.T, open Open, direct bool) {
	srv, cli := newSide(direct), newSide(direct)
	tr := open(t, srv.TransportConfig, cli.TransportConfig)
	require.NoError(t, tr.Server.Listen())
	require.NoError(t, tr.Server.Listen(), "listening twice is listening")
	require.NotNil(t, tr.Server.Addr())
	require.NoError(t, tr.Server.Shutdown(context.Background()))
	assert.NoError(t, tr.Server.Serve())
	assert.Error(t, tr.Server.Listen())
}

func receiverPanic(t *testing.T, open Open, direct bool) {
	srv, cli := newSide(direct), newSide(direct)
	srv.handle = func(p *peer, batch []abstract.BaseMessage) {
		if batch[0].(*Message).N == 13 {
			panic("thirteen")
		}
		echo(p, batch)
	}
	r := start(t, open, srv, cli)
	c, s := r.connect(t)
	other, _ := r.connect(t)
	require.NoError(t, c.Send(&Message{Kind: abstract.ReqRPC, N: 13}))
	assert.ErrorIs(t, await(t, s.closed, "the server's OnClose"), abstract.ErrInternal)
	assert.Equal(t, io.EOF, await(t, c.closed, "the client's OnClose"))
	require.NoError(t, other.Send(&Message{Kind: abstract.ReqRPC, N: 1}))
	assert.Equal(t, uint64(1), await(t, other.got, "the other connection's echo").N)
}

func manyShort(t *testing.T, open Open, direct bool) {
	const workers, each = 8, 125
	srv, cli := newSide(direct), newSide(direct)
	srv.handle = echo
	r := start(t, open, srv, cli)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for n := range each {
				c, err := r.Client.Connect(context.Background())
				if !assert.NoError(t, err) {
					return
				}
				_ = c.Send(&Message{Kind: abstract.ReqRPC, N: uint64(n)})
				c.Close(nil)
			}
		})
	}
	wg.Wait()
	for _, s := range []*side{srv, cli} {
		for range workers * each {
			p := await(t, s.opened, "OnOpen")
			await(t, p.closed, "OnClose")
			p.checkRules(t)
		}
	}
}

func maxConns(t *testing.T, open Open, direct bool) {
	srv, cli := newSide(direct), newSide(direct)
	srv.MaxConns = 2
	r := start(t, open, srv, cli)
	a, s := r.connect(t)
	r.connect(t)
	third := r.Dial(t)
	_, err := third.Read(make([]byte, 1))
	assert.Error(t, err, "the third is closed at once")
	_ = third.Close()
	assert.Empty(t, srv.opened, "OnOpen is not called for it")
	a.Close(nil)
	await(t, s.closed, "the end of the first")
	for { // its place is free a moment after OnClose
		nc := r.Dial(t)
		go func() { _, _ = nc.Write(frame(abstract.ReqRPC, 5, nil).Bytes) }()
		read := make(chan error, 1)
		go func() {
			_, err := nc.Read(make([]byte, 1))
			read <- err
		}()
		select {
		case p := <-srv.opened:
			assert.Equal(t, uint64(5), await(t, p.got, "a message on the new connection").N)
			_ = nc.Close()
			await(t, read, "the reader")
			return
		case <-read:
			_ = nc.Close()
		}
	}
}

func connectFails(t *testing.T, open Open, direct bool) {
	srv, cli := newSide(direct), newSide(direct)
	tr := open(t, srv.TransportConfig, cli.TransportConfig)
	require.NoError(t, tr.Server.Listen())
	require.NoError(t, tr.Server.Shutdown(context.Background()))
	_, err := tr.Client.Connect(context.Background())
	require.ErrorIs(t, err, abstract.ErrUnavailable)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = tr.Client.Connect(ctx)
	require.ErrorIs(t, err, abstract.ErrCancelled)
}

func needsProtocol(t *testing.T, open Open, direct bool) {
	srv, cli := newSide(direct), newSide(direct)
	good := open(t, srv.TransportConfig, cli.TransportConfig)
	require.NoError(t, good.Server.Listen())
	defer func() { assert.NoError(t, good.Server.Shutdown(context.Background())) }()
	cli.Protocol = nil
	tr := open(t, srv.TransportConfig, cli.TransportConfig)
	defer func() { assert.NoError(t, tr.Server.Shutdown(context.Background())) }()
	_, err := tr.Client.Connect(context.Background())
	assert.ErrorIs(t, err, abstract.ErrInvalidParams)
}
