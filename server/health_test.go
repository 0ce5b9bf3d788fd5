package server_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/abstract/registrytest"
	"trefoil/client"
	"trefoil/server"
)

// onlyAt registers a method at an address, from a connection that lives.
func onlyAt(t *testing.T, b *server.Broker, addr, instance string) *raw {
	t.Helper()
	host, err := abstract.ParseHost(addr)
	require.NoError(t, err)
	r := dialRaw(t, b.Addr()).hello()
	r.send(frame{4, "1", fmt.Sprintf(`{"optype":0,"method":"m","host":{"ip":%q,"port":%d},"instance":%q}`, host.IP, host.Port, instance)})
	require.Equal(t, 0, r.expect().rcode())
	return r
}

// calm is a broker that does not ask its peers whether they are there: these tests do
// not answer.
func calm(t *testing.T, opts ...server.Option) *server.Broker {
	t.Helper()
	return broker(t, append(opts, server.WithPing(time.Hour, 5))...)
}

func watchM(t *testing.T, b *server.Broker) *raw {
	t.Helper()
	w := dialRaw(t, b.Addr()).hello()
	w.send(frame{4, "ask", `{"optype":1,"method":"m"}`})
	w.expect()
	return w
}

func quick(every time.Duration) server.Option {
	return server.WithHealthChecks(server.HealthChecks{Interval: every, Timeout: 10 * time.Second})
}

func TestHostThatCannotBeReachedIsUnhealthyUntilItCan(t *testing.T) {
	t.Parallel()
	b := calm(t, quick(20*time.Millisecond))
	watcher := watchM(t, b)
	addr := registrytest.FreeAddr(t)
	onlyAt(t, b, addr, "")
	assert.Equal(t, 2.0, watcher.expectNot(18).field("optype"))
	sick := watcher.expectNot(18)
	assert.Equal(t, 2.0, sick.field("optype"))
	assert.Equal(t, "unhealthy", sick.field("state"))
	assert.Equal(t, []string{addr}, b.RegistryStatus().Unhealthy)
	serve(t, server.NewRpcServer(addr))
	assert.Nil(t, watcher.expectNot(18).field("state"), "it is well again")
}

func TestAddressThatIsSomebodyElsesIsUnhealthy(t *testing.T) {
	t.Parallel()
	b := calm(t, quick(20*time.Millisecond))
	watcher := watchM(t, b)
	other := serve(t, server.NewRpcServer("127.0.0.1:0"))
	onlyAt(t, b, other.Addr().String(), "another")
	watcher.expectNot(18)
	assert.Equal(t, "unhealthy", watcher.expectNot(18).field("state"))
}

func TestReportMakesTheBrokerLook(t *testing.T) {
	t.Parallel()
	b := calm(t) // which looks only then
	watcher := watchM(t, b)
	onlyAt(t, b, "127.0.0.1:1", "i")
	watcher.expectNot(18)
	report := frame{4, "r", `{"optype":17,"method":"m","host":{"ip":"127.0.0.1","port":1},"instance":"i","reason":"refused"}`}
	stranger := dialRaw(t, b.Addr()).hello()
	stranger.send(report)
	assert.Equal(t, 0, stranger.expectNot(18).rcode(), "who has not asked about the method learns nothing, and does nothing")
	watcher.silent()
	watcher.send(report)
	assert.Equal(t, 0, watcher.expectNot(18).rcode())
	assert.Equal(t, "unhealthy", watcher.expectNot(18).field("state"), "nobody else could say so")
}

func TestOneOfManyCallersIsNotBelieved(t *testing.T) {
	t.Parallel()
	b := calm(t)
	first, second := watchM(t, b), watchM(t, b)
	onlyAt(t, b, "127.0.0.1:1", "i")
	first.expectNot(18)
	report := frame{4, "r", `{"optype":17,"method":"m","host":{"ip":"127.0.0.1","port":1},"instance":"i"}`}
	for range 10 {
		first.send(report)
		assert.Equal(t, 0, first.expectNot(18).rcode())
	}
	assert.Empty(t, b.RegistryStatus().Unhealthy)
	second.expectNot(18)
	second.send(report)
	assert.Equal(t, 0, second.expectNot(18).rcode())
	assert.Equal(t, "unhealthy", first.expectNot(18).field("state"))
}

func TestProbeSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	srv := serve(t, server.NewRpcServer("127.0.0.1:0"))
	host, err := abstract.ParseHost(srv.Addr().String())
	require.NoError(t, err)
	require.NoError(t, client.Probe(ctx, abstract.Provider{Host: host, Hello: true}))
	require.NoError(t, client.Probe(ctx, abstract.Provider{Host: host}))
	require.ErrorIs(t, client.Probe(ctx, abstract.Provider{Host: host, Hello: true, Instance: "another"}), abstract.ErrWrongInstance)
	require.ErrorIs(t, client.Probe(ctx, abstract.Provider{Host: abstract.Host{IP: "127.0.0.1", Port: 1}}), abstract.ErrUnavailable)
}

func TestLossOfMostProvidersIsNotBelieved(t *testing.T) {
	t.Parallel()
	b := calm(t)
	watcher := watchM(t, b)
	const all = 30
	var providers []*raw
	for i := range all {
		providers = append(providers, onlyAt(t, b, fmt.Sprintf("127.0.0.1:%d", i+1), "i"))
		watcher.expectNot(18)
	}
	for _, p := range providers {
		p.Close()
	}
	gone, kept := 0, 0
	for range all {
		switch f := watcher.expectNot(18); {
		case f.field("optype") == 3.0:
			gone++
		case f.field("state") == "lost":
			kept++
		}
	}
	assert.Equal(t, 19, gone, "the first ones are believed at once")
	assert.Equal(t, 11, kept)
	status := b.RegistryStatus()
	assert.True(t, status.Protected)
	assert.Len(t, status.Lost, 11)
	assert.Equal(t, 11, status.Hosts)

	host := status.Lost[0]
	onlyAt(t, b, host, "i")
	back := watcher.expectNot(18)
	assert.Equal(t, 2.0, back.field("optype"))
	assert.Nil(t, back.field("state"), "one that comes back takes its place")
	watcher.send(frame{0, "lift", `{"method":"trefoil.registry.lift","parameters":{}}`})
	gone = 0
	for range 11 {
		if f := watcher.expectNot(18); f.id != "lift" && assert.Equal(t, 3.0, f.field("optype")) {
			gone++
		}
	}
	assert.Equal(t, 10, gone)
	status = b.RegistryStatus()
	assert.False(t, status.Protected)
	assert.Equal(t, 1, status.Hosts)
}

func TestProvidersThatSayGoodbyeAreBelieved(t *testing.T) {
	t.Parallel()
	b := calm(t)
	watcher := watchM(t, b)
	var providers []*raw
	for i := range 30 {
		providers = append(providers, onlyAt(t, b, fmt.Sprintf("127.0.0.1:%d", i+1), "i"))
		watcher.expectNot(18)
	}
	for _, p := range providers {
		p.send(frame{20, "bye", `{"rcode":0}`})
	}
	for range 30 {
		assert.Equal(t, 3.0, watcher.expectNot(18).field("optype"))
	}
}

// TestReportDoesNotWaitForTheRound has checks an hour apart, and a host that fails
// between two.
func TestReportDoesNotWaitForTheRound(t *testing.T) {
	t.Parallel()
	b := calm(t, quick(time.Hour))
	watcher := watchM(t, b)
	onlyAt(t, b, "127.0.0.1:1", "i")
	watcher.expectNot(18)
	watcher.send(frame{4, "r", `{"optype":17,"method":"m","host":{"ip":"127.0.0.1","port":1},"instance":"i"}`})
	watcher.expectNot(18)
	assert.Equal(t, "unhealthy", watcher.expectNot(18).field("state"))
}

