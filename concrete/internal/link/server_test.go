package link

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// fakeDriver accepts what is sent to it.
type fakeDriver struct {
	accepts chan error // nil: a connection
	adopted int
	closed  chan struct{}
}

func (d *fakeDriver) Listen() (net.Listener, error) { return d, nil }

func (d *fakeDriver) Adopt(s *Server, _ net.Conn) error {
	w := newFakeWire()
	if c, ok := s.Admit(w); ok {
		c.Open()
		c.Start()
	}
	d.adopted++
	return nil
}

func (d *fakeDriver) Accept() (net.Conn, error) {
	select {
	case err := <-d.accepts:
		return nil, err
	case <-d.closed:
		return nil, net.ErrClosed
	}
}

func (d *fakeDriver) Close() error {
	close(d.closed)
	return nil
}

func (d *fakeDriver) Addr() net.Addr { return &net.TCPAddr{Port: 7} }

func TestServerGoesOnAfterAcceptFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		cfg := testConfig(&sink{closed: make(chan error, 10)})
		cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
		d := &fakeDriver{accepts: make(chan error), closed: make(chan struct{})}
		s := NewServer(cfg, d)
		require.NoError(t, s.Listen())
		served := make(chan error, 1)
		go func() { served <- s.Serve() }()
		for range 2 {
			for range 20 {
				d.accepts <- errors.New("too many open files")
			}
			d.accepts <- nil
		}
		synctest.Wait()
		assert.Equal(t, 2, d.adopted)
		assert.Equal(t, 2, strings.Count(log.String(), "too many open files"), "each burst is logged once")
		d.accepts <- errors.New("too many open files") // Shutdown does not wait for the pause
		require.NoError(t, s.Shutdown(context.Background()))
		assert.NoError(t, <-served)
	})
}

func TestServerReportsALostListener(t *testing.T) {
	d := &fakeDriver{accepts: make(chan error), closed: make(chan struct{})}
	s := NewServer(testConfig(&sink{closed: make(chan error, 10)}), d)
	assert.Nil(t, s.Addr())
	close(d.closed)
	assert.ErrorIs(t, s.Serve(), net.ErrClosed)
	assert.Equal(t, 7, s.Addr().(*net.TCPAddr).Port)
}

func TestDefaultsFillInZeroValues(t *testing.T) {
	cfg := Defaults(abstract.TransportConfig{})
	assert.Positive(t, cfg.MaxInbound)
	assert.Positive(t, cfg.MaxQueued)
	assert.Positive(t, cfg.MaxConns)
	assert.Positive(t, cfg.WriteTimeout)
	assert.NotNil(t, cfg.Logger)
	assert.ErrorIs(t, Check(cfg), abstract.ErrInvalidParams)
	set := Defaults(abstract.TransportConfig{MaxInbound: 1, MaxQueued: 2, MaxConns: 3, WriteTimeout: 4})
	assert.Equal(t, []int{1, 2, 3, 4}, []int{set.MaxInbound, set.MaxQueued, set.MaxConns, int(set.WriteTimeout)})
}
