package server

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"trefoil/abstract"
	"trefoil/business/dispatch"
	"trefoil/business/topic"
	"trefoil/concrete/memlog"
	"trefoil/concrete/message"
)

// TopicServer carries messages from publishers to the subscribers of a topic. A
// subscriber that does not keep up loses messages of its own and is told so; it
// slows neither the publisher nor other subscribers. All methods are safe for
// concurrent use.
type TopicServer struct {
	ep     *endpoint
	index  index // its lock guards topics: finding subscribers and queueing a message at all of them are one step
	topics *topic.TopicManager

	run     string           // of this process
	feeds   map[string]*feed // of topics that were used; behind the index's lock, as what follows
	groups  map[groupKey]*group
	served  map[consumerKey]*consumer
	leaving map[consumerKey]*consumer // have ended, and still give back what they had
	pushes  uint64                    // counts what was pushed, to find what a group was offered already
	reads   readSlots                 // of catch-ups
	grouped int64                     // bytes that wait in groups, or are in the hands of members
	logs    abstract.TopicLog         // what topics keep in memory
	durable abstract.TopicLog         // what they keep on disk; nil: nothing
	broom   broom
	ended   ended
	backlog backlog // messages for later, of all topics

	skipped atomic.Uint64 // pushes that were larger than their subscriber takes
}

var _ abstract.BaseServer = (*TopicServer)(nil)
var _ part = (*TopicServer)(nil)

// NewTopicServer makes a server of topics for addr ("host:port", or "unix:/path").
func NewTopicServer(addr string, opts ...Option) *TopicServer {
	cfg := newConfig(opts)
	return newTopicServer(newEndpoint(addr, cfg), storeOf(cfg))
}

func newTopicServer(ep *endpoint, store abstract.Store) *TopicServer {
	s := &TopicServer{
		ep: ep, topics: topic.NewTopicManager(topic.Config{}), run: newEpoch(), feeds: make(map[string]*feed), reads: make(readSlots, maxReads),
		groups: make(map[groupKey]*group), served: make(map[consumerKey]*consumer), leaving: make(map[consumerKey]*consumer),
		logs: memlog.New(memlog.Config{MaxBytes: ep.cfg.topicMemory}), durable: ep.cfg.topicLog,
	}
	s.index.init(store, s.topics.Applied)
	dispatch.On(ep.dispatch, abstract.ReqTopic, s.onTopicRequest)
	ep.attach(s, store)
	return s
}

// Listen binds the address; see Serve.
func (s *TopicServer) Listen() error { return s.ep.Listen() }

// Addr is the address the server listens on; nil before Listen.
func (s *TopicServer) Addr() net.Addr { return s.ep.Addr() }

// Serve serves until Shutdown is called, and then returns nil.
func (s *TopicServer) Serve() error { return s.ep.Serve() }

// Shutdown writes out what is queued, tells modern peers goodbye and closes the
// connections, within ctx.
func (s *TopicServer) Shutdown(ctx context.Context) error { return s.ep.Shutdown(ctx) }

func (s *TopicServer) drain(context.Context) {}
func (s *TopicServer) close()                { s.index.close() }

// start takes the topics in the store into the index.
func (s *TopicServer) start() error {
	s.index.follow(topic.Prefix, s.apply)
	err := load(s.index.store, topic.Prefix, func(kvs []abstract.KV, rev int64) bool {
		s.index.Lock()
		defer s.index.Unlock()
		_, ok := s.topics.Load(kvs, rev)
		if ok {
			s.ended.before = topic.LastEnd(kvs)
			s.sweep(topic.RemovedIn(kvs))
		}
		return ok
	})
	if err == nil && s.durable != nil {
		s.ep.errands.Go(s.resumeLater)
	}
	return err
}

