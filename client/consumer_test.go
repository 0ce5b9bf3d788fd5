package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/jetstream"
	"trefoil/concrete/mem"
	"trefoil/concrete/memstore"
	"trefoil/server"
)

// durables is a broker with a directory, and its clients: time is real, as the log's disk
// is. Nothing waits for a time to pass but for what is to happen.
type durables struct {
	*testing.T
	net    *mem.Network
	store  *memstore.Store
	dir    string
	broker *running
	logs   *jetstream.Logs
}

func inDurables(t *testing.T) *durables {
	d := &durables{T: t, net: mem.NewNetwork(), store: memstore.New(), dir: t.TempDir()}
	d.start()
	t.Cleanup(d.stop)
	return d
}

func (d *durables) start() {
	d.Helper()
	var err error
	d.logs, err = jetstream.Open(context.Background(), jetstream.Config{Dir: d.dir, Sync: jetstream.SyncOS, Logger: quiet})
	require.NoError(d, err)
	w := &world{d.T, d.net}
	d.broker = w.broker(server.WithStore(d.store), server.WithTopicLog(d.logs), server.WithPing(time.Minute, 5))
}

func (d *durables) stop() {
	d.broker.stop()
	require.NoError(d, d.logs.Close())
}

func (d *durables) restart() {
	d.stop()
	d.start()
}

// topics is a client on a machine of its own.
func (d *durables) topics() (*client.TopicClient, *mem.Machine) {
	d.Helper()
	machine := d.net.Machine()
	c, err := client.Dial(context.Background(), "broker", patient(client.WithTransport(machine.Client))...)
	require.NoError(d, err)
	d.Cleanup(func() { _ = c.Close() })
	return client.NewTopicClient(c), machine
}

func (d *durables) create(c *client.TopicClient, topic string, s abstract.TopicSettings) {
	d.Helper()
	s.Durable = true
	require.NoError(d, c.CreateWith(d.Context(), topic, s))
}

func (d *durables) publish(c *client.TopicClient, topic string, from, to int) {
	d.Helper()
	for i := from; i <= to; i++ {
		require.NoError(d, c.Publish(d.Context(), topic, i))
	}
}

// arrivals are the messages of a subscription, as they come.
type arrivals struct {
	*testing.T
	c chan client.Message
}

func (d *durables) subscribe(c *client.TopicClient, topic string, opts ...client.SubscribeOption) (*arrivals, *client.Subscription) {
	d.Helper()
	a := &arrivals{d.T, make(chan client.Message, 100_000)}
	sub, err := c.Subscribe(d.Context(), topic, func(m client.Message) { a.c <- m }, opts...)
	require.NoError(d, err)
	return a, sub
}

// longWait is how long a test waits for what must come.
const longWait = time.Minute

func (a *arrivals) next() client.Message {
	a.Helper()
	select {
	case m := <-a.c:
		return m
	case <-time.After(longWait):
		require.Fail(a, "nothing has come")
		return client.Message{}
	}
}

func (a *arrivals) take(n int) (list []string) {
	a.Helper()
	for range n {
		list = append(list, string(a.next().Data))
	}
	return list
}

func counted(from, to int) (list []string) {
	for i := from; i <= to; i++ {
		list = append(list, strconv.Itoa(i))
	}
	return list
}

func (d *durables) info(c *client.TopicClient, topic, name string) client.ConsumerInfo {
	d.Helper()
	info, err := c.Info(d.Context(), topic)
	require.NoError(d, err)
	for _, k := range info.Consumers {
		if k.Name == name {
			return k
		}
	}
	return client.ConsumerInfo{}
}

// eventually waits until a consumer is as it shall be.
func (d *durables) eventually(c *client.TopicClient, topic, name string, as func(client.ConsumerInfo) bool) {
	d.Helper()
	require.Eventually(d, func() bool { return as(d.info(c, topic, name)) }, longWait, 5*time.Millisecond)
}

func allAcked(n uint64) func(client.ConsumerInfo) bool {
	return func(i client.ConsumerInfo) bool { return i.Acked == n && i.Pending == 0 && i.Unacked == 0 }
}

