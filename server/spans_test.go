package server_test

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"trefoil/abstract"
	"trefoil/concrete/mem"
	"trefoil/concrete/memstore"
	"trefoil/server"
)

// slowStore takes its time for each transaction.
type slowStore struct {
	*memstore.Store
	takes time.Duration
}

func (s *slowStore) Instant() bool { return false }

func (s *slowStore) Txn(ctx context.Context, t abstract.Txn) (abstract.TxnResult, error) {
	<-time.After(s.takes)
	return s.Store.Txn(ctx, t)
}

// TestRegistrationDoesNotEndWhileItIsRenewed has a provider register again shortly
// before its time is over, at a broker whose store takes longer than what is left.
func TestRegistrationDoesNotEndWhileItIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := mem.NewNetwork()
		serve(t, server.NewBroker("srv", server.WithTransport(network.Server), server.WithLogger(quietLog()), server.WithRoles(server.RoleRegistry),
			server.WithStore(&slowStore{memstore.New(), 500 * time.Millisecond})))
		provider := rawOver(t, network, "srv").hello()
		again := func(id, tag string) {
			provider.send(frame{4, id, sprintf(`{"optype":0,"method":"m","host":{"ip":"h","port":1},"instance":"i","ttl_ms":1000,"tags":[%q]}`, tag)})
			assert.Equal(t, 0, provider.expectNot(18).rcode())
		}
		again("1", "a")
		time.Sleep(900 * time.Millisecond)
		again("2", "b")
		time.Sleep(700 * time.Millisecond)
		provider.send(frame{4, "3", `{"optype":16,"method":"m","host":{"ip":"h","port":1},"instance":"i"}`})
		assert.Equal(t, 0, provider.expectNot(18).rcode())
		provider.send(frame{4, "4", `{"optype":1,"method":"m"}`})
		assert.Equal(t, 0, provider.expectNot(18).rcode(), "it is there, as the heartbeat says")
		time.Sleep(2 * time.Second)
		provider.send(frame{4, "5", `{"optype":1,"method":"m"}`})
		gone := provider.expectNot(18)
		assert.Equal(t, 3.0, gone.field("optype"), "it ends when nobody renews it")
	})
}

// TestRegistrationsKeepNoFrames registers methods in requests that are much longer than
// what they say.
func TestRegistrationsKeepNoFrames(t *testing.T) {
	b := broker(t)
	provider := dialRaw(t, b.Addr()).hello()
	inUse := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // what pools have kept
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	pad := strings.Repeat("x", 1<<20)
	before := inUse()
	for i := range 48 {
		provider.send(frame{4, "1", sprintf(`{"optype":0,"method":"m%d","host":{"ip":"h","port":1},"instance":"i","ttl_ms":600000,"pad":%q}`, i, pad)})
		assert.Equal(t, 0, provider.expectNot(18).rcode())
	}
	assert.Less(t, inUse()-before, int64(24<<20))
}
