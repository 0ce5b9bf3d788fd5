package server

import (
	"strconv"
	"strings"
	"time"

	"trefoil/abstract"
	"trefoil/business/topic"
	"trefoil/concrete/lv"
	"trefoil/concrete/message"
)

// group is a queue group: of what its filter names, each message goes to one member. All
// of it is behind the index's lock.
type group struct {
	groupKey
	name    string
	queue   *topic.Group
	newest  bool   // it loses what comes, and not what waits
	counted int64  // of TopicServer.grouped
	offered uint64 // the push that it was offered last
	missed  uint64 // dropped before what waits, and nobody was told yet
	dropped uint64 // the same, behind what waits
	failed  uint64 // given back too often, and dropped
	alarm   *time.Timer
}

type groupKey struct{ filter, group string }

// groupedCost is what a message in a group counts besides its bytes: a peer may make
// thousands of groups, and publish next to nothing very often.
const groupedCost = 160

// grouped is a message in a group.
type grouped struct {
	frame   []byte // the push, without what is a member's own
	missed  uint64 // dropped right before it
	expires time.Time
}

// defaultWindow is how many messages a member of a group gets before it is done with the
// first. More make a member faster whose handler is, and let others wait that have
// nothing to do while it is slow.
const defaultWindow = 1

// maxWindow bounds what a member can ask for.
const maxWindow = 1024

// groupQueue is how much of what nobody has room for waits in a group, in queues of a
// subscriber.
const groupQueue = 16

// join makes a subscription a member of a group.
func (s *TopicServer) join(to *subscriber, sub *topic.Subscription, x *message.TopicExtras, settings *abstract.TopicSettings) {
	k := groupKey{sub.Filter, strings.Clone(x.Group)}
	g := s.groups[k]
	if g == nil {
		g = &group{groupKey: k, name: k.group, queue: topic.NewGroup(topic.GroupConfig{
			MaxBytes: groupQueue * s.ep.limits.Load().SubscriberQueue,
		}), newest: settings.Slow == abstract.SlowDropNewest}
		s.groups[k] = g
	}
	window := x.Window
	if window == 0 {
		window = defaultWindow
	}
	to.group, to.member = g, g.queue.Join(sub, min(window, maxWindow))
}

// welcome gives a new member what has waited for one.
func (s *TopicServer) welcome(to *subscriber) {
	if to.group != nil {
		s.deal(to.group, flushAside)
	}
}

// leaveGroup gives what a member had in hand to the others.
func (s *TopicServer) leaveGroup(to *subscriber) {
	g := to.group
	if g == nil {
		return
	}
	g.queue.Leave(to.member)
	s.count(g)
	if g.queue.Len() == 0 { // nobody is subscribed, and what waits goes, as with any subscription
		g.forget()
		s.grouped -= g.counted
		delete(s.groups, g.groupKey)
		return
	}
	s.deal(g, flushAside)
}

// flushAside flushes for who holds a lock.
func flushAside(c *conn) { go c.Flush() }

// offer gives published messages to a group, once, and returns 1 when it has members.
func (s *TopicServer) offer(t *turn, f *feed, p *pushes, g *group) int {
	if g.offered == s.pushes {
		return 0
	}
	g.offered = s.pushes
	var only func(*topic.Subscription) bool
	if len(f.settings.Allow.Subscribe) > 0 && g.filter != f.name {
		only = func(sub *topic.Subscription) bool { return f.admits(sub.Lane.(*subscriber).conn) }
	}
	for i, frame := range p.modern.single {
		m := p.run[i].(*message.TopicRequest)
		msg := grouped{frame: frame}
		if m.More != nil && m.More.TTL > 0 {
			msg.expires = t.now.Add(m.More.TTL)
		}
		size := len(frame) + groupedCost
		if !s.makeRoom(g, size) || g.newest && !g.queue.Fits(size) {
			g.dropped++
			continue
		}
		msg.missed, g.dropped = g.dropped, 0
		g.missed += uint64(g.queue.Offer(&topic.Item{Message: msg, Size: size, Only: only}))
	}
	s.count(g)
	s.deal(g, t.touch)
	return 1
}

