package client_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/mem"
	"trefoil/concrete/memstore"
	"trefoil/server"
)

func history(count int) abstract.TopicSettings {
	return abstract.TopicSettings{History: abstract.History{Count: count}}
}

// follows is a subscription to a.> of somebody on a machine of its own, and somebody else
// who publishes.
type follows struct {
	*world
	far       *client.TopicClient
	machine   *mem.Machine
	publisher *client.TopicClient
	in        *inbox
}

func (w *world) follows(opts ...client.SubscribeOption) *follows {
	w.Helper()
	f := &follows{world: w, publisher: w.topics()}
	f.far, f.machine = w.topicsOn()
	f.in, _ = w.subscribe(f.far, "a.>", opts...)
	return f
}

func (f *follows) create(topic string, s abstract.TopicSettings) {
	f.Helper()
	require.NoError(f, f.publisher.CreateWith(f.Context(), topic, s))
}

func (f *follows) remove(topic string) {
	f.Helper()
	require.NoError(f, f.publisher.Remove(f.Context(), topic))
}

func (f *follows) says(topic string, from, to int) {
	f.Helper()
	f.publish(f.publisher, topic, from, to)
}

func (f *follows) gone(meanwhile func()) {
	f.Helper()
	synctest.Wait()
	f.away(f.machine, meanwhile)
}

// gets looks at what has come since it was looked last, whatever the order of the topics.
func (f *follows) gets(what ...string) {
	f.Helper()
	got := f.in.all()
	slices.SortStableFunc(got, func(a, b string) int { return strings.Compare(topicOf(a), topicOf(b)) })
	assert.Equal(f, what, got)
}

func topicOf(said string) string { return said[:strings.IndexByte(said, ' ')] }

// isTold looks at what was lost since.
func (f *follows) isTold(topics ...string) {
	f.Helper()
	var told []string
	for _, g := range f.in.lost() {
		assert.True(f, g.Unrecovered, "%v", g)
		told = append(told, g.Topic)
	}
	slices.Sort(told)
	assert.Equal(f, topics, told)
}

func TestAFilterOfManyTopicsGoesOnWhereItWas(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		f := w.follows()
		f.create("a.kept", history(100))
		f.create("a.quiet", abstract.TopicSettings{})
		f.create("a.never", abstract.TopicSettings{})
		f.create("a.state", abstract.TopicSettings{Retain: true})
		f.says("a.kept", 1, 3)
		f.says("a.quiet", 1, 2)
		f.says("a.state", 1, 1)
		f.gets("a.kept 1", "a.kept 2", "a.kept 3", "a.quiet 1", "a.quiet 2", "a.state 1")
		for i := range 3 {
			f.gone(func() { f.says("a.kept", 10*i+4, 10*i+5); f.says("a.state", i+2, i+2) })
			f.gets(fmt.Sprint("a.kept ", 10*i+4), fmt.Sprint("a.kept ", 10*i+5), fmt.Sprint("a.state ", i+2))
		}
		f.gone(func() {})
		f.gets()
		f.says("a.kept", 99, 99)
		f.says("a.never", 1, 1)
		f.gets("a.kept 99", "a.never 1")
		f.isTold()
	})
}

func TestASubscriberToManyTopicsIsToldInWhichItLostSomething(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		f := w.follows()
		f.create("a.kept", history(100))
		f.create("a.short", history(2))
		f.create("a.state", abstract.TopicSettings{Retain: true})
		for _, topic := range []string{"a.plain", "a.silent"} {
			f.create(topic, abstract.TopicSettings{})
		}
		for _, topic := range []string{"a.kept", "a.short", "a.plain", "a.state"} { // of a.silent nothing has come
			f.says(topic, 1, 1)
		}
		f.in.all()
		f.gone(func() {
			for _, topic := range []string{"a.kept", "a.short", "a.plain", "a.silent", "a.state"} {
				f.says(topic, 2, 5)
			}
		})
		f.gets("a.kept 2", "a.kept 3", "a.kept 4", "a.kept 5", "a.short 4", "a.short 5", "a.state 5")
		f.isTold("a.plain", "a.short", "a.silent", "a.state")
		for range 3 { // and once only
			f.gone(func() {})
		}
		f.says("a.plain", 6, 6)
		f.gone(func() { f.says("a.kept", 6, 6) })
		f.gets("a.kept 6", "a.plain 6")
		f.isTold()
	})
}

