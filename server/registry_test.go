package server_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"trefoil/abstract"
	"trefoil/server"
)

// TestProviderThatDrainsIsNotForLegacyPeers plays a provider's states to a modern
// and to a legacy discoverer.
func TestProviderThatDrainsIsNotForLegacyPeers(t *testing.T) {
	b := broker(t)
	modern, legacy, provider := dialRaw(t, b.Addr()).hello(), dialRaw(t, b.Addr()), dialRaw(t, b.Addr()).hello()
	ask := frame{4, "ask", `{"optype":1,"method":"m"}`}
	modern.send(ask)
	assert.JSONEq(t, `{"optype":1,"rcode":6}`, strip(modern.expect().body), "nothing was told yet")
	legacy.send(ask)
	legacy.expect()

	provider.send(frame{4, "1", `{"optype":0,"method":"m","host":{"ip":"h","port":1},"instance":"i","tags":["b","a"],"metadata":{"k":"v"}}`})
	assert.JSONEq(t, `{"optype":0,"rcode":0}`, provider.expect().body)
	assert.JSONEq(t, `{"optype":2,"method":"m","host":{"ip":"h","port":1},"instance":"i","hello":1,"revision":1,"tags":["a","b"],"metadata":{"k":"v"}}`, modern.expect().body)
	assert.JSONEq(t, `{"optype":2,"method":"m","host":{"ip":"h","port":1}}`, legacy.expect().body)

	provider.send(frame{4, "2", `{"optype":0,"method":"m","host":{"ip":"h","port":1},"instance":"i","state":"draining"}`})
	provider.expect()
	assert.JSONEq(t, `{"optype":2,"method":"m","host":{"ip":"h","port":1},"instance":"i","hello":1,"revision":2,"state":"draining"}`, modern.expect().body)
	assert.JSONEq(t, `{"optype":3,"method":"m","host":{"ip":"h","port":1}}`, legacy.expect().body)
	modern.send(ask)
	assert.JSONEq(t, `{"optype":1,"rcode":0,"method":"m","host":[{"ip":"h","port":1,"instance":"i","hello":1,"state":"draining"}],"revision":2}`, modern.expect().body)
	legacy.send(ask)
	assert.JSONEq(t, `{"optype":1,"rcode":6}`, strip(legacy.expect().body))

	modern.send(frame{4, "again", `{"optype":1,"method":"m","revision":2}`})
	assert.JSONEq(t, `{"optype":1,"rcode":0,"method":"m","host":[],"unchanged":1,"revision":2}`, modern.expect().body)

	provider.send(frame{4, "3", `{"optype":3,"method":"m","host":{"ip":"h","port":1},"instance":"i"}`})
	provider.expect()
	assert.JSONEq(t, `{"optype":3,"method":"m","host":{"ip":"h","port":1},"instance":"i","hello":1,"revision":3,"reason":"unregistered","state":"draining"}`, modern.expect().body)
	legacy.silent()
}

func TestBatchIsAllOrNothing(t *testing.T) {
	b := broker(t)
	watcher, provider := dialRaw(t, b.Addr()).hello(), dialRaw(t, b.Addr()).hello()
	for _, m := range []string{"a", "b"} {
		watcher.send(frame{4, m, `{"optype":1,"method":"` + m + `"}`})
		watcher.expect()
	}
	provider.send(frame{4, "1", `{"optype":0,"method":"a","methods":["b","a",""],"host":{"ip":"h","port":1}}`})
	assert.Equal(t, 5, provider.expect().rcode(), "one of them has no name")
	watcher.silent()
	provider.send(frame{4, "2", `{"optype":0,"method":"a","methods":["b","a"],"host":{"ip":"h","port":1}}`})
	assert.Equal(t, 0, provider.expect().rcode())
	assert.Equal(t, "a", watcher.expect().field("method"))
	assert.Equal(t, "b", watcher.expect().field("method"))
	provider.send(frame{4, "3", `{"optype":3,"method":"b","methods":["a"],"host":{"ip":"h","port":1}}`})
	assert.Equal(t, 0, provider.expect().rcode())
	for range 2 {
		assert.Equal(t, 3.0, watcher.expect().field("optype"))
	}
}

