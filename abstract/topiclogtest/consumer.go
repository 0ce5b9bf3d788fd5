package topiclogtest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// consumer is a LogConsumer with shorthands for tests.
type consumer struct {
	abstract.LogConsumer
	t *testing.T
}

func (l *log) consumer(name string, cfg abstract.ConsumerConfig) *consumer {
	l.t.Helper()
	c, err := l.Consumer(within(l.t), name, cfg)
	require.NoError(l.t, err)
	l.t.Cleanup(func() { assert.NoError(l.t, c.Close()) })
	return &consumer{c, l.t}
}

// fetch fetches until it has n.
func (c *consumer) fetch(n int) []abstract.LogDelivery {
	c.t.Helper()
	var all []abstract.LogDelivery
	for len(all) < n {
		list, err := c.Fetch(within(c.t), n-len(all))
		require.NoError(c.t, err)
		require.NotEmpty(c.t, list)
		require.LessOrEqual(c.t, len(list), n-len(all))
		all = append(all, list...)
	}
	return all
}

// next fetches one entry, which is to come the nth time.
func (c *consumer) next(data string, nth int) abstract.LogDelivery {
	c.t.Helper()
	d := c.fetch(1)[0]
	require.Equal(c.t, data, string(d.Entry().Data))
	require.Equal(c.t, nth, d.Delivered())
	return d
}

// again fetches one entry, which is to come the nth time at least: who has given up
// fetching may have been sent it meanwhile.
func (c *consumer) again(data string, nth int) abstract.LogDelivery {
	c.t.Helper()
	d := c.fetch(1)[0]
	require.Equal(c.t, data, string(d.Entry().Data))
	require.GreaterOrEqual(c.t, d.Delivered(), nth)
	return d
}

// nothing checks that there is nothing to fetch for a while.
func (c *consumer) nothing(during time.Duration) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), during)
	defer cancel()
	list, err := c.Fetch(ctx, 10)
	assert.ErrorIs(c.t, err, context.DeadlineExceeded)
	assert.Empty(c.t, list)
}

func (c *consumer) info() abstract.ConsumerInfo {
	c.t.Helper()
	info, err := c.Info(within(c.t))
	require.NoError(c.t, err)
	return info
}

func ack(t *testing.T, list ...abstract.LogDelivery) {
	t.Helper()
	for _, d := range list {
		require.NoError(t, d.Ack(within(t)))
	}
}

func showDeliveries(list []abstract.LogDelivery) string {
	entries := make([]abstract.LogEntry, len(list))
	for i, d := range list {
		entries[i] = d.Entry()
	}
	return show(entries)
}

// never is an AckWait that no test sees the end of.
var never = abstract.ConsumerConfig{From: 1, AckWait: time.Hour}

// aMoment is how long a test looks whether something happens that must not.
const aMoment = 200 * time.Millisecond

func consumerStartsWhereItShall(t *testing.T, b *bench) {
	l := b.open("t", "1", abstract.LogConfig{History: abstract.History{Count: 4}})
	l.append("a", "b", "c", "d", "e")
	fresh := l.consumer("fresh", abstract.ConsumerConfig{AckWait: time.Hour})
	third := l.consumer("third", abstract.ConsumerConfig{From: 3, AckWait: time.Hour})
	early := l.consumer("early", abstract.ConsumerConfig{From: 1, AckWait: time.Hour})
	future := l.consumer("future", abstract.ConsumerConfig{From: 7, AckWait: time.Hour})
	fresh.nothing(aMoment)
	assert.Equal(t, "3=c 4=d 5=e", showDeliveries(third.fetch(3)))
	assert.Equal(t, "2=b 3=c 4=d 5=e", showDeliveries(early.fetch(4)))
	l.append("f", "g")
	assert.Equal(t, "6=f 7=g", showDeliveries(fresh.fetch(2)))
	assert.Equal(t, "7=g", showDeliveries(future.fetch(1)))
	for _, d := range third.fetch(2) {
		assert.Equal(t, 1, d.Delivered())
		assert.False(t, d.Entry().Time.IsZero())
	}
	again := l.consumer("fresh", never)
	again.nothing(aMoment) // From is of its beginning only
}

