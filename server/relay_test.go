package server_test

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/business/access"
	"trefoil/client"
	"trefoil/server"
)

const (
	typeCall   = 0
	typeAnswer = 1
	typePing   = 18
	typeCancel = 23
)

// offers makes a raw peer a provider of "m" that takes calls through the broker.
func (r *raw) offers(instance string) *raw {
	r.t.Helper()
	r.hello().send(frame{4, "r", sprintf(`{"optype":0,"method":"m","host":{"ip":"10.0.0.1","port":1},"instance":%q,"relay":1}`, instance)})
	require.Equal(r.t, 0, r.expectNot(typePing).rcode())
	return r
}

// asks sends a call that is to be passed on, with more members when they are given.
func (r *raw) asks(id string, members ...string) {
	r.t.Helper()
	r.send(frame{typeCall, id, `{"method":"m","parameters":{"a":[1.0, "x"]},"relay":1` + strings.Join(append([]string{""}, members...), ",") + `}`})
}

// call is the next call that comes to a provider.
func (r *raw) call() frame {
	r.t.Helper()
	f := r.expectNot(typePing)
	require.EqualValues(r.t, typeCall, f.mtype)
	return f
}

// endedBy says that a call was answered by the broker, and what that knows of it.
func endedBy(t *testing.T, f frame, id string, code abstract.RCode, sent string) {
	t.Helper()
	assert.Equal(t, id, f.id)
	assert.EqualValues(t, typeAnswer, f.mtype)
	assert.EqualValues(t, code, f.rcode(), f.body)
	details, _ := f.field("details").(map[string]any)
	assert.Equal(t, sent, details["sent"], f.body)
}

func TestRelayedCallIsPassedOnAsItIs(t *testing.T) {
	b := broker(t)
	p, c := dialRaw(t, b.Addr()).offers("one"), dialRaw(t, b.Addr()).hello()
	c.asks("\x00 an id", `"timeout_ms":60000`, `"instance":"one"`)
	got := p.call()
	assert.NotEqual(t, "\x00 an id", got.id)
	assert.Contains(t, got.body, `"parameters":{"a":[1.0, "x"]}`, "byte for byte")
	assert.Equal(t, "m", got.field("method"))
	assert.Equal(t, "one", got.field("instance"))
	assert.Nil(t, got.field("relay"))
	left := got.field("timeout_ms").(float64)
	assert.True(t, left > 0 && left <= 60_000, left)

	p.send(frame{typeAnswer, "unheard of", `{"rcode":0,"result":1}`}, frame{typeAnswer, got.id, `{"rcode":0,"result":{"b" : 2.0}}`}, frame{typeAnswer, got.id, `{"rcode":0,"result":"twice"}`})
	answer := c.expectNot(typePing)
	assert.Equal(t, "\x00 an id", answer.id)
	assert.Contains(t, answer.body, `"result":{"b" : 2.0}`)
	c.asks("2")
	p.send(frame{typeAnswer, p.call().id, `{"rcode":77,"result":null,"message":"why","details":[1, 2]}`})
	answer = c.expectNot(typePing)
	assert.JSONEq(t, `{"rcode":77,"result":null,"message":"why","details":[1, 2]}`, answer.body)
	require.Eventually(t, func() bool { return b.RelayedCalls() == 0 }, patience, time.Millisecond)
}

func TestOnlyTheProviderAnswersACall(t *testing.T) {
	b := broker(t)
	p, other, c := dialRaw(t, b.Addr()).offers("one"), dialRaw(t, b.Addr()).offers("two"), dialRaw(t, b.Addr()).hello()
	other.send(frame{typeAnswer, "x", `{"rcode":0,"result":1}`}) // when it has none
	c.asks("1", `"instance":"one"`)
	got := p.call()
	other.send(frame{typeAnswer, got.id, `{"rcode":0,"result":"forged"}`})
	other.silent()
	p.send(frame{typeAnswer, got.id, `{"rcode":0,"result":"true"}`})
	assert.Equal(t, "true", c.expectNot(typePing).field("result"))
}

