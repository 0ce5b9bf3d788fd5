package server

import (
	"strconv"
	"strings"
	"time"

	"trefoil/abstract"
	"trefoil/business/topic"
	"trefoil/concrete/message"
)

// A subscription to many topics has a place in each. Its subscriber is told them when it
// begins, counts on from there, and says them when its connection was lost and it
// subscribes again. What it does not name it has had nothing of, because nothing was
// published there when it was told.

// place is how far a subscriber is in a topic.
type place struct {
	epoch  string // empty: it does not know in which incarnation
	offset uint64
}

// beginnings are where a subscription to many topics begins in each of them. They are made
// with the index's lock held, in which the subscription is made, too.
type beginnings struct {
	s       *TopicServer
	c       *conn
	filter  string
	last    bool // it wants the last message of each topic of which nothing else is known
	resumes bool // it goes on

	known   map[string]place    // what its subscriber says
	same    bool                // in the store that there is now,
	run     bool                // and in this process
	reaches bool                // what has ended since is known,
	unseen  map[string]struct{} // which is this, as far as it had not all of it
	whole   bool                // what is not in known it has had nothing of

	blind  bool                 // some topics could not be looked at
	lost   []message.TopicPlace // from where not all comes
	places []message.TopicPlace // from where it does
	spans  []stretch
}

// beginningsFor reads what a subscriber says.
func (s *TopicServer) beginningsFor(c *conn, filter string, x *message.TopicExtras) (*beginnings, error) {
	b := &beginnings{s: s, c: c, filter: filter, last: x.From.Where == message.FromLast}
	r := x.Resume
	if r == nil || r.Mark == "" {
		return b, nil
	}
	b.resumes, b.known = true, make(map[string]place, len(r.Places))
	for _, p := range r.Places {
		if !topic.Match(filter, p.Topic) {
			return nil, abstract.Errorf(abstract.InvalidParams, `"resume" has a place in %q, which %q does not name: leave that out`, p.Topic, filter)
		}
		b.known[p.Topic] = place{p.Epoch, p.Offset}
	}
	b.since(r)
	return b, nil
}

