package server_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
)

var slowPolicies = []abstract.SlowPolicy{abstract.SlowDropOldest, abstract.SlowDropNewest, abstract.SlowDisconnect, abstract.SlowLossless}

// changing is a topic whose policy changes while a subscriber does not read.
type changing struct {
	*crowd
	slow *reader
	last int // the number that was published last
}

// publishes publishes more, as far as nothing waits.
func (c *changing) publishes(n int) {
	c.publish("t", c.last+1, c.last+n)
	c.last += n
}

func (c *changing) set(p abstract.SlowPolicy) {
	c.Helper()
	require.NoError(c, c.topics.Set(c.Context(), "t", abstract.TopicSettings{Slow: p}))
}

func TestAChangeOfPolicyReachesTheSubscribersThatThereAre(t *testing.T) {
	for kind, body := range map[string]string{"plain": ``, "own": `,"sub":"a"`} {
		for _, from := range slowPolicies {
			for _, to := range slowPolicies {
				t.Run(kind+" "+from.String()+" "+to.String(), func(t *testing.T) {
					inCrowd(t, func(c *crowd) {
						require.NoError(c, c.topics.CreateWith(c.Context(), "t", abstract.TopicSettings{Slow: from}))
						s := &changing{crowd: c, slow: c.reader(true, "t", body, "")}
						if from == abstract.SlowDropOldest || from == abstract.SlowDropNewest {
							s.publishes(many) // it loses some
						} else {
							s.publishes(5)
						}
						s.set(to)
						s.holds(to)
					})
				})
			}
		}
	}
}

// holds makes sure that a policy is what happens now.
func (c *changing) holds(p abstract.SlowPolicy) {
	c.Helper()
	before, wait := c.last, new(sync.WaitGroup)
	wait.Go(func() { c.publishes(many) })
	if p == abstract.SlowLossless {
		time.Sleep(time.Second)
		c.slow.begin()
	}
	wait.Wait()
	c.slow.all()
	if p == abstract.SlowDisconnect {
		assert.Contains(c, c.slow.over, `"rcode":20`)
		require.NotEmpty(c, c.slow.got)
		assert.Less(c, c.slow.got[len(c.slow.got)-1], c.last)
		return
	}
	assert.Empty(c, c.slow.over)
	c.publishes(1)
	c.slow.all()
	c.slow.complete(1, c.last)
	got := map[int]bool{}
	for _, n := range c.slow.got {
		got[n] = n > before
	}
	switch p {
	case abstract.SlowLossless:
		for n := before + 1; n <= c.last; n++ {
			assert.True(c, got[n], "%d is lost", n)
		}
	case abstract.SlowDropNewest:
		assert.False(c, got[c.last-1], "what came last, while it did not read")
	default:
		assert.True(c, got[c.last-1])
		assert.NotZero(c, c.slow.lost())
	}
}

func TestASubscriberThatHasLostSomethingBeforeIsNotDisconnectedForIt(t *testing.T) {
	for _, from := range []abstract.SlowPolicy{abstract.SlowDropOldest, abstract.SlowDropNewest} {
		inCrowd(t, func(c *crowd) {
			require.NoError(c, c.topics.CreateWith(c.Context(), "t", abstract.TopicSettings{Slow: from}))
			s := &changing{crowd: c, slow: c.reader(true, "t", `,"sub":"a"`, "")}
			s.publishes(many)
			s.slow.all() // it reads, and has lost some
			s.set(abstract.SlowDisconnect)
			s.publishes(5)
			s.slow.all()
			assert.Empty(c, s.slow.over, from)
			s.slow.complete(1, s.last)
			assert.NotZero(c, s.slow.lost())
		})
	}
}

func TestPublishersThatWaitForASubscriberGoOnWhenTheTopicIsLosslessNoMore(t *testing.T) {
	for _, filter := range []string{"t", "*"} {
		for _, to := range slowPolicies[:3] {
			t.Run(to.String()+" "+filter, func(t *testing.T) {
				inCrowd(t, func(c *crowd) {
					require.NoError(c, c.topics.CreateWith(c.Context(), "t", abstract.TopicSettings{Slow: abstract.SlowLossless}))
					s := &changing{crowd: c, slow: c.reader(true, filter, `,"sub":"a"`, "")}
					boss := c.another()
					var done time.Time
					var waiting sync.WaitGroup
					waiting.Go(func() { s.publishes(many); done = time.Now() })
					time.Sleep(time.Second)
					synctest.Wait()
					assert.Zero(c, done, "it waits")
					require.NoError(c, boss.Set(c.Context(), "t", abstract.TopicSettings{Slow: to}))
					changed := time.Now()
					waiting.Wait()
					assert.Equal(c, changed, done, "nothing is waited for any more")
					s.slow.all()
					if to == abstract.SlowDisconnect && filter == "t" {
						assert.Contains(c, s.slow.over, `"rcode":20`)
						return
					}
					s.publishes(1)
					s.slow.all()
					s.slow.complete(1, s.last)
				})
			})
		}
	}
}

func TestAGroupLosesWhatItsTopicSaysNow(t *testing.T) {
	for _, to := range slowPolicies[:2] {
		inCrowd(t, func(c *crowd) {
			from := slowPolicies[1-to]
			require.NoError(c, c.topics.CreateWith(c.Context(), "t", abstract.TopicSettings{Slow: from}))
			s := &changing{crowd: c, slow: c.reader(true, "t", `,"sub":"a","group":"g"`, "a")}
			s.set(to)
			s.publishes(many)
			s.slow.all()
			s.publishes(1)
			s.slow.all()
			s.slow.complete(1, s.last)
			assert.NotZero(c, s.slow.lost())
			assert.Equal(c, to == abstract.SlowDropOldest, s.slow.holes[s.last] == 0, "what is missing at the end")
		})
	}
}

// another is a client with a connection of its own.
func (c *crowd) another() *client.TopicClient {
	conn, _ := c.dial(client.WithLogger(quietLog()))
	c.Cleanup(func() { _ = conn.Close() })
	return client.NewTopicClient(conn)
}
