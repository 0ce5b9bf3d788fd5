package udp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"
)

// Config says where datagrams are received, and what is done with them.
type Config struct {
	Addr string // "host:port"; port 0 takes any free one
	// Handler is called with each datagram, one at a time. The datagram is
	// overwritten when it returns. It must not block, and must not call Close.
	// A panic is logged and ends nothing else.
	Handler func(datagram []byte, from netip.AddrPort)

	MaxSize    int // bytes; longer ones are dropped; default 512
	ReadBuffer int // bytes that the kernel is asked to hold while nobody reads; default 1 MiB, and the kernel may give less
	Logger     *slog.Logger
}

func (c Config) withDefaults() Config {
	c.MaxSize = cmp.Or(c.MaxSize, 512)
	c.ReadBuffer = cmp.Or(c.ReadBuffer, 1<<20)
	c.Logger = cmp.Or(c.Logger, slog.Default())
	return c
}

// Listener receives datagrams on one goroutine, from Listen until Close. Nothing
// waits in this process but what the kernel holds: when more comes than the Handler
// takes, the kernel drops it.
type Listener struct {
	cfg   Config
	conn  *net.UDPConn
	done  chan struct{}
	ended sync.WaitGroup
	close sync.Once
}

// Listen binds the address and begins to receive. The caller closes the Listener.
func Listen(cfg Config) (*Listener, error) {
	cfg = cfg.withDefaults()
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(context.Background(), "udp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("listen for heartbeats at %s: %w", cfg.Addr, err)
	}
	conn, ok := pc.(*net.UDPConn)
	if !ok {
		_ = pc.Close()
		return nil, fmt.Errorf("listen for heartbeats at %s: %T is no UDP socket", cfg.Addr, pc)
	}
	if err := conn.SetReadBuffer(cfg.ReadBuffer); err != nil {
		cfg.Logger.Debug("read buffer stays as it is", "err", err)
	}
	l := &Listener{cfg: cfg, conn: conn, done: make(chan struct{})}
	l.ended.Go(l.receive)
	return l, nil
}

// Addr is where the Listener receives.
func (l *Listener) Addr() netip.AddrPort {
	addr, ok := l.conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return addr.AddrPort()
}

// Close ends receiving. When it returns, the Handler is not running and will not be
// called again. It may be called more than once.
func (l *Listener) Close() {
	l.close.Do(func() {
		close(l.done)
		_ = l.conn.Close()
	})
	l.ended.Wait()
}

func (l *Listener) receive() {
	room := make([]byte, l.cfg.MaxSize+1) // one more shows what is too long
	for failures := 0; ; {
		n, from, err := l.conn.ReadFromUDPAddrPort(room)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // on Windows: a datagram that is too long, or what became of one we sent
			failures++
			if !l.pause(failures, err) {
				return
			}
			continue
		}
		failures = 0
		if n <= l.cfg.MaxSize {
			l.handle(room[:n:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
		}
	}
}

// patience is how many errors in a row may be nothing but bad datagrams.
const patience = 100

// pause keeps a socket that only fails from taking a processor. It returns false
// when the Listener is closed meanwhile.
func (l *Listener) pause(failures int, err error) bool {
	if failures < patience {
		return true
	}
	if failures == patience {
		l.cfg.Logger.Error("heartbeats cannot be read; trying on", "err", err)
	}
	timer := time.NewTimer(100 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-l.done:
		return false
	case <-timer.C:
		return true
	}
}

func (l *Listener) handle(datagram []byte, from netip.AddrPort) {
	defer func() {
		if v := recover(); v != nil {
			l.cfg.Logger.Error("handler of a datagram panicked", "peer", from.String(), "err", v, "stack", string(debug.Stack()))
		}
	}()
	l.cfg.Handler(datagram, from)
}
