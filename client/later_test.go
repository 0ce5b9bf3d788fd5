package client_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/memlog"
	"trefoil/concrete/memstore"
	"trefoil/server"
)

// lasting is a log that outlives brokers, as one on a disk does, but in memory: time in it
// is virtual. It has no consumers.
type lasting struct {
	*memlog.Logs
	refuses atomic.Bool // nothing is appended to topics
	stuck   atomic.Bool // nothing is deleted
	silent  atomic.Bool // what is appended to topics is kept, and not answered
}

func newLasting() *lasting { return &lasting{Logs: memlog.New(memlog.Config{})} }

func (l *lasting) Durable() bool { return true }

func (l *lasting) Open(ctx context.Context, topic, epoch string, cfg abstract.LogConfig) (abstract.Log, error) {
	if !cfg.History.Kept() {
		cfg.History.Count = 1 << 20
	}
	log, err := l.Logs.Open(ctx, topic, epoch, cfg)
	return &lastingLog{log, l, strings.HasSuffix(epoch, "+later")}, err
}

type lastingLog struct {
	abstract.Log
	of    *lasting
	later bool
}

func (l *lastingLog) Append(ctx context.Context, entries []abstract.LogEntry) ([]abstract.LogOffset, error) {
	if l.of.refuses.Load() && !l.later {
		return nil, abstract.Errorf(abstract.Overloaded, "the disk is full")
	}
	offsets, err := l.Log.Append(ctx, entries)
	if l.of.silent.Load() && !l.later {
		return nil, abstract.Errorf(abstract.UnknownFate, "no answer")
	}
	return offsets, err
}

func (l *lastingLog) Delete(ctx context.Context, offsets ...uint64) error {
	if l.of.stuck.Load() {
		return abstract.Errorf(abstract.Unavailable, "not now")
	}
	return l.Log.Delete(ctx, offsets...)
}

// epochs are the logs that there are of a topic.
func (l *lasting) epochs(t *testing.T, topic string) (list []string) {
	t.Helper()
	names, err := l.List(context.Background())
	require.NoError(t, err)
	for _, n := range names {
		if n.Topic == topic {
			list = append(list, n.Epoch)
		}
	}
	slices.Sort(list)
	return list
}

// durableWorld has a broker with durable topics, which can be replaced by another one.
type durableWorld struct {
	*world
	logs  *lasting
	store abstract.Store
	run   *running
	more  []server.Option // of brokers that are started from now on
}

func inDurableWorld(t *testing.T, test func(w *durableWorld, c *client.TopicClient)) {
	inWorld(t, func(w *world) {
		d := &durableWorld{world: w, logs: newLasting(), store: memstore.New()}
		d.start()
		test(d, w.topics())
	})
}

func (w *durableWorld) start() {
	w.run = w.broker(append([]server.Option{server.WithStore(w.store), server.WithTopicLog(w.logs)}, w.more...)...)
}

func (w *durableWorld) restart(after time.Duration) *client.TopicClient {
	w.run.stop()
	time.Sleep(after)
	w.start()
	return w.topics()
}

func (w *durableWorld) later(c *client.TopicClient, topic string, v any, p client.Publishing) client.Receipt {
	w.Helper()
	got, err := c.PublishWith(w.Context(), topic, v, p)
	require.NoError(w, err)
	return got
}

func (w *durableWorld) durable(c *client.TopicClient, topic string, s abstract.TopicSettings) {
	w.Helper()
	s.Durable = true
	require.NoError(w, c.CreateWith(w.Context(), topic, s))
}

// kept is what a topic has kept, as "1=a 2=b".
func (w *durableWorld) kept(c *client.TopicClient, topic string) string {
	w.Helper()
	list, err := c.Read(w.Context(), topic, 0, 0)
	require.NoError(w, err)
	var parts []string
	for _, m := range list {
		parts = append(parts, fmt.Sprintf("%d=%s", m.Offset, m.Data))
	}
	return strings.Join(parts, " ")
}

func (w *durableWorld) waiting(c *client.TopicClient, topic string) int {
	w.Helper()
	info, err := c.Info(w.Context(), topic)
	require.NoError(w, err)
	return info.Later
}

