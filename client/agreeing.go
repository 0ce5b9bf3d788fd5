package client

import "trefoil/abstract"

// This file is about who registers and unregisters at the same time.

// agree sees to it that the broker has been told last what is wanted now, when it has
// been told something of a batch: others may have been at it meanwhile, and what they and
// we have sent may have gone out in another order than it was wished for. It does not end
// with anybody's context: nobody else would see to it.
func (r *registrations) agree(op abstract.ServiceOp, b *batch) {
	again, gone := r.differing(op, b)
	for _, b := range batches(again) {
		if r.tell(r.conn.ctx, abstract.ServiceRegister, &b) == nil {
			r.agree(abstract.ServiceRegister, &b)
		}
	}
	for _, b := range batches(gone) {
		if r.tell(r.conn.ctx, abstract.ServiceUnregister, &b) == nil { // else it ends with the connection
			r.agree(abstract.ServiceUnregister, &b)
		}
	}
}

// differing returns what is to be registered again, and what is not wanted any more, when
// the broker has done something with a batch.
func (r *registrations) differing(op abstract.ServiceOp, b *batch) (again, gone []abstract.Provider) {
	r.mu.Lock()
	defer r.mu.Unlock()
	registered := op == abstract.ServiceRegister
	for i := range b.methods {
		n := b.name(i)
		switch w := r.wants[n]; {
		case w == nil && registered:
			gone = append(gone, b.provider(i))
		case w != nil && (!registered || w.traits != b.traits || w.ttl != b.ttl):
			again = append(again, n.as(w))
		}
	}
	return again, gone
}

// unwanted returns what was unregistered while it was being restored.
func (r *registrations) unwanted(restored []batch) []batch {
	r.mu.Lock()
	defer r.mu.Unlock()
	var gone []abstract.Provider
	for _, b := range restored {
		for i := range b.methods {
			if r.wants[b.name(i)] == nil {
				gone = append(gone, b.provider(i))
			}
		}
	}
	return batches(gone)
}
