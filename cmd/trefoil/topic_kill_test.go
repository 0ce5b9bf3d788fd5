//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
)

// parcel is what the producers of the kill tests publish.
type parcel struct {
	From string `json:"from"`
	N    int    `json:"n"`
}

// producer publishes parcels, and knows which were acknowledged.
type producer struct {
	name, topic string
	conn        *client.TopicClient
	window      int  // publishes on their way at once
	later       bool // each is for a moment that is to come

	mu    sync.Mutex
	last  int
	acked map[parcel]bool
}

func newProducer(t *testing.T, broker, name, topic string, window int) *producer {
	return &producer{name: name, topic: topic, conn: dialFar(t, broker), window: window, acked: map[parcel]bool{}}
}

// run publishes until ctx ends, and returns when it knows of each what became of it.
func (p *producer) run(ctx context.Context) {
	var all sync.WaitGroup
	slots := make(chan struct{}, p.window)
	for ctx.Err() == nil {
		slots <- struct{}{}
		what := p.next()
		outcome := p.publish(ctx, what)
		all.Go(func() {
			defer func() { <-slots }()
			if outcome() == nil {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.acked[what] = true
			}
		})
		if p.window == 1 {
			all.Wait()
		}
	}
	all.Wait()
}

func (p *producer) next() parcel {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	return parcel{p.name, p.last}
}

// publish publishes, and returns how to wait for the outcome.
func (p *producer) publish(ctx context.Context, what parcel) (outcome func() error) {
	if p.later {
		_, err := p.conn.PublishWith(ctx, p.topic, what, client.Publishing{Delay: time.Duration(100+rand.IntN(1500)) * time.Millisecond})
		return func() error { return err }
	}
	f := p.conn.PublishFuture(ctx, p.topic, what)
	return func() error { return f.Wait(context.Background()) }
}

func (p *producer) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.acked)
}

func countAcked(producers []*producer) (n int) {
	for _, p := range producers {
		n += p.count()
	}
	return n
}

// takings are what a durable consumer was given, by all of its members together.
type takings struct {
	name, topic string

	mu      sync.Mutex
	got     map[parcel]bool
	acked   uint64 // everything up to here was acknowledged, right before the last kill
	settled uint64 // and this long ago
	again   int    // messages that came again
	late    int    // of these, acknowledged shortly before a kill
	wrong   []string
}

func consume(t *testing.T, broker, name, topic string, members int) *takings {
	t.Helper()
	c := &takings{name: name, topic: topic, got: map[parcel]bool{}}
	for range members {
		_, err := dialFar(t, broker).Subscribe(t.Context(), topic, c.take, client.Consumer(name), client.FromAll())
		require.NoError(t, err)
	}
	return c
}

func (c *takings) take(m client.Message) {
	var what parcel
	err := json.Unmarshal(m.Data, &what)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.wrong = append(c.wrong, err.Error())
	}
	if c.got[what] {
		c.again++
		if m.Offset <= c.acked {
			c.late++
		}
	}
	if m.Offset <= c.settled && len(c.wrong) < 10 {
		c.wrong = append(c.wrong, fmt.Sprintf("offset %d comes again, and everything to %d was acknowledged long ago", m.Offset, c.settled))
	}
	c.got[what] = true
}

// before notes how far the consumer is, right before a kill.
func (c *takings) before(t *testing.T, near *client.TopicClient) {
	t.Helper()
	acked := c.info(t, near).Acked
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acked = acked
}

// rest notes that the consumer is done with everything: none of it may come again.
func (c *takings) rest(t *testing.T, near *client.TopicClient) {
	t.Helper()
	require.Eventually(t, func() bool { i := c.info(t, near); return i.Pending+uint64(i.Unacked) == 0 }, 5*patience, 10*time.Millisecond, c.name)
	settled := c.info(t, near).Acked
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settled = settled
}

// finish waits until the consumer has got everything, and is done with it. It looks rarely:
// while lacks counts, nothing is taken.
func (c *takings) finish(t *testing.T, near *client.TopicClient, producers []*producer) {
	t.Helper()
	c.rest(t, near) // but for what is due later
	require.Eventually(t, func() bool { return c.lacks(producers) == 0 }, patience, time.Second, "%s has not got %s", c.name, lazily(func() string { return fmt.Sprint(c.lacks(producers)) }))
	c.rest(t, near)
}