// since takes the mark of a subscription that goes on.
func (b *beginnings) since(r *message.TopicResume) {
	s := b.s
	process, revision, _ := cutLast(r.Mark)
	store, run, _ := cutLast(process)
	since, err := strconv.ParseInt(revision, 10, 64)
	if err != nil || store != s.index.store.Epoch() {
		return
	}
	b.same, b.run, b.reaches = true, run == s.run, since >= s.ended.before
	b.whole = b.reaches && !r.Partial
	b.unseen = s.ended.unseen(since, b.filter, b.c.identity(), b.known, s.epochNow)
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

// mark says until when a subscriber knows of everything that has ended.
func (s *TopicServer) mark() string {
	return s.index.store.Epoch() + "." + s.run + "." + strconv.FormatInt(s.topics.Applied(), 10)
}

// epochNow is the epoch of the topic that has a name now; empty: there is none.
func (s *TopicServer) epochNow(name string) string {
	info, ok := s.topics.Topic(name)
	if !ok {
		return ""
	}
	return s.epochOf(info)
}

// find finds where the subscription begins, in all topics.
func (b *beginnings) find() {
	for name := range b.s.topics.Matching(b.filter) {
		at, known := b.known[name]
		_, unseen := b.unseen[name]
		delete(b.unseen, name)
		switch f, admitted := b.feed(name); {
		case !admitted && (known || unseen):
			b.lost = noted(b.lost, message.TopicPlace{Topic: name, Lost: true})
		case admitted:
			b.begin(f, at, known, unseen)
		}
	}
	for name := range b.unseen { // of topics that are no more
		b.lost = noted(b.lost, message.TopicPlace{Topic: name, Lost: true})
	}
}

// noted appends a place, unless there are more than an answer has room for already: one too
// many says so.
func noted(list []message.TopicPlace, p message.TopicPlace) []message.TopicPlace {
	if len(list) > message.MaxTopicPlaces {
		return list
	}
	return append(list, p)
}

// feed returns that of a topic whose messages the subscriber may have. It makes none where
// nothing was published since the process began.
func (b *beginnings) feed(name string) (f *feed, admitted bool) {
	info, _ := b.s.topics.Topic(name)
	if b.s.feeds[name] != nil || info.Settings.Durable {
		f, _ = b.s.feedOf(name)
	}
	if f == nil {
		f = &feed{name: name, epoch: b.s.epochOf(info), settings: info.Settings}
	}
	admitted = f.admits(b.c)
	return f, admitted
}

// begin notes where the subscription begins in a topic.
func (b *beginnings) begin(f *feed, at place, known, unseen bool) {
	if f.settings.Durable && !f.known {
		b.blind = true
		if b.last && !b.resumes {
			b.spans = append(b.spans, stretch{feed: f, log: f.log, next: lastOne})
		}
		return
	}
	next, lost := b.next(f, at, known)
	p := message.TopicPlace{Topic: f.name, Epoch: f.epoch, Offset: next - 1, Lost: lost || unseen}
	switch {
	case next > f.last:
	case len(b.spans) == maxRetained:
		p.Offset, p.Lost = f.last, true
	case b.takesLast(known):
		b.spans = append(b.spans, stretch{feed: f, log: f.log, next: lastOne})
	default:
		b.spans = append(b.spans, stretch{feed: f, log: f.log, next: next, open: true})
	}
	switch {
	case p.Lost && b.same:
		b.lost = noted(b.lost, p)
	case p.Offset > 0: // what it is not told of it has had nothing of
		p.Lost = false // or it is told of all at once, as the store is another
		b.places = noted(b.places, p)
	}
}

// next returns the offset with which the subscription begins in a topic, and whether
// something is missing before that.
func (b *beginnings) next(f *feed, at place, known bool) (next uint64, lost bool) {
	first := b.first(f)
	switch sure := b.run || f.settings.Durable; { // whether messages that came before the process are known
	case known && at.epoch == f.epoch:
		next = max(first, min(at.offset+1, f.last+1))
		return next, next != at.offset+1
	case known && at.epoch == "":
		return f.last + 1, true
	case known: // another incarnation, whose end is among what is unseen
		return first, first > 1 || !b.reaches || !sure
	case b.whole:
		return first, first > 1 || !sure
	case b.resumes && !b.same: // all there is has been made since
		return first, true
	case b.takesLast(known):
		return max(first, f.last), false
	}
	return f.last + 1, false
}

// takesLast reports whether the subscription begins with a topic's last message.
func (b *beginnings) takesLast(known bool) bool {
	return b.last && !known && !b.whole && (b.same || !b.resumes)
}

// first is the offset of the first message that a topic has kept. Of a durable topic it is
// found when that is read: who is too late for some of it is told how much that is.
func (b *beginnings) first(f *feed) uint64 {
	if f.settings.Durable {
		return 1
	}
	if f.log == nil {
		return f.last + 1
	}
	first, _, err := f.log.Bounds(b.c.ctx)
	if err != nil {
		return f.last + 1
	}
	return min(first, f.last+1) // what is behind that is on its way to subscribers
}

// answer says where the subscription begins: what is lost first, and as much of the rest
// as there is room for.
func (b *beginnings) answer() *message.TopicResponse {
	rsp := &message.TopicResponse{Resume: &message.TopicResume{Mark: b.s.mark()}}
	all := append(b.lost, b.places...)
	room := min(message.MaxResumeBytes, b.c.judge.MaxFrame()) - len(rsp.Resume.Mark) - answerRoom
	n := 0
	for ; n < min(len(all), message.MaxTopicPlaces); n++ {
		if room -= all[n].Size(); room < 0 {
			break
		}
	}
	rsp.Resume.Places, rsp.Resume.Partial = all[:n:n], n < len(all) || b.blind
	if b.resumes {
		rsp.Recovered = message.TriOf(b.whole && !b.blind && n >= len(b.lost))
	}
	return rsp
}

// answerRoom is what the answer takes besides its places and its mark, at most.
const answerRoom = 512

// subscribeWild makes a subscription to all topics that a filter names.
func (s *TopicServer) subscribeWild(c *conn, m *message.TopicRequest, x *message.TopicExtras) error {
	if x.Name != "" {
		return abstract.Errorf(abstract.InvalidOp, "a durable consumer is one topic's own: %q names many; subscribe to each, or leave out the name", m.Topic)
	}
	if x.From.Where > message.FromLast {
		return abstract.Errorf(abstract.InvalidOp, "a subscription to many topics begins with what is new, or with the last message of each: an offset or a time is one topic's own")
	}
	counts := x.Resume != nil && x.Group == ""
	if counts {
		s.lookAt(m.Topic)
	}
	s.index.Lock()
	defer s.index.Unlock()
	b, err := s.beginningsFor(c, m.Topic, x)
	if err != nil {
		return err
	}
	to, fresh, err := s.enter(c, m.Topic, x, &abstract.TopicSettings{})
	if err != nil {
		return err
	}
	if fresh && (counts || b.last) {
		b.find()
	}
	rsp := new(message.TopicResponse)
	if fresh && counts {
		rsp = b.answer()
	}
	c.subscribed(m, rsp)
	if fresh {
		s.welcome(to)
	}
	if len(b.spans) > 0 {
		s.catchUp(to, b.spans...)
	}
	return nil
}

// maxRetained bounds how many topics a subscription with wildcards reads what they have
// kept of.
const maxRetained = 4096

// unseenLogs returns the durable topics that a filter names, and that nobody has used since
// the process began: how far they are is not known yet. It stops at most.
func (s *TopicServer) unseenLogs(filter string, most int) (names []string) {
	if s.durable == nil {
		return nil
	}
	s.index.Lock()
	defer s.index.Unlock()
	for name := range s.topics.Matching(filter) {
		info, _ := s.topics.Topic(name)
		if f := s.feeds[name]; info.Settings.Durable && (f == nil || !f.known) {
			if names = append(names, name); len(names) == most {
				break
			}
		}
	}
	return names
}

// lookAt finds out how far they are. With the first one that cannot be looked at it gives
// up, as with time: the others are not known then.
func (s *TopicServer) lookAt(filter string) {
	until := time.Now().Add(storeTimeout)
	for _, name := range s.unseenLogs(filter, message.MaxTopicPlaces) {
		if s.look(name) != nil || time.Now().After(until) {
			return
		}
	}
}

func (s *TopicServer) look(name string) error {
	s.index.Lock()
	f, err := s.feedOf(name)
	s.index.Unlock()
	if err != nil {
		return nil // it was removed just now
	}
	log, err := s.ready(f)
	if err != nil {
		return err
	}
	f.order.Lock()
	defer f.order.Unlock()
	return s.find(f, log)
}
