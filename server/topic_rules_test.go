package server_test

import (
	"encoding/json"
	"fmt"
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

const orderSchema = `{"type":"object","properties":{"id":{"type":"integer"},"lines":{"items":{"type":"string"}}},"required":["id"]}`

// inHall is a broker in virtual time, and a client of its topics.
func inHall(t *testing.T, test func(t *testing.T, s *started, c *client.TopicClient), opts ...server.Option) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, append([]server.Option{server.WithLogger(quietLog())}, opts...)...)
		defer s.stop()
		conn, _ := s.dial(client.WithLogger(quietLog()))
		defer conn.Close()
		test(t, s, client.NewTopicClient(conn))
	})
}

func collect(t *testing.T, c *client.TopicClient, filter string, opts ...client.SubscribeOption) *mail {
	t.Helper()
	m := new(mail)
	_, err := c.Subscribe(t.Context(), filter, m.take, opts...)
	require.NoError(t, err)
	return m
}

func TestMessagesMustFitTheSchemaOfTheirTopic(t *testing.T) {
	inHall(t, func(t *testing.T, s *started, c *client.TopicClient) {
		ctx := t.Context()
		settings := abstract.TopicSettings{Schema: json.RawMessage(orderSchema)}
		require.NoError(t, c.CreateWith(ctx, "orders", settings))
		got := collect(t, c, "orders")
		type order struct {
			ID    any   `json:"id,omitempty"`
			Lines []any `json:"lines,omitempty"`
		}
		for _, tc := range []struct {
			v    any
			want string
		}{
			{order{ID: 1}, ""}, {order{ID: 2, Lines: []any{"a"}}, ""},
			{order{}, `a message to topic "orders" needs a member "id" (integer)`},
			{order{ID: "x"}, `"id" in the message to topic "orders" must be integer, not string`},
			{order{ID: 3, Lines: []any{"a", 7}}, `"lines[1]" in the message to topic "orders" must be string, not integer`},
			{"no object", `the message to topic "orders" must be object, not string`},
		} {
			_, with := c.PublishWith(ctx, "orders", tc.v, client.Publishing{TTL: time.Hour})
			for _, err := range []error{c.Publish(ctx, "orders", tc.v), c.PublishFuture(ctx, "orders", tc.v).Wait(ctx), with} {
				if tc.want == "" {
					assert.NoError(t, err)
					continue
				}
				assert.ErrorIs(t, err, abstract.ErrInvalidParams)
				assert.ErrorContains(t, err, tc.want)
			}
			require.NoError(t, c.Send(ctx, "orders", tc.v), "nobody says")
		}
		assert.Len(t, got.all(), 8, "what fits, four times")

		old := rawOver(t, s.network, "broker")
		old.send(frame{2, "1", `{"optype":4,"topic_key":"orders","topic_msg":"text"}`}, frame{2, "2", `{"optype":4,"topic_key":"orders","topic_msg":{"id":5}}`})
		assert.Equal(t, 5, old.expect().rcode(), "an existing program's is looked at, too")
		assert.Equal(t, 0, old.expect().rcode())
		assert.Len(t, got.all(), 1)

		settings.Schema = json.RawMessage(`{"type":"string"}`)
		require.NoError(t, c.Set(ctx, "orders", settings))
		require.NoError(t, c.Publish(ctx, "orders", "text"), "by the schema that it has now")
		assert.ErrorIs(t, c.Publish(ctx, "orders", order{ID: 1}), abstract.ErrInvalidParams)
		require.NoError(t, c.Set(ctx, "orders", abstract.TopicSettings{}))
		require.NoError(t, c.Publish(ctx, "orders", 7))
	})
}

func TestBadSchemasOfTopicsAreRefused(t *testing.T) {
	inHall(t, func(t *testing.T, _ *started, c *client.TopicClient) {
		require.NoError(t, c.Create(t.Context(), "there"))
		for schema, want := range map[string]string{
			`{"type":"nothing"}`:            `"nothing" is no type`,
			`{"$ref":"http://localhost/x"}`: "refers to",
			`{"unevaluatedItems":false}`:    "not checked here",
			`{"pattern":"("}`:               "no regular expression",
			`{"pattern":"` + strings.Repeat(`(a|b{300}){3}`, 40) + `"}`: "too large",
			`7`: "no JSON Schema",
		} {
			settings := abstract.TopicSettings{Schema: json.RawMessage(schema)}
			for _, err := range []error{c.CreateWith(t.Context(), "new", settings), c.Set(t.Context(), "there", settings)} {
				assert.ErrorIs(t, err, abstract.ErrInvalidParams, schema)
				assert.ErrorContains(t, err, want, schema)
			}
		}
		assert.Equal(t, []string{"there"}, listed(t, c, ">"))
	})
}

