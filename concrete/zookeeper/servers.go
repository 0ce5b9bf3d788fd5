package zookeeper

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
)

// servers takes turns among the servers. Names are resolved at each connecting: a member
// that moves is found again. Its methods are called by the library.
type servers struct {
	mu    sync.Mutex
	all   []string
	next  int
	tried int       // since there was a session
	since time.Time // when there was one
}

var _ zk.HostProvider = (*servers)(nil)

// Init takes the addresses, in an order of chance: not everybody goes to the first.
func (s *servers) Init(all []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = slices.Clone(all)
	rand.Shuffle(len(s.all), func(i, j int) { s.all[i], s.all[j] = s.all[j], s.all[i] })
	return nil
}

// Len is zk.HostProvider's.
func (s *servers) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

// Next returns the next server. The library waits for a second when it is told to pause,
// which it is after each round, and when a session did not last.
func (s *servers) Next() (server string, pause bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pause = s.tried > 0 && s.tried%len(s.all) == 0 || s.tried == 0 && !s.since.IsZero() && time.Since(s.since) < time.Second
	server = s.all[s.next%len(s.all)]
	s.next++
	s.tried++
	return server, pause
}

// Connected says that there is a session.
func (s *servers) Connected() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tried, s.since = 0, time.Now()
}

// wires makes the connections below one client of the library.
type wires struct {
	under    zk.Dialer
	patience time.Duration // how long a server may take to answer the first request
	mu       sync.Mutex
	current  net.Conn
	closed   bool
}

var errNoMore = errors.New("this connection is not made again")

func (w *wires) dial(network, addr string, timeout time.Duration) (net.Conn, error) {
	if w.isClosed() {
		return nil, errNoMore
	}
	c, err := w.under(network, addr, timeout)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		_ = c.Close()
		return nil, errNoMore
	}
	w.current = c
	return &greeted{Conn: c, patience: w.patience}, nil
}

func (w *wires) isClosed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}

// close ends the connection there is; another one is not made.
func (w *wires) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if w.current != nil {
		_ = w.current.Close()
	}
}

// stopMaking lets the connection there is live, as the last one.
func (w *wires) stopMaking() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
}

// overTLS protects what another dialer makes.
func overTLS(under zk.Dialer, cfg *tls.Config) zk.Dialer {
	return func(network, addr string, timeout time.Duration) (net.Conn, error) {
		c, err := under(network, addr, timeout)
		if err != nil {
			return nil, err
		}
		own := cfg.Clone()
		if own.ServerName == "" {
			own.ServerName, _, _ = net.SplitHostPort(addr)
		}
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		secure := tls.Client(c, own)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = c.Close()
			return nil, err
		}
		return secure, nil
	}
}

// greeted bounds how long a server may take to begin to speak. The library would wait for
// several times the session's timeout, when a server is stopped whose system still takes
// connections, although another member may be well.
type greeted struct {
	net.Conn
	patience time.Duration
	heard    bool
}

// Read is net.Conn's.
func (g *greeted) Read(b []byte) (int, error) {
	n, err := g.Conn.Read(b)
	g.heard = g.heard || n > 0
	return n, err
}

// SetReadDeadline is net.Conn's.
func (g *greeted) SetReadDeadline(t time.Time) error {
	if latest := time.Now().Add(g.patience); !g.heard && t.After(latest) {
		t = latest
	}
	return g.Conn.SetReadDeadline(t)
}
