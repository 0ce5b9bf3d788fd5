package client

import (
	"fmt"
	"time"

	"trefoil/abstract"
	"trefoil/business/balance"
	"trefoil/business/protect"
)

// Breaker says when calls to one provider stop that fails: after InRow failures one
// after the other, or when Rate of at least MinCalls calls in Window failed, none are
// made for OpenFor; then Trials at a time are, and when so many were answered all
// are made again. A failure is no answer, or none in time; an answer with an error is
// an answer. The zero value is the default.
type Breaker struct {
	InRow    int           // default 5, negative: never for that
	Rate     float64       // from 0 to 1; default 0.5
	MinCalls int           // default 20
	Window   time.Duration // default 10 s
	OpenFor  time.Duration // default 5 s
	Trials   int           // default 3
}

// WithBreaker gives every provider, or the one server of a direct client, a circuit
// breaker; without this option there are none. Calls go to providers whose breaker
// lets them. When none does, they end at once with Unavailable, and the details say
// "retry_after_ms".
func WithBreaker(b Breaker) Option {
	return func(c *config) {
		c.breaker = protect.BreakerConfig{
			On: true, InRow: b.InRow, Rate: b.Rate, MinCalls: b.MinCalls, Window: b.Window, OpenFor: b.OpenFor, Trials: b.Trials,
		}
	}
}

// newBreaker makes the breaker of one provider; nil when there are none.
func (c *config) newBreaker(now time.Time) *protect.Breaker {
	if !c.breaker.On {
		return nil
	}
	return protect.NewBreaker(c.breaker, now)
}

// choice is who was chosen for an attempt. It is given back once.
type choice struct {
	pick    balance.Pick
	group   *balance.Group
	breaker *protect.Breaker
	permit  protect.Permit
}

// end gives the choice back. It is not called under a lock.
func (c choice) end(o balance.Outcome) {
	if c.pick.Member == nil && c.breaker == nil {
		return
	}
	now := time.Now()
	c.endTook(o, now, now.Sub(c.pick.Begun))
}

// endTook is end for a stream, which took so long to be opened.
func (c choice) endTook(o balance.Outcome, now time.Time, took time.Duration) {
	if c.pick.Member != nil {
		c.group.EndTook(c.pick, now, took, o)
	}
	if c.breaker != nil {
		c.breaker.Done(c.permit, now, verdictOf(o))
	}
}

// verdictOf is what an attempt's end says to a breaker. A refusal of a provider that
// has too much to do is no failure: it is alive, and the balancer knows.
func verdictOf(o balance.Outcome) protect.Verdict {
	switch o {
	case balance.OK, balance.Errored:
		return protect.Good
	case balance.Failed:
		return protect.Bad
	}
	return protect.Nothing
}

// errOpen is the end of a call that no breaker lets through before again.
func errOpen(who string, again, now time.Time) *abstract.Error {
	wait := max(time.Millisecond, again.Sub(now).Round(time.Millisecond))
	return &abstract.Error{
		Code: abstract.Unavailable, Sent: abstract.SentNo, Details: retryAfter(wait),
		Message: fmt.Sprintf("breaker open: calls to %s failed, and are tried again in %s", who, wait),
	}
}