func unacknowledgedComesAgain(t *testing.T, b *bench) {
	const wait = time.Second
	l := b.open("t", "1", plenty)
	_, err := l.Append(within(t), []abstract.LogEntry{{ID: "an id", Data: []byte("a")}, {Data: []byte("b")}})
	require.NoError(t, err)
	c := l.consumer("c", abstract.ConsumerConfig{From: 1, AckWait: wait})
	start := time.Now()
	first := c.fetch(2)
	ack(t, first[1])
	second := c.next("a", 2)
	assert.GreaterOrEqual(t, time.Since(start), wait, "again too early")
	assert.Equal(t, "an id", second.Entry().ID)
	assert.EqualValues(t, 1, second.Entry().Offset)
	third := c.next("a", 3)
	ack(t, third)
	ack(t, third) // does nothing
	c.nothing(2 * wait)
}

func manyAreAcknowledged(t *testing.T, b *bench) {
	const wait = 300 * time.Millisecond
	l := b.open("t", "1", plenty)
	l.append(numbered(40)...)
	c := l.consumer("c", abstract.ConsumerConfig{From: 1, AckWait: wait})
	list := c.fetch(40)
	require.NoError(t, c.Ack(within(t)), "of nothing")
	require.NoError(t, c.Ack(within(t), slices.Concat(list[:7], list[8:39])...))
	assert.Equal(t, abstract.ConsumerInfo{Name: "c", Acked: 7, Unacked: 2}, c.info())
	require.NoError(t, c.Ack(within(t), list[:7]...), "does nothing: they were acknowledged")
	assert.Equal(t, "8=7 40=39", showDeliveries(c.fetch(2)), "again")
	other := l.consumer("c", never)
	require.NoError(t, other.Close())
	require.NoError(t, other.Ack(within(t), list[7], list[39]), "also when it is closed, and another one has fetched them")
	assert.Equal(t, abstract.ConsumerInfo{Name: "c", Acked: 40}, c.info())
}

func nackGivesBack(t *testing.T, b *bench) {
	l := b.open("t", "1", plenty)
	l.append("a", "b", "c")
	c := l.consumer("c", never)
	list := c.fetch(3)
	require.NoError(t, list[0].Nack(within(t), time.Hour))
	require.NoError(t, list[1].Nack(within(t), 0))
	again := c.next("b", 2)
	start := time.Now()
	require.NoError(t, again.Nack(within(t), 200*time.Millisecond))
	again = c.next("b", 3)
	assert.GreaterOrEqual(t, time.Since(start), 200*time.Millisecond, "again too early")
	ack(t, again)
	require.NoError(t, again.Nack(within(t), 0), "does nothing: it was acknowledged")
	ack(t, list[2])
	c.nothing(aMoment)
	l.append("d")
	c.again("d", 1)
}

func progressKeepsAnEntry(t *testing.T, b *bench) {
	const wait = 4 * time.Second // longer than a machine stands still
	l := b.open("t", "1", plenty)
	l.append("a")
	c := l.consumer("c", abstract.ConsumerConfig{From: 1, AckWait: wait})
	d := c.next("a", 1)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(wait / 40)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				assert.NoError(t, d.Progress(within(t)))
			}
		}
	}()
	c.nothing(5 * wait / 4)
	close(stop)
	<-stopped
	ack(t, c.again("a", 2))
}

func positionIsKept(t *testing.T, b *bench) {
	l := b.open("t", "1", plenty)
	l.append("a", "b", "c", "d", "e")
	cfg := abstract.ConsumerConfig{From: 1, AckWait: 2 * time.Second}
	c := l.consumer("c", cfg)
	untouched := l.consumer("untouched", abstract.ConsumerConfig{AckWait: time.Hour})
	_ = untouched
	list := c.fetch(3)
	ack(t, list[0], list[2])
	require.NoError(t, list[1].Nack(within(t), 0))
	ack(t, c.next("b", 2))
	c.next("d", 1) // not acknowledged
	b.reopen()
	l = b.open("t", "1", plenty)
	c = l.consumer("c", cfg)
	seen := map[string]int{}
	eventually(t, "what was not acknowledged comes", func() bool {
		d := c.fetch(1)[0]
		seen[string(d.Entry().Data)] = d.Delivered()
		return seen["d"] >= 2 && seen["e"] >= 1
	})
	assert.Len(t, seen, 2, "and nothing else: %v", seen)
	l.append("f")
	l.consumer("untouched", never).next("f", 1)
}

