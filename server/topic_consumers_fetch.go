package server

import (
	"context"
	"errors"
	"time"

	"trefoil/abstract"
	"trefoil/business/topic"
	"trefoil/concrete/message"
)

// fetchMost is how many entries are fetched at a time. The first fetches bring fewer, so
// that it is known how long the messages are before many are taken into memory.
const fetchMost = 256

// The pauses after a log that does not answer.
const (
	minFetchPause = 100 * time.Millisecond
	maxFetchPause = 5 * time.Second
)

// fetchAll fetches what a consumer's members have room for, until there are none.
func (s *TopicServer) fetchAll(k *consumer, log abstract.LogConsumer) {
	defer s.noMoreFetched(k)
	defer func() { _ = log.Close() }()
	begin, pause, size := 1, minFetchPause, 0 // size of a message, about
	waits := s.waitOf(k)
	for s.awaitRoom(k) {
		if now := s.waitOf(k); now != waits { // the topic's settings have changed
			if again, err := k.feed.log.Consumer(k.ctx, k.name, consumerConfig(0, now)); err == nil {
				_ = log.Close()
				log, waits = again, now
			}
		}
		list, err := log.Fetch(k.ctx, min(s.roomOf(k, size), begin))
		if err != nil {
			if !s.fetchFailed(k, err, pause) {
				return
			}
			pause = min(2*pause, maxFetchPause)
			continue
		}
		begin, pause = min(2*begin+1, fetchMost), minFetchPause
		size = s.takeFetched(k, list)
	}
}

func (s *TopicServer) noMoreFetched(k *consumer) {
	close(k.done)
	s.index.Lock()
	defer s.index.Unlock()
	k.fetched = true
	s.leftBehind(k)
}

func (s *TopicServer) waitOf(k *consumer) time.Duration {
	s.index.Lock()
	defer s.index.Unlock()
	return ackWait(&k.feed.settings)
}

// awaitRoom waits until something can be fetched. It returns false when nobody is there.
func (s *TopicServer) awaitRoom(k *consumer) bool {
	for s.roomOf(k, 0) == 0 {
		select {
		case <-k.room:
		case <-k.ctx.Done():
			return false
		}
	}
	return k.ctx.Err() == nil
}

// roomOf is how many entries of about size bytes the members have room for.
func (s *TopicServer) roomOf(k *consumer, size int) int {
	s.index.Lock()
	defer s.index.Unlock()
	room := k.queue.Room()
	switch {
	case room == 0, k.bytes >= consumerHeld, len(k.acks.waiting)+k.settled.len() >= maxWindow:
		return 0
	case size > 0:
		return max(1, min(room, (consumerHeld-k.bytes)/size))
	}
	return room
}

// fetchFailed says whether to go on after an error, and waits until then.
func (s *TopicServer) fetchFailed(k *consumer, err error, pause time.Duration) bool {
	switch {
	case k.ctx.Err() != nil, abstract.CodeOf(err) == abstract.TopicNotFound: // the members are told by who removes it
		return false
	case errors.Is(err, abstract.ErrNotFound), abstract.CodeOf(err) == abstract.NotFound: // by another broker
		s.endConsumer(k, errForgotten(k))
		return false
	}
	s.ep.logs.topic.Warn("a consumer's messages cannot be fetched; trying again", "topic", k.feed.name, "consumer", k.name, "err", err)
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-k.ctx.Done():
		return false
	}
}

// takeFetched gives entries to the members, and returns how long they are on average.
func (s *TopicServer) takeFetched(k *consumer, list []abstract.LogDelivery) (size int) {
	t := newErrandTurn()
	defer t.end()
	items := make([]*handed, len(list))
	for i, d := range list {
		items[i] = s.read1(k, d)
		size += items[i].size
	}
	s.index.Lock()
	defer s.index.Unlock()
	for _, h := range items {
		k.bytes += h.size
		s.offerConsumed(k, h, t.now)
	}
	s.dealConsumed(k, t.touch)
	return size / max(1, len(list))
}

// read1 reads an entry; without m it cannot be read.
func (s *TopicServer) read1(k *consumer, d abstract.LogDelivery) *handed {
	e := d.Entry()
	h := &handed{LogDelivery: d, size: len(e.Data) + errandCost}
	decoded, err := s.ep.protocol.DecodeFrame(e.Data)
	if m, ok := decoded.(*message.TopicRequest); ok && err == nil {
		h.m = m
	} else {
		s.ep.logs.topic.Error("a kept message cannot be read, and is passed over", "topic", k.feed.name, "offset", e.Offset, "err", err)
	}
	return h
}

