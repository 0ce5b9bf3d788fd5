package server

import (
	"context"
	"strings"

	"trefoil/abstract"
	"trefoil/business/access"
	"trefoil/business/topic"
	"trefoil/concrete/message"
)

// none is what an existing program says beside the topic.
var none message.TopicExtras

// subscribe gives a connection a queue of its own for a topic, or for all that a filter
// names. Subscribing again changes nothing. It answers itself, before the first push: from
// the answer on the subscriber counts offsets.
func (s *TopicServer) subscribe(c *conn, m *message.TopicRequest) error {
	x := m.More
	if x == nil || !c.modern() {
		x = &none
	}
	if topic.IsWild(m.Topic) && x.Sub != "" {
		return s.subscribeWild(c, m, x)
	}
	return s.subscribeTo(c, m, x)
}

// subscribed answers who has subscribed.
func (c *conn) subscribed(m *message.TopicRequest, rsp *message.TopicResponse) {
	if !c.modern() {
		rsp = new(message.TopicResponse)
	}
	rsp.Header = message.ID(m.ID())
	c.reply(rsp)
}

// subscribeTo makes a subscription to one topic.
func (s *TopicServer) subscribeTo(c *conn, m *message.TopicRequest, x *message.TopicExtras) error {
	name, durable := m.Topic, false
	s.index.Lock()
	f, err := s.feedOf(name)
	if s.autoFor(name, err) != nil {
		s.index.Unlock()
		if _, err := s.makeAuto(c, name, err); err != nil {
			return err
		}
		s.index.Lock()
		f, err = s.feedOf(name)
	}
	if err == nil {
		err = s.allowedOn(c, f.settings.Allow.Subscribe, "subscribe to", name)
		durable = f.settings.Durable
	}
	s.index.Unlock()
	if err != nil {
		return err
	}
	if _, err := s.ready(f); err != nil {
		return err
	}
	if durable && (x.Group != "" || x.Name != "") {
		rsp, err := s.consume(c, f, x)
		if err == nil {
			c.subscribed(m, rsp)
		}
		return err
	}
	if x.Name != "" {
		return errNoConsumers(name)
	}
	f.order.Lock() // nothing is published between the place where it begins and its beginning
	defer f.order.Unlock()
	begin, rsp, err := s.beginning(f, x)
	if err != nil {
		return err
	}
	s.index.Lock()
	defer s.index.Unlock()
	to, fresh, err := s.enter(c, name, x, &f.settings)
	if err != nil {
		return err
	}
	if !fresh { // it has been told before where it began
		c.subscribed(m, &message.TopicResponse{Epoch: rsp.Epoch})
		return nil
	}
	rsp.Offset = begin - 1
	c.subscribed(m, rsp)
	s.welcome(to)
	s.announce(f, to, abstract.TopicSubscribe)
	if begin <= f.last && f.log != nil {
		s.catchUp(to, stretch{feed: f, log: f.log, next: begin})
	}
	return nil
}

// enter makes a connection's subscription, with its queue; not fresh: it is there
// already. It is called with the index's lock held.
func (s *TopicServer) enter(c *conn, filter string, x *message.TopicExtras, settings *abstract.TopicSettings) (to *subscriber, fresh bool, err error) {
	var sub *topic.Subscription
	if x.Sub == "" {
		sub, err = s.topics.Subscribe(topic.ConnID(c.id), filter)
	} else {
		sub, err = s.topics.SubscribeAs(topic.ConnID(c.id), x.Sub, filter)
	}
	if err != nil || sub.Lane != nil {
		return nil, false, err
	}
	if err := c.acquire(access.Subscriptions); err != nil {
		s.withdraw(sub)
		return nil, false, err
	}
	to = &subscriber{conn: c, legacy: !c.modern(), limit: min(c.judge.MaxFrame(), s.ep.cfg.maxQueued), sub: sub, where: ownWords(x.Where)}
	cfg := abstract.LaneConfig{MaxBytes: s.ep.limits.Load().SubscriberQueue, Policy: abstract.CloseConnection}
	if c.modern() {
		cfg.Gap = to.gap
		cfg.Policy, to.slow = lanePolicy(settings.Slow), settings.Slow
		if x.Group != "" || x.Name != "" { // what a member has no room for stays with the group
			cfg.Policy = abstract.CloseConnection
		}
	}
	to.Lane = c.NewLane(cfg)
	sub.Lane = to
	if x.Watch {
		s.watch(to)
	}
	if x.Group != "" && !settings.Durable {
		s.join(to, sub, x, settings)
	}
	return to, true, nil
}

