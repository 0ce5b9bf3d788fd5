package server_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/server"
)

// crowd is a broker in virtual time, somebody who publishes there, and subscribers that
// read when they are told to.
type crowd struct {
	*started
	topics *client.TopicClient
}

const crowdQueue = 16 << 10 // of a subscriber

func inCrowd(t *testing.T, test func(c *crowd), opts ...server.Option) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, append([]server.Option{
			server.WithLogger(quietLog()), server.WithSubscriberQueue(crowdQueue),
			server.WithPing(time.Minute, 5), server.WithSessions(time.Minute, 5),
		}, opts...)...)
		defer s.stop()
		conn, _ := s.dial(client.WithLogger(quietLog()), client.WithTimeout(2*time.Minute))
		defer conn.Close()
		test(&crowd{s, client.NewTopicClient(conn)})
	})
}

// weighty is a message of about a KiB.
func weighty(n int) map[string]any {
	return map[string]any{"n": n, "pad": strings.Repeat("x", 1000)}
}

// publish publishes so many messages with these numbers.
func (c *crowd) publish(topic string, from, to int) {
	for n := from; n <= to; n++ {
		require.NoError(c, c.topics.Publish(c.Context(), topic, weighty(n)))
	}
}

// reader is a subscriber over bytes, which reads from a moment on.
type reader struct {
	*raw
	begin func()
	acks  string // the name of its subscription, of whose messages it acknowledges each
	topic string

	mu     sync.Mutex
	got    []int // numbers of messages
	missed int   // as GAP notices say, before the message whose number is in holes
	holes  map[int]int
	over   string // the notice that the subscription has ended
	seen   int    // who came and went
	unseen int    // the same, of whom it was not told
	closed bool
}

// reader subscribes. body is that of the subscribe request without its beginning.
func (c *crowd) reader(modern bool, topic, body, acks string) *reader {
	c.Helper()
	p := rawOver(c.T, c.network, "broker")
	if modern {
		p.hello()
	}
	p.send(frame{2, "s", fmt.Sprintf(`{"optype":2,"topic_key":%q%s}`, topic, body)})
	begin := make(chan struct{})
	r := &reader{raw: p, begin: sync.OnceFunc(func() { close(begin) }), acks: acks, topic: topic, holes: map[int]int{}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-begin
		for r.take() {
		}
	}()
	c.Cleanup(func() {
		r.begin()
		_ = p.Close()
		<-ended
	})
	synctest.Wait()
	return r
}

// take takes one frame. It returns false at the end.
func (r *reader) take() bool {
	f, err := r.read()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.closed = true
		return false
	}
	switch {
	case f.mtype == 22: // GAP
		r.missed += int(f.field("missed").(float64))
	case f.mtype == 2 && f.field("optype") == 1.0:
		r.over = f.body
	case f.mtype == 2 && f.field("optype") != 4.0:
		if missed, ok := f.field("topic_msg").(map[string]any)["missed"].(float64); ok {
			r.unseen += int(missed)
			return true
		}
		r.seen++
	case f.mtype == 2:
		msg := f.field("topic_msg")
		if text, ok := msg.(string); ok { // a legacy peer's
			msg = frame{body: text}.field("n")
		} else {
			msg = msg.(map[string]any)["n"]
		}
		n := int(msg.(float64))
		if r.missed > 0 {
			r.holes[n], r.missed = r.missed, 0
		}
		r.got = append(r.got, n)
		if r.acks != "" {
			body := fmt.Sprintf(`{"optype":19,"topic_key":%q,"sub":%q,"deliveries":[%d]}`, r.topic, r.acks, int(f.field("delivery").(float64)))
			_, err := r.Write(frame{2, "0", body}.bytes())
			return err == nil
		}
	}
	return true
}

// all begins to read, and waits until nothing comes any more.
func (r *reader) all() {
	r.begin()
	time.Sleep(5 * time.Second)
	synctest.Wait()
}

