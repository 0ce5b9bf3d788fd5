package udp_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"trefoil/concrete/udp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const local = "127.0.0.1:0"

func listen(t *testing.T, cfg udp.Config) *udp.Listener {
	t.Helper()
	if cfg.Addr == "" {
		cfg.Addr = local
	}
	l, err := udp.Listen(cfg)
	require.NoError(t, err)
	t.Cleanup(l.Close)
	return l
}

func dial(t *testing.T, to netip.AddrPort) *udp.Sender {
	t.Helper()
	s, err := udp.Dial(t.Context(), to.String())
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// inbox is a Handler that keeps what came.
func inbox() (chan string, func([]byte, netip.AddrPort)) {
	got := make(chan string, 1000)
	return got, func(d []byte, _ netip.AddrPort) { got <- string(d) }
}

func TestDatagramsArriveOneByOne(t *testing.T) {
	got, handler := inbox()
	s := dial(t, listen(t, udp.Config{Handler: handler}).Addr())
	for _, text := range []string{"a", "", "bc"} {
		require.NoError(t, s.Send([]byte(text)))
		assert.Equal(t, text, <-got)
	}
}

func TestHandlerLearnsTheSender(t *testing.T) {
	from := make(chan netip.AddrPort, 1)
	l := listen(t, udp.Config{Addr: ":0", Handler: func(_ []byte, a netip.AddrPort) { from <- a }})
	s, err := net.Dial("udp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), l.Addr().Port()).String())
	require.NoError(t, err)
	defer s.Close()
	_, err = s.Write([]byte("x"))
	require.NoError(t, err)
	assert.Equal(t, s.LocalAddr().String(), (<-from).String(), "an address of version 4, also over a socket of both")
}

func TestLongDatagramsAreDropped(t *testing.T) {
	got, handler := inbox()
	s := dial(t, listen(t, udp.Config{Handler: handler, MaxSize: 45}).Addr())
	for _, size := range []int{46, 47, 1000, 60_000, 45} {
		require.NoError(t, s.Send(make([]byte, size)))
	}
	assert.Len(t, <-got, 45)
	assert.Empty(t, got)
}

func TestHandlerIsCalledOneAtATime(t *testing.T) {
	var running, most, count atomic.Int32
	all := make(chan struct{})
	l := listen(t, udp.Config{Handler: func([]byte, netip.AddrPort) {
		most.Store(max(most.Load(), running.Add(1)))
		running.Add(-1)
		if count.Add(1) == 100 {
			close(all)
		}
	}})
	var senders sync.WaitGroup
	for range 4 {
		s := dial(t, l.Addr())
		senders.Go(func() {
			for range 25 {
				assert.NoError(t, s.Send([]byte("x")))
			}
		})
	}
	senders.Wait()
	<-all
	assert.EqualValues(t, 1, most.Load())
}

func TestPanicEndsOneDatagramOnly(t *testing.T) {
	var log bytes.Buffer
	got := make(chan string, 1)
	s := dial(t, listen(t, udp.Config{Logger: slog.New(slog.NewTextHandler(&log, nil)), Handler: func(d []byte, _ netip.AddrPort) {
		if string(d) == "bad" {
			panic("on purpose")
		}
		got <- string(d)
	}}).Addr())
	require.NoError(t, s.Send([]byte("bad")))
	require.NoError(t, s.Send([]byte("good")))
	assert.Equal(t, "good", <-got)
	assert.Contains(t, log.String(), "on purpose")
}

// TestCloseWaitsForTheHandler, so that who closes may take things down that it uses.
func TestCloseWaitsForTheHandler(t *testing.T) {
	inside, goOn := make(chan struct{}), make(chan struct{})
	var left atomic.Bool
	l := listen(t, udp.Config{Handler: func([]byte, netip.AddrPort) {
		close(inside)
		<-goOn
		left.Store(true)
	}})
	require.NoError(t, dial(t, l.Addr()).Send([]byte("x")))
	<-inside
	closed := make(chan struct{})
	go func() {
		l.Close()
		assert.True(t, left.Load())
		close(closed)
	}()
	close(goOn)
	<-closed
	l.Close()
}

func TestClosedListenerFreesItsAddress(t *testing.T) {
	_, handler := inbox()
	l := listen(t, udp.Config{Handler: handler})
	_, err := udp.Listen(udp.Config{Addr: l.Addr().String(), Handler: handler})
	require.ErrorContains(t, err, l.Addr().String())
	l.Close()
	listen(t, udp.Config{Addr: l.Addr().String(), Handler: handler})
}

func TestSendingToNobodyDoesNotBlock(t *testing.T) {
	_, handler := inbox()
	l := listen(t, udp.Config{Handler: handler})
	s := dial(t, l.Addr())
	l.Close()
	for range 10 {
		_ = s.Send([]byte("x")) // refused or not, as the kernel has heard
	}
	again, got := make(chan struct{}), make(chan string, 20)
	listen(t, udp.Config{Addr: l.Addr().String(), Handler: func(d []byte, _ netip.AddrPort) { got <- string(d) }})
	go func() {
		defer close(again)
		for err := s.Send([]byte("y")); err != nil; err = s.Send([]byte("y")) { // an old refusal may come first
			runtime.Gosched()
		}
	}()
	<-again
	assert.Equal(t, "y", <-got)
}

func TestClosedSenderFails(t *testing.T) {
	_, handler := inbox()
	s := dial(t, listen(t, udp.Config{Handler: handler}).Addr())
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Send([]byte("x")), net.ErrClosed)
}

func TestBadAddressesAreErrors(t *testing.T) {
	_, err := udp.Listen(udp.Config{Addr: "nowhere"})
	require.ErrorContains(t, err, "nowhere")
	_, err = udp.Dial(context.Background(), "nowhere")
	require.ErrorContains(t, err, "nowhere")
}

func TestSendersShareASocketUntilTheLastIsClosed(t *testing.T) {
	got := make(chan string, 10)
	l, err := udp.Listen(udp.Config{Addr: "127.0.0.1:0", Handler: func(b []byte, from netip.AddrPort) { got <- string(b) + from.String() }})
	require.NoError(t, err)
	defer l.Close()
	one, two := dial(t, l.Addr()), dial(t, l.Addr())
	require.NoError(t, one.Send([]byte("x")))
	first := <-got
	require.NoError(t, two.Send([]byte("x")))
	assert.Equal(t, first, <-got, "from one socket")
	require.NoError(t, one.Close())
	require.NoError(t, one.Close())
	require.NoError(t, two.Send([]byte("x")))
	assert.Equal(t, first, <-got)
	require.NoError(t, two.Close())
	assert.Error(t, two.Send([]byte("x")))
	three := dial(t, l.Addr())
	require.NoError(t, three.Send([]byte("x")))
	<-got
}
