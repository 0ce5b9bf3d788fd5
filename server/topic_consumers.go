package server

import (
	"cmp"
	"context"
	"maps"
	"time"

	"trefoil/abstract"
	"trefoil/business/topic"
	"trefoil/concrete/message"
)

// consumer is a durable consumer of a topic, while somebody here is subscribed by its
// name. Its members have in hand what their windows allow; everything else waits in the
// log, and so does what is given back: it is the log that counts how often a message was
// delivered. It is behind the index's lock.
type consumer struct {
	consumerKey
	ctx  context.Context // of fetching; ends with the last member
	stop context.CancelFunc
	log  abstract.LogConsumer // as it was opened first; it acknowledges also when it is closed
	done chan struct{}        // closed when nothing is fetched any more
	over chan struct{}        // closed when, after that, the log knows of all that was given back

	queue   *topic.Group
	members map[*subscriber]*parcel
	parcels []*parcel                // that have something
	where   map[string]string        // what all members want
	hands   map[*topic.Item]struct{} // what members have
	bytes   int                      // of what was fetched and is not settled
	acks    acking
	settled settling
	burying settling
	excused map[uint64]int // the feed's
	expiry  *time.Timer    // nil: nobody has anything
	room    chan struct{}  // holds an element when there may be room again
	pushed  uint64         // the push that it was counted for last
	closed  bool
	fetched bool // done
}

type consumerKey struct {
	feed *feed
	name string
}

// handed is an entry on its way to a member, or in its hands.
type handed struct {
	abstract.LogDelivery
	item      topic.Item // it, in the group
	m         *message.TopicRequest
	size      int
	delivered int       // how often; what was excused does not count
	telling   bool      // the log is being told of progress
	due       time.Time // until when it is acknowledged
	member    *topic.Member
	number    uint64 // the member's delivery
}

// Limits of consumers.
const (
	maxConsumers = 1024     // of a topic
	consumerHeld = 16 << 20 // bytes that members have; one message may always be there
	// maxUnacked bounds what a consumer has been given and not acknowledged. Most of that
	// rests until it is tried again, in the log: what fails must not hold up the rest.
	maxUnacked = 64 << 10
	maxExcused = 64 << 10
	// nackLimit is the longest rest that a member can give a message.
	nackLimit = 24 * time.Hour
)

func errNoConsumers(name string) error {
	return abstract.Errorf(abstract.Unsupported, "topic %q is not durable, so nobody keeps how far a consumer is; create it as a durable one "+
		"(trefoil topic create --durable, at a broker with --data or --nats), or subscribe with a group instead of a name", name)
}

// consume makes a subscription a member of a durable consumer, which it makes when it is
// not there. It waits for the log.
func (s *TopicServer) consume(c *conn, f *feed, x *message.TopicExtras) (*message.TopicResponse, error) {
	name := cmp.Or(x.Name, x.Group)
	switch {
	case x.Name != "" && x.Group != "":
		return nil, abstract.Errorf(abstract.InvalidParams, "a subscription to a durable topic has a name or a group: both mean its consumer")
	case x.Sub == "":
		return nil, abstract.Errorf(abstract.InvalidParams, `a member of a consumer needs "sub", its own name for the subscription`)
	}
	f.order.Lock()
	begin, rsp, err := s.beginning(f, x)
	f.order.Unlock()
	if err != nil {
		return nil, err
	}
	f.opening.Lock()
	defer f.opening.Unlock()
	k, log, err := s.consumer(f, name, begin)
	if err != nil {
		return nil, err
	}
	s.index.Lock()
	defer s.index.Unlock()
	if k.excused = f.excused[name]; k.excused == nil {
		if f.excused == nil {
			f.excused = make(map[string]map[uint64]int)
		}
		k.excused = make(map[uint64]int)
		f.excused[name] = k.excused
	}
	if len(k.members) == 0 {
		k.where = x.Where
	}
	to, fresh, err := s.enterConsumer(c, k, x)
	if log != nil && err == nil {
		s.served[k.consumerKey] = k
		s.ep.errands.Go(func() { s.fetchAll(k, log) })
	} else if log != nil {
		k.stop()
		_ = log.Close()
	}
	if err == nil && fresh {
		s.announce(f, to, abstract.TopicSubscribe)
	}
	return rsp, err
}