func fetchersShare(t *testing.T, b *bench) {
	const entries, fetchers = 300, 4
	l := b.open("t", "1", plenty)
	var mu sync.Mutex
	got := map[uint64]int{}
	done, finish := context.WithTimeout(context.Background(), patience)
	defer finish()
	var wg sync.WaitGroup
	for f := range fetchers {
		c := l.consumer("c", never) // each opens it for itself
		wg.Go(func() {
			for {
				list, err := c.Fetch(done, 1+10*f)
				if err != nil {
					assert.ErrorIs(t, err, context.Canceled)
					return
				}
				for _, d := range list {
					assert.NoError(t, d.Ack(within(t)))
					mu.Lock()
					got[d.Entry().Offset]++
					if len(got) == entries {
						finish()
					}
					mu.Unlock()
				}
			}
		})
	}
	for range entries / 30 {
		l.append(numbered(30)...)
	}
	wg.Wait()
	require.Len(t, got, entries)
	for offset, n := range got {
		assert.Equal(t, 1, n, "offset %d", offset)
	}
}

func unackedAreBounded(t *testing.T, b *bench) {
	l := b.open("t", "1", plenty)
	l.append(numbered(10)...)
	c := l.consumer("c", abstract.ConsumerConfig{From: 1, AckWait: time.Hour, MaxUnacked: 3})
	list, err := c.Fetch(within(t), 10)
	require.NoError(t, err)
	for len(list) < 3 {
		list = append(list, c.fetch(1)...)
	}
	require.Equal(t, "1=0 2=1 3=2", showDeliveries(list))
	c.nothing(aMoment)
	ack(t, list[1])
	assert.Equal(t, "4=3", showDeliveries(c.fetch(1)))
	c.nothing(aMoment)
	wider := l.consumer("c", abstract.ConsumerConfig{From: 1, AckWait: time.Hour, MaxUnacked: 100})
	assert.Equal(t, "5=4 6=5 7=6 8=7 9=8 10=9", showDeliveries(wider.fetch(6)))
}

// inBackground runs a Fetch that nothing ends by itself, and returns its error.
func inBackground(t *testing.T, c *consumer) <-chan error {
	ended := make(chan error, 1)
	ctx := within(t)
	go func() {
		list, err := c.Fetch(ctx, 10)
		if err == nil {
			err = fmt.Errorf("it got %s", showDeliveries(list))
		}
		ended <- err
	}()
	return ended
}

func removedConsumerIsGone(t *testing.T, b *bench) {
	l := b.open("t", "1", plenty)
	l.append("a")
	c, other := l.consumer("c", never), l.consumer("other", never)
	ack(t, c.fetch(1)...)
	ended := inBackground(t, c)
	require.NoError(t, l.RemoveConsumer(within(t), "c"))
	err := <-ended
	assert.Equal(t, abstract.NotFound, abstract.CodeOf(err), "%v", err)
	_, err = c.Fetch(within(t), 1)
	assert.Equal(t, abstract.NotFound, abstract.CodeOf(err), "%v", err)
	_, err = c.Info(within(t))
	assert.Equal(t, abstract.NotFound, abstract.CodeOf(err), "%v", err)
	require.NoError(t, l.RemoveConsumer(within(t), "c"), "twice")
	l.consumer("c", never).next("a", 1)
	other.next("a", 1)
}

func removedLogEndsFetch(t *testing.T, b *bench) {
	l := b.open("t", "1", plenty)
	c := l.consumer("c", never)
	ended := inBackground(t, c)
	b.remove("t", "1")
	err := <-ended
	assert.Equal(t, abstract.TopicNotFound, abstract.CodeOf(err), "%v", err)
	_, err = c.Fetch(within(t), 1)
	assert.Equal(t, abstract.TopicNotFound, abstract.CodeOf(err), "%v", err)
	l = b.open("t", "1", plenty)
	infos, err := l.Consumers(within(t))
	require.NoError(t, err)
	assert.Empty(t, infos, "consumers go with their log")
}

