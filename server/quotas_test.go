package server_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/business/access"
	"trefoil/client"
	"trefoil/concrete/memstore"
	"trefoil/server"
)

// bounded is a guard that allows everything to everybody, but only so much.
func bounded(t *testing.T, quota string) *access.Guard {
	p, err := access.ParsePolicy(fmt.Appendf(nil, `{"identities": {"anonymous": {"quota": %s, "allow": {"call": [">"], "provide": [">"],
		"discover": [">"], "publish": [">"], "subscribe": [">"], "create_topic": [">"], "remove_topic": [">"], "node_read": ["/**"], "node_write": ["/**"]}}}}`, quota))
	require.NoError(t, err)
	return access.NewGuard(p, nil)
}

// refusedBy says which quota has refused a request; empty: none.
func refusedBy(f frame) string {
	if f.rcode() == 0 {
		return ""
	}
	_, quota, _ := strings.Cut(fmt.Sprint(f.field("message")), "is at its quota ")
	quota, _, _ = strings.Cut(quota, " ")
	return fmt.Sprint(f.rcode(), " ", quota)
}

func TestQuotaOfCallsInFlight(t *testing.T) {
	for name, opts := range map[string][]server.Option{"inline": nil, "on workers": {server.WithHandlers(100, 100)}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				guard := bounded(t, `{"in_flight": 2}`)
				s := start(t, append(opts, server.WithGuard(guard), server.WithLogger(quietLog()))...)
				defer s.stop()
				w := newWaiter()
				w.on(t, s.broker)
				r, other := rawOver(t, s.network, "broker").hello(), rawOver(t, s.network, "broker").hello()
				r.send(wait("1"))
				<-w.begun
				other.send(wait("2"))
				<-w.begun
				r.send(wait("3"))
				refused := r.expect()
				assert.Equal(t, "20 in_flight", refusedBy(refused), "of all connections together")
				assert.Equal(t, map[string]any{"quota": "in_flight", "limit": 2.0, "retry_after_ms": 100.0}, refused.field("details"))
				r.send(frame{23, "1", `{}`})
				assert.Equal(t, 17, r.expect().rcode())
				r.send(wait("3"))
				<-w.begun
				assert.Equal(t, int64(2), guard.Account(access.Anonymous).Used(access.InFlight))
				require.NoError(t, other.Close())
				require.NoError(t, r.Close())
				time.Sleep(10 * time.Millisecond) // a turn has to be passed on
				synctest.Wait()
				assert.Zero(t, guard.Account(access.Anonymous).Used(access.InFlight))
			})
		})
	}
}

func TestQuotaOfSubscriptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		guard := bounded(t, `{"subscriptions": 2}`)
		s := start(t, server.WithGuard(guard), server.WithLogger(quietLog()))
		defer s.stop()
		r, other := rawOver(t, s.network, "broker").hello(), rawOver(t, s.network, "broker")
		do := func(r *raw, op int, topic string) string {
			r.send(frame{2, "x", sprintf(`{"optype":%d,"topic_key":%q}`, op, topic)})
			return refusedBy(r.expectNot(18))
		}
		for _, topic := range []string{"a", "b", "c"} {
			require.Empty(t, do(r, 0, topic))
		}
		assert.Empty(t, do(r, 2, "a"))
		assert.Empty(t, do(r, 2, "a"), "the same again is none more")
		assert.Empty(t, do(other, 2, "b"))
		assert.Equal(t, "20 subscriptions", do(r, 2, "c"))
		require.Empty(t, do(r, 3, "a"))
		assert.Empty(t, do(r, 2, "c"), "one was cancelled")
		r.send(frame{2, "x", `{"optype":1,"topic_key":"c"}`})
		assert.Contains(t, r.expect().body, "was removed", "its subscriber is told")
		require.Zero(t, r.expect().rcode())
		assert.Empty(t, do(r, 2, "a"), "a topic has gone")
		require.NoError(t, other.Close())
		synctest.Wait()
		assert.Empty(t, do(r, 2, "b"), "a connection has gone")
		require.NoError(t, r.Close())
		synctest.Wait()
		assert.Zero(t, guard.Account(access.Anonymous).Used(access.Subscriptions))
	})
}

func TestQuotaOfNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		opts := []server.Option{server.WithGuard(bounded(t, `{"nodes": 3}`)), server.WithStore(store), server.WithLogger(quietLog())}
		s := start(t, opts...)
		conn, nodes := s.dial(client.WithLogger(quietLog()))
		create := func(path string, opts ...client.NodeOption) error {
			_, err := nodes.Create(t.Context(), path, nil, opts...)
			return err
		}
		require.NoError(t, create("/a"))
		require.NoError(t, create("/s", client.SessionNode()))
		err := create("/b/c", client.MakeParents())
		require.ErrorContains(t, err, "quota nodes of 3", "it would be two")
		_, err = nodes.Multi(t.Context(), client.CreateOp("/m", nil), client.CreateOp("/n", nil))
		require.ErrorContains(t, err, "quota nodes of 3")
		require.NoError(t, create("/b"))
		_, err = nodes.Set(t.Context(), "/b", []byte("x"))
		require.NoError(t, err)
		require.ErrorContains(t, create("/c"), "quota nodes of 3")
		require.NoError(t, nodes.Delete(t.Context(), "/a"))
		require.NoError(t, create("/c"), "one was deleted")
		require.NoError(t, conn.Close())
		synctest.Wait()

		conn, nodes = s.dial(client.WithLogger(quietLog()))
		require.NoError(t, create("/d"), "a session has ended, and its node has gone")
		require.NoError(t, conn.Close())
		s.stop()
		s.again(opts...)
		conn, nodes = s.dial(client.WithLogger(quietLog()))
		require.ErrorContains(t, create("/e"), "quota nodes of 3", "what is in the store still counts")
		require.NoError(t, nodes.Delete(t.Context(), "/d"))
		require.NoError(t, create("/e"))
		require.NoError(t, conn.Close())
		s.stop()
	})
}