// complete makes sure that what came and what was told to be missing are all messages
// from one number to another, in order, and each hole is told right before the message
// behind it.
func (r *reader) complete(from, to int) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	next := from
	for _, n := range r.got {
		if !assert.Equal(r.t, n-next, r.holes[n], "told before %d, after %d", n, next-1) {
			return
		}
		next = n + 1
	}
	assert.Equal(r.t, to, next-1+r.missed, "the last one")
}

func (r *reader) lost() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, missed := range r.holes {
		n += missed
	}
	return n + r.missed
}

const many = 1000

func TestASubscriberThatDoesNotReadIsTreatedAsItsTopicSays(t *testing.T) {
	kinds := map[string]struct {
		modern     bool
		body, acks string
	}{
		"plain":  {true, ``, ""},
		"own":    {true, `,"sub":"a"`, ""},
		"legacy": {false, ``, ""},
		"group":  {true, `,"sub":"a","group":"g","window":4`, "a"},
	}
	for _, policy := range []abstract.SlowPolicy{abstract.SlowDropOldest, abstract.SlowDropNewest, abstract.SlowDisconnect} {
		for kind, k := range kinds {
			t.Run(policy.String()+" "+kind, func(t *testing.T) {
				inCrowd(t, func(c *crowd) {
					require.NoError(c, c.topics.CreateWith(c.Context(), "t", abstract.TopicSettings{Slow: policy}))
					slow := c.reader(k.modern, "t", k.body, k.acks)
					c.publish("t", 1, many)
					slow.all()
					if kind == "legacy" {
						assert.True(c, slow.closed, "it cannot be told")
						assert.Empty(c, slow.lost())
						return
					}
					if policy == abstract.SlowDisconnect && kind != "group" {
						assert.Contains(c, slow.over, `"rcode":20`, "it is told why")
						assert.NotEmpty(c, slow.got, "what waited came first")
						c.publish("t", many+1, many+1)
						slow.all()
						slow.complete(1, len(slow.got))
						assert.Less(c, len(slow.got), many)
						return
					}
					c.publish("t", many+1, many+1)
					slow.all()
					assert.NotZero(c, slow.lost())
					slow.complete(1, many+1)
					if policy == abstract.SlowDropOldest {
						assert.Equal(c, many+1, slow.got[len(slow.got)-1])
					}
				})
			})
		}
	}
}

func TestALosslessTopicWaitsForEverySubscriber(t *testing.T) {
	kinds := map[string]struct {
		modern     bool
		body, acks string
		filter     string
	}{
		"plain":       {true, ``, "", "t"},
		"own":         {true, `,"sub":"a"`, "", "t"},
		"legacy":      {false, ``, "", "t"},
		"group":       {true, `,"sub":"a","group":"g","window":4`, "a", "t"},
		"wild":        {true, `,"sub":"a"`, "", "*"},
		"group of >":  {true, `,"sub":"a","group":"g"`, "a", ">"},
		"catching up": {true, `,"sub":"a","from":"all"`, "", "t"},
	}
	for kind, k := range kinds {
		t.Run(kind, func(t *testing.T) {
			inCrowd(t, func(c *crowd) {
				settings := abstract.TopicSettings{Slow: abstract.SlowLossless}
				first := 1
				if kind == "catching up" {
					settings.History.Count = 300
				}
				require.NoError(c, c.topics.CreateWith(c.Context(), "t", settings))
				if kind == "catching up" {
					c.publish("t", 1, 300)
				}
				slow := c.reader(k.modern, k.filter, k.body, k.acks)
				quick := c.reader(true, "t", `,"sub":"b"`, "")
				quick.begin()
				var published sync.WaitGroup
				published.Go(func() {
					from := 1
					if kind == "catching up" {
						from = 301
					}
					c.publish("t", from, many)
				})
				time.Sleep(time.Second)
				quick.mu.Lock()
				assert.Less(c, len(quick.got), many, "the publisher waits")
				quick.mu.Unlock()
				slow.begin()
				published.Wait()
				slow.all()
				quick.all()
				assert.Zero(c, slow.lost())
				slow.complete(first, many)
				assert.Zero(c, quick.lost())
			})
		})
	}
}

