// Package requestor pairs responses with the calls that wait for them.
package requestor

import (
	"context"
	"sync"
	"time"
	"unsafe"

	"trefoil/abstract"
)

// Completion takes the end of a call: the response, or an *abstract.Error whose
// Sent says whether the request left. It is called exactly once, by whoever ends
// the call, on that goroutine and without a lock held; it must not block. The
// ways to wait for a call (at once, by a future, by a callback) are built on it.
type Completion func(m abstract.BaseMessage, err error)

// Ended calls f.
func (f Completion) Ended(m abstract.BaseMessage, err error) { f(m, err) }

// Waiter is who waits for a call. Ended is called as a Completion is.
type Waiter interface {
	Ended(m abstract.BaseMessage, err error)
}

// Config bounds a Requestor. The zero value takes the default.
type Config struct {
	MaxPending int // calls in flight; default 65,536
}

// Requestor is the table of one connection's calls in flight. A call is stored
// before its request is sent, and ends exactly once: by its response, a failed
// send, its caller giving up, its deadline, or the loss of the connection. Safe
// for concurrent use. It has no goroutine and no clock: its owner calls Expire.
type Requestor struct {
	max int

	mu      sync.Mutex
	table   table
	closed  *abstract.Error // what CloseAll was given
	ignored uint64
}

// Pending is one call in flight. Its memory is used for one call only.
type Pending struct {
	id   [idLen]byte
	slot uint32
	want abstract.MType
	tick int64 // of its deadline
	done Waiter
	mark abstract.Mark
}

// ID is the id of the call's request.
func (p *Pending) ID() string {
	return unsafe.String(&p.id[0], idLen) // written once, before anybody asks
}

// Mark goes into the Frame of the call's request, and tells whether it has left.
func (p *Pending) Mark() *abstract.Mark { return &p.mark }

// New makes an empty Requestor.
func New(cfg Config) *Requestor {
	if cfg.MaxPending <= 0 {
		cfg.MaxPending = 65_536
	}
	return &Requestor{max: cfg.MaxPending}
}

// Add stores a call that wants a response of a type before its deadline. An error
// (Overloaded, or what CloseAll was given) means that it was not stored, and that
// done will not be called.
func (r *Requestor) Add(deadline time.Time, want abstract.MType, done Completion) (*Pending, error) {
	p := new(Pending)
	if err := r.Put(p, deadline, want, done); err != nil {
		return nil, err
	}
	return p, nil
}

// Put is Add with memory that the caller brings: a zero Pending, of which nothing
// else may be copied or used again.
func (r *Requestor) Put(p *Pending, deadline time.Time, want abstract.MType, done Waiter) error {
	p.want, p.done = want, done
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed != nil {
		e := *r.closed
		e.Sent = abstract.SentNo
		return &e
	}
	if r.table.live >= r.max {
		return &abstract.Error{Code: abstract.Overloaded, Message: "too many calls in flight on one connection; wait for some to end", Sent: abstract.SentNo}
	}
	r.table.put(p, deadline)
	return nil
}

// Complete ends the call that m answers. It returns false when there is none: m
// came late or twice, or nobody asked for it. A response of the wrong type, or one
// that cannot be understood, ends the call with an error.
func (r *Requestor) Complete(m abstract.BaseMessage) bool {
	r.mu.Lock()
	p := r.table.find(m.ID())
	if p == nil {
		r.ignored++
		r.mu.Unlock()
		return false
	}
	r.table.remove(p)
	r.mu.Unlock()
	if e := p.refuse(m); e != nil {
		p.done.Ended(nil, e)
	} else {
		p.done.Ended(m, nil)
	}
	return true
}

// Fail ends a call whose request could not be queued, with the error that says why.
// It returns false when the call had ended already.
func (r *Requestor) Fail(p *Pending, err error) bool {
	if !r.remove(p) {
		return false
	}
	p.fail(failure(err))
	return true
}

// Cancel ends a call that its caller has given up: a context's error makes it end
// with Cancelled or Timeout. A request that still waits to be written will not be
// sent. It returns false when the call had ended already.
func (r *Requestor) Cancel(p *Pending, cause error) bool {
	if cause == nil {
		cause = context.Canceled
	}
	if !r.remove(p) {
		return false
	}
	p.fail(abstract.Error{Code: abstract.CodeOf(cause), Message: GivenUp(cause), Err: cause})
	return true
}

// Forget takes a call out whose request was queued and whose response nobody waits for:
// done is not called any more, and the request stays where it is. It returns false when
// the call had ended already.
func (r *Requestor) Forget(p *Pending) bool { return r.remove(p) }

// GivenUp says in words why a call ended that its caller did not wait for: because
// its context's deadline passed, or because it was cancelled.
func GivenUp(cause error) string {
	if abstract.CodeOf(cause) == abstract.Timeout {
		return "no response before the deadline"
	}
	return "the caller gave up"
}

// Expire ends the calls whose deadline has passed, at most 10 ms late and never
// early. It returns when to call it next, or the zero time when no call is in
// flight. An Add after that may have an earlier deadline.
//
// It looks at the calls that are due and at those with deadlines more than 5 s
// away, every 5 s, not at all calls in flight: it may be called every 10 ms.
func (r *Requestor) Expire(now time.Time) (next time.Time) {
	r.mu.Lock()
	late, next := r.table.expire(now)
	r.mu.Unlock()
	for _, p := range late {
		p.fail(abstract.Error{Code: abstract.Timeout, Message: "no response before the deadline"})
	}
	return next
}

// CloseAll ends every call at once with cause's code and text, and lets none be
// added any more. Only the first call counts.
func (r *Requestor) CloseAll(cause *abstract.Error) {
	if cause == nil {
		cause = &abstract.Error{Code: abstract.Disconnected, Message: "the connection is closed"}
	}
	r.mu.Lock()
	if r.closed != nil {
		r.mu.Unlock()
		return
	}
	r.closed = cause
	all := r.table.clear()
	r.mu.Unlock()
	for _, p := range all {
		p.fail(*cause)
	}
}

// Len returns how many calls are in flight.
func (r *Requestor) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.table.live
}

// Ignored returns how many responses came for which there was no call.
func (r *Requestor) Ignored() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ignored
}

// remove takes a call out of the table. False means that somebody else has ended
// it, and so must not be told.
func (r *Requestor) remove(p *Pending) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.table.remove(p)
}
