package server_test

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/business/access"
	"trefoil/client"
	"trefoil/concrete/message"
	"trefoil/server"
)

const policy = `{
	"identities": {
		"all": {"allow": {"call": [">"], "provide": [">"], "discover": [">"], "publish": [">"], "subscribe": [">"],
			"create_topic": [">"], "remove_topic": [">"], "node_read": ["/**"], "node_write": ["/**"]}},
		"some": {"allow": {"call": ["open.*"], "provide": ["open.*"], "discover": ["open.*"], "publish": ["open.*"], "subscribe": ["open.*"],
			"create_topic": ["open.*"], "remove_topic": ["open.*"], "node_read": ["/open/**"], "node_write": ["/open/**"]},
			"quota": {"connections": 2}},
		"anonymous": {"allow": {"call": ["open.hello"]}}
	}
}`

// guarded is a guard by policy, and a token for each identity.
func guarded(t *testing.T, identities ...string) (*access.Guard, map[string]string) {
	return guardBy(t, policy, identities...)
}

// verbs does everything that there is, with the name or path that it is given, and
// returns which of it was not denied.
func verbs(ctx context.Context, conn *client.Conn, name, path string) (done []string) {
	topics, nodes := client.NewTopicClient(conn), client.NewNodeClient(conn)
	h := abstract.Host{IP: "h", Port: 1}
	for _, verb := range []struct {
		name string
		do   func() error
	}{
		{"call", func() error { return client.NewDirectRpcClient(conn).Call(ctx, name, nil, nil) }},
		{"provide", func() error {
			return client.NewRegistryClient(conn).Register(ctx, abstract.Provider{Method: name, Host: h})
		}},
		{"discover", func() error { _, err := client.NewDiscoveryClient(conn).Discover(ctx, name); return err }},
		{"create_topic", func() error { return topics.Create(ctx, name) }},
		{"subscribe", func() error { _, err := topics.Subscribe(ctx, name, func(client.Message) {}); return err }},
		{"publish", func() error { return topics.Publish(ctx, name, 1) }},
		{"remove_topic", func() error { return topics.Remove(ctx, name) }},
		{"create", func() error { _, err := nodes.Create(ctx, path, nil, client.MakeParents()); return err }},
		{"set", func() error { _, err := nodes.Set(ctx, path, nil); return err }},
		{"get", func() error { _, err := nodes.Get(ctx, path); return err }},
		{"stat", func() error { _, err := nodes.Stat(ctx, path); return err }},
		{"exists", func() error { _, err := nodes.Exists(ctx, path); return err }},
		{"ls", func() error { _, err := nodes.List(ctx, path); return err }},
		{"watch", func() error { _, err := nodes.Watch(ctx, path, client.ScopeNode); return err }},
		{"watch all", func() error { _, err := nodes.Watch(ctx, path, client.ScopeSubtree); return err }},
		{"multi", func() error { _, err := nodes.Multi(ctx, client.CheckOp("/open"), client.SetOp(path, nil)); return err }},
		{"check", func() error { _, err := nodes.Multi(ctx, client.CheckOp(path)); return err }},
		{"delete", func() error { return nodes.Delete(ctx, path) }},
		{"delete all", func() error { return nodes.Delete(ctx, path, client.Recursive()) }},
	} {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		if err := verb.do(); abstract.CodeOf(err) != abstract.Denied && ctx.Err() == nil {
			done = append(done, verb.name)
		}
		cancel()
	}
	return done
}

