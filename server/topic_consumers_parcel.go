package server

import (
	"bytes"
	"strconv"

	"trefoil/abstract"
	"trefoil/concrete/lv"
	"trefoil/concrete/message"
)

// parcel is what a member of a consumer is being given: pushes that are put together and
// queued at once. It is behind the index's lock, and empty whenever that is not held.
type parcel struct {
	to    *subscriber
	bytes []byte
	count int
	room  int // in the member's queue, for more

	listed bool // among the consumer's parcels
}

// add puts a push into the member's parcel. It returns how long the push is, and false when
// that is more than the member takes, or has room for.
func (k *consumer) add(p *parcel, h *handed, number uint64) (size int, ok bool) {
	e := h.Entry()
	var room [192]byte
	members := pushMembers(room[:0], h, &e, p.to.sub.Tag, number)
	size = len(h.m.Frame()) + len(members)
	if size > p.to.limit {
		return size, false
	}
	if p.count > 0 && len(p.bytes)+size > pushBytes {
		p.send()
	}
	if p.count == 0 {
		p.room = p.to.Room()
	}
	if size > p.room {
		return size, false
	}
	if p.bytes == nil {
		p.bytes = make([]byte, 0, max(size, min(pushBytes, size*(1+min(k.queue.Waiting(), parcelGuess)/len(k.members)))))
	}
	if !p.listed {
		p.listed, k.parcels = true, append(k.parcels, p)
	}
	p.bytes = lv.Extend(p.bytes, h.m.Frame(), members)
	p.count++
	p.room -= size
	return size, true
}

// parcelGuess bounds for how many pushes of all members memory is taken before it is known
// how many there will be: the group decides who gets what waits.
const parcelGuess = 64

// pushMembers appends what makes the frame of an entry a push to a member.
func pushMembers(members []byte, h *handed, e *abstract.LogEntry, tag string, number uint64) []byte {
	members = message.AppendMember(appendPlace(members, h.m, e), "sub", tag)
	members = strconv.AppendUint(append(members, `,"delivery":`...), number, 10)
	if h.delivered > 1 {
		members = strconv.AppendInt(append(members, `,"delivered":`...), int64(h.delivered), 10)
	}
	return members
}

// send queues the parcel, which may wait for long and counts by what is in it: not with
// much more memory. If the member's connection is being closed, what is in it is given back
// with the member's end.
func (p *parcel) send() {
	if cap(p.bytes) > 2*len(p.bytes) {
		p.bytes = bytes.Clone(p.bytes)
	}
	if p.count > 0 {
		_ = p.to.Queue(abstract.Frame{Class: abstract.ClassTopic, Count: p.count, Bytes: p.bytes})
	}
	p.bytes, p.count = nil, 0
}

// sendParcels queues all parcels. touched is called with whoever something was queued for.
func (k *consumer) sendParcels(touched func(*conn)) {
	for i, p := range k.parcels {
		p.send()
		touched(p.to.conn)
		p.listed, k.parcels[i] = false, nil
	}
	k.parcels = k.parcels[:0]
}