func autoRules(t *testing.T, text string) server.Option {
	t.Helper()
	rules, err := server.ParseAutoTopics(text)
	require.NoError(t, err)
	return server.WithAutoTopics(rules...)
}

func TestTopicsAreMadeByPattern(t *testing.T) {
	rules := autoRules(t, `{"orders.*":{"history":{"count":5}},"orders.>":{"retain":true},"jobs":{}}`)
	inHall(t, func(t *testing.T, s *started, c *client.TopicClient) {
		ctx := t.Context()
		require.NoError(t, c.Publish(ctx, "orders.eu", 1))
		assert.Equal(t, []string{"orders.eu 1"}, collect(t, c, "orders.eu", client.FromAll()).all(), "by the first pattern that fits")
		jobs := collect(t, c, "jobs")
		require.NoError(t, c.Publish(ctx, "jobs", 2))
		assert.Equal(t, []string{"jobs 2"}, jobs.all())
		require.NoError(t, c.Publish(ctx, "orders.eu.north", 3))
		info, err := c.Info(ctx, "orders.eu.north")
		require.NoError(t, err)
		assert.True(t, info.Settings.Retain)
		collect(t, c, "orders.*")
		require.NoError(t, c.Send(ctx, "orders.us", 4))
		for _, name := range []string{"others", "orders", "jobs.a"} {
			assert.ErrorIs(t, c.Publish(ctx, name, 1), abstract.ErrTopicNotFound, name)
			_, err := c.Subscribe(ctx, name, nil)
			assert.ErrorIs(t, err, abstract.ErrTopicNotFound, name)
		}
		old := rawOver(t, s.network, "broker")
		old.send(frame{2, "1", `{"optype":2,"topic_key":"orders.old"}`}, frame{2, "2", `{"optype":4,"topic_key":"orders.*","topic_msg":"x"}`}, frame{2, "3", `{"optype":4,"topic_key":"orders.older","topic_msg":"x"}`})
		for _, rcode := range []int{0, 8, 0} {
			assert.Equal(t, rcode, old.expect().rcode())
		}
		assert.Equal(t, []string{"jobs", "orders.eu", "orders.eu.north", "orders.old", "orders.older", "orders.us"}, listed(t, c, ">"), "and nothing that only a filter names")
	}, rules)
}

func TestOneTopicIsMadeForManyPublishers(t *testing.T) {
	inHall(t, func(t *testing.T, s *started, c *client.TopicClient) {
		wild := collect(t, c, ">")
		var publishing sync.WaitGroup
		for i := range 8 {
			conn, _ := s.dial(client.WithLogger(quietLog()))
			t.Cleanup(func() { _ = conn.Close() })
			publishing.Go(func() {
				for n := range 10 {
					assert.NoError(t, client.NewTopicClient(conn).Publish(t.Context(), fmt.Sprintf("t.%d", n), i))
				}
			})
		}
		publishing.Wait()
		assert.Len(t, wild.all(), 80, "nothing is lost with a topic that was made twice")
		for n := range 10 {
			info, err := c.Info(t.Context(), fmt.Sprintf("t.%d", n))
			require.NoError(t, err)
			assert.EqualValues(t, 8, info.Last)
		}
	}, autoRules(t, `{">":{}}`))
}

func TestMakingATopicByPatternTakesThePermissionToCreateIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		guard, tokens := guardBy(t, clubPolicy, "bert")
		s := start(t, server.WithGuard(guard), server.WithLogger(quietLog()), autoRules(t, `{">":{}}`))
		defer s.stop()
		conn, _ := s.dial(client.WithToken(tokens["bert"]), client.WithLogger(quietLog()))
		defer conn.Close()
		bert := client.NewTopicClient(conn)
		require.NoError(t, bert.Publish(t.Context(), "bert.a", 1))
		err := bert.Publish(t.Context(), "other", 1)
		assert.ErrorIs(t, err, abstract.ErrDenied)
		assert.ErrorContains(t, err, "ask for the permission "+access.CreateTopic.String()+" other")
		_, err = bert.Subscribe(t.Context(), "other", nil)
		assert.ErrorIs(t, err, abstract.ErrDenied)
	})
}

func TestBadRulesOfTopicsThatAreMadeByPatternAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		``:                              "a JSON object",
		`[]`:                            "a JSON object",
		`{"a":{}`:                       "its end is missing",
		`{"a":{}} x`:                    "text behind its end",
		`{"a":5}`:                       "settings cannot be read",
		`{"a":{"histroy":{}}}`:          `unknown field "histroy"`,
		`{"a":{},"a":{}}`:               `"a" is there twice`,
		`{"a..b":{}}`:                   "an empty level",
		`{"a*":{}}`:                     "wildcard inside",
		`{">.a":{}}`:                    "before its end",
		`{"a":{"schema":{"$ref":"x"}}}`: "refers to",
		`{"a":{"durable":true,"slow":"lossless"}}`: "loses nothing",
	} {
		_, err := server.ParseAutoTopics(text)
		assert.ErrorIs(t, err, abstract.ErrInvalidParams, text)
		assert.ErrorContains(t, err, want, text)
	}
}