func TestReportOfAnInstanceThatWasThereBeforeIsIgnored(t *testing.T) {
	t.Parallel()
	b := calm(t)
	watcher := watchM(t, b)
	onlyAt(t, b, "127.0.0.1:1", "new")
	watcher.expectNot(18)
	report := `{"optype":17,"method":"m","host":{"ip":"127.0.0.1","port":1},"instance":%q}`
	watcher.send(frame{4, "r", fmt.Sprintf(report, "old")})
	assert.Equal(t, 0, watcher.expectNot(18).rcode())
	watcher.silent()
	watcher.send(frame{4, "r", fmt.Sprintf(report, "new")})
	assert.Equal(t, 0, watcher.expectNot(18).rcode())
	assert.Equal(t, "unhealthy", watcher.expectNot(18).field("state"))
}

// TestChecksDoNotFindMostHostsUnhealthy has ten hosts where nobody is: half of them
// may be unhealthy, more are rather the broker's own fault.
func TestChecksDoNotFindMostHostsUnhealthy(t *testing.T) {
	t.Parallel()
	b := calm(t, quick(10*time.Millisecond))
	for i := range 10 {
		onlyAt(t, b, fmt.Sprintf("127.0.0.1:%d", i+1), "i")
	}
	require.Eventually(t, func() bool { return len(b.RegistryStatus().Unhealthy) == 5 }, patience, 5*time.Millisecond)
	watcher := watchM(t, b)
	watcher.silent() // and it stays so
	assert.Len(t, b.RegistryStatus().Unhealthy, 5)
}

func TestProviderThatCannotBeReachedIsNotAnnounced(t *testing.T) {
	t.Parallel()
	b := calm(t, server.WithDialBack(patience))
	watcher := watchM(t, b)
	other := serve(t, server.NewRpcServer("127.0.0.1:0", server.WithInstance("x")))
	host, err := abstract.ParseHost(other.Addr().String())
	require.NoError(t, err)
	provider := dialRaw(t, b.Addr()).hello()
	register := func(port int, instance string) int {
		provider.send(frame{4, "1", fmt.Sprintf(`{"optype":0,"method":"m","host":{"ip":"","port":%d},"instance":%q}`, port, instance)})
		return provider.expectNot(18).rcode()
	}
	assert.Equal(t, 18, register(1, "i"), "nobody is there")
	assert.Equal(t, 30, register(host.Port, "i"), "somebody else is there")
	assert.Equal(t, 0, register(host.Port, "x"))
	assert.Equal(t, 2.0, watcher.expectNot(18).field("optype"))
	for code := 0; code != 20; { // a broker is no port scanner
		code = register(1, "i")
	}
	assert.Equal(t, 0, register(host.Port, "x"), "what is there may be said again")
}

// TestLegacyPeersSeeUnhealthyProvidersWhenThereIsNoOther: somebody whom perhaps they
// reach is better than nobody.
func TestLegacyPeersSeeUnhealthyProvidersWhenThereIsNoOther(t *testing.T) {
	t.Parallel()
	b := calm(t)
	reporter, legacy := watchM(t, b), dialRaw(t, b.Addr())
	ask := frame{4, "ask", `{"optype":1,"method":"m"}`}
	legacy.send(ask)
	legacy.expect()
	there := serve(t, server.NewRpcServer("127.0.0.1:0", server.WithInstance("i")))
	onlyAt(t, b, "127.0.0.1:1", "i")
	well := onlyAt(t, b, there.Addr().String(), "i")
	for range 2 {
		reporter.expectNot(18)
		assert.Equal(t, 2.0, legacy.expect().field("optype"))
	}
	reporter.send(frame{4, "r", `{"optype":17,"method":"m","host":{"ip":"127.0.0.1","port":1},"instance":"i"}`})
	assert.Equal(t, "r", reporter.expectNot(18).id)
	assert.Equal(t, "unhealthy", reporter.expectNot(18).field("state"), "a legacy peer could not say so")
	gone := legacy.expect()
	assert.JSONEq(t, `{"optype":3,"method":"m","host":{"ip":"127.0.0.1","port":1}}`, gone.body)
	legacy.send(ask)
	assert.Len(t, legacy.expect().field("host"), 1)
	well.Close()
	assert.JSONEq(t, `{"optype":2,"method":"m","host":{"ip":"127.0.0.1","port":1}}`, legacy.expect().body, "nobody else is there")
	assert.Equal(t, 3.0, legacy.expect().field("optype"))
	legacy.send(ask)
	assert.Len(t, legacy.expect().field("host"), 1)
}