func TestNothingIsDoneWithoutThePermission(t *testing.T) {
	all := strings.Split("call,provide,discover,create_topic,subscribe,publish,remove_topic,create,set,get,stat,exists,ls,watch,watch all,multi,check,delete,delete all", ",")
	for _, tt := range []struct {
		who, name, path string
		done            []string
	}{
		{"all", "open.hello", "/open/a", all},
		{"all", "closed.hello", "/closed/a", all},
		{"some", "open.hello", "/open/a", all},
		{"some", "closed.hello", "/closed/a", nil},
		{"", "open.hello", "/open/a", []string{"call"}},
		{"", "closed.hello", "/closed/a", nil},
	} {
		t.Run(tt.who+tt.path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				guard, tokens := guarded(t, "all", "some")
				s := start(t, server.WithGuard(guard), server.WithLogger(quietLog()))
				defer s.stop()
				for _, name := range []string{"open.hello", "closed.hello"} {
					require.NoError(t, s.broker.HandleFunc(server.Description{Method: name, Result: server.KindAny}, echo))
				}
				var opts []client.Option
				if tt.who != "" {
					opts = append(opts, client.WithToken(tokens[tt.who]))
				}
				conn, _ := s.dial(append(opts, client.WithLogger(quietLog()))...)
				defer conn.Close()
				assert.Equal(t, tt.done, verbs(t.Context(), conn, tt.name, tt.path))
			})
		})
	}
}

func TestListsShowWhatMayBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		guard, tokens := guarded(t, "all", "some")
		s := start(t, server.WithGuard(guard), server.WithLogger(quietLog()))
		defer s.stop()
		conn, nodes := s.dial(client.WithToken(tokens["all"]))
		defer conn.Close()
		for _, path := range []string{"/open/a", "/open/b", "/closed/a"} {
			_, err := nodes.Create(t.Context(), path, []byte("x"), client.MakeParents())
			require.NoError(t, err)
		}
		other, seen := s.dial(client.WithToken(tokens["some"]), client.WithLogger(quietLog()))
		defer other.Close()
		_, err := seen.List(t.Context(), "/", client.Recursive())
		assert.ErrorIs(t, err, abstract.ErrDenied)
		list, err := seen.List(t.Context(), "/open", client.Recursive())
		require.NoError(t, err)
		assert.Len(t, list, 2)
		_, err = seen.Get(t.Context(), "/closed/none")
		denied := err
		_, err = seen.Get(t.Context(), "/closed/a")
		assert.Equal(t, strings.ReplaceAll(denied.Error(), "none", "a"), err.Error(), "a refusal does not tell what there is")
	})
}

func TestWrongTokenIsTurnedAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		guard, _ := guarded(t, "all")
		s := start(t, server.WithGuard(guard), server.WithLogger(quietLog()))
		defer s.stop()
		_, err := client.Dial(t.Context(), "broker", client.WithTransport(s.network.Client), client.WithToken("tfl_wrong"), client.WithLogger(quietLog()))
		require.ErrorIs(t, err, abstract.ErrDenied)
		assert.NotContains(t, err.Error(), "tfl_wrong")
	})
}

func TestConnectionsOfAnIdentityAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		guard, tokens := guarded(t, "some")
		s := start(t, server.WithGuard(guard), server.WithLogger(quietLog()))
		defer s.stop()
		dial := func() (*client.Conn, error) {
			return client.Dial(t.Context(), "broker", client.WithTransport(s.network.Client), client.WithToken(tokens["some"]), client.WithLogger(quietLog()))
		}
		first, err := dial()
		require.NoError(t, err)
		second, err := dial()
		require.NoError(t, err)
		defer second.Close()
		_, err = dial()
		require.ErrorIs(t, err, abstract.ErrOverloaded)
		require.NoError(t, first.Close())
		synctest.Wait()
		third, err := dial()
		require.NoError(t, err)
		require.NoError(t, third.Close())
	})
}

func TestChangedPermissionsHoldForWhatIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		guard, tokens := guarded(t, "all", "some")
		s := start(t, server.WithGuard(guard), server.WithLogger(quietLog()))
		defer s.stop()
		conn, _ := s.dial(client.WithToken(tokens["all"]), client.WithLogger(quietLog()))
		defer conn.Close()
		topics := client.NewTopicClient(conn)
		require.NoError(t, topics.Create(t.Context(), "closed.news"))
		got := make(chan client.Message, 1)
		_, err := topics.Subscribe(t.Context(), "closed.news", func(m client.Message) { got <- m })
		require.NoError(t, err)
		require.NoError(t, topics.Publish(t.Context(), "closed.news", 1))
		<-got
		narrow, err := access.ParsePolicy([]byte(strings.Replace(policy, `"subscribe": [">"]`, `"subscribe": ["open.*"]`, 1)))
		require.NoError(t, err)
		guard.Reload(narrow, nil)
		s.broker.Reauthorize()
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.False(t, conn.Connected(), "its token is not known any more")
		assert.Empty(t, got)
	})
}

