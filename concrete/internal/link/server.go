package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"trefoil/abstract"
)

var _ abstract.BaseServer = (*Server)(nil)

// Driver is what a transport adds to Server.
type Driver interface {
	// Listen binds the address.
	Listen() (net.Listener, error)
	// Adopt makes a connection of nc: it takes nc over, calls s.Admit or
	// another of the Admit methods, and closes nc when that refuses. It must not block. An error
	// is treated like that of an Accept: something is short, as a rule.
	Adopt(s *Server, nc net.Conn) error
}

// Server is the BaseServer of every transport.
type Server struct {
	cfg    *abstract.TransportConfig
	driver Driver
	conns  group
	onEnd  func(*Conn)
	stop   chan struct{}

	mu     sync.Mutex
	ln     net.Listener
	closed bool
	full   bool // connections are being refused, and that has been logged
}

// NewServer makes a server. cfg comes from Defaults.
func NewServer(cfg *abstract.TransportConfig, d Driver) *Server {
	s := &Server{cfg: cfg, driver: d, conns: group{max: cfg.MaxConns}, stop: make(chan struct{})}
	s.onEnd = s.conns.remove // made once, not for each connection
	return s
}

// Listen binds the address. A second call changes nothing.
func (s *Server) Listen() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := Check(s.cfg); err != nil {
		return err
	}
	if s.closed {
		return abstract.Errorf(abstract.Unavailable, "the server was shut down; make another one")
	}
	if s.ln != nil {
		return nil
	}
	ln, err := s.driver.Listen()
	if err != nil {
		return err
	}
	s.ln = ln
	return nil
}

// Serve accepts until Shutdown, and then returns nil.
func (s *Server) Serve() error {
	if err := s.Listen(); err != nil {
		if s.stopped() {
			return nil
		}
		return err
	}
	wait, failing := time.Duration(0), false
	for {
		nc, err := s.ln.Accept()
		if err == nil {
			err = s.driver.Adopt(s, nc)
		}
		switch {
		case err == nil:
			wait, failing = 0, false
		case s.stopped():
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept at %v: %w", s.ln.Addr(), err)
		default: // out of descriptors, as a rule: those who are connected go on
			if !failing {
				s.cfg.Logger.Error("accept failed, trying again", "host", s.ln.Addr().String(), "err", err)
			}
			failing = true
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			s.pause(wait)
		}
	}
}

func (s *Server) stopped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *Server) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.stop:
	}
}

// Admit makes the connection of w, and reports false when there are too many or
// the server is shut down. OnOpen has not been called yet.
func (s *Server) Admit(w Wire) (*Conn, bool) {
	return s.admit(New(s.cfg, w, s.onEnd))
}

// AdmitReading is Admit for a connection that will be read by Read.
func (s *Server) AdmitReading(w Wire) (*Conn, bool) {
	return s.admit(NewReading(s.cfg, w, s.onEnd))
}

// AdmitServing is Admit for a connection that Serve will be called of. ended is
// called at the end of one that was admitted.
func (s *Server) AdmitServing(w Wire, ended func()) (*Conn, bool) {
	return s.admit(NewServing(s.cfg, w, func(c *Conn) {
		ended()
		s.onEnd(c)
	}))
}

func (s *Server) admit(c *Conn) (*Conn, bool) {
	ok, full := s.conns.add(c)
	s.mu.Lock()
	first := full && !s.full
	s.full = full
	s.mu.Unlock()
	if first {
		s.cfg.Logger.Warn("too many connections, refusing more", "max", s.cfg.MaxConns, "peer", addrString(c.RemoteAddr()))
	}
	return c, ok
}

// Shutdown stops accepting, closes every connection as its Shutdown does, and
// waits for their Receivers' OnClose until ctx ends. It may be called again.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.stop)
		if s.ln != nil {
			_ = s.ln.Close() // a second close is no matter
		}
	}
	s.mu.Unlock()
	for _, c := range s.conns.close() {
		go c.Shutdown(ctx, nil)
	}
	return s.conns.wait(ctx)
}

// Addr is the bound address; nil before Listen.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ln == nil {
		return nil
	}
	return s.ln.Addr()
}

// Config is what the server was made with, defaults filled in.
func (s *Server) Config() *abstract.TransportConfig { return s.cfg }