func TestUnhealthyHostIsLookedAtWhenSomebodyRegistersThereAgain(t *testing.T) {
	t.Parallel()
	b := calm(t, quick(time.Hour))
	watcher := watchM(t, b)
	srv := serve(t, server.NewRpcServer("127.0.0.1:0", server.WithInstance("new")))
	onlyAt(t, b, srv.Addr().String(), "old").Close() // another one is there
	for range 2 {
		watcher.expectNot(18)
	}
	old := onlyAt(t, b, srv.Addr().String(), "old")
	watcher.expectNot(18)
	host, err := abstract.ParseHost(srv.Addr().String())
	require.NoError(t, err)
	watcher.send(frame{4, "r", fmt.Sprintf(`{"optype":17,"method":"m","host":{"ip":%q,"port":%d},"instance":"old"}`, host.IP, host.Port)})
	assert.Equal(t, "r", watcher.expectNot(18).id)
	assert.Equal(t, "unhealthy", watcher.expectNot(18).field("state"))
	old.Close()
	assert.Equal(t, 3.0, watcher.expectNot(18).field("optype"))
	onlyAt(t, b, srv.Addr().String(), "new")
	for state := any("unhealthy"); state != nil; {
		f := watcher.expectNot(18)
		require.Equal(t, 2.0, f.field("optype"))
		state = f.field("state")
	}
}

// TestProvidersThatTheBrokerClosesAreNoLoss closes all connections of a broker with 30
// providers: what they may is to be looked at again.
func TestProvidersThatTheBrokerClosesAreNoLoss(t *testing.T) {
	t.Parallel()
	b := calm(t)
	watcher := watchM(t, b)
	var providers []*raw
	for i := range 30 {
		providers = append(providers, onlyAt(t, b, fmt.Sprintf("127.0.0.1:%d", i+1), "i"))
		watcher.expectNot(18)
	}
	b.Reauthorize()
	for _, p := range providers {
		for {
			if _, err := p.read(); err != nil {
				break
			}
		}
	}
	require.Eventually(t, func() bool { return b.RegistryStatus().Hosts == 0 }, patience, 5*time.Millisecond)
	assert.False(t, b.RegistryStatus().Protected)
}

// TestProviderThatIsBackAndLeavesIsGone: what was kept of it before goes with it.
func TestProviderThatIsBackAndLeavesIsGone(t *testing.T) {
	t.Parallel()
	b := calm(t, server.WithLossProtection(server.LossProtection{Share: 0.001}))
	var providers []*raw
	for i := range 25 {
		providers = append(providers, onlyAt(t, b, fmt.Sprintf("127.0.0.1:%d", i+1), "i"))
	}
	for _, p := range providers {
		p.Close()
	}
	require.Eventually(t, func() bool { return len(b.RegistryStatus().Lost) == 6 }, patience, 5*time.Millisecond)
	back := b.RegistryStatus().Lost[0]
	again := onlyAt(t, b, back, "i")
	assert.NotContains(t, b.RegistryStatus().Lost, back)
	again.send(frame{20, "bye", `{"rcode":0}`})
	require.Eventually(t, func() bool { return b.RegistryStatus().Hosts == 5 }, patience, 5*time.Millisecond)
}