func TestDurableTopicsOutliveTheirBroker(t *testing.T) {
	d := inDurables(t)
	c, _ := d.topics()
	d.create(c, "t", abstract.TopicSettings{})
	in, _ := d.subscribe(c, "t", client.OnGap(func(g client.Gap) { assert.Fail(t, "a gap", "%+v", g) }))
	d.publish(c, "t", 1, 20)
	assert.Equal(t, counted(1, 20), in.take(20))
	before, err := c.Info(t.Context(), "t")
	require.NoError(t, err)
	d.restart()
	d.publish(c, "t", 21, 40)
	assert.Equal(t, counted(21, 40), in.take(20), "the subscription goes on where it was")
	after, err := c.Info(t.Context(), "t")
	require.NoError(t, err)
	assert.Equal(t, before.Epoch, after.Epoch)
	assert.Equal(t, []uint64{1, 40}, []uint64{after.First, after.Last})
	late, _ := d.subscribe(c, "t", client.FromOffset(5))
	assert.Equal(t, counted(5, 40), late.take(36))
}

func TestPlainSubscribersOfADurableTopicResume(t *testing.T) {
	d := inDurables(t)
	c, _ := d.topics()
	d.create(c, "t", abstract.TopicSettings{})
	cut, machine := d.topics()
	gap := client.OnGap(func(g client.Gap) { assert.Fail(t, "a gap", "%+v", g) })
	shared, _ := d.subscribe(cut, "t", gap)
	own, _ := d.subscribe(cut, "t", client.Where(nil), gap)
	for i := range 5 {
		d.publish(c, "t", 10*i+1, 10*i+5)
		machine.Cut()
		d.publish(c, "t", 10*i+6, 10*i+10)
	}
	assert.Equal(t, counted(1, 50), shared.take(50))
	assert.Equal(t, counted(1, 50), own.take(50))
}

func TestSlowSubscribersOfADurableTopicReadOnInItsLog(t *testing.T) {
	d := inDurables(t)
	c, _ := d.topics()
	d.create(c, "t", abstract.TopicSettings{})
	slow, machine := d.topics()
	in, _ := d.subscribe(slow, "t", client.Queue(64<<20), client.OnGap(func(g client.Gap) { assert.Fail(t, "a gap", "%+v", g) }))
	machine.Stall(true)
	long := make([]string, 400)
	for i := range long {
		long[i] = fmt.Sprintf("%d%010000d", i, 0)
		require.NoError(t, c.Publish(t.Context(), "t", long[i]))
	}
	machine.Stall(false)
	for i := range long {
		var got string
		require.NoError(t, in.next().Decode(&got))
		require.Equal(t, long[i], got)
	}
}

func TestConsumersGoOnWhereTheyWere(t *testing.T) {
	d := inDurables(t)
	c, _ := d.topics()
	d.create(c, "t", abstract.TopicSettings{AckWait: 5 * time.Second})
	d.publish(c, "t", 1, 10)
	all, sub := d.subscribe(c, "t", client.Consumer("all"), client.FromAll())
	fresh, _ := d.subscribe(c, "t", client.Consumer("new"))
	d.publish(c, "t", 11, 20)
	assert.Equal(t, counted(1, 20), all.take(20))
	assert.Equal(t, counted(11, 20), fresh.take(10))
	d.eventually(c, "t", "all", allAcked(20))
	require.NoError(t, sub.Cancel(t.Context()))
	d.publish(c, "t", 21, 30)
	d.eventually(c, "t", "all", func(i client.ConsumerInfo) bool { // its lag, and that nobody is there
		return i.Acked == 20 && int(i.Pending)+i.Unacked == 10 && i.Members == 0
	})
	assert.Equal(t, counted(21, 30), fresh.take(10))
	d.eventually(c, "t", "new", allAcked(30))
	d.restart()
	d.publish(c, "t", 31, 35)
	assert.Equal(t, counted(31, 35), fresh.take(5), "it is restored by its name")
	again, _ := d.subscribe(c, "t", client.Consumer("all"), client.FromAll())
	assert.ElementsMatch(t, counted(21, 35), again.take(15), "where it begins was said when it was made")
	d.eventually(c, "t", "all", allAcked(35))
}

func TestWhatAMemberHadComesAgainInOrder(t *testing.T) {
	d := inDurables(t)
	c, _ := d.topics()
	d.create(c, "t", abstract.TopicSettings{})
	d.publish(c, "t", 1, 60)
	for range 3 { // it leaves with all of them in hand
		got, sub := d.subscribe(c, "t", client.Consumer("k"), client.ManualAck(), client.FromAll(), client.Window(40))
		assert.Equal(t, counted(1, 40), got.take(40))
		require.NoError(t, sub.Cancel(t.Context()))
	}
}

