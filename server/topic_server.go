package server

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"trefoil/abstract"
	"trefoil/business/access"
	"trefoil/business/dispatch"
	"trefoil/business/topic"
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
	s := &TopicServer{ep: ep, topics: topic.NewTopicManager(topic.Config{})}
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
	return load(s.index.store, topic.Prefix, func(kvs []abstract.KV, rev int64) bool {
		s.index.Lock()
		defer s.index.Unlock()
		_, ok := s.topics.Load(kvs, rev)
		return ok
	})
}

// onTopicRequest serves the five topic operations.
func (s *TopicServer) onTopicRequest(t *turn, m *message.TopicRequest) {
	writes := m.Op == abstract.TopicCreate || m.Op == abstract.TopicRemove
	if t.later(m, writes && !s.index.store.Instant()) {
		return
	}
	c := t.conn
	var err error
	switch m.Op {
	case abstract.TopicCreate:
		err = s.change(s.topics.PlanCreate, m.Topic)
	case abstract.TopicRemove:
		err = s.change(s.topics.PlanRemove, m.Topic)
	case abstract.TopicSubscribe:
		err = s.subscribe(c, m.Topic)
	case abstract.TopicCancel:
		err = s.cancel(c, m.Topic)
	case abstract.TopicPublish:
		s.publish(t, m)
		return
	}
	if err != nil {
		c.refuse(m, err)
		return
	}
	c.reply(&message.TopicResponse{Header: message.ID(m.ID())})
}

// change runs the transaction that plan makes for a topic, and returns when the
// index has it.
func (s *TopicServer) change(plan func(string) (abstract.Txn, error), name string) error {
	s.index.Lock()
	txn, err := plan(name)
	s.index.Unlock()
	if err != nil || len(txn.Then) == 0 {
		return err
	}
	ctx := storeContext(time.Now().Add(storeTimeout))
	defer ctx.finish()
	_, _, err = s.index.run(ctx, txn) // where it has not succeeded, somebody else has just done the same
	return err
}

// apply takes a change of the store into the index. It runs in revision order.
func (s *TopicServer) apply(change abstract.Change) {
	s.index.Lock()
	defer s.index.Unlock()
	for _, sub := range s.topics.Apply(change) { // the topic is gone, and they with it
		sub.Lane.Close()
	}
	s.index.advanced()
}

// subscribe gives a connection a queue of its own for a topic. Subscribing again
// changes nothing.
func (s *TopicServer) subscribe(c *conn, name string) error {
	s.index.Lock()
	defer s.index.Unlock()
	sub, err := s.topics.Subscribe(topic.ConnID(c.id), name)
	if err != nil || sub.Lane != nil {
		return err
	}
	if err := c.acquire(access.Subscriptions); err != nil {
		_, _ = s.topics.Cancel(topic.ConnID(c.id), name) // it is there
		return err
	}
	cfg := abstract.LaneConfig{MaxBytes: s.ep.limits.Load().SubscriberQueue, Policy: abstract.CloseConnection}
	if c.modern() {
		cfg.Policy = abstract.DropOldest
		cfg.Gap = func(missed uint64) abstract.Frame { return s.gap(c, name, missed) }
	}
	sub.Lane = &subscriber{Lane: c.NewLane(cfg), conn: c, legacy: !c.modern(), limit: c.judge.MaxFrame()}
	return nil
}

// gap is the notice to a subscriber that it has lost messages.
func (s *TopicServer) gap(c *conn, name string, missed uint64) abstract.Frame {
	frame, _ := c.encode(&message.GapNotice{Header: message.ID(s.ep.newID()), Topic: name, Missed: missed})
	return frame // without bytes when it could not be encoded, which encode has logged
}

func (s *TopicServer) cancel(c *conn, name string) error {
	s.index.Lock()
	defer s.index.Unlock()
	sub, err := s.topics.Cancel(topic.ConnID(c.id), name)
	if err != nil {
		return err
	}
	sub.Lane.Close()
	return nil
}

// lost leaves no trace of a connection.
func (s *TopicServer) lost(t *turn) {
	s.index.Lock()
	defer s.index.Unlock()
	for _, sub := range s.topics.Disconnect(topic.ConnID(t.conn.id)) {
		if sub.Lane != nil {
			sub.Lane.Close()
		}
	}
}