// deal gives what waits to members that have room. touched is called with whoever
// something was queued for.
func (s *TopicServer) deal(g *group, touched func(*conn)) {
	now := time.Now()
	for {
		m, delivery, it, ok := g.queue.Next()
		if !ok {
			return
		}
		msg, to := it.Message.(grouped), m.Sub.Lane.(*subscriber)
		if !msg.expires.IsZero() && !now.Before(msg.expires) {
			g.queue.Done(m, delivery)
			continue
		}
		if len(msg.frame) > to.limit {
			g.queue.Done(m, delivery)
			s.skipped.Add(1)
			continue
		}
		if need := len(msg.frame) + extended; to.Room() < need {
			g.queue.Undo(m, delivery)
			s.pause(to, need)
			continue
		}
		if missed := g.missed + msg.missed; missed > 0 {
			to.lose(missed)
			g.missed, msg.missed = 0, 0
			it.Message = msg // another member is not told again
		}
		if to.Queue(abstract.Frame{Class: abstract.ClassTopic, Count: 1, Bytes: dealt(msg.frame, to.sub.Tag, delivery, it.Delivered)}) != nil {
			return // it is being closed, and gives back what it has
		}
		touched(to.conn)
		if g.queue.Waiting() == 0 && g.dropped > 0 {
			to.lose(g.dropped)
			g.dropped = 0
		}
	}
}

// pause gives a member nothing until there is room in its connection's queue again, so
// that nothing is lost there that it seems to have in hand.
func (s *TopicServer) pause(to *subscriber, need int) {
	to.group.queue.Pause(to.member, true)
	go func() {
		alive := to.awaitRoom(to.conn.ctx, max(need, s.ep.limits.Load().SubscriberQueue/2), nil)
		s.index.Lock()
		defer s.index.Unlock()
		if !alive || to.gone {
			return
		}
		to.group.queue.Pause(to.member, false)
		s.deal(to.group, flushAside)
	}()
}

// dealt is the push to a member.
func dealt(frame []byte, tag string, delivery uint64, delivered int) []byte {
	var room [160]byte
	members := message.AppendMember(room[:0], "sub", tag)
	members = strconv.AppendUint(append(members, `,"delivery":`...), delivery, 10)
	if delivered > 1 {
		members = strconv.AppendInt(append(members, `,"delivered":`...), int64(delivered), 10)
	}
	return lv.Extend(make([]byte, 0, len(frame)+len(members)), frame, members)
}

// ack takes a member's word that it is done with messages, or gives them back.
func (s *TopicServer) ack(t *turn, m *message.TopicRequest) {
	x := m.More
	if x == nil {
		return
	}
	s.index.Lock()
	defer s.index.Unlock()
	sub := s.topics.Tagged(topic.ConnID(t.conn.id), x.Sub)
	if sub == nil {
		return // it has just been cancelled
	}
	to := sub.Lane.(*subscriber)
	if to.consumer != nil {
		s.ackConsumed(t, to, x)
		return
	}
	g := to.group
	if g == nil || x.Progress {
		return
	}
	for _, d := range x.Deliveries {
		if it, ok := g.queue.Done(to.member, d); ok && x.Nack {
			s.returned(to, it, x.Delay)
		}
	}
	s.count(g)
	s.deal(g, t.touch)
}

// expel ends the subscription of somebody who does not keep up, where its topic wants it
// so. It is called with the index's lock held.
func (s *TopicServer) expel(to *subscriber) {
	if to.gone {
		return
	}
	s.takeOut(to)
	s.left(to)
	s.over(to, abstract.Errorf(abstract.Overloaded, "the subscription to %q did not keep up, and the topic ends such ones: what had not been read yet is lost; subscribe again, behind the last message that came if the topic keeps them", to.sub.Filter))
}

// takeOut takes a subscription out of the index.
func (s *TopicServer) takeOut(to *subscriber) {
	if to.sub.Tag == "" {
		_, _ = s.topics.Cancel(topic.ConnID(to.conn.id), to.sub.Filter)
		return
	}
	_, _ = s.topics.CancelAs(topic.ConnID(to.conn.id), to.sub.Tag)
}
