package client_test

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/message"
)

// Close while a provider that went OFFLINE still has a call in flight: the call
// ends at once, and the connection is closed.
func TestCloseEndsCallsOnARetiredProvider(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		conn, regConn := w.dial(), w.dial()
		reg := client.NewRegistryClient(regConn)
		w.provider(host(1), reg)
		var open atomic.Int32
		counting := func(addr string, cfg abstract.TransportConfig) abstract.BaseClient {
			inner := cfg.OnOpen
			cfg.OnOpen = func(bc abstract.BaseConnection) abstract.Receiver {
				open.Add(1)
				go func() { <-bc.Done(); open.Add(-1) }()
				return inner(bc)
			}
			return w.net.Client(addr, cfg)
		}
		d := client.NewDiscoveryClient(conn)
		rpc := client.NewRpcClient(d, client.WithTransport(counting), client.WithLogger(quiet))
		f := rpc.CallFuture(ctx, "hang", nil, client.Timeout(time.Hour))
		synctest.Wait()
		list, err := d.Discover(ctx, "hang")
		require.NoError(w, err)
		p := list[0]
		for _, m := range []string{"who", "sum", "hang", "fail"} {
			p.Method = m
			require.NoError(w, reg.Unregister(ctx, p))
		}
		time.Sleep(time.Second)
		require.EqualValues(w, 1, open.Load())
		require.NoError(w, rpc.Close())
		time.Sleep(10 * time.Second)
		synctest.Wait()
		select {
		case <-f.Done():
		default:
			t.Error("10 s after Close the call has not ended")
		}
		assert.Zero(w, open.Load(), "connections left after Close")
	})
}

// afterReceiver calls after behind each OnMessages of the inner receiver.
type afterReceiver struct {
	abstract.Receiver
	after func(batch []abstract.BaseMessage)
}

func (r afterReceiver) OnMessages(batch []abstract.BaseMessage) {
	kept := append([]abstract.BaseMessage(nil), batch...)
	r.Receiver.OnMessages(batch)
	r.after(kept)
}

// Close while the last answer of a reconnect's restore is on its way.
func TestCloseDuringReconnectLeavesNoConnection(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for range 20 {
		srvOpen := new(atomic.Int32)
		n := rawBroker(t, func(bc abstract.BaseConnection, m abstract.BaseMessage) {
			if r, ok := m.(*message.ServiceRequest); ok {
				_ = bc.Send(&message.ServiceResponse{Header: message.ID(m.ID()), Op: r.Op, Method: r.Method, Hosts: []message.ProviderHost{{Host: abstract.Host{IP: "h", Port: 1}}}})
			}
		})
		var conn *client.Conn
		var conns atomic.Int32
		closed := make(chan struct{})
		var once sync.Once
		tr := func(addr string, cfg abstract.TransportConfig) abstract.BaseClient {
			inner := cfg.OnOpen
			cfg.OnOpen = func(bc abstract.BaseConnection) abstract.Receiver {
				srvOpen.Add(1)
				go func() { <-bc.Done(); srvOpen.Add(-1) }()
				nth := conns.Add(1)
				return afterReceiver{inner(bc), func(batch []abstract.BaseMessage) {
					if _, is := batch[0].(*message.ServiceResponse); is && nth == 2 {
						once.Do(func() {
							go func() { defer close(closed); _ = conn.Close() }()
							runtime.Gosched()
						})
					}
				}}
			}
			return n.Client(addr, cfg)
		}
		var err error
		conn, err = client.Dial(ctx, "broker", patient(client.WithTransport(tr))...)
		require.NoError(t, err)
		_, err = client.NewDiscoveryClient(conn).Discover(ctx, "m")
		require.NoError(t, err)
		n.Cut()
		<-closed
		assert.False(t, conn.Connected(), "connected after Close")
		require.Eventually(t, func() bool { return srvOpen.Load() == 0 }, time.Minute, time.Millisecond, "connections left after Close")
	}
}

// Unregister while discoveries are being restored.
func TestUnregisterWhileDiscoveriesAreRestored(t *testing.T) {
	var mu sync.Mutex
	sessions := map[abstract.BaseConnection]int{}
	registered := map[string]bool{}
	held := make(chan func(), 10)
	n := rawBroker(t, func(bc abstract.BaseConnection, m abstract.BaseMessage) {
		r, ok := m.(*message.ServiceRequest)
		if !ok {
			return
		}
		mu.Lock()
		if _, known := sessions[bc]; !known {
			sessions[bc] = len(sessions) + 1
		}
		nth := sessions[bc]
		if r.Op == abstract.ServiceRegister {
			registered[fmt.Sprint(nth)] = true
		}
		if r.Op == abstract.ServiceUnregister {
			registered[fmt.Sprint(nth)] = false
		}
		mu.Unlock()
		answer := func() {
			_ = bc.Send(&message.ServiceResponse{Header: message.ID(m.ID()), Op: r.Op, Method: r.Method, Hosts: []message.ProviderHost{{Host: abstract.Host{IP: "h", Port: 1}}}})
		}
		if nth == 2 && r.Op == abstract.ServiceDiscover {
			held <- answer
			return
		}
		answer()
	})
	conn, err := client.Dial(ctx, "broker", patient(client.WithTransport(n.Client))...)
	require.NoError(t, err)
	defer conn.Close()
	reg, p := client.NewRegistryClient(conn), abstract.Provider{Method: "who", Host: abstract.Host{IP: "h", Port: 1}}
	require.NoError(t, reg.Register(ctx, p))
	_, err = client.NewDiscoveryClient(conn).Discover(ctx, "other")
	require.NoError(t, err)
	n.Cut()
	answer := <-held // registered again, and now discovering again
	require.NoError(t, reg.Unregister(ctx, p))
	answer()
	require.Eventually(t, conn.Connected, time.Minute, time.Millisecond)
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return !registered["2"]
	}, time.Minute, time.Millisecond, "Unregister returned nil, and the broker has the provider on the live connection")
}

// Close takes leave of all providers at once: those that do not listen any more cost one
// second together.
func TestCloseDoesNotTakeLeaveOneAfterTheOther(t *testing.T) {
	inFleet(t, func(f *fleet) {
		var list []abstract.Provider
		for i := range 10 {
			list = append(list, f.join(i, string(rune('a'+i)), answers).Provider)
		}
		f.say(list...)
		c := f.client()
		for range 200 {
			require.NoError(f, c.Call(ctx, "svc.do", nil, nil))
		}
		f.net.Blackhole(true)
		begun := time.Now()
		require.NoError(f, c.Close())
		assert.LessOrEqual(f, time.Since(begun), time.Second)
		f.net.Blackhole(false)
	})
}
