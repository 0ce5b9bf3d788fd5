package server

import (
	"bytes"
	"slices"

	"trefoil/abstract"
	"trefoil/business/access"
	"trefoil/business/peer"
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
	// keptWhole is how long a push must be to wait in the memory it came in: a
	// shorter one would keep all that came beside it, 64 KiB as a rule.
	keptWhole = 32 << 10
)

// subscriber is the Lane of a Subscription, and what else pushing needs to know.
type subscriber struct {
	abstract.Lane
	conn   *conn
	legacy bool
	limit  int // the longest frame that it takes
}

// Close ends the subscription. It is called once.
func (s *subscriber) Close() {
	s.Lane.Close()
	s.conn.release(access.Subscriptions)
}

// publish serves first and the publishes to the same topic that follow it in the
// batch: it queues them at every subscriber, and then their answers.
func (s *TopicServer) publish(t *turn, first *message.TopicRequest) {
	run := t.takePublishes(first)
	p := &t.pushes
	defer p.forget()
	p.topic, p.run, p.max = first.Topic, run, min(pushBytes, s.ep.limits.Load().SubscriberQueue/pushShare)
	for _, m := range run {
		p.modern.single = append(p.modern.single, m.(*message.TopicRequest).Frame())
	}
	p.modern.join(p.max)
	s.pack(p)
	t.conn.answerTopics(run, s.push(t, p))
}

// takePublishes takes the publishes to first's topic that follow it in the batch,
// and returns them behind it. What has passed Check before a message of these types
// holds for it too: see run.
func (t *turn) takePublishes(first *message.TopicRequest) []abstract.BaseMessage {
	from := t.next - 1
	for t.next < len(t.waiting) {
		m, ok := t.waiting[t.next].(*message.TopicRequest)
		if !ok || m.Op != abstract.TopicPublish || m.Topic != first.Topic || m.Check() != nil {
			break
		}
		t.next++
	}
	return t.waiting[from:t.next]
}

// push queues the messages at every subscriber, the same bytes for all.
func (s *TopicServer) push(t *turn, p *pushes) error {
	s.index.Lock()
	defer s.index.Unlock()
	subs, err := s.topics.Publish(p.topic)
	if err != nil {
		return err
	}
	for _, sub := range subs {
		to := sub.Lane.(*subscriber)
		for _, frame := range s.framesFor(p, to) {
			if to.Queue(frame) == nil {
				t.touch(to.conn)
			}
		}
	}
	return nil
}

// framesFor returns what one subscriber gets: what is too long for it is skipped.
func (s *TopicServer) framesFor(p *pushes, to *subscriber) []abstract.Frame {
	f := s.formFor(p, to)
	if f.longest <= to.limit && f.skipped == 0 {
		return f.frames
	}
	fit, skipped := f.within(to.limit)
	s.skipped.Add(uint64(skipped))
	s.ep.logs.topic.Debug("push skipped", "peer", to.conn.name(), "topic", p.topic, "skipped", skipped)
	return fit
}

// Skipped returns how many pushes were not sent because they were larger than
// their subscriber takes.
func (s *TopicServer) Skipped() uint64 { return s.skipped.Load() }

// pushes are published messages on their way to many subscribers. The memory is
// the turn's, and used again.
type pushes struct {
	topic  string
	run    []abstract.BaseMessage
	max    int          // bytes of what is put together
	modern form         // as they came
	legacy form         // made when the first legacy subscriber is met
	packed *packedForms // nil: nobody takes what is compressed
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
	p.topic, p.run, p.packed = "", nil, nil
	p.modern.forget()
	p.legacy.forget()
}

func (f *form) forget() {
	clear(f.single)
	clear(f.frames)
	*f = form{single: f.single[:0], frames: f.frames[:0]}
}

// join puts frames together, up to limit bytes; a longer one stands alone.
func (f *form) join(limit int) {
	for _, b := range f.sized() {
		f.longest = max(f.longest, len(b))
	}
	for single := f.single; len(single) > 0; {
		n, size := 0, 0
		for ; n < len(single) && (n == 0 || size+len(single[n]) <= limit); n++ {
			size += len(single[n])
		}
		together := single[0]
		if n > 1 || len(together) < keptWhole {
			together = bytes.Join(single[:n], nil)
		}
		f.frames = append(f.frames, abstract.Frame{Class: abstract.ClassTopic, Count: n, Bytes: together})
		single = single[n:]
	}
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

// forLegacy returns the messages as existing programs take them: as strings.
func (p *pushes) forLegacy(s *TopicServer) *form {
	f := &p.legacy
	if len(f.single)+f.skipped > 0 {
		return f
	}
	for _, m := range p.run {
		b, err := s.legacyBytes(m.(*message.TopicRequest))
		if err != nil { // above our own limit of a frame
			f.skipped++
			continue
		}
		f.single = append(f.single, b)
	}
	f.join(p.max)
	return f
}

// legacyBytes is the push as existing programs take it: its message a string.
func (s *TopicServer) legacyBytes(m *message.TopicRequest) ([]byte, error) {
	shaped := peer.LegacyPush(m)
	if shaped == m {
		return m.Frame(), nil
	}
	return s.ep.protocol.Append(nil, shaped)
}

// answerTopics answers requests of the same outcome, all in one frame.
func (c *conn) answerTopics(run []abstract.BaseMessage, outcome error) {
	var rsp message.TopicResponse
	if outcome != nil {
		rsp.Code, rsp.Message = abstract.CodeOf(outcome), publicText(outcome)
	}
	var out []byte
	count := 0
	for _, m := range run {
		rsp.Header = message.ID(m.ID())
		next, err := c.ep.protocol.Append(out, c.judge.Shape(&rsp))
		if err == nil {
			err = c.judge.CheckSize(len(next) - len(out))
		}
		if err != nil {
			c.reply(&rsp) // without its text
			continue
		}
		if out = next; count == 0 {
			out = slices.Grow(out, len(out)*(len(run)-1))
		}
		count++
	}
	c.queue(abstract.Frame{Class: abstract.ClassTopic, Count: count, Bytes: out}, abstract.RspTopic)
}