// ownWords copies what is a piece of a request's frame: a subscription must not keep that.
func ownWords(words map[string]string) map[string]string {
	if words == nil {
		return nil
	}
	own := make(map[string]string, len(words))
	for name, value := range words {
		own[strings.Clone(name)] = strings.Clone(value)
	}
	return own
}

// withdraw takes a subscription back that has no queue yet.
func (s *TopicServer) withdraw(sub *topic.Subscription) {
	if sub.Tag == "" {
		_, _ = s.topics.Cancel(sub.Conn, sub.Filter) // it is there
		return
	}
	_, _ = s.topics.CancelAs(sub.Conn, sub.Tag)
}

// beginning returns the first offset that a subscription gets, and what its subscriber
// is told. It is called with the topic's order held.
func (s *TopicServer) beginning(f *feed, x *message.TopicExtras) (begin uint64, rsp *message.TopicResponse, err error) {
	s.index.Lock()
	log, retain := f.log, f.settings.Retain
	s.index.Unlock()
	first, last := f.last+1, f.last
	if log != nil {
		if first, last, err = log.Bounds(context.Background()); err != nil {
			return 0, nil, err
		}
		s.catchOn(f, last)
	}
	rsp = &message.TopicResponse{Offset: last, Epoch: f.epoch}
	begin = last + 1
	switch from := x.From; from.Where {
	case message.FromUnsaid:
		if retain && x.Group == "" && x.Name == "" {
			begin = max(first, last)
		}
	case message.FromLast:
		begin = max(first, last)
	case message.FromAll:
		begin = first
	case message.FromTime:
		if log != nil {
			begin, err = log.OffsetAt(context.Background(), from.Time)
		}
	case message.FromOffset:
		same := x.Epoch == "" || x.Epoch == f.epoch
		rsp.Recovered = message.TriOf(same && from.Offset >= first && from.Offset <= last+1)
		begin = first
		if same {
			begin = max(first, min(from.Offset, last+1))
		}
	}
	return begin, rsp, err
}

// catchOn notes how far a topic's log is, which may be older than this process. It is
// called with the topic's order held.
func (s *TopicServer) catchOn(f *feed, last uint64) {
	s.index.Lock()
	defer s.index.Unlock()
	s.fill(f, last)
}

// gap is the notice to a subscriber that it has lost messages. It needs no lock.
func (to *subscriber) gap(missed uint64) abstract.Frame {
	c := to.conn
	frame, _ := c.encode(&message.GapNotice{Header: message.ID(c.ep.newID()), Topic: to.sub.Filter, Sub: to.sub.Tag, Missed: missed})
	return frame // without bytes when it could not be encoded, which encode has logged
}

// cancel ends a subscription.
func (s *TopicServer) cancel(c *conn, m *message.TopicRequest) error {
	s.index.Lock()
	defer s.index.Unlock()
	var sub *topic.Subscription
	var err error
	if m.More != nil && m.More.Sub != "" {
		sub, err = s.topics.CancelAs(topic.ConnID(c.id), m.More.Sub)
	} else {
		sub, err = s.topics.Cancel(topic.ConnID(c.id), m.Topic)
	}
	if err != nil {
		return err
	}
	s.left(sub.Lane.(*subscriber))
	return nil
}

// left ends what a subscription has that is out of the index already. It is called with
// the index's lock held.
func (s *TopicServer) left(to *subscriber) {
	to.Close()
	to.gone = true
	s.leaveGroup(to)
	s.leaveConsumer(to)
	if f := s.feeds[to.sub.Filter]; f != nil {
		s.announce(f, to, abstract.TopicCancel)
	}
}

// over tells a subscriber that its subscription has ended, and why: the caller flushes.
// It is called with the index's lock held.
func (s *TopicServer) over(to *subscriber, why *abstract.Error) {
	if to.legacy {
		return
	}
	text, _ := message.Encode(map[string]any{"rcode": why.Code, "message": why.Message})
	notice := &message.TopicRequest{Header: message.ID(s.ep.newID()), Op: abstract.TopicRemove, Topic: to.sub.Filter, Message: text}
	if to.sub.Tag != "" {
		notice.More = &message.TopicExtras{Sub: to.sub.Tag}
	}
	to.conn.reply(notice)
}