func TestCallsThatNobodyAskedToPassOnAreNot(t *testing.T) {
	b := broker(t)
	p := dialRaw(t, b.Addr()).offers("one")
	legacy := dialRaw(t, b.Addr())
	legacy.asks("1")
	assert.Equal(t, 6, legacy.expect().rcode(), "from an existing program")
	modern := dialRaw(t, b.Addr()).hello()
	modern.send(frame{typeCall, "2", `{"method":"m","parameters":{}}`})
	assert.Equal(t, 6, modern.expectNot(typePing).rcode())
	modern.send(frame{typeCall, "3", `{"method":"Add","parameters":{"num1":1,"num2":2},"relay":1}`})
	assert.InDelta(t, 3, modern.expectNot(typePing).field("result"), 0, "the broker serves it itself")
	p.silent()
}

func TestBrokerWithoutMethodsOfItsOwnPassesCallsOn(t *testing.T) {
	b := serve(t, newBroker(server.WithRoles(server.RoleRegistry)))
	c := dialRaw(t, b.Addr()).hello()
	c.asks("1")
	endedBy(t, c.expectNot(typePing), "1", abstract.ServiceNotFound, "no")
	c.send(frame{typeCall, "2", `{"method":"m","parameters":{}}`})
	assert.EqualValues(t, abstract.WrongMessageType, c.expectNot(typePing).rcode())
	p := serve(t, newBroker(server.WithRoles(server.RoleRPC))) // and one without a registry does not
	c = dialRaw(t, p.Addr()).hello()
	c.asks("3")
	assert.Equal(t, 6, c.expectNot(typePing).rcode())
}

func TestWhoGetsARelayedCall(t *testing.T) {
	b := broker(t)
	c := dialRaw(t, b.Addr()).hello()
	c.asks("1")
	endedBy(t, c.expectNot(typePing), "1", abstract.ServiceNotFound, "no")
	one, two := dialRaw(t, b.Addr()).offers("one"), dialRaw(t, b.Addr()).offers("two")
	c.asks("2", `"instance":"three"`)
	endedBy(t, c.expectNot(typePing), "2", abstract.WrongInstance, "no")
	for i := range 60 { // who has fewer under way
		c.asks("u" + strconv.Itoa(i))
	}
	for range 30 {
		assert.Equal(t, "one", one.call().field("instance"))
		assert.Equal(t, "two", two.call().field("instance"))
	}
	one.send(frame{4, "d", `{"optype":0,"method":"m","host":{"ip":"10.0.0.1","port":1},"instance":"one","relay":1,"state":"draining"}`})
	assert.Equal(t, 0, one.expectNot(typePing).rcode())
	c.asks("3", `"instance":"one"`)
	endedBy(t, c.expectNot(typePing), "3", abstract.WrongInstance, "no")
	two.send(frame{4, "d", `{"optype":0,"method":"m","host":{"ip":"10.0.0.1","port":1},"instance":"two"}`})
	assert.Equal(t, 0, two.expectNot(typePing).rcode())
	c.asks("4")
	endedBy(t, c.expectNot(typePing), "4", abstract.ServiceNotFound, "no")
}

