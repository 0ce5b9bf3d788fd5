package server_test

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/server"
)

// registering is a registration of a method at an address.
func registering(id, method, addr, instance string) frame {
	host, port, _ := net.SplitHostPort(addr)
	return frame{4, id, fmt.Sprintf(`{"optype":0,"method":%q,"host":{"ip":%q,"port":%s},"instance":%q}`, method, host, port, instance)}
}

// nobodyThere is an address where nobody listens, nor will: the system gives its port to
// nobody who asks for any.
const nobodyThere = "127.0.0.1:1"

func TestProviderIsAnnouncedOnceTheBrokerHasReachedIt(t *testing.T) {
	t.Parallel()
	b := calm(t, server.WithDialBack(patience))
	watcher := watchM(t, b)
	conn, err := client.Dial(context.Background(), b.Addr().String(), patiently()...)
	require.NoError(t, err)
	defer conn.Close()
	srv := server.NewRpcServer("127.0.0.1:0", server.WithRegistry(client.NewRegistryClient(conn)))
	require.NoError(t, srv.HandleFunc(server.Description{Method: "m", Result: server.KindAny}, echo))
	require.NoError(t, srv.Announce(context.Background()), "it is there before it serves")
	serve(t, srv)
	online := watcher.expectNot(18)
	assert.Equal(t, 2.0, online.field("optype"))
	assert.Equal(t, srv.Instance(), online.field("instance"))
}

func TestProviderThatCannotBeReachedIsRefused(t *testing.T) {
	t.Parallel()
	other := serve(t, server.NewRpcServer("127.0.0.1:0"))
	silent, err := net.Listen("tcp", "127.0.0.1:0") // nobody accepts
	require.NoError(t, err)
	defer silent.Close()
	for name, tt := range map[string]struct {
		addr    string
		timeout time.Duration
		code    abstract.RCode
		says    string
	}{
		"nobody listens":      {nobodyThere, patience, abstract.Unavailable, "does not reach"},
		"nobody says HELLO":   {silent.Addr().String(), 50 * time.Millisecond, abstract.Unavailable, "does not reach"},
		"it is somebody else": {other.Addr().String(), patience, abstract.WrongInstance, "another process"},
	} {
		t.Run(name, func(t *testing.T) {
			b := calm(t, server.WithDialBack(tt.timeout))
			watcher, provider := watchM(t, b), dialRaw(t, b.Addr()).hello()
			provider.send(registering("1", "m", tt.addr, "i"))
			answer := provider.expectNot(18)
			assert.Equal(t, int(tt.code), answer.rcode())
			assert.Contains(t, answer.field("message"), tt.says)
			assert.Contains(t, answer.field("message"), "--advertise", "it says what to do")
			assert.Equal(t, 0, b.RegistryStatus().Hosts)
			watcher.send(frame{4, "again", `{"optype":1,"method":"m"}`})
			assert.Equal(t, "again", watcher.expectNot(18).id, "nothing was announced")
		})
	}
}

func TestProviderThatDrainsFirstIsLookedForToo(t *testing.T) {
	t.Parallel()
	b := broker(t, server.WithDialBack(patience))
	provider, addr := dialRaw(t, b.Addr()).hello(), nobodyThere
	draining := registering("1", "m", addr, "i")
	draining.body = draining.body[:len(draining.body)-1] + `,"state":"draining"}`
	provider.send(draining, registering("2", "m", addr, "i"))
	assert.Equal(t, int(abstract.Unavailable), provider.expectNot(18).rcode())
	assert.Equal(t, int(abstract.Unavailable), provider.expectNot(18).rcode())
	assert.Equal(t, 0, b.RegistryStatus().Hosts)
}

func TestLegacyProviderOnlyHasToListen(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	b := calm(t, server.WithDialBack(patience))
	legacy := dialRaw(t, b.Addr())
	legacy.send(registering("1", "m", l.Addr().String(), ""), registering("2", "m", nobodyThere, ""))
	assert.Equal(t, frame{5, "1", `{"optype":0,"rcode":0}`}, legacy.expect())
	refused := legacy.expect()
	assert.Equal(t, "2", refused.id, "in order")
	assert.NotEqual(t, 0, refused.rcode())
	assert.Equal(t, 1, b.RegistryStatus().Hosts)
}

// TestLookForAProviderHoldsNobodyUp has a provider behind an address that says nothing:
// others go on meanwhile, and so do the provider's own calls.
func TestLookForAProviderHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	there := serve(t, server.NewRpcServer("127.0.0.1:0", server.WithInstance("i")))
	b := calm(t, server.WithDialBack(time.Minute)) // longer than the test waits
	provider := dialRaw(t, b.Addr()).hello()
	provider.send(registering("slow", "m", silent.Addr().String(), "i"))
	provider.send(frame{0, "call", `{"method":"trefoil.registry.status","parameters":{}}`})
	assert.Equal(t, "call", provider.expectNot(18).id)
	other := dialRaw(t, b.Addr()).hello()
	other.send(registering("1", "m", there.Addr().String(), "i"))
	assert.Equal(t, 0, other.expectNot(18).rcode())
	provider.Close() // which ends the look, or the broker would wait for it at its end
}

func TestFurtherMethodsAtAnAddressNeedNoLook(t *testing.T) {
	t.Parallel()
	there := serve(t, server.NewRpcServer("127.0.0.1:0", server.WithInstance("i")))
	b := calm(t, server.WithDialBack(patience))
	provider := dialRaw(t, b.Addr()).hello()
	const methods = 100 // more than a connection may have looked at
	for i := range methods {
		provider.send(registering("1", fmt.Sprint("m", i), there.Addr().String(), "i"))
	}
	for range methods {
		assert.Equal(t, 0, provider.expectNot(18).rcode())
	}
}

func TestBrokerIsNoScannerOfPorts(t *testing.T) {
	t.Parallel()
	b := calm(t, server.WithDialBack(patience))
	provider := dialRaw(t, b.Addr()).hello()
	nobody := nobodyThere
	const tries = 200
	for i := range tries {
		provider.send(registering("1", fmt.Sprint("m", i), nobody, "i"))
	}
	looked := 0
	for range tries {
		if provider.expectNot(18).rcode() != int(abstract.Overloaded) {
			looked++
		}
	}
	assert.Less(t, looked, 60, "16, and one for each second that this takes")
	assert.GreaterOrEqual(t, looked, 16)
}
