package stdnet

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"trefoil/concrete/internal/link"
)

const (
	// crowdedFor is how long a handshake may take while others wait for its place.
	crowdedFor = 500 * time.Millisecond
	// Who failed gets a moment to read why: an end with unread input would make the
	// system throw away what we said.
	farewellFor   = 500 * time.Millisecond
	farewellBytes = 64 << 10
	// complainEvery is how often failed handshakes are logged, at most.
	complainEvery = time.Second
)

// handshakes is a net.Listener whose connections have shaken hands. Handshakes run
// side by side, so that a slow peer holds up nobody, and only so many at a time.
type handshakes struct {
	net.Listener
	tls *TLS

	start  sync.Once
	ready  chan *tls.Conn
	failed chan error // of accepting
	places chan struct{}
	done   chan struct{}
	work   sync.WaitGroup

	mu         sync.Mutex
	closed     bool
	pending    []handshake // in the order they began
	complained time.Time
	unsaid     int // failures since then
}

type handshake struct {
	nc    net.Conn
	began time.Time
}

func newHandshakes(ln net.Listener, t *TLS) *handshakes {
	return &handshakes{Listener: ln, tls: t, ready: make(chan *tls.Conn), failed: make(chan error),
		places: make(chan struct{}, t.cfg.MaxHandshakes), done: make(chan struct{})}
}

// Accept returns the next connection that has shaken hands, a *tls.Conn.
func (h *handshakes) Accept() (net.Conn, error) {
	h.start.Do(func() { h.run(h.acceptAll) })
	select {
	case nc := <-h.ready:
		return nc, nil
	case err := <-h.failed:
		return nil, err
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// run runs f on a goroutine that Close waits for. False: Close was called.
func (h *handshakes) run(f func()) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.work.Go(f)
	return true
}

// Close ends accepting and every handshake.
func (h *handshakes) Close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return net.ErrClosed
	}
	h.closed = true
	close(h.done)
	for _, p := range h.pending {
		_ = p.nc.Close()
	}
	h.mu.Unlock()
	err := h.Listener.Close()
	h.work.Wait()
	return err
}

func (h *handshakes) acceptAll() {
	for h.takePlace() {
		nc, err := h.Listener.Accept()
		if err == nil {
			if !h.run(func() { h.shake(nc) }) {
				_ = nc.Close()
				return
			}
			continue
		}
		<-h.places
		select {
		case h.failed <- err:
		case <-h.done:
			return
		}
	}
}

// takePlace waits until one more handshake may begin. False: Close was called.
func (h *handshakes) takePlace() bool {
	for {
		select {
		case h.places <- struct{}{}:
			return true
		case <-h.done:
			return false
		default:
		}
		wait := time.NewTimer(h.giveUpOldest())
		select {
		case h.places <- struct{}{}:
			wait.Stop()
			return true
		case <-h.done:
			wait.Stop()
			return false
		case <-wait.C:
		}
	}
}

// giveUpOldest ends the oldest handshake if it has had its time, and returns when
// to ask again.
func (h *handshakes) giveUpOldest() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.pending) == 0 {
		return crowdedFor
	}
	if left := crowdedFor - time.Since(h.pending[0].began); left > 0 {
		return left
	}
	_ = h.pending[0].nc.Close()
	h.pending = h.pending[1:]
	return crowdedFor
}

func (h *handshakes) shake(nc net.Conn) {
	defer func() { <-h.places }()
	if !h.enter(nc) {
		_ = nc.Close()
		return
	}
	link.Tune(nc, h.tls.cfg.HandshakeTimeout)
	_ = nc.SetDeadline(time.Now().Add(h.tls.cfg.HandshakeTimeout)) // a socket that is gone fails below
	tc := tls.Server(nc, h.tls.serverConfig())
	if err := tc.Handshake(); err != nil {
		h.complain(nc, err)
		farewell(nc)
		h.leave(nc)
		_ = nc.Close()
		return
	}
	if !h.leave(nc) || nc.SetDeadline(time.Time{}) != nil {
		_ = nc.Close()
		return
	}
	select {
	case h.ready <- tc:
	case <-h.done:
		_ = nc.Close()
	}
}

func (h *handshakes) enter(nc net.Conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.pending = append(h.pending, handshake{nc, time.Now()})
	}
	return !h.closed
}

// leave returns false when the handshake has been given up.
func (h *handshakes) leave(nc net.Conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.pending {
		if h.pending[i].nc == nc {
			h.pending = append(h.pending[:i], h.pending[i+1:]...)
			return !h.closed
		}
	}
	return false
}

// farewell lets the peer read why it was refused.
func farewell(nc net.Conn) {
	if half, ok := nc.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		return
	}
	if nc.SetReadDeadline(time.Now().Add(farewellFor)) == nil {
		_, _ = io.CopyN(io.Discard, nc, farewellBytes)
	}
}

// complain logs a failed handshake. Who only looks whether the port is open is not
// worth a warning, and a crowd gets one together.
func (h *handshakes) complain(nc net.Conn, err error) {
	peer := ""
	if a := nc.RemoteAddr(); a != nil {
		peer = a.String()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) {
		h.tls.cfg.Logger.Debug("tls handshake broken off", "peer", peer, "err", err)
		return
	}
	h.mu.Lock()
	h.unsaid++
	failures, quiet := h.unsaid, time.Since(h.complained) < complainEvery
	if !quiet {
		h.complained, h.unsaid = time.Now(), 0
	}
	h.mu.Unlock()
	if !quiet {
		h.tls.cfg.Logger.Warn("tls handshake failed", "peer", peer, "err", err, "failures", failures)
	}
}