func TestBrokerEndsRelayedCallsItself(t *testing.T) {
	setup := func(t *testing.T) (p, c *raw) { // with a broker for each: who has left one is not noticed at once
		b := broker(t)
		t.Cleanup(func() {
			require.Eventually(t, func() bool { return b.RelayedCalls() == 0 }, patience, time.Millisecond)
		})
		return dialRaw(t, b.Addr()).offers("one"), dialRaw(t, b.Addr()).hello()
	}
	t.Run("at the deadline", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := start(t, server.WithLogger(quietLog()))
			defer s.stop()
			p, c := rawOver(t, s.network, "broker").offers("one"), rawOver(t, s.network, "broker").hello()
			begun := time.Now()
			c.asks("1", `"timeout_ms":50`)
			got := p.call()
			endedBy(t, c.expect(), "1", abstract.Timeout, "unknown")
			assert.GreaterOrEqual(t, time.Since(begun), 50*time.Millisecond)
			cancel := p.expect()
			assert.EqualValues(t, typeCancel, cancel.mtype)
			assert.Equal(t, got.id, cancel.id)
			p.send(frame{typeAnswer, got.id, `{"rcode":0,"result":"late"}`})
			c.silent()
			assert.Zero(t, s.broker.RelayedCalls())
		})
	})
	t.Run("when the caller cancels", func(t *testing.T) {
		p, c := setup(t)
		c.asks("1")
		c.asks("2")
		one, two := p.call(), p.call()
		c.send(frame{typeCancel, "1", `{}`}, frame{typeCancel, "3", `{}`})
		endedBy(t, c.expectNot(typePing), "1", abstract.Cancelled, "unknown")
		cancel := p.expectNot(typePing)
		assert.EqualValues(t, typeCancel, cancel.mtype)
		assert.Equal(t, one.id, cancel.id)
		p.send(frame{typeAnswer, two.id, `{"rcode":0,"result":2}`})
		assert.Equal(t, "2", c.expectNot(typePing).id)
	})
	t.Run("when the caller is lost", func(t *testing.T) {
		p, c := setup(t)
		c.asks("1")
		got := p.call()
		require.NoError(t, c.Close())
		cancel := p.expectNot(typePing)
		assert.EqualValues(t, typeCancel, cancel.mtype)
		assert.Equal(t, got.id, cancel.id)
	})
	t.Run("when the provider is lost", func(t *testing.T) {
		p, c := setup(t)
		c.asks("1")
		p.call()
		require.NoError(t, p.Close())
		endedBy(t, c.expectNot(typePing), "1", abstract.Disconnected, "unknown")
	})
	t.Run("when the answer is none", func(t *testing.T) {
		p, c := setup(t)
		c.asks("1")
		p.send(frame{typeAnswer, p.call().id, `{"result":1}`})
		endedBy(t, c.expectNot(typePing), "1", abstract.InvalidMessage, "yes")
	})
	t.Run("when one connection is both", func(t *testing.T) {
		p, _ := setup(t)
		p.asks("1")
		got := p.call()
		p.send(frame{typeAnswer, got.id, `{"rcode":0,"result":1}`})
		assert.Equal(t, "1", p.expectNot(typePing).id)
		p.asks("2")
		p.call()
		require.NoError(t, p.Close())
	})
}

func TestRelayedCallsAreBounded(t *testing.T) {
	t.Run("of one caller", func(t *testing.T) {
		b := broker(t, server.WithCallsPerConn(2))
		p, q, c := dialRaw(t, b.Addr()).offers("one"), dialRaw(t, b.Addr()).offers("two"), dialRaw(t, b.Addr()).hello()
		c.asks("1")
		c.asks("2")
		c.asks("3")
		endedBy(t, c.expectNot(typePing), "3", abstract.Overloaded, "no")
		p.send(frame{typeAnswer, p.call().id, `{"rcode":0,"result":1}`})
		c.expectNot(typePing)
		q.call()
		c.asks("4")
		assert.NotEmpty(t, p.call().id, "there is room again")
	})
	t.Run("of one caller in bytes", func(t *testing.T) {
		b := broker(t, server.WithMaxInbound(100_000))
		p, c := dialRaw(t, b.Addr()).offers("one"), dialRaw(t, b.Addr()).hello()
		large := `"pad":"` + repeat("x", 60_000) + `"`
		c.asks("1", large)
		p.call()
		c.asks("2", large)
		endedBy(t, c.expectNot(typePing), "2", abstract.Overloaded, "no")
	})
	t.Run("to one provider", func(t *testing.T) {
		b := broker(t, server.WithCallsPerConn(2))
		p := dialRaw(t, b.Addr()).offers("one")
		for i := range 2 {
			dialRaw(t, b.Addr()).hello().asks(strconv.Itoa(i))
			p.call()
		}
		c := dialRaw(t, b.Addr()).hello()
		c.asks("3")
		endedBy(t, c.expectNot(typePing), "3", abstract.Overloaded, "no")
	})
	t.Run("with one id", func(t *testing.T) {
		b := broker(t)
		p, c := dialRaw(t, b.Addr()).offers("one"), dialRaw(t, b.Addr()).hello()
		c.asks("1")
		got := p.call()
		c.asks("1")
		endedBy(t, c.expectNot(typePing), "1", abstract.InvalidMessage, "no")
		p.send(frame{typeAnswer, got.id, `{"rcode":0,"result":1}`})
		assert.Equal(t, 0, c.expectNot(typePing).rcode())
	})
}