func (c *takings) info(t *testing.T, near *client.TopicClient) client.ConsumerInfo {
	t.Helper()
	info, err := near.Info(t.Context(), c.topic)
	require.NoError(t, err)
	for _, i := range info.Consumers {
		if i.Name == c.name {
			return i
		}
	}
	require.Fail(t, "no consumer", "%s of %s: %+v", c.name, c.topic, info.Consumers)
	return client.ConsumerInfo{}
}

// lacks is how many acknowledged parcels have not come.
func (c *takings) lacks(producers []*producer) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range producers {
		if p.topic != c.topic {
			continue
		}
		p.mu.Lock()
		for what := range p.acked {
			if !c.got[what] {
				n++
			}
		}
		p.mu.Unlock()
	}
	return n
}

// reader is a subscription without a position at the broker: it goes on from its own.
type reader struct {
	mu     sync.Mutex
	offset uint64
	gaps   int
	wrong  []string
}

func (r *reader) take(m client.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.Offset != r.offset+1 && len(r.wrong) < 10 {
		r.wrong = append(r.wrong, fmt.Sprintf("offset %d after %d", m.Offset, r.offset))
	}
	r.offset = m.Offset
}

func (r *reader) gap(client.Gap) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gaps++
}

// readLog returns everything that a topic keeps.
func readLog(t *testing.T, near *client.TopicClient, topic string) (list []parcel) {
	t.Helper()
	for next := uint64(1); ; {
		page, err := near.Read(t.Context(), topic, next, 0)
		require.NoError(t, err)
		if len(page) == 0 {
			return list
		}
		for _, m := range page {
			require.Equal(t, next, m.Offset, "the log has a hole")
			next++
			var what parcel
			require.NoError(t, json.Unmarshal(m.Data, &what))
			list = append(list, what)
		}
	}
}

// checkLog holds a log against what was acknowledged: all of it is there, nothing is there
// twice, and what one producer has published one after the other stands in that order.
func checkLog(t *testing.T, list []parcel, producers []*producer) {
	t.Helper()
	there := map[parcel]bool{}
	last := map[string]int{}
	inOrder := map[string]bool{}
	for _, p := range producers {
		inOrder[p.name] = p.window == 1 && !p.later
	}
	for _, what := range list {
		assert.False(t, there[what], "%v is there twice", what)
		there[what] = true
		if inOrder[what.From] {
			assert.Greater(t, what.N, last[what.From], "order of %s", what.From)
			last[what.From] = what.N
		}
	}
	lost := 0
	for _, p := range producers {
		p.mu.Lock()
		for what := range p.acked {
			if !there[what] {
				lost++
			}
		}
		p.mu.Unlock()
	}
	assert.Zero(t, lost, "acknowledged and not in the log")
}

