package server

import "trefoil/abstract"

// packedForms are the forms of pushes for subscribers that take compressed bodies, by
// method. What is published is compressed once for each method that somebody takes.
type packedForms [8]form // MType has three bits for the method

// pack makes the forms that the subscribers there are now need. It is called without
// the lock: compressing takes longer than queueing. Who comes in between and takes
// another method gets what is published as it is.
func (s *TopicServer) pack(p *pushes) {
	if !s.ep.protocol.Packs(p.modern.longest) {
		return
	}
	s.index.Lock()
	subs, err := s.topics.Publish(p.topic)
	s.index.Unlock()
	if err != nil {
		return
	}
	for _, sub := range subs {
		if m := sub.Lane.(*subscriber).conn.packing(); m != abstract.CompressNone {
			p.packWith(s, m)
		}
	}
}

// packWith makes the form of one method.
func (p *pushes) packWith(s *TopicServer, m abstract.CompressMethod) {
	if p.packed == nil {
		p.packed = new(packedForms)
	}
	f := &p.packed[m]
	if len(f.single) > 0 {
		return
	}
	f.whole = p.modern.single
	var packed [][]byte
	for _, frame := range p.modern.single {
		packed = append(packed, s.ep.protocol.Pack(m, frame))
	}
	f.joinWhole(p.max, packed)
	f.longest = p.modern.longest
}

// formFor is the form in which a subscriber gets the messages.
func (s *TopicServer) formFor(p *pushes, to *subscriber) *form {
	if to.legacy {
		return p.forLegacy(s)
	}
	if to.sub.Tag != "" {
		return p.forTag(to.sub.Tag)
	}
	if p.packed != nil {
		if f := &p.packed[to.conn.packing()]; len(f.single) > 0 {
			return f
		}
	}
	return &p.modern
}