func TestTopicsThatAppearWhileASubscriberIsAwayAreReadFromTheirBeginning(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		f := w.follows()
		f.gone(func() {
			f.create("a.kept", history(100))
			f.create("a.short", history(2))
			f.create("a.plain", abstract.TopicSettings{})
			f.create("a.empty", abstract.TopicSettings{})
			f.create("b.other", history(100))
			for _, topic := range []string{"a.kept", "a.short", "a.plain", "b.other"} {
				f.says(topic, 1, 3)
			}
		})
		f.gets("a.kept 1", "a.kept 2", "a.kept 3", "a.short 2", "a.short 3")
		f.isTold("a.plain", "a.short")
		f.says("a.empty", 1, 1)
		f.gone(func() { f.says("a.kept", 4, 4) })
		f.gets("a.empty 1", "a.kept 4")
		f.isTold()
	})
}

func TestTheEndOfATopicIsALossForWhoHadNotAllOfIt(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		f := w.follows()
		for _, topic := range []string{"a.all", "a.part", "a.gone", "a.again"} {
			f.create(topic, history(10))
			f.says(topic, 1, 1)
		}
		for range 3 { // it sees these come and go
			f.create("a.brief", history(10))
			f.says("a.brief", 1, 2)
			f.remove("a.brief")
			f.remove("a.again")
			f.create("a.again", history(10))
			f.says("a.again", 1, 1)
		}
		f.in.all()
		f.gone(func() {
			f.remove("a.all") // it has had all of it
			f.create("a.all", history(10))
			f.says("a.all", 7, 8)
			f.says("a.part", 2, 2)
			f.remove("a.part")
			f.create("a.part", history(10))
			f.says("a.part", 7, 8)
			f.says("a.gone", 2, 2)
			f.remove("a.gone")
			f.create("a.unheard", abstract.TopicSettings{})
			f.says("a.unheard", 1, 1)
			f.remove("a.unheard")
			f.create("a.unsaid", abstract.TopicSettings{})
			f.remove("a.unsaid")
		})
		f.gets("a.all 7", "a.all 8", "a.part 7", "a.part 8")
		f.isTold("a.gone", "a.part", "a.unheard")
		f.gone(func() { f.says("a.all", 9, 9); f.says("a.again", 2, 2) })
		f.gets("a.again 2", "a.all 9")
		f.isTold()
	})
}

func TestMoreEndsThanTheBrokerRemembersAreToldInOneWord(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		f := w.follows()
		f.create("a.kept", history(10))
		f.says("a.kept", 1, 1)
		f.create("b", abstract.TopicSettings{})
		f.gets("a.kept 1")
		f.gone(func() {
			f.says("a.kept", 2, 2)
			for range 1025 {
				f.remove("b")
				f.create("b", abstract.TopicSettings{})
				f.says("b", 1, 1)
			}
		})
		f.gets("a.kept 2")
		f.isTold() // the last 1,024 are known, and the first one had no message
		f.gone(func() {
			f.says("a.kept", 3, 3)
			for range 1026 {
				f.remove("b")
				f.create("b", abstract.TopicSettings{})
				f.says("b", 1, 1)
			}
		})
		f.gets("a.kept 3")
		f.isTold("a.>")
	})
}

func TestAnotherBrokerIsToldInOneWord(t *testing.T) {
	inWorld(t, func(w *world) {
		b := w.broker()
		f := w.follows()
		for i := range 20 {
			f.create(fmt.Sprint("a.", i), history(10))
			f.says(fmt.Sprint("a.", i), 1, 1)
		}
		f.in.all()
		for range 2 {
			b.stop()
			b = w.broker() // it knows nothing; the publisher's client makes the topics again
			time.Sleep(time.Minute)
			f.isTold("a.>")
		}
		f.says("a.3", 2, 2)
		f.gone(func() { f.says("a.3", 3, 4) })
		f.gets("a.3 2", "a.3 3", "a.3 4")
		f.isTold()
	})
}

func TestDurableTopicsGoOnBehindARestart(t *testing.T) {
	inWorld(t, func(w *world) {
		store, logs := memstore.New(), newLasting()
		broker := func() *running { return w.broker(server.WithStore(store), server.WithTopicLog(logs)) }
		b := broker()
		f := w.follows()
		f.create("a.durable", abstract.TopicSettings{Durable: true})
		f.create("a.new", abstract.TopicSettings{Durable: true})
		f.says("a.durable", 1, 2)
		f.gets("a.durable 1", "a.durable 2")
		for i := range 3 {
			synctest.Wait()
			f.machine.Refuse(true)
			f.machine.Cut()
			f.says("a.durable", 10*i+3, 10*i+3)
			b.stop()
			b = broker()
			time.Sleep(time.Minute)
			f.says("a.durable", 10*i+4, 10*i+4)
			f.says("a.new", i, i)
			f.machine.Refuse(false)
			time.Sleep(time.Minute)
			f.gets(fmt.Sprint("a.durable ", 10*i+3), fmt.Sprint("a.durable ", 10*i+4), fmt.Sprint("a.new ", i))
			f.isTold()
		}
		f.create("a.memory", history(10))
		f.create("a.unheard", history(10))
		f.says("a.memory", 1, 1)
		f.gets("a.memory 1")
		b.stop()
		b = broker()
		time.Sleep(time.Minute)
		f.isTold("a.memory", "a.unheard") // what was published to these before nobody knows
		f.gone(func() { f.remove("a.unheard"); b.stop(); b = broker(); time.Sleep(time.Minute) })
		f.isTold("a.>", "a.memory")
		f.says("a.durable", 99, 99)
		f.gets("a.durable 99")
	})
}