func TestConsumersShare(t *testing.T) {
	d := inDurables(t)
	c, _ := d.topics()
	d.create(c, "t", abstract.TopicSettings{})
	var mu sync.Mutex
	got := make(map[string]int)
	var wg sync.WaitGroup
	wg.Add(300)
	for range 4 {
		member, _ := d.topics()
		_, err := member.Subscribe(t.Context(), "t", func(m client.Message) {
			mu.Lock()
			defer mu.Unlock()
			got[string(m.Data)]++
			wg.Done()
		}, client.QueueGroup("workers"))
		require.NoError(t, err)
	}
	d.eventually(c, "t", "workers", func(i client.ConsumerInfo) bool { return i.Members == 4 })
	d.publish(c, "t", 1, 300)
	wg.Wait()
	d.eventually(c, "t", "workers", allAcked(300))
	for i := range 300 {
		assert.Equal(t, 1, got[strconv.Itoa(i+1)], i)
	}
}

func TestMessagesOfALostMemberGoToOthers(t *testing.T) {
	d := inDurables(t)
	c, _ := d.topics()
	d.create(c, "t", abstract.TopicSettings{})
	lost, machine := d.topics()
	first, _ := d.subscribe(lost, "t", client.Consumer("k"), client.ManualAck(), client.Window(5))
	d.publish(c, "t", 1, 5)
	assert.Equal(t, counted(1, 5), first.take(5))
	other, _ := d.subscribe(c, "t", client.Consumer("k"))
	machine.Refuse(true)
	machine.Cut()
	got := make(map[string]bool)
	for range 5 {
		m := other.next()
		assert.Equal(t, 2, m.Delivered)
		got[string(m.Data)] = true
	}
	assert.Len(t, got, 5)
	d.eventually(c, "t", "k", allAcked(5))
}

func TestNackRests(t *testing.T) {
	d := inDurables(t)
	c, _ := d.topics()
	d.create(c, "t", abstract.TopicSettings{AckWait: longWait})
	in, _ := d.subscribe(c, "t", client.Consumer("k"), client.ManualAck())
	d.publish(c, "t", 1, 2)
	first, second := in.next(), in.next()
	require.NoError(t, first.Nack(t.Context(), time.Hour))
	require.NoError(t, second.Nack(t.Context(), 0))
	m := in.next()
	assert.Equal(t, "2", string(m.Data), "the other one does not wait for it")
	assert.Equal(t, 2, m.Delivered)
	began := time.Now()
	require.NoError(t, m.Nack(t.Context(), 300*time.Millisecond))
	m = in.next()
	assert.Equal(t, "2", string(m.Data))
	assert.Equal(t, 3, m.Delivered)
	assert.GreaterOrEqual(t, time.Since(began), 300*time.Millisecond)
	require.NoError(t, m.Ack(t.Context()))
	d.eventually(c, "t", "k", func(i client.ConsumerInfo) bool { return int(i.Pending)+i.Unacked == 1 })
	require.NoError(t, second.Ack(t.Context()), "too late, and no error")
}

func TestUnacknowledgedComesAgainUnlessThereIsProgress(t *testing.T) {
	d := inDurables(t)
	c, _ := d.topics()
	d.create(c, "t", abstract.TopicSettings{AckWait: 5 * time.Second})
	in, _ := d.subscribe(c, "t", client.Consumer("k"), client.ManualAck(), client.Window(2))
	d.publish(c, "t", 1, 2)
	slow, dropped := in.next(), in.next()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var again client.Message
	for again.Data == nil {
		select {
		case again = <-in.c:
		case <-tick.C:
			require.NoError(t, slow.Progress(t.Context()))
		}
	}
	assert.Equal(t, string(dropped.Data), string(again.Data), "the one without progress")
	assert.Equal(t, 2, again.Delivered)
	require.NoError(t, again.Ack(t.Context()))
	require.NoError(t, slow.Ack(t.Context()))
	d.eventually(c, "t", "k", allAcked(2))
}