func TestLaterIsDeliveredWhenItIsDue(t *testing.T) {
	inDurableWorld(t, func(w *durableWorld, c *client.TopicClient) {
		w.durable(c, "t", abstract.TopicSettings{})
		in, _ := w.subscribe(c, "t")
		start := time.Now()
		hour := w.later(c, "t", "hour", client.Publishing{Delay: time.Hour, Meta: abstract.Metadata{"k": "v"}})
		assert.Equal(t, start.Add(time.Hour).UnixMilli(), hour.Due.UnixMilli())
		assert.Zero(t, hour.Offset, "it is not in the topic yet")
		w.later(c, "t", "minute", client.Publishing{At: start.Add(time.Minute)})
		w.later(c, "t", "minute too", client.Publishing{Delay: time.Minute})
		past := w.later(c, "t", "past", client.Publishing{At: start.Add(-time.Minute)})
		assert.Zero(t, past.Due)
		assert.EqualValues(t, 1, past.Offset, "what is due is published at once")
		assert.Equal(t, []string{`t "past"`}, in.all())
		assert.Equal(t, 3, w.waiting(c, "t"))

		time.Sleep(time.Minute - time.Millisecond)
		assert.Empty(t, in.all())
		time.Sleep(time.Millisecond)
		assert.Equal(t, []string{`t "minute"`, `t "minute too"`}, in.all())
		w.publish(c, "t", 1, 1)
		time.Sleep(time.Hour)
		assert.Equal(t, []string{"t 1", `t "hour"`}, in.all())
		assert.Equal(t, `1="past" 2="minute" 3="minute too" 4=1 5="hour"`, w.kept(c, "t"))
		assert.Zero(t, w.waiting(c, "t"))
		list, err := c.Read(w.Context(), "t", 5, 1)
		require.NoError(t, err)
		assert.Equal(t, abstract.Metadata{"k": "v"}, list[0].Meta)
		assert.Empty(t, list[0].ID, "the broker's own ids do not show")
		assert.Equal(t, start.Add(time.Hour).UnixMilli(), list[0].Time.UnixMilli(), "it was taken when it was due")
	})
}

func TestLaterIsRefusedWhereItCouldBeLost(t *testing.T) {
	inDurableWorld(t, func(w *durableWorld, c *client.TopicClient) {
		require.NoError(t, c.Create(w.Context(), "plain"))
		require.NoError(t, c.CreateWith(w.Context(), "history", abstract.TopicSettings{History: abstract.History{Count: 5}}))
		w.durable(c, "t", abstract.TopicSettings{MaxBytes: 20})
		now := time.Now()
		for _, tt := range []struct {
			name, topic string
			p           client.Publishing
			code        abstract.RCode
			says        string
		}{
			{"plain", "plain", client.Publishing{Delay: time.Second}, abstract.Unsupported, "create the topic as a durable one"},
			{"in memory", "history", client.Publishing{At: now.Add(time.Second)}, abstract.Unsupported, "publish it when it is due"},
			{"both", "t", client.Publishing{At: now.Add(time.Second), Delay: time.Second}, abstract.InvalidParams, "leave out delay_ms or at_ms"},
			{"too long", "t", client.Publishing{Delay: 367 * 24 * time.Hour}, abstract.InvalidParams, "366 days"},
			{"too far", "t", client.Publishing{At: now.AddDate(2, 0, 0)}, abstract.InvalidParams, "366 days"},
			{"our ids", "t", client.Publishing{ID: "later:1"}, abstract.InvalidParams, "take another msg_id"},
			{"another incarnation", "t", client.Publishing{Epoch: "x", Delay: time.Second}, abstract.Conflict, "made again"},
			{"no topic", "nowhere", client.Publishing{Delay: time.Second}, abstract.TopicNotFound, "create it first"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				_, err := c.PublishWith(context.Background(), tt.topic, 1, tt.p)
				assert.Equal(t, tt.code, abstract.CodeOf(err), "%v", err)
				assert.ErrorContains(t, err, tt.says)
			})
		}
		_, err := c.PublishWith(w.Context(), "t", strings.Repeat("x", 30), client.Publishing{Delay: time.Second})
		assert.ErrorIs(t, err, abstract.ErrTooLarge, "it is checked when it is published")
		assert.Zero(t, w.waiting(c, "t"))
	})
}

