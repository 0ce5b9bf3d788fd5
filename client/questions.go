package client

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// This file is about the questions that discoveries asks of itself: for followers,
// after a gap in the notices, after a reconnect, and now and then to be sure.

// askSoon asks about a method in the background, if nobody else does. When the
// connection is down, the restore after the reconnect asks; a refusal is repeated
// after a while.
func (d *discoveries) askSoon(m *followed) {
	d.conn.acquire(func(s *session, err error) {
		switch {
		case err == nil:
			d.askOn(s, m)
		case abstract.CodeOf(err) == abstract.Overloaded: // else it is closed, and nobody is to be told
			d.askLater(m)
		}
	})
}

func (d *discoveries) askOn(s *session, m *followed) {
	d.mu.Lock()
	m.waiting = false
	if s != d.on || m.roster.answered && !m.roster.missed() {
		d.mu.Unlock()
		return
	}
	q, ok := m.roster.begin()
	d.mu.Unlock()
	if !ok {
		return
	}
	s.begin(time.Now().Add(d.conn.cfg.timeout), abstract.RspService, discoverRequest(m.method, q), func(rsp abstract.BaseMessage, err error) {
		switch {
		case err == nil:
			if d.answered(m, q, rsp.(*message.ServiceResponse)) {
				d.doubt(m.method)
			}
		case abstract.CodeOf(err) == abstract.Disconnected:
			d.unanswered(m, q) // the next restore asks
		default:
			d.unanswered(m, q)
			d.askLater(m)
		}
	})
}

func (d *discoveries) unanswered(m *followed, q question) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m.roster.ended(q)
}

func (d *discoveries) askLater(m *followed) {
	d.useSaved(m)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	if m.later != nil {
		m.later.Stop() // one chain of questions is enough
	}
	m.waiting = true
	m.later = time.AfterFunc(d.conn.cfg.backoffMax/2+backoff(&d.conn.cfg, 20)/2, func() { d.askSoon(m) })
}

// refused tells who has no list yet why, and asks again later.
func (d *discoveries) refused(m *followed, q question, err error) {
	e := decorate(asError(err), "discover "+m.method, 1, d.conn.addr)
	d.conn.report(e)
	d.mu.Lock()
	m.roster.ended(q)
	m.problem = e
	for f := range m.followers {
		f.wake()
	}
	d.mu.Unlock()
	d.askLater(m)
}

// restore asks again about every method.
func (d *discoveries) restore(ctx context.Context, s *session) error {
	d.mu.Lock()
	d.on, d.away = s, false
	d.sessions++
	requests := make([]request, 0, len(d.methods))
	var fell []string // filled on the session's own goroutine, one answer at a time
	for _, m := range d.methods {
		m.roster.meet(d.sessions)
		q, _ := m.roster.begin()
		requests = append(requests, request{
			want: abstract.RspService, build: discoverRequest(m.method, q),
			see: func(rsp abstract.BaseMessage) {
				if d.answered(m, q, rsp.(*message.ServiceResponse)) {
					fell = append(fell, m.method)
				}
			},
		})
	}
	d.mu.Unlock()
	err := s.askAll(ctx, requests)
	if err == nil && len(fell) > 0 {
		d.doubt(fell...)
	}
	return err
}

// recheck asks about every method now and then, whether or not anything seems to be
// missing. An answer that nothing has changed is a few bytes.
func (d *discoveries) recheck(every time.Duration) {
	for {
		timer := time.NewTimer(every*3/4 + rand.N(every/2+1)) // not all clients at once
		select {
		case <-d.conn.ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if s := d.conn.current.Load(); s != nil && s.modern() {
			d.recheckOn(s)
		}
	}
}

func (d *discoveries) recheckOn(s *session) {
	d.mu.Lock()
	if s != d.on {
		d.mu.Unlock()
		return
	}
	requests := make([]request, 0, len(d.methods))
	asked := make(map[*followed]question, len(d.methods))
	for _, m := range d.methods {
		q, ok := m.roster.begin()
		if !ok {
			continue
		}
		asked[m] = q
		requests = append(requests, request{
			want: abstract.RspService, build: discoverRequest(m.method, q),
			see: func(rsp abstract.BaseMessage) {
				if d.answered(m, q, rsp.(*message.ServiceResponse)) {
					d.doubt(m.method)
				}
			},
		})
	}
	d.mu.Unlock()
	if err := s.askAll(d.conn.ctx, requests); err != nil {
		d.conn.cfg.logger.Debug("providers not looked up again", "peer", d.conn.addr, "err", err)
	}
	for m, q := range asked {
		d.unanswered(m, q)
	}
}

// doubt says that the registry suddenly knows less than half of some methods'
// providers, and that this is not believed yet.
func (d *discoveries) doubt(methods ...string) {
	slices.Sort(methods)
	const most = 5
	names := strings.Join(methods[:min(most, len(methods))], ", ")
	if more := len(methods) - most; more > 0 {
		names += fmt.Sprintf(" and %d more methods", more)
	}
	e := &abstract.Error{
		Code: abstract.Unavailable, Op: "discover " + names, Instance: d.conn.addr, Sent: abstract.SentYes,
		Message: fmt.Sprintf("refused: the broker suddenly knows nobody, or less than half of the providers; those it has lost are held for %s", d.conn.cfg.grace),
	}
	d.conn.cfg.logger.Warn("providers held that the registry does not know any more", "peer", d.conn.addr, "method", names, "err", e)
	d.conn.tellProblem(e)
}
