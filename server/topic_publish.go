package server

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync/atomic"

	"trefoil/abstract"
	"trefoil/business/access"
	"trefoil/business/peer"
	"trefoil/business/topic"
	"trefoil/concrete/lv"
	"trefoil/concrete/message"
)

// Messages to a topic mostly come several at a time. Those that follow each other
// in one batch of a publisher are put together once and queued once at each
// subscriber: what a delivery costs is then mostly the kernel's part of it.

// pushBytes bounds what is put together, and a subscriber's cap is worth pushShare
// of such at least: a full lane drops them whole.
const (
	pushBytes = 64 << 10
	pushShare = 16
)

// subscriber is the Lane of a Subscription, and what else pushing needs to know. There
// may be a million of them: see BenchmarkMillionSubscriptions.
type subscriber struct {
	abstract.Lane
	conn   *conn
	sub    *topic.Subscription // its Tag, unless empty, is in its pushes
	limit  int                 // the longest frame that it takes
	where  map[string]string   // metadata that it wants
	sights abstract.Lane       // of notices who comes and goes; nil: it does not want to know
	ended  atomic.Bool         // closed
	legacy bool
	slow   abstract.SlowPolicy // what becomes of it when it does not keep up: see police

	// What follows is behind the index's lock.
	gone     bool
	dropped  uint64           // of the newest, that it was not told of yet
	behind   map[*feed]uint64 // topics that a catch-up gives it, and the first offset that was published since
	group    *group           // nil: it gets everything, or
	consumer *consumer        // what the log hands out
	member   *topic.Member
}

// Close ends the subscription. It is called once.
func (to *subscriber) Close() {
	to.ended.Store(true)
	to.Lane.Close()
	if to.sights != nil {
		to.sights.Close()
	}
	to.conn.release(access.Subscriptions)
}

// publish serves first and the publishes to the same topic that follow it in the
// batch: it queues them at every subscriber, and then their answers.
func (s *TopicServer) publish(t *turn, first *message.TopicRequest) {
	s.index.Lock()
	f, err := s.feedOf(first.Topic)
	together := err == nil && f.unchecked() && bare(first)
	var log abstract.Log
	if together {
		log = f.log
	}
	s.index.Unlock()
	switch {
	case err != nil:
		s.publishAuto(t, first, err)
	case together:
		s.publishTogether(t, f, log, t.takePublishes(first))
	default:
		s.publishChecked(t, f, first)
	}
}

// bare reports whether a publish says no more than existing programs can.
func bare(m *message.TopicRequest) bool { return m.More == nil && m.Op == abstract.TopicPublish }

// publishTogether publishes to a topic that checks nothing: one that is plain, or has a
// log in memory.
func (s *TopicServer) publishTogether(t *turn, f *feed, log abstract.Log, run []abstract.BaseMessage) {
	p := &t.pushes
	defer p.forget()
	p.begin(f, run, s.ep.limits.Load().SubscriberQueue)
	f.order.Lock()
	first, err := f.last+1, error(nil)
	if log != nil {
		first, err = p.keep(log)
	}
	if err == nil {
		_, err = s.pushFrom(t, f, p, first)
	}
	f.order.Unlock()
	if errors.Is(err, errKept) {
		for _, m := range run {
			s.publishChecked(t, f, m.(*message.TopicRequest))
		}
		return
	}
	t.answerTopics(run, err)
}

// keep gives the messages to the topic's log, and returns the offset of the first. It is
// called with the topic's order held.
func (p *pushes) keep(log abstract.Log) (first uint64, err error) {
	for _, m := range p.run { // each is copied for itself: it is kept longer than what came with it
		p.entries = append(p.entries, abstract.LogEntry{Data: slices.Clone(m.(*message.TopicRequest).Frame())})
	}
	p.kept = true
	offsets, err := log.Append(context.Background(), p.entries)
	if err != nil {
		return 0, err
	}
	return offsets[0].Offset, nil // the others follow: nobody else appends, and none is known already
}

// errKept is why messages are not pushed that are in no log: the topic has got one just now.
var errKept = errors.New("the topic keeps its messages")

// pushNext gives the messages the next offsets of a topic that keeps none, and pushes
// them. It is called with the topic's order held.
func (s *TopicServer) pushNext(t *turn, f *feed, p *pushes) (reached int, err error) {
	return s.pushFrom(t, f, p, f.last+1)
}

// pushFrom pushes the messages, the first of which has this offset. It is called with the
// topic's order held.
func (s *TopicServer) pushFrom(t *turn, f *feed, p *pushes, first uint64) (reached int, err error) {
	p.number(first)
	s.pack(p)
	return s.push(t, f, p, first+uint64(len(p.run))-1)
}