func TestPoisonEndsAsADeadLetter(t *testing.T) {
	d := inDurables(t)
	c, _ := d.topics()
	d.create(c, "t", abstract.TopicSettings{MaxDeliver: 3})
	in := make(chan client.Message, 100)
	_, err := c.Subscribe(t.Context(), "t", func(m client.Message) {
		in <- m
		if string(m.Data) == "2" {
			assert.NoError(t, m.Nack(t.Context(), 0))
			return
		}
		assert.NoError(t, m.Ack(t.Context()))
	}, client.Consumer("k"), client.ManualAck())
	require.NoError(t, err)
	_, err = c.PublishWith(t.Context(), "t", 1, client.Publishing{})
	require.NoError(t, err)
	_, err = c.PublishWith(t.Context(), "t", 2, client.Publishing{Meta: abstract.Metadata{"order": "17"}})
	require.NoError(t, err)
	d.publish(c, "t", 3, 50)
	seen := make(map[string]int)
	for range 52 {
		seen[string((<-in).Data)]++
	}
	assert.Equal(t, 3, seen["2"])
	assert.Len(t, seen, 50)
	d.eventually(c, "t", "k", allAcked(50))
	dead, err := c.Info(t.Context(), "t.dead")
	require.NoError(t, err)
	assert.True(t, dead.Settings.Durable)
	letters, _ := d.subscribe(c, "t.dead", client.FromAll())
	m := letters.next()
	assert.Equal(t, "2", string(m.Data))
	assert.Equal(t, abstract.Metadata{
		"order": "17", "trefoil-dead-topic": "t", "trefoil-dead-offset": "2", "trefoil-dead-deliveries": "3",
		"trefoil-dead-consumer": "k", "trefoil-dead-reason": "it was given back",
	}, m.Meta)
	assert.Equal(t, uint64(1), dead.Last, "once")
}

func TestAPanicGivesBack(t *testing.T) {
	d := inDurables(t)
	c, _ := d.topics()
	d.create(c, "t", abstract.TopicSettings{MaxDeliver: 1})
	in := make(chan string, 10)
	_, err := c.Subscribe(t.Context(), "t", func(m client.Message) {
		if string(m.Data) == "1" {
			panic("a bad one")
		}
		in <- string(m.Data)
	}, client.Consumer("k"))
	require.NoError(t, err)
	d.publish(c, "t", 1, 2)
	assert.Equal(t, "2", <-in)
	d.eventually(c, "t", "k", allAcked(2))
	dead, err := c.Info(t.Context(), "t.dead")
	require.NoError(t, err)
	assert.Equal(t, uint64(1), dead.Last)
}

func TestDeadLettersDoNotDieAgain(t *testing.T) {
	d := inDurables(t)
	c, _ := d.topics()
	d.create(c, "t.dead", abstract.TopicSettings{MaxDeliver: 1, AckWait: longWait})
	in, _ := d.subscribe(c, "t.dead", client.Consumer("k"), client.ManualAck())
	d.publish(c, "t.dead", 1, 2)
	require.NoError(t, in.next().Nack(t.Context(), 0))
	require.NoError(t, in.next().Ack(t.Context()))
	d.eventually(c, "t.dead", "k", func(i client.ConsumerInfo) bool { return i.Unacked == 1 && i.Pending == 0 })
	_, err := c.Info(t.Context(), "t.dead.dead")
	assert.ErrorIs(t, err, abstract.ErrTopicNotFound)
}

func TestRemovedConsumersTellTheirMembers(t *testing.T) {
	d := inDurables(t)
	c, _ := d.topics()
	d.create(c, "t", abstract.TopicSettings{})
	d.publish(c, "t", 1, 1)
	sub, err := c.Subscribe(t.Context(), "t", nil, client.Consumer("k"))
	require.NoError(t, err)
	require.NoError(t, c.RemoveConsumer(t.Context(), "t", "k"))
	for m, why := range sub.Messages(t.Context()) {
		err = why
		assert.Empty(t, m.Data, "it has ended")
	}
	require.ErrorIs(t, err, abstract.ErrNotFound)
	info, err := c.Info(t.Context(), "t")
	require.NoError(t, err)
	assert.Empty(t, info.Consumers)
	require.NoError(t, c.RemoveConsumer(t.Context(), "t", "never there"))
	again, _ := d.subscribe(c, "t", client.Consumer("k"), client.FromAll())
	assert.Equal(t, counted(1, 1), again.take(1), "it is another one")
}

