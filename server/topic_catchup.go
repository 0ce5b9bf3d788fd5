package server

import (
	"slices"
	"strconv"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/lv"
	"trefoil/concrete/message"
)

// stretch is what one subscriber has still to be given of a topic: everything from an
// offset on.
type stretch struct {
	feed *feed
	log  abstract.Log // of the feed when it began
	next uint64
	open bool // the topic's order is not held where it begins
}

// lastOne stands for the offset of the last message, whatever that is.
const lastOne = 0

// What is read of a log at a time.
const (
	catchUpMessages = 256
	catchUpBytes    = 64 << 10
)

// catchUp gives a subscriber what topics have kept, in order, as fast as it reads; from
// then on it gets what is published. What is published meanwhile waits in the log, not
// in its queue. It is called with the index's lock held.
func (s *TopicServer) catchUp(to *subscriber, spans ...stretch) {
	spans = slices.DeleteFunc(spans, func(sp stretch) bool { return s.giveNow(to, sp) })
	if len(spans) == 0 {
		return
	}
	if to.behind == nil {
		to.behind = make(map[*feed]uint64, len(spans))
	}
	for _, sp := range spans {
		to.behind[sp.feed] = 0
	}
	s.ep.errands.Add(1)
	to.conn.catchUps.do(func() {
		defer s.ep.errands.Done()
		for _, sp := range spans {
			if !s.replay(to, sp) {
				return
			}
		}
	})
}

// giveNow gives a subscriber what a topic keeps in memory at once, when it fits its queue
// easily. It is called with the index's lock held.
func (s *TopicServer) giveNow(to *subscriber, sp stretch) bool {
	f := sp.feed
	if f.settings.Durable || sp.open {
		return false
	}
	if sp.next == lastOne { // otherwise the topic's order is held already
		if !f.order.TryLock() {
			return false
		}
		defer f.order.Unlock()
	}
	first, last, err := sp.log.Bounds(to.conn.ctx)
	if err != nil {
		return true
	}
	if sp.next == lastOne {
		sp.next = max(first, last)
	}
	entries, err := sp.log.Read(to.conn.ctx, sp.next, catchUpMessages, catchUpBytes)
	if err != nil || sp.next < first || len(entries) > 0 && entries[len(entries)-1].Offset < last || to.Room() < 2*catchUpBytes {
		return false
	}
	now := time.Now()
	for i := range entries {
		if frame, ok := s.replayed(to, f, &f.settings, &entries[i], now); ok {
			_ = to.Queue(abstract.Frame{Class: abstract.ClassTopic, Count: 1, Bytes: frame})
		}
	}
	return true
}

// replay gives one topic's messages. It returns false when the subscriber is gone.
func (s *TopicServer) replay(to *subscriber, sp stretch) bool {
	f, next := sp.feed, sp.next
	page := min(catchUpBytes, s.ep.limits.Load().SubscriberQueue/2)
	if sp.log == nil { // of a durable topic that was not used yet
		var err error
		if sp.log, err = s.ready(f); err != nil || sp.log == nil {
			return s.caughtUp(to, f)
		}
	}
	for {
		if !to.awaitRoom(to.conn.ctx, page, nil) {
			return false
		}
		if next == lastOne {
			var err error
			if next, err = s.lastBefore(to, sp); err != nil {
				return s.abandon(to, f, lastOne)
			}
		}
		_, last, err := sp.log.Bounds(to.conn.ctx)
		if err != nil {
			return s.abandon(to, f, next)
		}
		var entries []abstract.LogEntry
		s.reads.do(func() { entries, err = sp.log.Read(to.conn.ctx, next, catchUpMessages, catchUpBytes) })
		if err != nil {
			return s.abandon(to, f, next)
		}
		if len(entries) == 0 || entries[0].Offset > next { // something has gone, before or meanwhile
			if first, _, err := sp.log.Bounds(to.conn.ctx); err == nil && next < first {
				to.lose(first - next)
				next = first
				continue
			}
		}
		if len(entries) == 0 {
			next = max(next, last+1) // the last ones were deleted
			done, alive := s.tryCatchUp(to, sp, next)
			if done || !alive {
				return alive
			}
			continue
		}
		if !s.give(to, f, entries) {
			return false
		}
		next = entries[len(entries)-1].Offset + 1
	}
}

// lastBefore returns the offset of the last message that was there when a subscription
// began: what was published since must not be passed over.
func (s *TopicServer) lastBefore(to *subscriber, sp stretch) (uint64, error) {
	f := sp.feed
	f.order.Lock() // nothing is in the log that was not pushed
	defer f.order.Unlock()
	first, last, err := sp.log.Bounds(to.conn.ctx)
	if err != nil {
		return 0, err
	}
	s.index.Lock()
	defer s.index.Unlock()
	switch since := to.behind[f]; {
	case since == 0:
		return max(first, last), nil
	case since < first: // some of those have gone already, and it is told so
		return since, nil
	default:
		return max(first, since-1), nil
	}
}