// takePublishes takes the publishes to first's topic that follow it in the batch,
// and returns them behind it: those that are as bare as it is. What has passed Check
// before a message of these types holds for it too: see run.
func (t *turn) takePublishes(first *message.TopicRequest) []abstract.BaseMessage {
	from := t.next - 1
	for t.next < len(t.waiting) {
		m, ok := t.waiting[t.next].(*message.TopicRequest)
		if !ok || m.Op != abstract.TopicPublish || m.Topic != first.Topic || !bare(m) || m.Check() != nil {
			break
		}
		t.next++
	}
	return t.waiting[from:t.next]
}

// push queues the messages at every subscriber, the same bytes for all that take the
// same form, and returns how many these are. last is the offset of the last one. It is
// called with the topic's order held.
func (s *TopicServer) push(t *turn, f *feed, p *pushes, last uint64) (reached int, err error) {
	s.index.Lock()
	defer s.index.Unlock()
	if f.removed {
		return 0, errRemoved(p.topic)
	}
	if f.log != nil && !p.kept {
		return 0, errKept
	}
	if f.settings.Durable && p.first > f.last+1 {
		s.fill(f, p.first-1)
	}
	f.last = last
	chosen := len(f.settings.Allow.Subscribe) > 0
	for _, sub := range f.entry.Publish() {
		to := sub.Lane.(*subscriber)
		if chosen && !f.admits(to.conn) {
			s.shuts(f, to)
			t.touch(to.conn)
			continue
		}
		reached += s.pushTo(t, f, p, to)
	}
	p.others = s.topics.OthersOf(p.others[:0], f.entry)
	s.pushes++
	for _, sub := range p.others {
		to := sub.Lane.(*subscriber)
		switch {
		case chosen && !f.admits(to.conn):
			s.shuts(f, to)
			t.touch(to.conn)
		case to.group != nil:
			reached += s.offer(t, f, p, to.group)
		case to.consumer != nil:
			reached += to.consumer.reached(s.pushes)
		default:
			reached += s.pushTo(t, f, p, to)
		}
	}
	return reached, nil
}

// pushTo queues the messages at one subscriber, and returns 1 when it gets them.
func (s *TopicServer) pushTo(t *turn, f *feed, p *pushes, to *subscriber) int {
	if to.behind != nil {
		if since, behind := to.behind[f]; behind { // it is being given what came before, and these after that
			if since == 0 {
				to.behind[f] = p.first
			}
			return 1
		}
	}
	if f.settings.Durable && f.settings.Slow == abstract.SlowDropOldest && to.Room() < p.size() { // it reads on in the log
		s.catchUp(to, stretch{feed: f, log: f.log, next: p.first})
		return 1
	}
	reached := 0
	for _, frame := range s.framesFor(p, to) {
		if !s.takes(to, &frame) {
			if to.gone {
				t.touch(to.conn)
				return reached
			}
			continue
		}
		if to.Queue(frame) == nil {
			t.touch(to.conn)
			reached = 1
		}
	}
	return reached
}

// framesFor returns what one subscriber gets: what is too long for it is skipped.
func (s *TopicServer) framesFor(p *pushes, to *subscriber) []abstract.Frame {
	f := s.formFor(p, to)
	if f.longest <= to.limit && f.skipped == 0 && to.where == nil {
		return f.frames
	}
	var fit []abstract.Frame
	var skipped int
	if to.where != nil {
		fit, skipped = f.wanted(p, to)
	} else {
		fit, skipped = f.within(to.limit)
	}
	if skipped == 0 {
		return fit
	}
	s.skipped.Add(uint64(skipped))
	to.lose(uint64(skipped))
	s.ep.logs.topic.Debug("push skipped", "peer", to.conn.name(), "topic", p.topic, "skipped", skipped)
	return fit
}

// Skipped returns how many pushes were not sent because they were larger than
// their subscriber takes.
func (s *TopicServer) Skipped() uint64 { return s.skipped.Load() }

// pushes are published messages on their way to many subscribers. The memory is
// the turn's, and used again.
type pushes struct {
	topic   string
	epoch   string
	run     []abstract.BaseMessage
	kept    bool                // in the topic's log
	entries []abstract.LogEntry // of it
	max     int                 // bytes of what is put together
	first   uint64              // offset of the first
	modern  form                // as they came, with their offsets
	legacy  form                // made when the first legacy subscriber is met
	packed  *packedForms        // nil: nobody takes what is compressed
	tagged  map[string]*form    // by the subscriber's name for its subscription
	spare   []*form             // for those
	member  []byte              // of one of them
	others  []*topic.Subscription
}