func TestConsumersPassOverWhatTheyDoNotWant(t *testing.T) {
	d := inDurables(t)
	c, _ := d.topics()
	d.create(c, "t", abstract.TopicSettings{})
	in, _ := d.subscribe(c, "t", client.Consumer("k"), client.Where(abstract.Metadata{"to": "eu"}))
	for i := range 10 {
		_, err := c.PublishWith(t.Context(), "t", i, client.Publishing{Meta: abstract.Metadata{"to": []string{"eu", "us"}[i%2]}})
		require.NoError(t, err)
	}
	assert.Equal(t, []string{"0", "2", "4", "6", "8"}, in.take(5))
	d.eventually(c, "t", "k", allAcked(10))
	_, err := c.Subscribe(t.Context(), "t", nil, client.Consumer("k"))
	assert.ErrorIs(t, err, abstract.ErrInvalidParams, "the members want the same")
}

func TestLoopsAcknowledgeWhenTheyAskForMore(t *testing.T) {
	d := inDurables(t)
	c, _ := d.topics()
	d.create(c, "t", abstract.TopicSettings{})
	d.publish(c, "t", 1, 3)
	for m, err := range c.Messages(t.Context(), "t", client.Consumer("k"), client.FromAll()) {
		require.NoError(t, err)
		if string(m.Data) == "2" {
			break
		}
	}
	d.eventually(c, "t", "k", func(i client.ConsumerInfo) bool { return i.Acked == 1 && i.Members == 0 })
	again, _ := d.subscribe(c, "t", client.Consumer("k"))
	assert.ElementsMatch(t, counted(2, 3), again.take(2))
}

func TestWhatNobodyHadATryAtIsNoDelivery(t *testing.T) {
	d := inDurables(t)
	c, _ := d.topics()
	d.create(c, "t", abstract.TopicSettings{MaxDeliver: 2})
	d.publish(c, "t", 1, 1)
	for range 5 {
		in, sub := d.subscribe(c, "t", client.Consumer("k"), client.FromAll(), client.ManualAck())
		assert.Equal(t, 1, in.next().Delivered)
		require.NoError(t, sub.Cancel(t.Context()))
	}
	in, _ := d.subscribe(c, "t", client.Consumer("k"))
	assert.Equal(t, counted(1, 1), in.take(1))
	d.eventually(c, "t", "k", allAcked(1))
	_, err := c.Info(t.Context(), "t.dead")
	assert.ErrorIs(t, err, abstract.ErrTopicNotFound)
}

func TestExpiredMessagesAreDoneWith(t *testing.T) {
	d := inDurables(t)
	c, _ := d.topics()
	d.create(c, "t", abstract.TopicSettings{})
	_, sub := d.subscribe(c, "t", client.Consumer("k"))
	require.NoError(t, sub.Cancel(t.Context()))
	old, err := c.PublishWith(t.Context(), "t", 1, client.Publishing{TTL: time.Millisecond})
	require.NoError(t, err)
	require.Eventually(t, func() bool { // its time is over
		read, err := c.Read(t.Context(), "t", old.Offset, 1)
		return err == nil && len(read) == 1 && time.Since(read[0].Time) > 10*time.Millisecond
	}, longWait, 5*time.Millisecond)
	d.publish(c, "t", 2, 2)
	in, _ := d.subscribe(c, "t", client.Consumer("k"))
	assert.Equal(t, counted(2, 2), in.take(1))
	d.eventually(c, "t", "k", allAcked(2))
}

func TestAMemberThatDoesNotReadHoldsUpNobody(t *testing.T) {
	d := inDurables(t)
	c, _ := d.topics()
	d.create(c, "t", abstract.TopicSettings{AckWait: 2 * time.Second, MaxDeliver: 1000})
	stuck, machine := d.topics()
	_, _ = d.subscribe(stuck, "t", client.Consumer("k"), client.Window(1024))
	machine.Stall(true)
	defer machine.Stall(false)
	long := strings.Repeat("x", 20_000)
	in, _ := d.subscribe(c, "t", client.Consumer("k"), client.Window(4))
	for i := range 400 {
		require.NoError(t, c.Publish(t.Context(), "t", []any{i, long}))
	}
	seen := make(map[int]bool)
	for len(seen) < 400 {
		var got []json.RawMessage
		var i int
		require.NoError(t, in.next().Decode(&got))
		require.NoError(t, json.Unmarshal(got[0], &i))
		seen[i] = true
	}
}

