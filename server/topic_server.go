package server

import (
	"context"
	"net"
	"sync"
	"sync/atomic"

	"trefoil/abstract"
	"trefoil/business/dispatch"
	"trefoil/business/peer"
	"trefoil/business/topic"
	"trefoil/concrete/message"
)

// TopicServer carries messages from publishers to the subscribers of a topic. A
// subscriber that does not keep up loses messages of its own and is told so; it
// slows neither the publisher nor other subscribers. All methods are safe for
// concurrent use.
type TopicServer struct {
	ep    *endpoint
	store abstract.Store
	stop  func() // ends the following of the store

	// mu keeps events in order: finding a topic's subscribers and queueing a
	// message at all of them are one step. Nothing is written to a socket under it.
	mu     sync.Mutex
	topics *topic.TopicManager
	moved  sync.Cond

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
	s := &TopicServer{ep: ep, store: store, stop: func() {}, topics: topic.NewTopicManager(topic.Config{})}
	s.moved.L = &s.mu
	dispatch.On(ep.dispatch, abstract.ReqTopic, s.onTopicRequest)
	ep.parts = append(ep.parts, s)
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
func (s *TopicServer) close()                { s.stop() }

// start takes the topics in the store into the index.
func (s *TopicServer) start() error {
	s.stop = s.store.Follow(topic.Prefix, s.apply)
	return load(s.store, topic.Prefix, func(kvs []abstract.KV, rev int64) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		_, ok := s.topics.Load(kvs, rev)
		return ok
	})
}

// onTopicRequest serves the five topic operations.
func (s *TopicServer) onTopicRequest(c *conn, m *message.TopicRequest) {
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
		err = s.publish(c, m)
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
	s.mu.Lock()
	txn, err := plan(name)
	s.mu.Unlock()
	if err != nil || len(txn.Then) == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	res, err := s.store.Txn(ctx, txn)
	if err != nil || !res.Changed {
		return err // nothing changed: somebody else has just done the same
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.topics.Applied() < res.Revision {
		s.moved.Wait()
	}
	return nil
}

// apply takes a change of the store into the index. It runs in revision order.
func (s *TopicServer) apply(change abstract.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sub := range s.topics.Apply(change) { // the topic is gone, and they with it
		sub.Lane.Close()
	}
	s.moved.Broadcast()
}

// subscribe gives a connection a queue of its own for a topic. Subscribing again
// changes nothing.
func (s *TopicServer) subscribe(c *conn, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub, err := s.topics.Subscribe(topic.ConnID(c.id), name)
	if err != nil || sub.Lane != nil {
		return err
	}
	cfg := abstract.LaneConfig{MaxBytes: s.ep.cfg.subscriberCap, Policy: abstract.CloseConnection}
	if c.modern() {
		cfg.Policy = abstract.DropOldest
		cfg.Gap = func(missed uint64) abstract.Frame { return s.gap(c, name, missed) }
	}
	sub.Lane = c.NewLane(cfg)
	return nil
}

// gap is the notice to a subscriber that it has lost messages.
func (s *TopicServer) gap(c *conn, name string, missed uint64) abstract.Frame {
	frame, _ := c.encode(&message.GapNotice{Header: message.ID(s.ep.newID()), Topic: name, Missed: missed})
	return frame // without bytes when it could not be encoded, which encode has logged
}

func (s *TopicServer) cancel(c *conn, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub, err := s.topics.Cancel(topic.ConnID(c.id), name)
	if err != nil {
		return err
	}
	sub.Lane.Close()
	return nil
}

// publish queues a message at every subscriber: the publisher's own bytes, the
// same for all.
func (s *TopicServer) publish(c *conn, m *message.TopicRequest) error {
	push := push{message: m, frame: abstract.Frame{Class: abstract.ClassTopic, Count: 1, Bytes: m.Frame()}}
	s.mu.Lock()
	defer s.mu.Unlock()
	subs, err := s.topics.Publish(m.Topic)
	if err != nil {
		return err
	}
	for _, sub := range subs {
		to := s.ep.conn(uint64(sub.Conn))
		if to == nil {
			continue
		}
		frame, ok := push.frameFor(s, to)
		if !ok {
			continue
		}
		if sub.Lane.Queue(frame) == nil {
			c.touch(to)
		}
	}
	return nil
}

// push is one published message on its way to many subscribers.
type push struct {
	message *message.TopicRequest
	frame   abstract.Frame // as it came
	legacy  []byte         // for legacy subscribers, made when the first one is met
}

// frameFor returns the frame for one subscriber; not ok when it cannot take it.
func (p *push) frameFor(s *TopicServer, to *conn) (abstract.Frame, bool) {
	frame := p.frame
	if !to.modern() {
		if p.legacy == nil {
			p.legacy = s.legacyBytes(p.message)
		}
		frame.Bytes = p.legacy
	}
	if err := to.judge.CheckSize(len(frame.Bytes)); err != nil || len(frame.Bytes) == 0 {
		s.ep.log.Debug("push skipped", "peer", to.name(), "topic", p.message.Topic, "err", err)
		s.skipped.Add(1)
		return frame, false
	}
	return frame, true
}

// legacyBytes is the push as existing programs take it: its message a string.
func (s *TopicServer) legacyBytes(m *message.TopicRequest) []byte {
	shaped := peer.LegacyPush(m)
	if shaped == m {
		return m.Frame()
	}
	b, err := s.ep.protocol.Append(nil, shaped)
	if err != nil {
		return []byte{}
	}
	return b
}

// Skipped returns how many pushes were not sent because they were larger than
// their subscriber takes.
func (s *TopicServer) Skipped() uint64 { return s.skipped.Load() }

// lost leaves no trace of a connection.
func (s *TopicServer) lost(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sub := range s.topics.Disconnect(topic.ConnID(c.id)) {
		if sub.Lane != nil {
			sub.Lane.Close()
		}
	}
}