// TestKilledBrokerLosesNothingOfItsTopics kills a broker under load again and again:
// single publishes and pipelined ones, and ones for later, durable consumers of one and of
// two members, and subscriptions that go on from where they were. TREFOIL_LONG=1 does it
// 200 times.
func TestKilledBrokerLosesNothingOfItsTopics(t *testing.T) {
	args := []string{"--data", t.TempDir()}
	proc, broker := startFastBroker(t, anyPort, args...)
	near := dialFar(t, broker)
	for _, topic := range []string{"orders", "timed"} {
		require.NoError(t, near.CreateWith(t.Context(), topic, abstract.TopicSettings{Durable: true, AckWait: time.Second, MaxDeliver: 1000}))
	}
	late := newProducer(t, broker, "later", "timed", 1)
	late.later = true
	producers := []*producer{
		newProducer(t, broker, "single", "orders", 1), newProducer(t, broker, "second", "orders", 1),
		newProducer(t, broker, "pipelined", "orders", 64), late,
	}
	consumers := []*takings{consume(t, broker, "one", "orders", 1), consume(t, broker, "two", "orders", 2), consume(t, broker, "later", "timed", 1)}
	var plain reader
	_, err := dialFar(t, broker).Subscribe(t.Context(), "orders", plain.take, client.FromAll(), client.OnGap(plain.gap))
	require.NoError(t, err)

	cycles := long(3, 200)
	for cycle := range cycles {
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		begun := countAcked(producers)
		timed := late.count()
		for _, p := range producers {
			running.Go(func() { p.run(ctx) })
		}
		more := 50 + rand.IntN(500)
		require.Eventually(t, func() bool { return countAcked(producers) > begun+more && late.count() > timed }, patience, time.Millisecond)
		for _, c := range consumers {
			c.before(t, near)
		}
		proc.signal(syscall.SIGKILL)
		proc.wait()
		stop()
		running.Wait()
		proc, _ = startFastBroker(t, broker, args...)
		proc.oneOfMany = true
		for _, c := range consumers {
			c.mu.Lock()
			assert.Empty(t, c.wrong, c.name)
			c.mu.Unlock()
		}
		if t.Failed() {
			t.Fatalf("cycle %d", cycle)
		}
	}
	for _, c := range consumers {
		c.finish(t, near, producers)
	}
	quiet := time.NewTimer(5 * time.Second) // far longer than the log takes to write down what is acknowledged
	<-quiet.C
	proc.signal(syscall.SIGKILL)
	proc.wait()
	proc, _ = startFastBroker(t, broker, args...)
	proc.oneOfMany = true
	for _, p := range producers {
		last := p.next()
		require.NoError(t, near.Publish(t.Context(), p.topic, last))
		p.acked[last] = true
	}
	for _, c := range consumers {
		c.finish(t, near, producers)
		assert.Empty(t, c.wrong, "%s: nothing comes again that was acknowledged long ago", c.name)
	}
	orders := readLog(t, near, "orders")
	checkLog(t, orders, producers[:3])
	require.Eventually(t, func() bool { plain.mu.Lock(); defer plain.mu.Unlock(); return plain.offset == uint64(len(orders)) }, patience, 10*time.Millisecond)
	assert.Empty(t, plain.wrong)
	assert.Zero(t, plain.gaps, "everything is kept: a subscription goes on without a hole")
	published := 0
	for _, p := range producers {
		published += p.last
	}
	t.Logf("%d kills, %d published, %d acknowledged, none of these lost; %d in the log", cycles, published, countAcked(producers), len(orders))
	for _, c := range consumers {
		t.Logf("consumer %s: %d messages, %d deliveries again, %d of these of what was acknowledged shortly before a kill", c.name, len(c.got), c.again, c.late)
	}
}

// TestPoisonEndsAsADeadLetterAndBlocksNobody has one message that always fails. While it is
// in a member's hands all others are done, by that member, too.
func TestPoisonEndsAsADeadLetterAndBlocksNobody(t *testing.T) {
	_, broker := startFastBroker(t, anyPort, "--data", t.TempDir())
	c := dialFar(t, broker)
	const limit, others, poison = 3, 300, 7
	require.NoError(t, c.CreateWith(t.Context(), "jobs", abstract.TopicSettings{Durable: true, AckWait: time.Minute, MaxDeliver: limit}))
	var done, tries atomic.Int64
	all := make(chan struct{})
	_, err := c.Subscribe(t.Context(), "jobs", func(m client.Message) {
		var n int
		assert.NoError(t, m.Decode(&n))
		if n != poison {
			assert.NoError(t, m.Ack(t.Context()))
			if done.Add(1) == others {
				close(all)
			}
			return
		}
		tries.Add(1)
		go func() {
			<-all
			assert.NoError(t, m.Nack(t.Context(), 0))
		}()
	}, client.Consumer("workers"), client.ManualAck(), client.Window(4))
	require.NoError(t, err)
	for i := range others + 1 {
		require.NoError(t, c.Publish(t.Context(), "jobs", i))
	}
	var dead []client.DeadLetter
	require.Eventually(t, func() bool {
		dead, err = c.DeadLetters(t.Context(), "jobs", 1, 0)
		return err == nil && len(dead) > 0
	}, patience, 10*time.Millisecond)
	require.Len(t, dead, 1)
	assert.JSONEq(t, fmt.Sprint(poison), string(dead[0].Data))
	assert.EqualValues(t, limit, tries.Load(), "it was tried so often")
	assert.EqualValues(t, others, done.Load(), "all others are done, each once")
	t.Logf("%d messages were done while one was in hand; that one ended after %d deliveries", others, limit)
}