func TestAddressLeftToTheBrokerIsTheOneItSees(t *testing.T) {
	b := broker(t)
	provider := dialRaw(t, b.Addr()).hello()
	provider.send(frame{4, "1", `{"optype":0,"method":"m","host":{"ip":"","port":7},"instance":"i"}`})
	assert.JSONEq(t, `{"optype":0,"rcode":0,"registered":{"ip":"127.0.0.1","port":7}}`, provider.expect().body)
	provider.send(frame{4, "2", `{"optype":1,"method":"m"}`})
	assert.JSONEq(t, `{"optype":1,"rcode":0,"method":"m","host":[{"ip":"127.0.0.1","port":7,"instance":"i","hello":1}],"revision":1}`, provider.expect().body)
	provider.send(frame{4, "3", `{"optype":0,"method":"m","host":{"ip":"","port":7}}`})
	assert.Equal(t, 3, provider.expect().rcode(), "who gives no instance gives an address")
}

func TestLegacyPeerSaysWhereItIs(t *testing.T) {
	b := broker(t)
	legacy := dialRaw(t, b.Addr())
	legacy.send(frame{4, "1", `{"optype":0,"method":"m","host":{"ip":"","port":7},"instance":"i"}`})
	assert.Equal(t, 5, legacy.expect().rcode(), "a legacy peer must say where it is")
}

func TestLegacyPeerIsCalledDirectlyOnly(t *testing.T) {
	b := broker(t)
	legacy, modern := dialRaw(t, b.Addr()), dialRaw(t, b.Addr()).hello()
	legacy.send(frame{4, "1", `{"optype":0,"method":"m","host":{"ip":"h","port":7},"relay":1}`})
	assert.Equal(t, 0, legacy.expect().rcode())
	modern.send(frame{0, "2", `{"method":"m","parameters":{},"relay":1,"timeout_ms":20000}`})
	legacy.silent()
	assert.Equal(t, int(abstract.ServiceNotFound), modern.expectNot(18).rcode())
}

func TestRegistrationsEndWhenNobodyRenewsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, server.WithLogger(quietLog()))
		defer s.stop()
		watcher, provider := rawOver(t, s.network, "broker").hello(), rawOver(t, s.network, "broker").hello()
		watcher.send(frame{4, "ask", `{"optype":1,"method":"m"}`})
		watcher.expect()
		beat := frame{4, "beat", `{"optype":16,"method":"m","host":{"ip":"h","port":1},"instance":"i"}`}
		provider.send(beat)
		assert.Equal(t, 26, provider.expect().rcode(), "what is not registered cannot be renewed")
		provider.send(frame{4, "1", `{"optype":0,"method":"m","host":{"ip":"h","port":1},"instance":"i","ttl_ms":1}`})
		assert.Equal(t, 0, provider.expect().rcode())
		time.Sleep(900 * time.Millisecond) // a second is the shortest time to live
		provider.send(beat)
		assert.Equal(t, 0, provider.expect().rcode())
		assert.Equal(t, 2.0, watcher.expect().field("optype"))
		renewed := time.Now()
		gone := watcher.expect()
		assert.Equal(t, 3.0, gone.field("optype"))
		assert.Equal(t, "expired", gone.field("reason"))
		assert.GreaterOrEqual(t, time.Since(renewed), time.Second)
		provider.send(beat)
		assert.Equal(t, 26, provider.expect().rcode())
		provider.send(frame{4, "2", `{"optype":0,"method":"m","host":{"ip":"h","port":1},"instance":"i"}`})
		assert.Equal(t, 0, provider.expect().rcode())
		assert.Equal(t, 2.0, watcher.expect().field("optype"), "it may come back")
	})
}

func TestReasonSaysHowAProviderWent(t *testing.T) {
	b := broker(t)
	watcher := dialRaw(t, b.Addr()).hello()
	watcher.send(frame{4, "ask", `{"optype":1,"method":"m"}`})
	watcher.expect()
	for reason, end := range map[string]func(*raw){
		"lost": func(r *raw) { r.Close() },
		"left": func(r *raw) { r.send(frame{20, "bye", `{"rcode":0}`}) },
	} {
		provider := dialRaw(t, b.Addr()).hello()
		provider.send(frame{4, "1", `{"optype":0,"method":"m","host":{"ip":"h","port":1},"instance":"i"}`})
		provider.expect()
		watcher.expect()
		end(provider)
		assert.Equal(t, reason, watcher.expectNot(18).field("reason"))
	}
}
