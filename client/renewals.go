package client

import (
	"context"
	"math/rand/v2"
	"time"

	"trefoil/abstract"
)

// This file is about registrations that end unless somebody renews them.

// renewed notes that a wish with a TTL is renewed now. It is called with the lock held.
func (r *registrations) renewed(w *wish) {
	switch {
	case w.ttl <= 0:
	case r.conn.cfg.renews:
		every := w.ttl / 3
		w.due = time.Now().Add(every - rand.N(every/10+1))
	default:
		w.until = time.Now().Add(w.ttl)
	}
}

// heartbeat renews registrations for their owner.
func (r *registrations) heartbeat(ctx context.Context, providers []abstract.Provider) error {
	r.mu.Lock()
	var problems []error
	known := make([]abstract.Provider, 0, len(providers))
	for i := range providers {
		n, w := r.find(&providers[i])
		if w == nil {
			problems = append(problems, &abstract.Error{Code: abstract.NotFound, Op: "heartbeat " + n.method, Message: "it is not registered here, or its time is over; register it first", Sent: abstract.SentNo})
			continue
		}
		known = append(known, n.as(w))
	}
	r.mu.Unlock()
	for _, b := range batches(known) {
		if err := r.renew(ctx, &b); err != nil {
			problems = append(problems, err)
		}
	}
	return joined(problems)
}

// renew renews a batch, or registers it again when the broker does not know all of it.
func (r *registrations) renew(ctx context.Context, b *batch) error {
	if r.conn.Connected() && !r.conn.Modern() {
		return nil // an existing program of the LV family knows no TTL
	}
	err := r.tell(ctx, abstract.ServiceHeartbeat, b)
	if abstract.CodeOf(err) != abstract.NotFound {
		return err
	}
	if err := r.tell(ctx, abstract.ServiceRegister, b); err != nil {
		return err
	}
	r.agree(abstract.ServiceRegister, b)
	return nil
}

// beat sees to it that a wish is renewed when it is due, if it has a TTL. It is called
// with the lock held.
func (r *registrations) beat(w *wish) {
	switch {
	case w.ttl <= 0 || !r.conn.cfg.renews:
	case !r.beating:
		r.nextBeat = w.due
		r.beating = r.conn.tasks.run(r.beats)
	case w.due.Before(r.nextBeat):
		select {
		case r.sooner <- struct{}{}:
		default: // it is about to look anyway
		}
	}
}

// firstDue is when the next wish is due. It is called with the lock held.
func (r *registrations) firstDue() (next time.Time, some bool) {
	for _, w := range r.wants {
		if w.ttl > 0 && (!some || w.due.Before(next)) {
			next, some = w.due, true
		}
	}
	return next, some
}

// beats renews until nothing has a TTL any more.
func (r *registrations) beats() {
	for {
		r.mu.Lock()
		next, some := r.firstDue()
		r.beating, r.nextBeat = some, next
		r.mu.Unlock()
		if !some {
			return
		}
		timer := time.NewTimer(time.Until(next))
		select {
		case <-r.conn.ctx.Done():
			timer.Stop()
			return
		case <-r.sooner:
			timer.Stop()
		case <-timer.C:
			r.renewDue()
		}
	}
}

// renewDue renews what is due, and with it what is due soon.
func (r *registrations) renewDue() {
	now := time.Now()
	r.mu.Lock()
	var due []abstract.Provider
	for n, w := range r.wants {
		if w.ttl > 0 && w.due.Before(now.Add(w.ttl/10)) {
			w.due = now.Add(max(w.ttl/10, minBeat)) // unless it is answered
			due = append(due, n.as(w))
		}
	}
	r.mu.Unlock()
	if !r.conn.Connected() {
		return // the restore registers all again
	}
	for _, b := range batches(due) {
		if err := r.renew(r.conn.ctx, &b); err != nil {
			r.conn.cfg.logger.Warn("registrations not renewed, trying again", "peer", r.conn.addr, "method", b.methods[0], "host", b.host.String(), "err", err)
		}
	}
}

// minBeat is how long to wait at least before a heartbeat is sent again.
const minBeat = 10 * time.Millisecond