// onTopicRequest serves the topic operations.
func (s *TopicServer) onTopicRequest(t *turn, m *message.TopicRequest) {
	if m.Op == abstract.TopicAck && t.conn.modern() { // waits for nothing that comes before it
		s.ack(t, m)
		return
	}
	writes := m.Op == abstract.TopicCreate || m.Op == abstract.TopicRemove || m.Op == abstract.TopicSet
	if t.patiently(m, false) || t.later(m, (writes || s.creates(m)) && !s.index.store.Instant() || s.asksLog(m)) {
		return
	}
	c := t.conn
	var rsp *message.TopicResponse // nil: that it was done is all there is to say
	m, err := s.asMeant(t, m)
	if err != nil {
		if m.Op != abstract.TopicSend || !c.modern() {
			c.refuse(m, err)
		}
		return
	}
	switch m.Op {
	case abstract.TopicCreate:
		err = s.create(c, m)
	case abstract.TopicRemove:
		err = s.change(func() (abstract.Txn, error) { return s.topics.PlanRemove(m.Topic) })
	case abstract.TopicSubscribe:
		if err = s.subscribe(c, m); err == nil {
			return
		}
	case abstract.TopicCancel:
		err = s.cancel(c, m)
	case abstract.TopicPublish, abstract.TopicSend:
		s.publish(t, m)
		return
	case abstract.TopicSet:
		err = s.set(c, m)
	case abstract.TopicInfo:
		rsp, err = s.info(c, m)
	case abstract.TopicList:
		rsp, err = s.list(c, m)
	case abstract.TopicRead:
		rsp, err = s.read(c, m)
	case abstract.TopicForget:
		err = s.forgetConsumer(c, m)
	case abstract.TopicDelete:
		err = s.deleteMessages(c, m)
	case abstract.TopicScheduled:
		rsp, err = s.listScheduled(c, m)
	case abstract.TopicCancelScheduled:
		err = s.cancelScheduled(c, m)
	}
	if err != nil {
		c.refuse(m, err)
		return
	}
	if rsp == nil {
		rsp = new(message.TopicResponse)
	}
	rsp.Header = message.ID(m.ID())
	c.reply(rsp)
}

// asksLog reports whether a request waits for the log of a durable topic.
func (s *TopicServer) asksLog(m *message.TopicRequest) bool {
	switch m.Op {
	case abstract.TopicSubscribe, abstract.TopicInfo, abstract.TopicRead, abstract.TopicForget, abstract.TopicDelete,
		abstract.TopicScheduled, abstract.TopicCancelScheduled:
		if m.More != nil && m.More.Resume != nil && topic.IsWild(m.Topic) {
			return len(s.unseenLogs(m.Topic, 1)) > 0
		}
		s.index.Lock()
		defer s.index.Unlock()
		info, _ := s.topics.Topic(m.Topic)
		return info.Settings.Durable
	}
	return false
}

// creates reports whether a subscription makes its topic.
func (s *TopicServer) creates(m *message.TopicRequest) bool {
	if m.Op != abstract.TopicSubscribe || len(s.ep.cfg.autoTopics) == 0 {
		return false
	}
	s.index.Lock()
	defer s.index.Unlock()
	_, there := s.topics.Topic(m.Topic)
	return !there
}

// change runs the transaction that plan makes, and returns when the index has it.
func (s *TopicServer) change(plan func() (abstract.Txn, error)) error {
	s.index.Lock()
	txn, err := plan()
	s.index.Unlock()
	if err != nil || len(txn.Then) == 0 {
		return err
	}
	ctx := storeContext(time.Now().Add(storeTimeout))
	defer ctx.finish()
	_, told, err := s.index.run(ctx, txn) // where it has not succeeded, somebody else has just done the same
	flushAll(told)
	return err
}

// apply takes a change of the store into the index. It runs in revision order.
func (s *TopicServer) apply(change abstract.Change) {
	s.index.Lock()
	defer s.index.Unlock()
	for _, sub := range s.topics.Apply(change) { // the topic is gone, and they with it
		to := sub.Lane.(*subscriber)
		s.left(to)
		s.over(to, errRemoved(sub.Filter))
		s.index.tell(to.conn)
	}
	removed := topic.RemovedBy(change)
	s.endsUnused(removed)
	s.forgetRemoved(change)
	s.policeChanged(change)
	s.sweep(removed)
	s.index.advanced()
}

// lost leaves no trace of a connection.
func (s *TopicServer) lost(t *turn) {
	s.index.Lock()
	defer s.index.Unlock()
	for _, sub := range s.topics.Disconnect(topic.ConnID(t.conn.id)) {
		if sub.Lane != nil {
			s.left(sub.Lane.(*subscriber))
		}
	}
}
