package trefoil_test

import (
	"context"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil"
	"trefoil/abstract"
	"trefoil/client"
	"trefoil/server"
)

// listing is a registry that knows one list.
type listing []abstract.Provider

func (l listing) Discover(context.Context, string) ([]abstract.Provider, error) { return l, nil }

func (l listing) Follow(_ string, fn func(abstract.Providers)) (stop func()) {
	go fn(abstract.Providers{List: l})
	return func() {}
}

// wire passes connections on to a server until it is cut.
type wire struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
	done  sync.WaitGroup
}

func newWire(t *testing.T, to string) *wire {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &wire{Listener: l}
	w.done.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			on, err := net.Dial("tcp", to)
			if err != nil {
				_ = from.Close()
				return
			}
			w.mu.Lock()
			w.conns = append(w.conns, from, on)
			w.mu.Unlock()
			w.done.Go(func() { _, _ = io.Copy(on, from) })
			w.done.Go(func() { _, _ = io.Copy(from, on) })
		}
	})
	return w
}

// cut ends the connections, as the death of the process does.
func (w *wire) cut() {
	_ = w.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		_ = c.Close()
	}
}

func provider(t *testing.T, addr, instance string) abstract.Provider {
	host, err := abstract.ParseHost(addr)
	require.NoError(t, err)
	return abstract.Provider{Method: "who", Host: host, Instance: instance, Hello: true}
}

// TestAllEndsWhenTheLastProviderHasAnsweredOrDied calls 50 servers over TCP. One of
// them dies during the call: the loop ends with that, long before the deadline.
func TestAllEndsWhenTheLastProviderHasAnsweredOrDied(t *testing.T) {
	const servers, victim = 50, 17
	who := trefoil.NewMethod[struct{}, int]("who", trefoil.Timeout(time.Hour))
	var begun sync.WaitGroup
	begun.Add(servers)
	release := make(chan struct{})
	var list listing
	var line *wire
	for i := range servers {
		instance := strconv.Itoa(i)
		srv := server.NewRpcServer("127.0.0.1:0", server.WithLogger(quiet), server.WithInstance(instance), server.WithHandlers(4, 4))
		require.NoError(t, who.Handle(srv, func(ctx context.Context, _ struct{}) (int, error) {
			begun.Done()
			if i == victim {
				<-ctx.Done()
				return 0, ctx.Err()
			}
			<-release
			return i, nil
		}))
		require.NoError(t, srv.Listen())
		ended := make(chan error, 1)
		go func() { ended <- srv.Serve() }()
		t.Cleanup(func() {
			assert.NoError(t, srv.Shutdown(context.Background()))
			assert.NoError(t, <-ended)
		})
		addr := srv.Addr().String()
		if i == victim {
			line = newWire(t, addr)
			addr = line.Addr().String()
		}
		list = append(list, provider(t, addr, instance))
	}
	calls := client.NewRpcClient(list, client.WithLogger(quiet))
	defer calls.Close()
	go func() {
		begun.Wait()
		close(release)
	}()

	answers, failures := make(map[int]string), 0
	for a, err := range who.All(t.Context(), calls, struct{}{}) {
		if err != nil {
			failures++
			require.ErrorIs(t, err, abstract.ErrDisconnected)
			assert.Equal(t, list[victim].Host.String(), a.From)
			continue
		}
		answers[a.Value] = a.From
		if len(answers) == servers-1 {
			line.cut() // nobody else is waited for
		}
	}
	assert.Equal(t, 1, failures)
	require.Len(t, answers, servers-1)
	for i, from := range answers {
		assert.Equal(t, list[i].Host.String(), from)
	}
	line.done.Wait()
}

// Leaving the loop cancels the calls that it has not heard of.
func TestLeavingAllCancelsTheRest(t *testing.T) {
	who := trefoil.NewMethod[struct{}, int]("who", trefoil.Timeout(time.Hour))
	gone := make(chan error, 1)
	begun := make(chan struct{})
	var list listing
	for i := range 2 {
		srv := server.NewRpcServer("127.0.0.1:0", server.WithLogger(quiet), server.WithHandlers(4, 4))
		require.NoError(t, who.Handle(srv, func(ctx context.Context, _ struct{}) (int, error) {
			if i == 0 {
				<-begun
				return 0, nil
			}
			close(begun)
			<-ctx.Done()
			gone <- ctx.Err()
			return 0, ctx.Err()
		}))
		require.NoError(t, srv.Listen())
		ended := make(chan error, 1)
		go func() { ended <- srv.Serve() }()
		t.Cleanup(func() {
			assert.NoError(t, srv.Shutdown(context.Background()))
			assert.NoError(t, <-ended)
		})
		p := provider(t, srv.Addr().String(), "")
		list = append(list, p)
	}
	calls := client.NewRpcClient(list, client.WithLogger(quiet))
	defer calls.Close()
	for a, err := range who.All(t.Context(), calls, struct{}{}) {
		require.NoError(t, err)
		assert.Equal(t, list[0].Host.String(), a.From)
		break
	}
	assert.ErrorIs(t, <-gone, context.Canceled)
}
