package server_test

import (
	"context"
	"slices"
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

// club is a broker with a policy in virtual time, and members who have a connection each.
type club struct {
	*started
	guard  *access.Guard
	file   *access.Tokens
	tokens map[string]string
}

const clubPolicy = `{"identities": {
	"owner": {"allow": {"publish": [">"], "subscribe": [">"], "create_topic": [">"], "remove_topic": [">"]}},
	"anna":  {"allow": {"publish": ["news.*"], "subscribe": ["news.>", "orders.*"]}, "deny": {"subscribe": ["news.secret.>"]}},
	"bert":  {"allow": {"publish": [">"], "subscribe": [">"], "create_topic": ["bert.*"]}}}}`

func inClub(t *testing.T, test func(c *club)) {
	synctest.Test(t, func(t *testing.T) {
		p, err := access.ParsePolicy([]byte(clubPolicy))
		require.NoError(t, err)
		tokens := map[string]string{}
		var entries []access.Entry
		for _, name := range []string{"owner", "anna", "bert"} {
			token, entry, err := access.NewToken(name, "", time.Time{})
			require.NoError(t, err)
			tokens[name], entries = token.Reveal(), append(entries, entry)
		}
		file, err := access.NewTokens(entries...)
		require.NoError(t, err)
		guard := access.NewGuard(p, file)
		s := start(t, server.WithGuard(guard), server.WithLogger(quietLog()))
		defer s.stop()
		test(&club{s, guard, file, tokens})
	})
}

func (c *club) as(who string) *client.TopicClient {
	conn, _ := c.dial(client.WithToken(c.tokens[who]), client.WithLogger(quietLog()))
	c.Cleanup(func() { _ = conn.Close() })
	return client.NewTopicClient(conn)
}

// mail is what a subscription has brought.
type mail struct {
	mu  sync.Mutex
	got []string
}

func (m *mail) take(msg client.Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.got = append(m.got, msg.Topic+" "+string(msg.Data))
}

// all returns what has come, in the order of the alphabet, and forgets it.
func (m *mail) all() []string {
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	got := m.got
	m.got = nil
	slices.Sort(got)
	return got
}

func (c *club) subscribe(who *client.TopicClient, filter string, opts ...client.SubscribeOption) *mail {
	c.Helper()
	m := new(mail)
	_, err := who.Subscribe(c.Context(), filter, m.take, opts...)
	require.NoError(c, err)
	return m
}

func TestASubscriptionToManyTopicsTakesThePermissionForAll(t *testing.T) {
	inClub(t, func(c *club) {
		anna := c.as("anna")
		for filter, may := range map[string]bool{
			"orders.*": true, "news.*": true, "news.*.eu": false, "news.>": false, "news.local.>": true, "news.secret.*": false,
			"orders.>": false, "*": false, "*.eu": false, ">": false, "orders.*.*": false,
		} {
			for name, opts := range map[string][]client.SubscribeOption{"": nil, "group": {client.QueueGroup("g")}, "last": {client.FromLast()}} {
				_, err := anna.Subscribe(c.Context(), filter, nil, opts...)
				if may {
					assert.NoError(c, err, "%s %s", filter, name)
				} else {
					assert.ErrorIs(c, err, abstract.ErrDenied, "%s %s", filter, name)
				}
			}
		}
	})
}

func TestARightThatIsTakenAwayEndsSubscriptionsToMany(t *testing.T) {
	inClub(t, func(c *club) {
		owner, anna := c.as("owner"), c.as("anna")
		require.NoError(c, owner.Create(c.Context(), "orders.eu"))
		wild := c.subscribe(anna, "orders.*")
		tell := func(n int) {
			require.NoError(c, owner.Publish(c.Context(), "orders.eu", n))
		}
		reload := func(policy string) {
			p, err := access.ParsePolicy([]byte(policy))
			require.NoError(c, err)
			c.guard.Reload(p, c.file)
			c.broker.Reauthorize()
			time.Sleep(time.Minute) // they connect again
		}
		tell(1)
		assert.Equal(c, []string{"orders.eu 1"}, wild.all())
		reload(strings.Replace(clubPolicy, `"news.>", "orders.*"`, `"news.>"`, 1))
		tell(2)
		assert.Empty(c, wild.all())
		reload(clubPolicy)
		tell(3)
		assert.Equal(c, []string{"orders.eu 3"}, wild.all(), "it asks again for ever")
	})
}

func TestATopicsOwnSettingsSayWhoGetsItsMessages(t *testing.T) {
	inClub(t, func(c *club) {
		ctx := c.Context()
		owner, bert := c.as("owner"), c.as("bert")
		open := abstract.TopicSettings{Retain: true, Presence: true}
		shut := open
		shut.Allow = abstract.TopicAllow{Publish: []string{"own*"}, Subscribe: []string{"o*r"}}
		require.NoError(c, owner.CreateWith(ctx, "diary", shut))
		require.NoError(c, owner.CreateWith(ctx, "board", open))
		tell := func(n int) {
			for _, topic := range []string{"diary", "board"} {
				require.NoError(c, owner.Publish(ctx, topic, n))
			}
		}
		tell(1)
		var seen []string
		wild, last := c.subscribe(bert, "*", client.OnPresence(func(p client.Presence) { seen = append(seen, p.Topic) })), c.subscribe(bert, "*", client.FromLast())
		mine := c.subscribe(owner, "diary", client.Where(nil))
		// Of a group some may have the diary, and the others get the rest.
		his, hers := c.subscribe(bert, ">", client.QueueGroup("g")), c.subscribe(owner, ">", client.QueueGroup("g"))
		tell(2)
		assert.Equal(c, []string{"board 2"}, wild.all())
		assert.Equal(c, []string{"board 1", "board 2"}, last.all())
		assert.Equal(c, []string{"diary 1", "diary 2"}, mine.all())
		both := append(his.all(), hers.all()...)
		assert.NotContains(c, strings.Join(his.all(), " "), "diary")
		slices.Sort(both)
		assert.Equal(c, []string{"board 2", "diary 2"}, both)
		assert.NotContains(c, seen, "diary", "nor who is there")

		for name, err := range map[string]error{
			"subscribe": func() error { _, err := bert.Subscribe(ctx, "diary", nil); return err }(),
			"publish":   bert.Publish(ctx, "diary", 1),
			"read":      func() error { _, err := bert.Read(ctx, "diary", 1, 0); return err }(),
			"info":      func() error { _, err := bert.Info(ctx, "diary"); return err }(),
		} {
			assert.ErrorIs(c, err, abstract.ErrDenied, name)
			assert.ErrorContains(c, err, "identity bert may not", name)
		}
		assert.Equal(c, []string{"board"}, listed(c.T, bert, ">"))
		assert.Equal(c, []string{"board", "diary"}, listed(c.T, owner, ">"))
		require.NoError(c, bert.Send(ctx, "diary", "sent"))
		assert.Empty(c, mine.all())

		// What is allowed is looked at again when it changes.
		named := make(chan error, 1)
		sub, err := bert.Subscribe(ctx, "board", nil)
		require.NoError(c, err)
		go func() {
			for _, err := range sub.Messages(ctx) {
				if err != nil {
					named <- err
				}
			}
		}()
		require.NoError(c, owner.Set(ctx, "board", shut))
		require.NoError(c, owner.Set(ctx, "diary", open))
		tell(3)
		assert.Equal(c, []string{"diary 3"}, wild.all())
		assert.ErrorIs(c, <-named, abstract.ErrDenied)
	})
}

func listed(t *testing.T, c *client.TopicClient, filter string) (names []string) {
	for name, err := range c.List(t.Context(), filter) {
		require.NoError(t, err)
		names = append(names, name)
	}
	return names
}

func TestListsOfTopicsAreWholeThoughSomeAreHidden(t *testing.T) {
	inClub(t, func(c *club) {
		owner := c.as("owner")
		var want []string
		for i := range 1500 {
			name := "hidden." + string(rune('a'+i%26)) + strings.Repeat("x", i/26)
			if i%100 == 99 {
				name = "orders." + strings.Repeat("y", i)[:i/100+1]
				want = append(want, name)
			}
			require.NoError(c, owner.Create(c.Context(), name))
		}
		slices.Sort(want)
		assert.Equal(c, want, listed(c.T, c.as("anna"), ">"))
		assert.Empty(c, listed(c.T, c.as("anna"), "hidden.*"))
	})
}

func TestNobodyIsMadeToPublishForOthers(t *testing.T) {
	inClub(t, func(c *club) {
		anna, bert := c.as("anna"), c.as("bert")
		owner := c.as("owner")
		require.NoError(c, owner.Create(c.Context(), "orders.eu"))
		got := c.subscribe(owner, ">")
		require.NoError(c, anna.Send(c.Context(), "orders.eu", 1), "it is not answered")
		require.NoError(c, bert.Send(c.Context(), "orders.eu", 2))
		assert.Equal(c, []string{"orders.eu 2"}, got.all())
		assert.ErrorIs(c, anna.Set(c.Context(), "orders.eu", abstract.TopicSettings{}), abstract.ErrDenied)
		_, err := anna.Info(context.Background(), "hidden")
		assert.ErrorIs(c, err, abstract.ErrDenied, "and not that there is no such topic")
	})
}