// A provider that does not read costs its callers an error, and nobody else anything.
func TestProviderThatDoesNotReadHoldsUpNobody(t *testing.T) {
	b := broker(t, server.WithMaxQueued(1<<20), server.WithWriteTimeout(time.Hour))
	dialRaw(t, b.Addr()).offers("deaf")
	c, other := dialRaw(t, b.Addr()).hello(), dialRaw(t, b.Addr()).hello()
	large := `"parameters":{"pad":"` + repeat("x", 60_000) + `"}`
	refused := frame{mtype: typePing}
	for i := 0; refused.mtype == typePing && i < 1000; i++ {
		c.asks(strconv.Itoa(i), large, `"timeout_ms":600000`)
		c.send(frame{typePing, "p", `{}`})
		if refused = c.expectNot(typePing); refused.mtype == 19 {
			refused.mtype = typePing
		}
	}
	endedBy(t, refused, refused.id, abstract.Overloaded, "no")
	other.send(frame{typeCall, "1", `{"method":"Add","parameters":{"num1":1,"num2":2}}`})
	assert.Equal(t, 0, other.expectNot(typePing).rcode())
	reader := dialRaw(t, b.Addr()).offers("hears")
	other.asks("2")
	reader.send(frame{typeAnswer, reader.call().id, `{"rcode":0,"result":1}`})
	assert.Equal(t, 0, other.expectNot(typePing).rcode(), "others are called")
}

// TestRelayingNeedsThePermissionToCall: without it nobody learns even whether there is
// a provider.
func TestRelayingNeedsThePermissionToCall(t *testing.T) {
	guard, tokens := guarded(t, "all", "some")
	b := broker(t, server.WithGuard(guard))
	dial := func(who string) *client.RpcClient {
		var opts []client.Option
		if who != "" {
			opts = append(opts, client.WithToken(tokens[who]))
		}
		conn, err := client.Dial(t.Context(), b.Addr().String(), patiently(opts...)...)
		require.NoError(t, err)
		calls := client.NewDirectRpcClient(conn)
		t.Cleanup(func() { _, _ = calls.Close(), conn.Close() })
		return calls
	}
	callers := map[string]*client.RpcClient{"all": dial("all"), "some": dial("some"), "": dial("")}
	provider, err := client.Dial(t.Context(), b.Addr().String(), patiently(client.WithToken(tokens["all"]))...)
	require.NoError(t, err)
	defer provider.Close()
	srv := server.NewRpcServer("127.0.0.1:0", server.WithRegistry(client.NewRegistryClient(provider)))
	for _, m := range []string{"open.there", "shut.there"} {
		require.NoError(t, server.Handle(srv, m, func(context.Context, struct{}) (string, error) { return m, nil }))
	}
	serve(t, srv)
	require.NoError(t, srv.Announce(t.Context()))
	relayed := func(who, method string) *abstract.Error {
		var e *abstract.Error
		if err := callers[who].Call(t.Context(), method, nil, nil, client.Relay()); err != nil {
			require.ErrorAs(t, err, &e)
		}
		return e
	}
	assert.Nil(t, relayed("all", "shut.there"))
	assert.Nil(t, relayed("some", "open.there"))
	for _, who := range []string{"some", ""} {
		there, nowhere := relayed(who, "shut.there"), relayed(who, "shut.where")
		require.ErrorIs(t, there, abstract.ErrDenied)
		assert.Equal(t, strings.ReplaceAll(there.Message, "there", "where"), nowhere.Message)
		assert.Equal(t, there.Code, nowhere.Code)
	}
	require.ErrorIs(t, relayed("", "open.there"), abstract.ErrDenied)
	for who, want := range map[string][]string{"all": {"open.there", "shut.there"}, "some": {"open.there"}} {
		var list abstract.MethodList
		require.NoError(t, callers[who].Call(t.Context(), abstract.ListMethods, abstract.MethodQuery{Method: "open.there"}, &list, client.Relay()))
		var names []string
		for _, m := range list.Methods {
			names = append(names, m.Method)
		}
		assert.Equal(t, want, names, "the provider has no guard that would leave out what %q may not call", who)
	}
}