func TestCatchingUpLosesOnlyWhatItsTopicForgets(t *testing.T) {
	for _, policy := range []abstract.SlowPolicy{abstract.SlowDropOldest, abstract.SlowDropNewest, abstract.SlowDisconnect} {
		for kind, history := range map[string]int{"all kept": 3 * many, "some kept": 500} {
			t.Run(policy.String()+" "+kind, func(t *testing.T) {
				inCrowd(t, func(c *crowd) {
					require.NoError(c, c.topics.CreateWith(c.Context(), "t", abstract.TopicSettings{Slow: policy, History: abstract.History{Count: history}}))
					c.publish("t", 1, many) // more than a connection takes without reading
					first := max(1, many-history+1)
					slow := c.reader(true, "t", `,"sub":"a","from":"all"`, "")
					c.publish("t", many+1, 2*many)
					slow.all()
					c.publish("t", 2*many+1, 2*many+10)
					slow.all()
					assert.Empty(c, slow.over)
					slow.complete(first, 2*many+10)
					assert.Equal(c, kind == "some kept", slow.lost() > 0)
				})
			})
		}
	}
}

func TestALosslessPublisherIsHeldUpByNothingElse(t *testing.T) {
	inCrowd(t, func(c *crowd) {
		ctx := c.Context()
		require.NoError(c, c.topics.CreateWith(ctx, "full", abstract.TopicSettings{Slow: abstract.SlowLossless}))
		require.NoError(c, c.topics.Create(ctx, "other"))
		require.NoError(c, c.broker.HandleFunc(server.Description{Method: "echo", Result: server.KindAny}, echo))
		conn, nodes := c.dial(client.WithLogger(quietLog()), client.WithTimeout(time.Minute))
		defer conn.Close()
		publisher := client.NewTopicClient(conn)
		c.reader(true, "full", `,"sub":"a"`, "")
		var failed error
		var publishing sync.WaitGroup
		publishing.Go(func() {
			for failed == nil {
				failed = publisher.Publish(ctx, "full", weighty(1))
			}
		})
		time.Sleep(time.Second)
		begun := time.Now()
		require.NoError(c, client.NewDirectRpcClient(conn).Call(ctx, "echo", map[string]any{}, nil))
		_, err := nodes.Create(ctx, "/a", nil)
		require.NoError(c, err)
		require.NoError(c, c.topics.Publish(ctx, "other", 1), "another publisher")
		assert.Zero(c, time.Since(begun), "nothing waits but the topics of its connection")
		publishing.Wait()
		assert.ErrorIs(c, failed, abstract.ErrOverloaded, "who never reads does not hold it up for ever")
	}, server.WithWriteTimeout(time.Hour))
}

func TestAStalledSubscriberOfALosslessTopicIsGivenUp(t *testing.T) {
	inCrowd(t, func(c *crowd) {
		require.NoError(c, c.topics.CreateWith(c.Context(), "t", abstract.TopicSettings{Slow: abstract.SlowLossless}))
		stalled := c.reader(true, "t", `,"sub":"a"`, "")
		c.publish("t", 1, many)
		stalled.all()
		assert.True(c, stalled.closed, "its connection made no progress in the write timeout, and then the publisher goes on")
	})
}

func TestABrokerStopsThoughALosslessPublisherWaits(t *testing.T) {
	inCrowd(t, func(c *crowd) {
		ctx := c.Context()
		require.NoError(c, c.topics.CreateWith(ctx, "t", abstract.TopicSettings{Slow: abstract.SlowLossless}))
		c.reader(true, "t", `,"sub":"a"`, "")
		ended := make(chan error, 1)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			var err error
			for err == nil {
				err = c.topics.Publish(ctx, "t", weighty(1))
			}
			ended <- err
		}()
		time.Sleep(time.Second)
		begun := time.Now()
		stopping, done := context.WithTimeout(c.Context(), 5*time.Second)
		defer done()
		_ = c.broker.Shutdown(stopping)
		assert.LessOrEqual(c, time.Since(begun), 6*time.Second)
		require.Error(c, <-ended)
	}, server.WithWriteTimeout(time.Hour))
}