func TestMoreTopicsThanASubscriptionHasPlacesFor(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		f := w.follows()
		name := func(i int) string { return fmt.Sprintf("a.%04d", i) }
		for i := range 1030 { // the last ones have no place
			f.create(name(i), history(10))
			f.says(name(i), 1, 1)
		}
		assert.Len(t, f.in.all(), 1030)
		f.gone(func() { f.says(name(0), 2, 3); f.says(name(1029), 2, 2) })
		f.gets(name(0)+" 2", name(0)+" 3")
		f.isTold("a.>")
		for i := range 10 {
			f.remove(name(i))
		}
		f.gone(func() {}) // what the broker tells now is all again
		f.isTold("a.>")
		f.gone(func() { f.says(name(1029), 3, 3) })
		f.gets(name(1029) + " 3")
		f.isTold()
	})
}

func TestPlacesThatDoNotFitAFrameAreGivenUp(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker(server.WithMaxFrame(4096))
		f := w.follows()
		for i := range 100 {
			f.create(fmt.Sprintf("a.%04d", i), history(10))
			f.says(fmt.Sprintf("a.%04d", i), 1, 1)
		}
		assert.Len(t, f.in.all(), 100)
		f.gone(func() {})
		f.isTold("a.>")
		f.says("a.0050", 2, 2)
		f.gets("a.0050 2")
	})
}

func TestWhatASubscriberMayNotHaveAnyMoreIsLostForIt(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		f := w.follows()
		f.create("a.mine", history(10))
		f.create("a.ours", history(10))
		secret := history(10)
		secret.Allow.Subscribe = []string{"somebody"}
		f.create("a.secret", secret)
		for _, topic := range []string{"a.mine", "a.ours", "a.secret"} {
			f.says(topic, 1, 1)
		}
		f.gets("a.mine 1", "a.ours 1")
		f.gone(func() {
			require.NoError(t, f.publisher.Set(w.Context(), "a.mine", secret))
			for _, topic := range []string{"a.mine", "a.ours", "a.secret"} {
				f.says(topic, 2, 2)
			}
		})
		f.gets("a.ours 2")
		f.isTold("a.mine")
		f.gone(func() { require.NoError(t, f.publisher.Set(w.Context(), "a.secret", history(10))) })
		f.says("a.secret", 3, 3)
		f.gone(func() { f.remove("a.mine") })
		assert.Equal(t, "a.secret 3", f.in.all()[2], "from its beginning, as it has appeared")
		f.isTold()
	})
}

func TestWhoHasTheLastMessageOfEachTopicDoesNotGetItAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		f := w.follows()
		f.create("a.state", abstract.TopicSettings{Retain: true})
		f.create("a.other", abstract.TopicSettings{Retain: true})
		f.says("a.state", 1, 5)
		f.says("a.other", 1, 3)
		last, _ := w.subscribe(f.far, "a.*", client.FromLast())
		assert.ElementsMatch(t, []string{"a.state 5", "a.other 3"}, last.all())
		f.gone(func() { f.says("a.state", 6, 6) })
		assert.Equal(t, []string{"a.state 6"}, last.all())
		f.gone(func() { f.says("a.state", 7, 9) })
		assert.Equal(t, []string{"a.state 9"}, last.all())
		assert.Equal(t, []client.Gap{{Topic: "a.state", Unrecovered: true}}, last.lost())
	})
}

func TestASubscriptionThatWasNotMadeYetHasLostNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		f := w.follows()
		f.create("a.b", abstract.TopicSettings{})
		ctx, cancel := context.WithTimeout(w.Context(), 10*time.Minute)
		defer cancel()
		f.machine.Refuse(true)
		f.machine.Cut()
		late := new(inbox)
		done := make(chan error, 1)
		go func() {
			_, err := f.far.Subscribe(ctx, "a.*", late.take, client.OnGap(late.gap))
			done <- err
		}()
		f.says("a.b", 1, 1)
		f.machine.Refuse(false)
		require.NoError(t, <-done)
		time.Sleep(time.Minute)
		f.says("a.b", 2, 2)
		assert.Equal(t, []string{"a.b 2"}, late.all())
		assert.Empty(t, late.lost())
	})
}

