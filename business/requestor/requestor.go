// Package requestor pairs responses with the calls that wait for them.
package requestor

import (
	"sync"
	"time"

	"trefoil/abstract"
)

// Completion takes the end of a call: the answer, or an *abstract.Error whose
// Sent says whether the request left. It is called exactly once, by whoever ends
// the call and without a lock held, and must not block.
type Completion func(m abstract.BaseMessage, err error)

// Config bounds a Requestor. The zero value takes the defaults.
type Config struct {
	MaxPending int // calls in flight; default 65,536
}

// Requestor is the table of one connection's calls in flight. A call is stored
// before its request is sent, and ends exactly once: by its answer, a failed
// send, its caller giving up, its deadline, or the loss of the connection. Safe
// for concurrent use; it has no goroutine and no clock.
type Requestor struct {
	max int

	mu      sync.Mutex
	slots   []*Pending // by the index in a call's id
	free    []uint32   // slots that hold no call
	salt    uint32     // of the next id, so that a slot's ids differ
	live    int
	closed  *abstract.Error
	ignored uint64
}

// Pending is one call in flight.
type Pending struct {
	id       string
	slot     uint32
	want     abstract.MType
	deadline time.Time
	done     Completion
	mark     abstract.Mark
}

// ID is the id of the call's request.
func (p *Pending) ID() string { return p.id }

// Mark goes into the request's Frame, and tells whether its bytes have left.
func (p *Pending) Mark() *abstract.Mark { return &p.mark }

// New makes an empty table.
func New(cfg Config) *Requestor {
	if cfg.MaxPending <= 0 {
		cfg.MaxPending = 65_536
	}
	return &Requestor{max: cfg.MaxPending}
}

// Add stores a call that wants an answer of a type before its deadline. An error
// (Overloaded, or what CloseAll was given) means that it was not stored and done
// will not be called.
func (r *Requestor) Add(deadline time.Time, want abstract.MType, done Completion) (*Pending, error) {
	p := &Pending{want: want, deadline: deadline, done: done}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed != nil:
		return nil, withSent(r.closed, abstract.SentNo)
	case r.live >= r.max:
		return nil, &abstract.Error{Code: abstract.Overloaded, Message: "too many calls in flight on one connection; wait for some to end", Sent: abstract.SentNo}
	}
	if n := len(r.free); n > 0 {
		p.slot = r.free[n-1]
		r.free = r.free[:n-1]
	} else {
		p.slot = uint32(len(r.slots))
		r.slots = append(r.slots, nil)
	}
	r.salt++
	p.id = formatID(p.slot, r.salt)
	r.slots[p.slot] = p
	r.live++
	return p, nil
}

// remove is the one function that takes a call out of the table. It returns
// false when somebody else has ended it: the caller must then not call done.
func (r *Requestor) remove(p *Pending) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.removeLocked(p)
}

func (r *Requestor) removeLocked(p *Pending) bool {
	if int(p.slot) >= len(r.slots) || r.slots[p.slot] != p {
		return false
	}
	r.slots[p.slot] = nil
	r.free = append(r.free, p.slot)
	if r.live--; r.live == 0 && len(r.slots) > idleSlots {
		r.slots, r.free = nil, nil // a burst's memory does not stay
	}
	return true
}

// idleSlots is how large a table without calls may stay.
const idleSlots = 1024

// end takes a call out of the table and tells its owner.
func (r *Requestor) end(p *Pending, m abstract.BaseMessage, err *abstract.Error) bool {
	if !r.remove(p) {
		return false
	}
	if err != nil {
		p.done(nil, err)
	} else {
		p.done(m, nil)
	}
	return true
}

// Complete ends the call that m answers. It returns false when there is none: an
// answer that comes late or twice, or that nobody asked for. An answer of the
// wrong type, or one that cannot be understood, ends the call with an error.
func (r *Requestor) Complete(m abstract.BaseMessage) bool {
	p := r.find(m.ID())
	if p == nil {
		return false
	}
	if m.Type() == p.want {
		if err := m.Check(); err != nil {
			return r.end(p, nil, &abstract.Error{Code: abstract.InvalidMessage, Message: "the answer cannot be understood", Sent: abstract.SentYes, FromPeer: true, Err: err})
		}
		return r.end(p, m, nil)
	}
	if m.Type() == abstract.RspUnsupported {
		return r.end(p, nil, &abstract.Error{Code: abstract.Unsupported, Message: "the peer does not know this kind of request", Sent: abstract.SentYes, FromPeer: true})
	}
	return r.end(p, nil, &abstract.Error{Code: abstract.WrongMessageType, Message: "asked for " + p.want.String() + ", answered with " + m.Type().String(), Sent: abstract.SentYes, FromPeer: true})
}

// find returns the call with an id, or nil.
func (r *Requestor) find(id string) *Pending {
	slot, ok := slotOf(id)
	r.mu.Lock()
	defer r.mu.Unlock()
	if ok && int(slot) < len(r.slots) {
		if p := r.slots[slot]; p != nil && p.id == id {
			return p
		}
	}
	r.ignored++
	return nil
}

// Fail ends a call whose request could not be queued.
func (r *Requestor) Fail(p *Pending, err error) bool {
	p.mark.Withdraw()
	return r.end(p, nil, &abstract.Error{Code: abstract.CodeOf(err), Message: "the request was not sent", Sent: abstract.SentNo, Err: err})
}

// Cancel ends a call that its caller has given up, with the cause's code:
// Cancelled or Timeout for a context's errors.
func (r *Requestor) Cancel(p *Pending, cause error) bool {
	return r.end(p, nil, &abstract.Error{Code: abstract.CodeOf(cause), Message: "the caller gave up", Sent: p.fate(), Err: cause})
}

// fate says whether the request has left, and keeps it from leaving if not.
func (p *Pending) fate() abstract.Sent {
	if p.mark.Withdraw() {
		return abstract.SentNo
	}
	return abstract.SentUnknown
}

// Expire ends every call whose deadline has passed, and returns the earliest of
// the other deadlines, or the zero time. It looks at every call in flight: call
// it when a deadline is due, not for each call.
func (r *Requestor) Expire(now time.Time) (next time.Time) {
	var late []*Pending
	r.mu.Lock()
	for _, p := range r.slots {
		switch {
		case p == nil:
		case !p.deadline.After(now):
			r.removeLocked(p)
			late = append(late, p)
		case next.IsZero() || p.deadline.Before(next):
			next = p.deadline
		}
	}
	r.mu.Unlock()
	for _, p := range late {
		sent := p.fate()
		p.done(nil, &abstract.Error{Code: abstract.Timeout, Message: "no answer before the deadline", Sent: sent})
	}
	return next
}

// CloseAll ends every call at once with cause's code and text, and lets none be
// added any more.
func (r *Requestor) CloseAll(cause *abstract.Error) {
	r.mu.Lock()
	if r.closed != nil {
		r.mu.Unlock()
		return
	}
	r.closed = cause
	all := r.slots
	r.slots, r.free, r.live = nil, nil, 0
	r.mu.Unlock()
	for _, p := range all {
		if p != nil {
			p.done(nil, withSent(cause, p.fate()))
		}
	}
}

func withSent(e *abstract.Error, sent abstract.Sent) *abstract.Error {
	c := *e
	c.Sent = sent
	return &c
}

// Len returns how many calls are in flight.
func (r *Requestor) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.live
}

// Ignored returns how many answers came without a call.
func (r *Requestor) Ignored() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ignored
}