func TestOffsetsGoOnWhenATopicBeginsToKeepItsMessages(t *testing.T) {
	inHall(t, func(t *testing.T, _ *started, c *client.TopicClient) {
		ctx := t.Context()
		publish := func(n int) uint64 {
			r, err := c.PublishWith(ctx, "t", n, client.Publishing{})
			require.NoError(t, err)
			return r.Offset
		}
		kept := abstract.TopicSettings{History: abstract.History{Count: 10}}
		require.NoError(t, c.Create(ctx, "t"))
		assert.EqualValues(t, 1, publish(1))
		require.NoError(t, c.Set(ctx, "t", kept))
		assert.EqualValues(t, 2, publish(2))
		require.NoError(t, c.Set(ctx, "t", abstract.TopicSettings{}))
		assert.EqualValues(t, 3, publish(3))
		require.NoError(t, c.Set(ctx, "t", kept))
		assert.EqualValues(t, 4, publish(4), "an offset stands for one message")
		assert.Equal(t, []string{"t 4"}, collect(t, c, "t", client.FromAll()).all(), "what was kept before a hole is not")
		var gaps []client.Gap
		collect(t, c, "t", client.FromOffset(2), client.OnGap(func(g client.Gap) { gaps = append(gaps, g) })).all()
		assert.Equal(t, []client.Gap{{Topic: "t", Unrecovered: true}}, gaps)
	})
}

func TestWhatTopicsKeepTogetherIsBounded(t *testing.T) {
	inHall(t, func(t *testing.T, _ *started, c *client.TopicClient) {
		ctx := t.Context()
		text := strings.Repeat("x", 10<<10)
		for _, topic := range []string{"large", "small"} {
			require.NoError(t, c.CreateWith(ctx, topic, abstract.TopicSettings{History: abstract.History{Count: 1000}}))
		}
		for range 10 {
			require.NoError(t, c.Publish(ctx, "small", text))
		}
		for range 500 {
			require.NoError(t, c.Publish(ctx, "large", text))
		}
		kept := func(topic string) int {
			info, err := c.Info(ctx, topic)
			require.NoError(t, err)
			return int(info.Last - info.First + 1)
		}
		assert.Equal(t, 10, kept("small"), "a topic that keeps little loses nothing because of one that keeps much")
		assert.Less(t, kept("large"), 95, "1 MiB less 100 KiB")
		assert.Greater(t, kept("large"), 75)
	}, server.WithTopicMemory(1<<20))
}

func TestWhatWaitsInGroupsTogetherIsBounded(t *testing.T) {
	inCrowd(t, func(c *crowd) {
		var groups []*reader
		for _, topic := range []string{"a", "b", "c", "d", "e", "f"} { // each may have 256 KiB
			require.NoError(c, c.topics.Create(c.Context(), topic))
			groups = append(groups, c.reader(true, topic, `,"sub":"s","group":"g"`, "s"))
			c.publish(topic, 1, 300)
		}
		for i, g := range groups {
			g.all()
			c.publish(g.topic, 301, 301)
			g.all()
			g.complete(1, 301)
			assert.Equal(c, i < 4, len(g.got) > 200, "%d: what came first has its place, %d", i, len(g.got))
		}
	}, server.WithTopicMemory(1<<20))
}

func TestSomebodyWhoComesAndGoesForEverTakesNothingFromThoseWhoWatch(t *testing.T) {
	inCrowd(t, func(c *crowd) {
		ctx := c.Context()
		require.NoError(c, c.topics.CreateWith(ctx, "t", abstract.TopicSettings{Presence: true}))
		watcher := c.reader(true, "t", `,"sub":"a","presence":1`, "")
		restless := rawOver(c.T, c.network, "broker").hello()
		for range 4000 {
			restless.send(frame{2, "1", `{"optype":2,"topic_key":"t","sub":"b"}`}, frame{2, "2", `{"optype":3,"topic_key":"t","sub":"b"}`})
			restless.expect()
			restless.expect()
		}
		c.publish("t", 1, 5)
		watcher.all()
		watcher.mu.Lock()
		defer watcher.mu.Unlock()
		assert.False(c, watcher.closed)
		assert.Equal(c, []int{1, 2, 3, 4, 5}, watcher.got)
		assert.Empty(c, watcher.holes, "messages have a queue of their own")
		assert.Equal(c, 8000, watcher.seen+watcher.unseen, "and what is not told is counted")
		assert.NotZero(c, watcher.unseen)
	})
}