func TestExistingProgramsAreAnonymous(t *testing.T) {
	guard, _ := guarded(t)
	b := newBroker(server.WithLogger(quietLog()), server.WithGuard(guard))
	require.NoError(t, b.HandleFunc(server.Description{Method: "open.hello", Result: server.KindAny}, echo))
	serve(t, b)
	r := dialRaw(t, b.Addr())
	r.send(frame{0, "1", `{"method":"open.hello","parameters":{}}`}, frame{2, "2", `{"optype":0,"topic_key":"open.news"}`})
	assert.Zero(t, r.expect().rcode())
	assert.NotZero(t, r.expect().rcode())
}

func TestReauthorizingEndsNoSession(t *testing.T) {
	guard, tokens := guarded(t, "all")
	b := serve(t, newBroker(server.WithLogger(quietLog()), server.WithGuard(guard)))
	var conns []*client.Conn
	ids := map[string]bool{}
	for range 30 {
		conn, err := client.Dial(t.Context(), b.Addr().String(), patiently(client.WithToken(tokens["all"]), client.WithLogger(quietLog()))...)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		conns = append(conns, conn)
		ids[conn.SessionID()] = true
	}
	for range 4 {
		b.Reauthorize()
		for _, conn := range conns {
			_, err := client.NewNodeClient(conn).Exists(t.Context(), "/a")
			require.NoError(t, err)
		}
	}
	for _, conn := range conns {
		assert.True(t, ids[conn.SessionID()], "the goodbye's answer has ended a session")
	}
}

func TestPeerThatWasTurnedAwayIsNotServedAfterAll(t *testing.T) {
	guard, tokens := guarded(t, "all")
	b := serve(t, newBroker(server.WithLogger(quietLog()), server.WithGuard(guard)))
	frames := []frame{{16, "h", `{"version":1,"max_frame":8388608,"token":"tfl_wrong"}`}}
	for i := range 3000 {
		frames = append(frames, frame{0, strconv.Itoa(i), `{"method":"open.hello","parameters":{}}`})
	}
	called := make(chan struct{}, len(frames))
	require.NoError(t, b.HandleFunc(server.Description{Method: "open.hello", Result: server.KindAny}, func(context.Context, message.Raw) (any, error) {
		called <- struct{}{}
		return nil, nil
	}))
	r := dialRaw(t, b.Addr())
	r.throw(frames...)
	assert.EqualValues(t, abstract.Denied, r.expect().rcode())
	conn, err := client.Dial(t.Context(), b.Addr().String(), patiently(client.WithToken(tokens["all"]))...)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, client.NewDirectRpcClient(conn).Call(t.Context(), "open.hello", nil, nil))
	assert.Len(t, called, 1, "that was the other one")
}

func TestPagesOfAListHideNothingThatMayBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := access.ParsePolicy([]byte(`{"identities": {"anonymous": {"allow": {"node_read": ["/", "/z"], "node_write": ["/**"]}}}}`))
		require.NoError(t, err)
		s := start(t, server.WithGuard(access.NewGuard(p, nil)), server.WithLogger(quietLog()))
		defer s.stop()
		conn, nodes := s.dial()
		defer conn.Close()
		data := bytes.Repeat([]byte("x"), 1<<20)
		for _, path := range []string{"/a", "/b", "/c", "/z"} {
			_, err := nodes.Create(t.Context(), path, data)
			require.NoError(t, err)
		}
		list, err := nodes.List(t.Context(), "/", client.WithData())
		require.NoError(t, err)
		require.Len(t, list, 1)
		assert.Equal(t, "/z", list[0].Path)
	})
}