func TestLaterSurvivesTheBroker(t *testing.T) {
	inDurableWorld(t, func(w *durableWorld, c *client.TopicClient) {
		w.durable(c, "t", abstract.TopicSettings{})
		for i := range 600 { // more than is read at a time
			w.later(c, "t", i, client.Publishing{Delay: time.Hour + time.Duration(i)*time.Second})
		}
		w.later(c, "t", "away", client.Publishing{Delay: time.Minute})
		c = w.restart(30 * time.Minute)
		in, _ := w.subscribe(c, "t", client.FromAll())
		assert.Equal(t, []string{`t "away"`}, in.all(), "it was due while nobody was there")
		assert.Equal(t, 600, w.waiting(c, "t"))
		time.Sleep(time.Hour)
		got := in.all()
		require.Len(t, got, 600)
		assert.Equal(t, []string{"t 0", "t 1"}, got[:2])
		assert.Equal(t, "t 599", got[599])
	})
}

// TestLaterIsPublishedOnce ends the broker between publishing messages and forgetting that
// they were for later.
func TestLaterIsPublishedOnce(t *testing.T) {
	for _, away := range []time.Duration{time.Second, time.Minute, 24 * time.Hour} {
		t.Run(away.String(), func(t *testing.T) {
			inDurableWorld(t, func(w *durableWorld, c *client.TopicClient) {
				w.durable(c, "t", abstract.TopicSettings{})
				w.durable(c, "ids", abstract.TopicSettings{Dedup: time.Minute})
				w.later(c, "t", "a", client.Publishing{Delay: time.Minute})
				w.later(c, "t", "b", client.Publishing{Delay: time.Minute})
				w.later(c, "t", "c", client.Publishing{Delay: time.Minute + away})
				w.later(c, "ids", "a", client.Publishing{Delay: time.Minute, ID: "mine"})
				w.logs.stuck.Store(true)
				time.Sleep(time.Minute)
				synctest.Wait()
				assert.Equal(t, `1="a" 2="b"`, w.kept(c, "t"))
				w.run.stop()
				w.logs.stuck.Store(false)
				c = w.restart(away)
				synctest.Wait()
				assert.Equal(t, `1="a" 2="b" 3="c"`, w.kept(c, "t"))
				assert.Equal(t, `1="a"`, w.kept(c, "ids"))
				assert.Zero(t, w.waiting(c, "t")+w.waiting(c, "ids"))
			})
		})
	}
}

func TestLaterIsTriedAgain(t *testing.T) {
	inDurableWorld(t, func(w *durableWorld, c *client.TopicClient) {
		w.durable(c, "t", abstract.TopicSettings{})
		in, _ := w.subscribe(c, "t")
		for i := range 3 {
			w.later(c, "t", i, client.Publishing{Delay: time.Second})
		}
		w.logs.refuses.Store(true)
		time.Sleep(time.Minute)
		assert.Empty(t, in.all())
		assert.Equal(t, 3, w.waiting(c, "t"))
		w.logs.refuses.Store(false)
		time.Sleep(time.Minute)
		assert.Equal(t, numbered("t", 0, 2), in.all(), "in order")
	})
}

func TestLaterAndIDs(t *testing.T) {
	inDurableWorld(t, func(w *durableWorld, c *client.TopicClient) {
		w.durable(c, "t", abstract.TopicSettings{Dedup: 10 * time.Minute})
		w.durable(c, "free", abstract.TopicSettings{})
		first := client.Publishing{ID: "a", Delay: time.Minute}
		assert.False(t, w.later(c, "t", 1, first).Duplicate)
		assert.True(t, w.later(c, "t", 2, first).Duplicate, "of one that waits")
		w.later(c, "t", 3, client.Publishing{ID: "b", Delay: time.Minute})
		w.later(c, "t", 4, client.Publishing{ID: "b"})
		for range 2 {
			w.later(c, "free", 1, first)
			w.later(c, "free", 2, client.Publishing{ID: "c"})
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, "1=4 2=1", w.kept(c, "t"), "one of the same id was published meanwhile")
		assert.Equal(t, "1=2 2=2 3=1 4=1", w.kept(c, "free"), "ids do not count")
		list, err := c.Read(w.Context(), "free", 1, 1)
		require.NoError(t, err)
		assert.Equal(t, "c", list[0].ID, "and are there")
		time.Sleep(5 * time.Minute)
		assert.True(t, w.later(c, "t", 5, client.Publishing{ID: "a"}).Duplicate, "of one that was published when it was due")
	})
}