func TestDeadLettersWaitForTheirTopic(t *testing.T) {
	d := inDurables(t)
	c, _ := d.topics()
	require.NoError(t, c.Create(t.Context(), "graves"), "a plain topic: a letter would be lost there")
	d.create(c, "t", abstract.TopicSettings{MaxDeliver: 1, DeadLetter: "graves"})
	in, _ := d.subscribe(c, "t", client.Consumer("k"), client.ManualAck())
	d.publish(c, "t", 1, 2)
	require.NoError(t, in.next().Nack(t.Context(), 0))
	require.NoError(t, in.next().Ack(t.Context()))
	d.publish(c, "t", 3, 3)
	last := in.next()
	assert.Equal(t, "3", string(last.Data), "it blocks nobody")
	require.NoError(t, last.Ack(t.Context()))
	require.NoError(t, c.Remove(t.Context(), "graves"))
	d.eventually(c, "t", "k", allAcked(3))
	letters, _ := d.subscribe(c, "graves", client.FromAll())
	m := letters.next()
	assert.Equal(t, "1", string(m.Data))
	assert.Equal(t, "1", m.Meta["trefoil-dead-deliveries"])
}

func TestLateWordsAboutOldDeliveriesMeanNothing(t *testing.T) {
	d := inDurables(t)
	c, _ := d.topics()
	d.create(c, "t", abstract.TopicSettings{})
	member, machine := d.topics()
	in, _ := d.subscribe(member, "t", client.Consumer("k"), client.ManualAck(), client.Window(2))
	d.publish(c, "t", 1, 3)
	old := []client.Message{in.next(), in.next()}
	machine.Cut()
	again := []client.Message{in.next(), in.next()}
	for _, m := range again {
		require.Equal(t, 2, m.Delivered, "it was lost with its connection")
	}
	for _, m := range old {
		require.NoError(t, m.Ack(t.Context()))
	}
	for _, m := range again[:1] {
		require.NoError(t, m.Ack(t.Context()))
	}
	third := in.next()
	assert.Equal(t, "3", string(third.Data), "one place was free, and not three")
	d.eventually(c, "t", "k", func(i client.ConsumerInfo) bool { return i.Unacked == 2 })
	require.NoError(t, again[1].Ack(t.Context()))
	require.NoError(t, third.Ack(t.Context()))
	d.eventually(c, "t", "k", allAcked(3))
}

func TestWrongUsesOfConsumersAreExplained(t *testing.T) {
	d := inDurables(t)
	c, _ := d.topics()
	require.NoError(t, c.Create(t.Context(), "plain"))
	d.create(c, "durable", abstract.TopicSettings{})
	cases := map[string]struct {
		topic string
		opts  []client.SubscribeOption
		want  error
		says  string
	}{
		"a plain topic":        {"plain", []client.SubscribeOption{client.Consumer("k")}, abstract.ErrUnsupported, "--durable"},
		"no topic":             {"none", []client.SubscribeOption{client.Consumer("k")}, abstract.ErrTopicNotFound, "create it"},
		"many topics":          {"*", []client.SubscribeOption{client.Consumer("k")}, abstract.ErrInvalidOp, "one topic's own"},
		"name and group":       {"durable", []client.SubscribeOption{client.Consumer("k"), client.QueueGroup("g")}, abstract.ErrInvalidParams, "name or a group"},
		"nothing acknowledged": {"plain", []client.SubscribeOption{client.ManualAck()}, abstract.ErrInvalidParams, "Consumer or QueueGroup"},
	}
	for name, tc := range cases {
		_, err := c.Subscribe(t.Context(), tc.topic, nil, tc.opts...)
		require.ErrorIs(t, err, tc.want, name)
		assert.Contains(t, err.Error(), tc.says, name)
	}
	assert.ErrorIs(t, c.RemoveConsumer(t.Context(), "plain", "k"), abstract.ErrUnsupported)
	assert.ErrorIs(t, c.RemoveConsumer(t.Context(), "durable", ""), abstract.ErrInvalidParams)
	in, _ := d.subscribe(c, "plain")
	d.publish(c, "plain", 1, 1)
	assert.ErrorIs(t, in.next().Ack(t.Context()), abstract.ErrInvalidOp)
}
