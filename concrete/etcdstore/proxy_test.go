package etcdstore

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// proxy stands between a Store and an etcd, and can cut them off from each other.
type proxy struct {
	t      testing.TB
	listen net.Listener
	wg     sync.WaitGroup

	mu    sync.Mutex
	to    string
	cut   bool
	deaf  chan struct{} // nil, or open for as long as no answer gets through
	conns map[net.Conn]struct{}
}

func startProxy(t testing.TB, to string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{t: t, to: to, listen: l, conns: map[net.Conn]struct{}{}}
	p.wg.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

func (p *proxy) endpoint() string { return "http://" + p.listen.Addr().String() }

// setCut breaks all connections and takes no more, or heals.
func (p *proxy) setCut(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	if cut {
		for c := range p.conns {
			_ = c.Close()
		}
	}
}

// setTo changes who is behind it, for new connections.
func (p *proxy) setTo(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to = addr
}

// setDeaf holds all answers back, or lets them go on.
func (p *proxy) setDeaf(deaf bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if deaf {
		p.deaf = make(chan struct{})
		return
	}
	close(p.deaf)
	p.deaf = nil
}

func (p *proxy) close() {
	p.setCut(true)
	_ = p.listen.Close()
	p.mu.Lock()
	if p.deaf != nil {
		close(p.deaf)
		p.deaf = nil
	}
	p.mu.Unlock()
	p.wg.Wait()
}

func (p *proxy) accept() {
	for {
		from, err := p.listen.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		addr := p.to
		p.mu.Unlock()
		to, err := net.Dial("tcp", addr)
		if err != nil || !p.admit(from, to) {
			_ = from.Close()
			if to != nil {
				_ = to.Close()
			}
			continue
		}
		p.wg.Go(func() { p.pump(to, from, func() {}) })
		p.wg.Go(func() { p.pump(from, to, p.hold) })
	}
}

func (p *proxy) admit(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut {
		return false
	}
	for _, c := range conns {
		p.conns[c] = struct{}{}
	}
	return true
}

// hold waits while answers are held back.
func (p *proxy) hold() {
	p.mu.Lock()
	deaf := p.deaf
	p.mu.Unlock()
	if deaf != nil {
		<-deaf
	}
}

func (p *proxy) pump(to io.WriteCloser, from net.Conn, before func()) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		before()
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