func TestLaterIsBounded(t *testing.T) {
	inDurableWorld(t, func(w *durableWorld, c *client.TopicClient) {
		w.durable(c, "t", abstract.TopicSettings{})
		info, err := c.Info(w.Context(), "t")
		require.NoError(t, err)
		log, err := w.logs.Open(w.Context(), "t", info.Epoch+"+later", abstract.LogConfig{})
		require.NoError(t, err)
		frame := w.laterFrame(c)
		entries := make([]abstract.LogEntry, 100_000)
		for i := range entries {
			entries[i].Data = frame
		}
		_, err = log.Append(w.Context(), entries)
		require.NoError(t, err)
		c = w.restart(time.Second)
		synctest.Wait()
		assert.Equal(t, 100_000, w.waiting(c, "t"))
		_, err = c.PublishWith(w.Context(), "t", 1, client.Publishing{Delay: time.Hour})
		assert.ErrorIs(t, err, abstract.ErrOverloaded)
		assert.ErrorContains(t, err, "publish this one when it is due")
		assert.EqualValues(t, 1, w.later(c, "t", 1, client.Publishing{}).Offset)
	})
}

// laterFrame is a message for later as its log has it.
func (w *durableWorld) laterFrame(c *client.TopicClient) []byte {
	w.durable(c, "frames", abstract.TopicSettings{})
	w.later(c, "frames", 1, client.Publishing{Delay: time.Hour})
	info, err := c.Info(w.Context(), "frames")
	require.NoError(w, err)
	log, err := w.logs.Open(w.Context(), "frames", info.Epoch+"+later", abstract.LogConfig{})
	require.NoError(w, err)
	entries, err := log.Read(w.Context(), 1, 1, 1<<10)
	require.NoError(w, err)
	return entries[0].Data
}

func TestLaterGoesWithItsTopic(t *testing.T) {
	inDurableWorld(t, func(w *durableWorld, c *client.TopicClient) {
		w.durable(c, "t", abstract.TopicSettings{})
		in, _ := w.subscribe(c, ">")
		w.publish(c, "t", 1, 1)
		w.later(c, "t", "old", client.Publishing{Delay: time.Minute})
		assert.NotEmpty(t, w.logs.epochs(t, "t"))
		require.NoError(t, c.Remove(w.Context(), "t"))
		synctest.Wait()
		assert.Empty(t, w.logs.epochs(t, "t"))
		w.durable(c, "t", abstract.TopicSettings{})
		w.later(c, "t", "new", client.Publishing{Delay: time.Minute})
		time.Sleep(time.Hour)
		assert.Equal(t, []string{"t 1", `t "new"`}, in.all())
	})
}

// TestLogsOfRemovedTopicsAreSwept removes topics that a broker has not used since it
// started, and one whose log cannot be removed until the next broker comes. Logs that
// the store knows nothing of are somebody else's.
func TestLogsOfRemovedTopicsAreSwept(t *testing.T) {
	inDurableWorld(t, func(w *durableWorld, c *client.TopicClient) {
		for _, topic := range []string{"kept", "unused", "unreachable", "with/slash"} {
			w.durable(c, topic, abstract.TopicSettings{})
			w.publish(c, topic, 1, 1)
			w.later(c, topic, 2, client.Publishing{Delay: time.Hour})
		}
		_, err := w.logs.Open(w.Context(), "kept", "of another broker", abstract.LogConfig{})
		require.NoError(t, err)
		_, err = w.logs.Open(w.Context(), "unheard", "1", abstract.LogConfig{})
		require.NoError(t, err)

		c = w.restart(time.Second)
		require.NoError(t, c.Remove(w.Context(), "unused"))
		require.NoError(t, c.Remove(w.Context(), "with/slash"))
		synctest.Wait()
		assert.Empty(t, w.logs.epochs(t, "unused"))
		assert.Empty(t, w.logs.epochs(t, "with/slash"))

		w.run.stop()
		w.run = w.broker(server.WithStore(w.store)) // without the disk
		require.NoError(t, w.topics().Remove(w.Context(), "unreachable"))
		synctest.Wait()
		assert.Len(t, w.logs.epochs(t, "unreachable"), 2)
		c = w.restart(time.Second)
		synctest.Wait()
		assert.Empty(t, w.logs.epochs(t, "unreachable"))

		assert.Len(t, w.logs.epochs(t, "kept"), 3)
		assert.Equal(t, []string{"1"}, w.logs.epochs(t, "unheard"))
		assert.Equal(t, "1=1", w.kept(c, "kept"))
		kvs, _, err := w.store.Range(w.Context(), "/topics/", 0)
		require.NoError(t, err)
		assert.Len(t, kvs, 2, "nothing is left to remember but the topic, and when one ended last")
	})
}