// TestRelayEndToEnd: callers that cannot connect to the provider, over sockets.
func TestRelayEndToEnd(t *testing.T) {
	for name, transport := range map[string]server.Transport{"netpoll": chosen, "standard net": server.StandardNet} {
		t.Run(name, func(t *testing.T) {
			b := serve(t, newBroker(server.WithTransport(transport)))
			closed, err := abstract.ParseHost(nobodyThere)
			require.NoError(t, err)
			dial := func() *client.Conn {
				conn, err := client.Dial(t.Context(), b.Addr().String(), patiently()...)
				require.NoError(t, err)
				t.Cleanup(func() { _ = conn.Close() })
				return conn
			}
			srv := server.NewRpcServer("127.0.0.1:0", server.WithTransport(transport), server.WithRegistry(client.NewRegistryClient(dial())), server.WithAdvertise(closed))
			require.NoError(t, srv.HandleFunc(server.Description{Method: "echo", Result: "any"}, func(_ context.Context, in json.RawMessage) (any, error) { return in, nil }))
			serve(t, srv)
			require.NoError(t, srv.Announce(t.Context()))
			for _, mode := range []client.RelayMode{client.RelayAuto, client.RelayAlways} {
				calls := client.NewRpcClient(client.NewDiscoveryClient(dial()), patiently(client.WithRelay(mode))...)
				var all sync.WaitGroup
				for i := range 64 {
					all.Go(func() {
						for k := range 20 {
							r, err := calls.CallReply(t.Context(), "echo", map[string]int{"i": i, "k": k}, client.Timeout(patience))
							if assert.NoError(t, err) {
								assert.Equal(t, sprintf(`{"i":%d,"k":%d}`, i, k), string(r.Raw))
								assert.True(t, r.Relayed)
							}
						}
					})
				}
				all.Wait()
				require.NoError(t, calls.Close())
			}
			require.Eventually(t, func() bool { return b.RelayedCalls() == 0 }, patience, time.Millisecond)
		})
	}
}

// TestGuardOfAProviderTakesRelayedCallsForAnonymous, and what it refuses costs the
// provider nothing, not even its connection to the broker.
func TestGuardOfAProviderTakesRelayedCallsForAnonymous(t *testing.T) {
	p, err := access.ParsePolicy([]byte(`{"identities": {"anonymous": {"allow": {"call": ["open.*"]}, "quota": {"connections": 1}}}}`))
	require.NoError(t, err)
	none, err := access.NewTokens()
	require.NoError(t, err)
	b := broker(t)
	dial := func(opts ...client.Option) *client.Conn {
		conn, err := client.Dial(t.Context(), b.Addr().String(), patiently(opts...)...)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	conn := dial(client.OnDisconnected(func(error) { assert.Fail(t, "the provider's connection to the broker is lost") }))
	srv := server.NewRpcServer("127.0.0.1:0", server.WithRegistry(client.NewRegistryClient(conn)), server.WithGuard(access.NewGuard(p, none)))
	for _, m := range []string{"open.m", "shut.m"} {
		require.NoError(t, server.Handle(srv, m, func(context.Context, struct{}) (int, error) { return 1, nil }))
	}
	serve(t, srv)
	require.NoError(t, srv.Announce(t.Context()))
	calls := client.NewDirectRpcClient(dial())
	t.Cleanup(func() { _ = calls.Close() })

	direct := dialRaw(t, srv.Addr()).hello() // the one connection that anonymous may have
	var e *abstract.Error
	require.ErrorAs(t, calls.Call(t.Context(), "open.m", nil, nil, client.Relay()), &e)
	assert.Equal(t, abstract.Overloaded, e.Code)
	assert.Contains(t, e.Message, "quota connections")
	require.NoError(t, direct.Close())
	require.Eventually(t, func() bool { return calls.Call(t.Context(), "open.m", nil, nil, client.Relay()) == nil }, patience, time.Millisecond)
	require.ErrorIs(t, calls.Call(t.Context(), "shut.m", nil, nil, client.Relay()), abstract.ErrDenied)
}