// abandon ends a catch-up of what cannot be read any more, and says how much that is. Of a
// topic that was removed its subscribers have been told.
func (s *TopicServer) abandon(to *subscriber, f *feed, next uint64) (alive bool) {
	f.order.Lock()
	defer f.order.Unlock()
	s.index.Lock()
	last := f.last
	s.index.Unlock()
	if next != lastOne && next <= last {
		to.lose(last + 1 - next)
	}
	return s.caughtUp(to, f)
}

// tryCatchUp makes a subscriber one that gets what is published, unless something has
// been published since it was looked.
func (s *TopicServer) tryCatchUp(to *subscriber, sp stretch, next uint64) (done, alive bool) {
	f := sp.feed
	f.order.Lock()
	defer f.order.Unlock()
	_, last, err := sp.log.Bounds(to.conn.ctx)
	if err == nil && next <= last {
		return false, true
	}
	if err == nil && last < f.last { // the topic's settings have changed, and it keeps nothing any more
		to.lose(f.last - last)
	}
	return true, s.caughtUp(to, f)
}

// caughtUp ends a catch-up. It returns false when the subscriber is gone.
func (s *TopicServer) caughtUp(to *subscriber, f *feed) (alive bool) {
	s.index.Lock()
	defer s.index.Unlock()
	delete(to.behind, f)
	return !to.gone
}

// give queues messages of a log, and waits for room where there is none.
func (s *TopicServer) give(to *subscriber, f *feed, entries []abstract.LogEntry) (alive bool) {
	s.index.Lock()
	settings, gone, admitted := f.settings, to.gone, f.admits(to.conn)
	s.index.Unlock()
	switch {
	case gone:
		return false
	case !admitted: // any more, of one who is subscribed to many
		return true
	}
	now := time.Now()
	for i := range entries {
		frame, ok := s.replayed(to, f, &settings, &entries[i], now)
		if !ok {
			continue
		}
		if !to.awaitRoom(to.conn.ctx, len(frame), nil) {
			return false
		}
		if to.Queue(abstract.Frame{Class: abstract.ClassTopic, Count: 1, Bytes: frame}) != nil && to.conn.ctx.Err() != nil {
			return false
		}
	}
	to.conn.Flush()
	return true
}

// replayed is a message of a log as a subscriber takes it; not ok: it does not get it.
func (s *TopicServer) replayed(to *subscriber, f *feed, settings *abstract.TopicSettings, e *abstract.LogEntry, now time.Time) (frame []byte, ok bool) {
	decoded, err := s.ep.protocol.DecodeFrame(e.Data)
	m, isTopic := decoded.(*message.TopicRequest)
	if err != nil || !isTopic {
		s.ep.logs.topic.Error("a kept message cannot be read", "topic", f.name, "offset", e.Offset, "err", err)
		return nil, false
	}
	if expired(settings.TTL, m, e.Time, now) || !to.wants(m) {
		return nil, false
	}
	if to.legacy {
		frame, err = s.legacyBytes(m)
	} else {
		frame = extend(m, e, f.epoch, to)
	}
	if err != nil || len(frame) > to.limit {
		s.skipped.Add(1)
		to.lose(1)
		return nil, false
	}
	return frame, true
}

// extend makes the push of a kept message.
func extend(m *message.TopicRequest, e *abstract.LogEntry, epoch string, to *subscriber) []byte {
	var room [224]byte
	members := appendPlace(room[:0], m, e)
	if tag := to.sub.Tag; tag != "" {
		members = appendTag(members, tag, e.Offset == 1 || to.mayMissFirst(), epoch)
	}
	return lv.Extend(make([]byte, 0, len(e.Data)+len(members)+16), m.Frame(), members)
}

// appendPlace appends where a kept message stands, and since when.
func appendPlace(members []byte, m *message.TopicRequest, e *abstract.LogEntry) []byte {
	members = strconv.AppendUint(append(asPush(members, m), `,"offset":`...), e.Offset, 10)
	return strconv.AppendInt(append(members, `,"time_ms":`...), e.Time.UnixMilli(), 10)
}

// expired reports whether a message is to be delivered no more.
func expired(ttl time.Duration, m *message.TopicRequest, taken, now time.Time) bool {
	if m.More != nil && m.More.TTL > 0 && (ttl == 0 || m.More.TTL < ttl) {
		ttl = m.More.TTL
	}
	return ttl > 0 && now.Sub(taken) >= ttl
}

// lose tells a subscriber that messages are gone before it could have them.
func (to *subscriber) lose(n uint64) {
	if to.legacy {
		return
	}
	notice := to.gap(n)
	notice.Count = int(n) // so many are missing when it is dropped itself
	_ = to.Queue(notice)
}

// wants reports whether a message passes the subscription's own filter.
func (to *subscriber) wants(m *message.TopicRequest) bool { return passes(to.where, m) }

func passes(where map[string]string, m *message.TopicRequest) bool {
	for name, value := range where {
		if m.Meta[name] != value {
			return false
		}
	}
	return true
}
