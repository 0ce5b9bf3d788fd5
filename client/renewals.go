package client

import (
	"context"
	"math/rand/v2"
	"time"

	"trefoil/abstract"
)

// This file is about registrations that end unless somebody renews them.

// renewed notes that a wish with a TTL was renewed. It is called with the lock held.
func (r *registrations) renewed(w *wish, now time.Time) {
	switch {
	case w.ttl <= 0:
	case r.conn.cfg.renews:
		every := w.ttl / 3
		w.due = now.Add(every - rand.N(every/10+1))
	default:
		w.until = now.Add(w.ttl)
	}
}

// heartbeat renews registrations for their owner.
func (r *registrations) heartbeat(ctx context.Context, providers []abstract.Provider) error {
	r.mu.Lock()
	var problems []error
	known := make([]abstract.Provider, 0, len(providers))
	for _, p := range providers {
		name, ok := r.find(p)
		if !ok {
			problems = append(problems, &abstract.Error{Code: abstract.NotFound, Op: "heartbeat " + p.Method, Message: "it is not registered here, or its time is over; register it first", Sent: abstract.SentNo})
			continue
		}
		w := r.wants[name]
		name.Traits, name.TTL = w.traits, w.ttl
		known = append(known, name)
	}
	r.mu.Unlock()
	for _, b := range batches(known) {
		if err := r.renew(ctx, b); err != nil {
			problems = append(problems, err)
		}
	}
	return joined(problems)
}

// renew renews a batch, or registers it again when the broker does not know all of it.
func (r *registrations) renew(ctx context.Context, b batch) error {
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
	for _, undo := range r.unwanted([]batch{b}) { // unregistered meanwhile
		_ = r.tell(ctx, abstract.ServiceUnregister, undo)
	}
	return nil
}

// beat makes a goroutine renew what has a TTL, if there is any.
func (r *registrations) beat() {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, some := r.nextBeat()
	switch {
	case !r.conn.cfg.renews || !some:
	case r.beating:
		select {
		case r.sooner <- struct{}{}:
		default: // it is about to look anyway
		}
	default:
		r.beating = r.conn.tasks.run(r.beats)
	}
}

// nextBeat is when the next wish is due. It is called with the lock held.
func (r *registrations) nextBeat() (next time.Time, some bool) {
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
		next, some := r.nextBeat()
		r.beating = some
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
	for p, w := range r.wants {
		if w.ttl > 0 && w.due.Before(now.Add(w.ttl/10)) {
			w.due = now.Add(max(w.ttl/10, minBeat)) // unless it is answered
			p.Traits, p.TTL = w.traits, w.ttl
			due = append(due, p)
		}
	}
	r.mu.Unlock()
	if !r.conn.Connected() {
		return // the restore registers all again
	}
	for _, b := range batches(due) {
		if err := r.renew(r.conn.ctx, b); err != nil {
			r.conn.cfg.logger.Warn("registrations not renewed, trying again", "peer", r.conn.addr, "method", b.methods[0], "host", b.host.String(), "err", err)
		}
	}
}

// minBeat is how long to wait at least before a heartbeat is sent again.
const minBeat = 10 * time.Millisecond