// begin takes the messages of a topic. queue is how much may wait at a subscriber.
func (p *pushes) begin(f *feed, run []abstract.BaseMessage, queue int) {
	p.topic, p.epoch, p.run, p.max = f.name, f.epoch, run, min(pushBytes, queue/pushShare)
}

// number makes the modern form of the messages, the first of which has this offset.
func (p *pushes) number(offset uint64) {
	p.modern.forget()
	p.first = offset
	var digits [20]byte
	more := len(offsetMember) + len(strconv.AppendUint(digits[:0], offset+uint64(len(p.run)), 10))
	p.modern.join(p.max, len(p.run), func(dst []byte, i int) []byte {
		m := p.run[i].(*message.TopicRequest)
		var suffix [48]byte
		return lv.Extend(dst, m.Frame(), strconv.AppendUint(append(asPush(suffix[:0], m), offsetMember...), offset+uint64(i), 10))
	}, func(i int) int {
		m := p.run[i].(*message.TopicRequest)
		if m.Op == abstract.TopicSend {
			return len(m.Frame()) + more + len(sendIsPublish)
		}
		return len(m.Frame()) + more
	})
}

// The members that make a push of a publish.
const (
	offsetMember  = `,"offset":`
	sendIsPublish = `,"optype":4`
)

// size is how much room the messages take in a queue, at most.
func (p *pushes) size() int {
	size := 0
	for _, frame := range p.modern.single {
		size += len(frame) + extended
	}
	return size
}

// asPush appends what makes the frame of a message that nobody answers that of a publish,
// which a push is.
func asPush(members []byte, m *message.TopicRequest) []byte {
	if m.Op == abstract.TopicSend {
		members = append(members, sendIsPublish...)
	}
	return members
}

// form is how one kind of subscriber takes pushes.
type form struct {
	single  [][]byte         // a frame for each message
	frames  []abstract.Frame // the same, put together
	whole   [][]byte         // the same before they were compressed; nil: they are not
	longest int              // of single, or of whole: what a subscriber must take
	skipped int              // messages that nobody takes in this form
}

// forget lets go of the messages.
func (p *pushes) forget() {
	p.topic, p.epoch, p.run, p.packed, p.kept = "", "", nil, nil, false
	p.forgetTags()
	clear(p.others)
	clear(p.entries)
	p.others, p.entries = p.others[:0], p.entries[:0]
	p.modern.forget()
	p.legacy.forget()
}

func (f *form) forget() {
	clear(f.single)
	clear(f.frames)
	*f = form{single: f.single[:0], frames: f.frames[:0]}
}

// join writes n frames one behind the other, up to limit bytes together; a longer one
// stands alone. size is about how long a frame gets, or more.
func (f *form) join(limit, n int, write func(dst []byte, i int) []byte, size func(i int) int) {
	for i := 0; i < n; {
		last, room := i, 0
		for ; last < n && (last == i || room+size(last) <= limit); last++ {
			room += size(last)
		}
		together, count := make([]byte, 0, room), last-i
		for ; i < last; i++ {
			from := len(together)
			together = write(together, i)
			f.single = append(f.single, together[from:len(together):len(together)])
			f.longest = max(f.longest, len(together)-from)
		}
		f.frames = append(f.frames, abstract.Frame{Class: abstract.ClassTopic, Count: count, Bytes: together})
	}
}

// joinWhole joins frames that are there already.
func (f *form) joinWhole(limit int, frames [][]byte) {
	f.join(limit, len(frames), func(dst []byte, i int) []byte { return append(dst, frames[i]...) }, func(i int) int { return len(frames[i]) })
}

// sized are the frames whose sizes count for what a subscriber takes.
func (f *form) sized() [][]byte {
	if f.whole != nil {
		return f.whole
	}
	return f.single
}

// within returns the messages that are not above a limit. They are not put
// together: a peer must not make us copy by naming a limit of its own.
func (f *form) within(limit int) (fit []abstract.Frame, skipped int) {
	skipped = f.skipped
	whole := f.sized()
	for i, b := range f.single {
		if len(whole[i]) > limit {
			skipped++
			continue
		}
		fit = append(fit, abstract.Frame{Class: abstract.ClassTopic, Count: 1, Bytes: b})
	}
	return fit, skipped
}

