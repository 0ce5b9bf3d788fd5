package jetstream

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"trefoil/abstract"
)

// asked is a request for entries at the server.
type asked struct {
	sub     *nats.Subscription
	inbox   string // its subject
	left    int    // entries that it may still bring
	expires *time.Timer
}

// pending are requests that nobody waits for, to several servers. One of those may not
// know yet that a request was taken back, and what it sends then would be lost until its
// time is over. So the request is left as it is, and who fetches next waits for it.
type pending struct {
	mu   sync.Mutex
	list []*asked
}

// put leaves a request for somebody else. What it has brought when it runs out is given back.
func (p *pending) put(c *consumer, a *asked) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, a)
	a.expires = time.AfterFunc(pullPatience+time.Second, func() {
		if p.remove(a) && !c.l.s.spawn(func() { c.giveBack(c.drain(a.sub)) }) {
			_ = a.sub.Unsubscribe()
		}
	})
}

// take returns the oldest request, or nil.
func (p *pending) take() *asked {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.list) == 0 {
		return nil
	}
	a := p.list[0]
	p.list = slices.Delete(p.list, 0, 1)
	a.expires.Stop()
	return a
}

func (p *pending) remove(a *asked) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.list, a)
	if i >= 0 {
		p.list = slices.Delete(p.list, i, i+1)
	}
	return i >= 0
}

// leave ends a request that nobody waits for any longer, and returns what it still brought
// for who got some of it. The server inside sends nothing more when this returns.
func (c *consumer) leave(ctx context.Context, a *asked, list []abstract.LogDelivery) []abstract.LogDelivery {
	if c.l.s.member == nil {
		c.shared.pending.put(c, a)
		return list
	}
	late := c.drain(a.sub)
	if ctx.Err() == nil || len(list) > 0 {
		return append(list, late...)
	}
	if len(late) > 0 {
		c.l.s.spawn(func() { c.giveBack(late) })
	}
	return nil
}

// drain ends a subscription and returns what the server had sent before it knew.
func (c *consumer) drain(sub *nats.Subscription) (list []abstract.LogDelivery) {
	ctx, cancel := context.WithTimeout(context.Background(), drainPatience)
	defer cancel()
	if sub.Drain() != nil || c.l.s.nc.FlushWithContext(ctx) != nil {
		_ = sub.Unsubscribe()
		return nil // delivered again when their time is over
	}
	n, _, err := sub.Pending()
	for ; err == nil && n > 0; n-- {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			break
		}
		if d := c.delivery(m); d != nil {
			list = append(list, d)
		}
	}
	return list
}

func (c *consumer) giveBack(list []abstract.LogDelivery) {
	ctx, cancel := context.WithTimeout(context.Background(), c.l.s.cfg.Timeout)
	defer cancel()
	for _, d := range list {
		_ = d.Nack(ctx, 0) // else it is delivered again when its time is over
	}
}