func closedConsumerEndsFetch(t *testing.T, b *bench) {
	l := b.open("t", "1", plenty)
	c, same := l.consumer("c", never), l.consumer("c", never)
	ended := inBackground(t, c)
	require.NoError(t, c.Close())
	err := <-ended
	assert.Equal(t, abstract.Unavailable, abstract.CodeOf(err), "%v", err)
	_, err = c.Fetch(within(t), 1)
	assert.Equal(t, abstract.Unavailable, abstract.CodeOf(err), "%v", err)
	l.append("a")
	d := same.fetch(1)
	waiting := inBackground(t, same)
	require.NoError(t, b.Close())
	err = <-waiting
	assert.Equal(t, abstract.Unavailable, abstract.CodeOf(err), "%v", err)
	assert.Error(t, d[0].Ack(within(t)))
}

// cancelledFetchLosesNothing gives up fetching just when there is something: that must
// come to the next who fetches, long before AckWait is over.
func cancelledFetchLosesNothing(t *testing.T, b *bench) {
	l := b.open("t", "1", plenty)
	c := l.consumer("c", never)
	for i := range 30 {
		ctx, cancel := context.WithCancel(context.Background())
		got := make(chan []abstract.LogDelivery)
		go func() {
			list, _ := c.Fetch(ctx, 10)
			got <- list
		}()
		if i%2 == 0 {
			cancel()
		}
		l.append(fmt.Sprint(i))
		cancel()
		list := <-got
		if len(list) == 0 {
			list = c.fetch(1)
		}
		require.Len(t, list, 1)
		require.Equal(t, fmt.Sprint(i), string(list[0].Entry().Data))
		ack(t, list...)
	}
}

func fetchWaits(t *testing.T, b *bench) {
	l := b.open("t", "1", plenty)
	c := l.consumer("c", never)
	got := make(chan string, 1)
	ctx := within(t)
	go func() {
		list, err := c.Fetch(ctx, 10)
		assert.NoError(t, err)
		got <- showDeliveries(list)
	}()
	c2 := l.consumer("second", never)
	c2.nothing(aMoment)
	l.append("a")
	assert.Equal(t, "1=a", <-got)
	done, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := c.Fetch(done, 1)
	assert.ErrorIs(t, err, context.Canceled)
}

func infoSaysHowFarAConsumerIs(t *testing.T, b *bench) {
	l := b.open("t", "1", plenty)
	l.append(numbered(10)...)
	c := l.consumer("c", abstract.ConsumerConfig{From: 3, AckWait: time.Hour})
	assert.Equal(t, abstract.ConsumerInfo{Name: "c", Acked: 2, Pending: 8}, c.info())
	list := c.fetch(4)
	assert.Equal(t, abstract.ConsumerInfo{Name: "c", Acked: 2, Pending: 4, Unacked: 4}, c.info())
	ack(t, list[0], list[1], list[3])
	assert.Equal(t, abstract.ConsumerInfo{Name: "c", Acked: 4, Pending: 4, Unacked: 1}, c.info())
	require.NoError(t, list[2].Nack(within(t), 0))
	c.next("4", 2)
	info := c.info()
	assert.Equal(t, 1, info.Redelivered)
	assert.Equal(t, 1, info.Unacked)
	l.append("x")
	eventually(t, "it is counted", func() bool { return c.info().Pending == 5 })
}

func consumersDoNotMix(t *testing.T, b *bench) {
	l := b.open("t", "1", plenty)
	l.append("a", "b")
	names := []string{"c", "C", "c.d", "c d", "c/d", "*", "\xff", "\x00"}
	for i, name := range names {
		c := l.consumer(name, never)
		ack(t, c.fetch(1+i%2)...)
	}
	infos, err := l.Consumers(within(t))
	require.NoError(t, err)
	got := map[string]uint64{}
	for _, info := range infos {
		got[info.Name] = info.Acked
	}
	require.Len(t, infos, len(names))
	for i, name := range names {
		assert.EqualValues(t, 1+i%2, got[name], "%q", name)
	}
}