// offerConsumed takes one entry among those that members are to get, unless nobody is.
func (s *TopicServer) offerConsumed(k *consumer, h *handed, now time.Time) {
	settings, e := &k.feed.settings, h.Entry()
	h.delivered = h.Delivered() - k.excused[e.Offset]
	switch {
	case len(k.members) == 0:
		s.giveBack(k, h, 0, "", true)
	case h.m == nil, expired(settings.TTL, h.m, e.Time, now), !passes(k.where, h.m):
		s.acked(k, h)
	case h.delivered > maxDeliver(settings):
		h.delivered = maxDeliver(settings) // what came after that was for the dead letter
		s.bury(k, h, "nobody has acknowledged it")
	default:
		h.item.Message, h.item.Size = h, h.size
		k.queue.Offer(&h.item)
	}
}

// dealConsumed gives what waits to members that have room. touched is called with whoever
// something was queued for. It is called with the index's lock held.
func (s *TopicServer) dealConsumed(k *consumer, touched func(*conn)) {
	due := time.Now().Add(ackWait(&k.feed.settings))
	for {
		m, number, it, ok := k.queue.Next()
		if !ok {
			break
		}
		h, to := it.Message.(*handed), m.Sub.Lane.(*subscriber)
		if !k.feed.admits(to.conn) {
			k.queue.Undo(m, number)
			s.shuts(k.feed, to)
			touched(to.conn)
			continue
		}
		size, fits := k.add(k.members[to], h, number)
		switch {
		case size > to.limit:
			k.queue.Done(m, number)
			s.skipped.Add(1)
			s.giveBack(k, h, failedRest(h.delivered), "it is longer than the member that was to get it takes", false)
		case !fits:
			k.queue.Undo(m, number)
			s.pauseMember(k, to, size)
		default:
			h.member, h.number, h.due = m, number, due
			h.m = nil // it comes from the log again when it has to
			k.hands[it] = struct{}{}
			s.watchHands(k)
		}
	}
	k.sendParcels(touched)
}

// pauseMember keeps a member that does not read from holding up the others, until it has
// room for size bytes.
func (s *TopicServer) pauseMember(k *consumer, to *subscriber, size int) {
	k.queue.Pause(to.member, true)
	resume := func() {
		t := newErrandTurn()
		defer t.end()
		s.index.Lock()
		defer s.index.Unlock()
		k.queue.Pause(to.member, false)
		s.dealConsumed(k, t.touch)
		k.wake()
	}
	to.OnRoom(func() {
		if to.Room() < size { // half of the queue is free, and that is not enough
			time.AfterFunc(roomEvery, resume)
			return
		}
		resume()
	})
}

// watchHands sees to it that what is not acknowledged in time is given back. It is called
// with the index's lock held.
func (s *TopicServer) watchHands(k *consumer) {
	if k.expiry == nil && !k.closed {
		k.expiry = time.AfterFunc(ackWait(&k.feed.settings), func() { s.expireHands(k) })
	}
}

// expireHands takes back what was not acknowledged in time.
func (s *TopicServer) expireHands(k *consumer) {
	t := newErrandTurn()
	defer t.end()
	s.index.Lock()
	defer s.index.Unlock()
	if k.closed {
		return
	}
	var next time.Time
	var late []*handed
	for it := range k.hands {
		h := it.Message.(*handed)
		if h.due.After(t.now) {
			if next.IsZero() || h.due.Before(next) {
				next = h.due
			}
			continue
		}
		delete(k.hands, it)
		k.queue.Done(h.member, h.number)
		late = append(late, h)
	}
	s.giveBackAll(k, s.unspent(k, late, "nobody has acknowledged it in time", false))
	k.expiry = nil
	if !next.IsZero() {
		k.expiry = time.AfterFunc(time.Until(next), func() { s.expireHands(k) })
	}
	s.dealConsumed(k, t.touch)
	k.wake()
}

// ackConsumed takes a member's word about what it has in hand. What it has not, it has
// had too long. It is called with the index's lock held.
func (s *TopicServer) ackConsumed(t *turn, to *subscriber, x *message.TopicExtras) {
	k := to.consumer
	for _, number := range x.Deliveries {
		if x.Progress {
			s.progress(k, to.member.Held(number))
			continue
		}
		it, ok := k.queue.Done(to.member, number)
		if !ok {
			continue
		}
		delete(k.hands, it)
		h := it.Message.(*handed)
		if x.Nack {
			s.giveBack(k, h, min(x.Delay, nackLimit), "it was given back", false)
		} else {
			s.acked(k, h)
		}
	}
	s.dealConsumed(k, t.touch)
	k.wake()
}

// progress begins the time anew in which an entry is to be acknowledged.
func (s *TopicServer) progress(k *consumer, it *topic.Item) {
	if it == nil {
		return
	}
	h := it.Message.(*handed)
	h.due = time.Now().Add(ackWait(&k.feed.settings))
	if h.telling {
		return
	}
	h.telling = true
	k.settled.run(s, func(ctx context.Context) {
		if err := h.Progress(ctx); err != nil {
			s.ep.logs.topic.Debug("progress not noted", "topic", k.feed.name, "consumer", k.name, "err", err)
		}
		s.index.Lock()
		defer s.index.Unlock()
		h.telling = false
	})
}