// consumer returns a consumer that is served, or makes one that is to be, with what its
// messages are fetched from. It is called with the topic's opening held.
func (s *TopicServer) consumer(f *feed, name string, begin uint64) (*consumer, abstract.LogConsumer, error) {
	key := consumerKey{f, name}
	s.index.Lock()
	k, wait := s.served[key], ackWait(&f.settings)
	s.index.Unlock()
	if k != nil {
		return k, nil, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	s.awaitLeaving(ctx, key)
	if err := f.admitConsumer(ctx, name); err != nil {
		return nil, nil, err
	}
	log, err := f.log.Consumer(ctx, name, consumerConfig(begin, wait))
	if err != nil {
		return nil, nil, err
	}
	f.consumers[name] = struct{}{}
	k = &consumer{
		consumerKey: key, queue: topic.NewGroup(topic.GroupConfig{}), members: make(map[*subscriber]*parcel),
		log:   log,
		hands: make(map[*topic.Item]struct{}), room: make(chan struct{}, 1), done: make(chan struct{}), over: make(chan struct{}),
		settled: settling{most: 8}, burying: settling{most: 4},
	}
	k.ctx, k.stop = context.WithCancel(context.Background())
	return k, log, nil
}

// consumerConfig is how a consumer is opened. The broker gives back what was not
// acknowledged in time; the log does so later, for a broker that has gone.
func consumerConfig(from uint64, wait time.Duration) abstract.ConsumerConfig {
	return abstract.ConsumerConfig{From: from, AckWait: wait + min(wait/2, 5*time.Second), MaxUnacked: maxUnacked}
}

func ackWait(settings *abstract.TopicSettings) time.Duration {
	return cmp.Or(settings.AckWait, abstract.DefaultAckWait)
}

func maxDeliver(settings *abstract.TopicSettings) int {
	return cmp.Or(settings.MaxDeliver, abstract.DefaultMaxDeliver)
}

// admitConsumer refuses one consumer too many. It is called with opening held.
func (f *feed) admitConsumer(ctx context.Context, name string) error {
	if f.consumers == nil {
		infos, err := f.log.Consumers(ctx)
		if err != nil {
			return err
		}
		f.consumers = make(map[string]struct{}, len(infos))
		for _, info := range infos {
			f.consumers[info.Name] = struct{}{}
		}
	}
	if _, there := f.consumers[name]; !there && len(f.consumers) >= maxConsumers {
		return abstract.Errorf(abstract.Overloaded, "topic %q has %d consumers, which is the limit; remove some that nobody needs any more", f.name, len(f.consumers))
	}
	return nil
}

// enterConsumer makes a subscription and its membership. It is called with the index's
// lock held.
func (s *TopicServer) enterConsumer(c *conn, k *consumer, x *message.TopicExtras) (to *subscriber, fresh bool, err error) {
	if k.closed || k.feed.removed {
		return nil, false, abstract.Errorf(abstract.Unavailable, "the last other member of consumer %q is just leaving; try again", k.name)
	}
	if len(k.members) > 0 && !maps.Equal(k.where, x.Where) {
		return nil, false, abstract.Errorf(abstract.InvalidParams, "the members of consumer %q want other messages than this one: what one of them leaves out is done with for all; take the same filter, or another name", k.name)
	}
	to, fresh, err = s.enter(c, k.feed.name, x, &k.feed.settings)
	if err != nil {
		return nil, false, err
	}
	sub := s.topics.Tagged(topic.ConnID(c.id), x.Sub)
	if !fresh {
		if to = sub.Lane.(*subscriber); to.consumer != k {
			return nil, false, abstract.Errorf(abstract.InvalidParams, "subscription %q is there already, and is no member of consumer %q: cancel it first, or take another name for this one", x.Sub, k.name)
		}
		return to, false, nil
	}
	window := x.Window
	if window == 0 {
		window = defaultWindow
	}
	to.consumer, to.member = k, k.queue.Join(sub, min(window, maxWindow))
	k.members[to] = &parcel{to: to}
	k.wake()
	return to, true, nil
}

// reached counts the consumer among those that a push reaches: once.
func (k *consumer) reached(push uint64) int {
	if k.pushed == push {
		return 0
	}
	k.pushed = push
	return 1
}

// wake lets the fetching look whether there is room.
func (k *consumer) wake() {
	select {
	case k.room <- struct{}{}:
	default:
	}
}

// leaveConsumer gives back what a member had in hand. Without members nothing is
// fetched. It is called with the index's lock held.
func (s *TopicServer) leaveConsumer(to *subscriber) {
	k := to.consumer
	if k == nil {
		return
	}
	delete(k.members, to)
	if len(k.members) == 0 { // before anything is given back, so that it is not fetched again
		s.closeConsumer(k)
	}
	excused := !to.conn.lost()
	var had, waited []*handed
	for _, it := range k.queue.TakeBack(to.member) {
		had = append(had, it.Message.(*handed))
		delete(k.hands, it)
	}
	if len(k.members) == 0 {
		for _, it := range k.queue.Drain() {
			waited = append(waited, it.Message.(*handed))
		}
	}
	s.giveBackAll(k, append(s.unspent(k, had, "the member that had it was lost", excused), s.unspent(k, waited, "nobody was there", true)...))
}

// lost reports whether the connection is gone and nobody has said so before.
func (c *conn) lost() bool { return c.ctx.Err() != nil && !c.left.Load() && !c.parted.Load() }

// closeConsumer ends the serving of a consumer. It is called with the index's lock held.
func (s *TopicServer) closeConsumer(k *consumer) {
	if k.closed {
		return
	}
	k.closed = true
	k.stop()
	if k.expiry != nil {
		k.expiry.Stop()
	}
	if s.served[k.consumerKey] == k {
		delete(s.served, k.consumerKey)
		s.leaving[k.consumerKey] = k
	}
}

// awaitLeaving waits until a consumer that has just ended has given everything back, or ctx
// has ended: who comes next would get some of that behind what follows it.
func (s *TopicServer) awaitLeaving(ctx context.Context, key consumerKey) {
	s.index.Lock()
	k := s.leaving[key]
	s.index.Unlock()
	if k == nil {
		return
	}
	select {
	case <-k.over:
	case <-ctx.Done():
	}
}

// leftBehind forgets a consumer that has ended and given everything back. It is called with
// the index's lock held.
func (s *TopicServer) leftBehind(k *consumer) {
	if k.closed && k.fetched && k.bytes == 0 && s.leaving[k.consumerKey] == k {
		delete(s.leaving, k.consumerKey)
		close(k.over)
	}
}

// endConsumer ends the subscriptions of a consumer's members, and tells them why.
func (s *TopicServer) endConsumer(k *consumer, why *abstract.Error) {
	var told []*conn
	s.index.Lock()
	for to := range k.members {
		told = append(told, to.conn)
		s.takeOut(to)
		s.left(to)
		s.over(to, why)
	}
	s.closeConsumer(k)
	s.index.Unlock()
	flushAll(told)
}

// forgetConsumer removes a durable consumer, for who may subscribe.
func (s *TopicServer) forgetConsumer(c *conn, m *message.TopicRequest) error {
	if m.More == nil || m.More.Name == "" {
		return abstract.Errorf(abstract.InvalidParams, `the "name" of the consumer to forget is missing`)
	}
	durable := false
	s.index.Lock()
	f, err := s.feedOf(m.Topic)
	if err == nil {
		err = s.allowedOn(c, f.settings.Allow.Subscribe, "forget a consumer of", m.Topic)
		durable = f.settings.Durable
	}
	s.index.Unlock()
	if err != nil {
		return err
	}
	log, err := s.ready(f)
	if err != nil {
		return err
	}
	if !durable {
		return errNoConsumers(m.Topic)
	}
	f.opening.Lock()
	defer f.opening.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	if err := log.RemoveConsumer(ctx, m.More.Name); err != nil {
		return err
	}
	delete(f.consumers, m.More.Name)
	s.index.Lock()
	k := s.served[consumerKey{f, m.More.Name}]
	delete(f.excused, m.More.Name)
	s.index.Unlock()
	if k != nil {
		s.endConsumer(k, errForgotten(k))
	}
	return nil
}

func errForgotten(k *consumer) *abstract.Error {
	return abstract.Errorf(abstract.NotFound, "consumer %q of topic %q was removed", k.name, k.feed.name)
}

// consumerInfo is what an answer to info says of a consumer.
type consumerInfo struct {
	Name        string `json:"name"`
	Acked       uint64 `json:"acked"`
	Pending     uint64 `json:"pending"`
	Unacked     int    `json:"unacked"`
	Redelivered int    `json:"redelivered"`
	Members     int    `json:"members"`
}

// consumersOf returns how far the consumers of a topic are; there are none unless it is durable.
func (s *TopicServer) consumersOf(f *feed, log abstract.Log) ([]consumerInfo, error) {
	if log == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	infos, err := log.Consumers(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]consumerInfo, len(infos))
	s.index.Lock()
	defer s.index.Unlock()
	for i, in := range infos {
		list[i] = consumerInfo{Name: in.Name, Acked: in.Acked, Pending: in.Pending, Unacked: in.Unacked, Redelivered: in.Redelivered}
		if k := s.served[consumerKey{f, in.Name}]; k != nil {
			list[i].Members = len(k.members)
		}
	}
	return list, nil
}