// wanted returns the messages that pass a subscription's own filter.
func (f *form) wanted(p *pushes, to *subscriber) (fit []abstract.Frame, skipped int) {
	member := p.epochFor(to)
	for i, b := range f.single {
		switch {
		case !to.wants(p.run[i].(*message.TopicRequest)):
		case len(f.sized()[i])+len(member) > to.limit:
			skipped++
		default:
			if member != nil {
				b = lv.Extend(make([]byte, 0, len(b)+len(member)), b, member)
			}
			fit = append(fit, abstract.Frame{Class: abstract.ClassTopic, Count: 1, Bytes: b})
		}
	}
	return fit, skipped
}

// epochFor is what a push says of its incarnation to who is subscribed to some messages of
// many topics, and may not get the first; nil: that is said already, or need not be.
func (p *pushes) epochFor(to *subscriber) []byte {
	if p.first == 1 || !to.mayMissFirst() {
		return nil
	}
	return message.AppendMember(nil, "epoch", p.epoch)
}

// mayMissFirst reports whether a subscriber to many topics has a filter of its own, which
// the first message of an incarnation need not pass.
func (to *subscriber) mayMissFirst() bool {
	return to.where != nil && to.sub.Tag != "" && topic.IsWild(to.sub.Filter)
}

// forLegacy returns the messages as existing programs take them: as strings.
func (p *pushes) forLegacy(s *TopicServer) *form {
	f := &p.legacy
	if len(f.single)+f.skipped > 0 {
		return f
	}
	var all [][]byte
	for _, m := range p.run {
		b, err := s.legacyBytes(m.(*message.TopicRequest))
		if err != nil { // above our own limit of a frame
			f.skipped++
			continue
		}
		all = append(all, b)
	}
	f.joinWhole(p.max, all)
	return f
}

// forTag returns the messages with the name that a subscriber has for its subscription.
func (p *pushes) forTag(tag string) *form {
	if f := p.tagged[tag]; f != nil {
		return f
	}
	f := p.tagForm()
	member := appendTag(p.member[:0], tag, p.first == 1, p.epoch)
	p.member = member
	f.join(p.max, len(p.modern.single), func(dst []byte, i int) []byte {
		return lv.Extend(dst, p.modern.single[i], member)
	}, func(i int) int { return len(p.modern.single[i]) + len(member) })
	if p.tagged == nil {
		p.tagged = make(map[string]*form)
	}
	p.tagged[tag] = f
	return f
}

// appendTag appends the subscriber's name for its subscription. With the first message of an
// incarnation comes its epoch: who is subscribed to many topics learns it so.
func appendTag(members []byte, tag string, first bool, epoch string) []byte {
	members = message.AppendMember(members, "sub", tag)
	if first {
		members = message.AppendMember(members, "epoch", epoch)
	}
	return members
}

// tagForms is how many forms of tagged subscriptions are kept to be used again.
const tagForms = 32

// tagForm returns an empty form.
func (p *pushes) tagForm() *form {
	n := len(p.spare) - 1
	if n < 0 {
		return new(form)
	}
	f := p.spare[n]
	p.spare = p.spare[:n]
	return f
}

// forgetTags lets go of the forms of tagged subscriptions.
func (p *pushes) forgetTags() {
	if len(p.tagged) > tagForms {
		p.tagged = nil
		return
	}
	for _, f := range p.tagged {
		f.forget()
		p.spare = append(p.spare, f)
	}
	clear(p.tagged)
}

// legacyBytes is the push as existing programs take it: its message a string.
func (s *TopicServer) legacyBytes(m *message.TopicRequest) ([]byte, error) {
	shaped := peer.LegacyPush(m)
	if shaped == m {
		if bare(m) {
			return m.Frame(), nil
		}
		shaped = &message.TopicRequest{Header: message.ID(m.ID()), Topic: m.Topic, Message: m.Message}
	}
	shaped.Op = abstract.TopicPublish
	return s.ep.protocol.Append(nil, shaped)
}

// answerTopics answers requests of the same outcome, all in one frame.
func (t *turn) answerTopics(run []abstract.BaseMessage, outcome error) {
	c, rsp := t.conn, &t.told
	*rsp = message.TopicResponse{}
	if outcome != nil {
		rsp.Code, rsp.Message = abstract.CodeOf(outcome), publicText(outcome)
	}
	var out []byte
	count := 0
	for _, m := range run {
		rsp.Header = message.ID(m.ID())
		next, err := c.ep.protocol.Append(out, c.judge.Shape(rsp))
		if err == nil {
			err = c.judge.CheckSize(len(next) - len(out))
		}
		if err != nil {
			c.reply(rsp) // without its text
			continue
		}
		if out = next; count == 0 {
			out = slices.Grow(out, len(out)*(len(run)-1))
		}
		count++
	}
	c.queue(abstract.Frame{Class: abstract.ClassTopic, Count: count, Bytes: out}, abstract.RspTopic)
}
