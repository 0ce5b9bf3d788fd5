package registrytest

import (
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Proxy stands between clients and a server, and breaks what it connects. It ends with
// the test. Safe for concurrent use.
type Proxy struct {
	listen net.Listener
	ended  sync.WaitGroup

	mu     sync.Mutex
	to     string
	away   bool
	dammed chan struct{} // nil, or closed when bytes flow again
	conns  map[net.Conn]struct{}
}

// NewProxy makes a Proxy to a server's address.
func NewProxy(t testing.TB, to string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &Proxy{listen: l, to: to, conns: make(map[net.Conn]struct{})}
	p.ended.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// Addr is where clients find it.
func (p *Proxy) Addr() string { return p.listen.Addr().String() }

// To makes addr the server's address, for connections to come.
func (p *Proxy) To(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to = addr
}

// Cut breaks the connections that there are; new ones can be made.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut()
}

func (p *Proxy) cut() {
	for c := range p.conns {
		_ = c.Close()
	}
}

// Away breaks the connections that there are and those to come, or lets them be again.
func (p *Proxy) Away(away bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away = away
	if away {
		p.cut()
	}
}

// Dam holds all bytes back, both ways and without breaking anything, or lets them flow.
func (p *Proxy) Dam(dam bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case dam && p.dammed == nil:
		p.dammed = make(chan struct{})
	case !dam && p.dammed != nil:
		close(p.dammed)
		p.dammed = nil
	}
}

func (p *Proxy) close() {
	_ = p.listen.Close()
	p.Away(true)
	p.Dam(false)
	p.ended.Wait()
}

func (p *Proxy) accept() {
	for {
		c, err := p.listen.Accept()
		if err != nil {
			return
		}
		p.ended.Go(func() { p.serve(c) })
	}
}

func (p *Proxy) serve(c net.Conn) {
	defer c.Close()
	p.mu.Lock()
	to := p.to
	p.mu.Unlock()
	s, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer s.Close()
	p.mu.Lock()
	if p.away {
		p.mu.Unlock()
		return
	}
	p.conns[c] = struct{}{}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.conns, c)
		p.mu.Unlock()
	}()
	var both sync.WaitGroup
	both.Go(func() { p.copy(s, c) })
	both.Go(func() { p.copy(c, s) })
	both.Wait()
}

// copy passes bytes on until one of the two has ended, and then ends both.
func (p *Proxy) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		dammed := p.dammed
		p.mu.Unlock()
		if dammed != nil {
			<-dammed
		}
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