// witness judges what a subscription to many topics is told: what is published has a number
// for each topic, and either comes in order, or is said to be lost.
type witness struct {
	t    *testing.T
	last map[string]int
	open map[string]bool // something is said to be missing before the next one
	all  bool            // of any topic: which have had their next one since
	had  map[string]bool

	holes, notices int
	idle           int // notices where nothing was missing
}

func (o *witness) judge(topic string, number int) {
	next := o.last[topic] + 1
	told := o.open[topic] || o.all && !o.had[topic]
	switch {
	case number < next:
		assert.Fail(o.t, "twice, or out of order", "%s: %d after %d", topic, number, next-1)
	case number > next && !told:
		assert.Fail(o.t, "a silent gap", "%s: %d after %d", topic, number, next-1)
	case number > next:
		o.holes++
	case o.open[topic] || o.all && told:
		o.idle++
	}
	o.last[topic] = number
	delete(o.open, topic)
	o.had[topic] = true
}

func (o *witness) gap(topic string) {
	o.notices++
	if topic == "a.>" {
		o.all, o.had = true, map[string]bool{}
		return
	}
	o.open[topic] = true
}

// TestNothingIsLostInSilence lets chance create, remove and change topics, publish, cut the
// connection, and begin another broker on the same store.
func TestNothingIsLostInSilence(t *testing.T) {
	for seed := range uint64(rounds(6, 60)) {
		for name, restarts := range map[string]bool{"one broker": false, "many brokers": true} {
			t.Run(fmt.Sprint(name, " ", seed), func(t *testing.T) {
				inWorld(t, func(w *world) {
					o := w.chance(rand.New(rand.NewPCG(seed, 1)), restarts)
					assert.Positive(t, o.holes)
					if !restarts {
						assert.Zero(t, o.idle, "notices of losses that were none")
					}
				})
			})
		}
	}
}

func (w *world) chance(r *rand.Rand, restarts bool) *witness {
	store, logs := memstore.New(), newLasting()
	broker := func() *running { return w.broker(server.WithStore(store), server.WithTopicLog(logs)) }
	b := broker()
	f, o := w.follows(), &witness{t: w.T, last: map[string]int{}, open: map[string]bool{}, had: map[string]bool{}}
	numbers, there := map[string]int{}, map[string]bool{}
	kinds := []abstract.TopicSettings{{}, history(1000), history(2), {Retain: true}}
	if restarts { // of a durable topic that ended unused it is not known that it was empty
		kinds = append(kinds, abstract.TopicSettings{Durable: true})
	}
	act := func() {
		topic := fmt.Sprint("a.", r.IntN(6))
		switch n := r.IntN(20); {
		case !there[topic]:
			f.create(topic, kinds[r.IntN(len(kinds))])
			there[topic] = true
		case n == 0:
			f.remove(topic)
			delete(there, topic)
		default:
			for range 1 + r.IntN(3) {
				numbers[topic]++
				f.says(topic, numbers[topic], numbers[topic])
			}
		}
	}
	look := func() {
		for _, g := range f.in.lost() {
			o.gap(g.Topic)
		}
		for _, said := range f.in.all() {
			var number int
			_, err := fmt.Sscan(said[len(topicOf(said)):], &number)
			require.NoError(w, err)
			o.judge(topicOf(said), number)
		}
	}
	for range 40 {
		for range r.IntN(10) {
			act()
		}
		look()
		f.gone(func() {
			for range r.IntN(8) {
				act()
			}
			if restarts && r.IntN(8) == 0 {
				b.stop()
				b = broker()
				time.Sleep(time.Minute)
			}
			for range r.IntN(3) {
				act()
			}
		})
		look()
	}
	for topic := range there {
		numbers[topic]++
		f.says(topic, numbers[topic], numbers[topic])
	}
	look()
	for topic := range there {
		assert.Equal(w, numbers[topic], o.last[topic], topic)
	}
	w.Logf("%d messages in %d topics, %d holes, %d notices", sum(numbers), len(numbers), o.holes, o.notices)
	return o
}

func sum(numbers map[string]int) (n int) {
	for _, i := range numbers {
		n += i
	}
	return n
}

func TestWhoWantsOnlySomeMessagesGetsNoneOfThemTwice(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		f := w.follows(client.Where(map[string]string{"kind": "a"}))
		say := func(n int, kind string) {
			_, err := f.publisher.PublishWith(f.Context(), "a.b", n, client.Publishing{Meta: abstract.Metadata{"kind": kind}})
			require.NoError(f, err)
		}
		f.create("a.b", history(100))
		say(1, "a")
		f.gets("a.b 1")
		f.remove("a.b")
		f.create("a.b", history(100))
		say(2, "b") // the first of this incarnation, which it does not want
		say(3, "a")
		say(4, "a")
		f.gets("a.b 3", "a.b 4")
		f.gone(func() { say(5, "b"); say(6, "a") })
		f.gets("a.b 6")
		f.isTold()
	})
}
