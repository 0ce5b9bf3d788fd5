package server

import (
	"context"
	"time"

	"trefoil/abstract"
	"trefoil/business/protect"
)

// calleeConfig is what the options say that are about serving calls.
type calleeConfig struct {
	instance              string
	drainQuiet, drainMost time.Duration
	ttl                   time.Duration
	health                func(context.Context) error

	acceptRate       int
	shedding         bool
	maxConcurrent    int
	methodConcurrent map[string]int
	queue            CallQueue
	rate             protect.Rate
	identityRate     protect.Rate
	methodRates      map[string]protect.Rate
}

// WithAcceptRate sets how many connections a second are taken, and four times as many
// at once after a pause; the default is 2,000, 0 is no limit. A modern peer above it is
// told when to come again, others are closed.
func WithAcceptRate(perSecond int) Option {
	return func(c *config) { c.callee.acceptRate = perSecond }
}

// WithTags sets words that an RpcServer says of itself when it registers, for callers
// to choose by. It adds to what WithTraits says, when it is given after that.
func WithTags(words ...string) Option {
	return func(c *config) { c.traits.Tags = abstract.NewTags(words...) }
}

// WithMeta sets facts that an RpcServer says of itself when it registers, for people
// and programs. It adds to what WithTraits says, when it is given after that.
func WithMeta(facts map[string]string) Option {
	return func(c *config) { c.traits.Meta = abstract.NewMeta(facts) }
}

// WithMaxConcurrent sets how many handlers run at once; 0 is no limit. A call that
// finds no room waits a little: see WithCallQueue. It is for when the right number is
// known; see WithAdaptiveShedding for when it is not.
func WithMaxConcurrent(n int) Option { return func(c *config) { c.callee.maxConcurrent = n } }

// WithMethodConcurrent sets how many handlers of one method run at once, so that it
// leaves room for the others; 0 is no limit. It may be given for several methods.
func WithMethodConcurrent(method string, n int) Option {
	return func(c *config) {
		if n > 0 {
			c.callee.methodConcurrent = with(c.callee.methodConcurrent, method, n)
		}
	}
}

// WithAdaptiveShedding lets a server find out how many handlers at once are good, by
// how long they take, between 3 and what WithMaxConcurrent or WithHandlers allow. What
// comes above that waits a little, as WithCallQueue says, and is then refused with
// Overloaded and the time after which to try again: under overload the server goes on
// doing as much as it can, in good time, and refuses the rest early.
func WithAdaptiveShedding() Option { return func(c *config) { c.callee.shedding = true } }

// CallQueue says how calls wait for room, where the number of handlers is limited. A
// field that is zero is the default.
type CallQueue struct {
	Most int // calls that wait; the oldest is refused for a further one; default 16,384
	// Interval is how long a call may wait, and Target how long it may when calls have
	// had to wait for Interval without a break: that is overload, and the newest call
	// is served first then, as the others are lost already. The defaults are 50 ms and 5 ms.
	Target, Interval time.Duration
}

// WithCallQueue sets how calls wait for room under WithMaxConcurrent,
// WithMethodConcurrent and WithAdaptiveShedding.
func WithCallQueue(q CallQueue) Option { return func(c *config) { c.callee.queue = q } }

// WithRateLimit sets how many calls a second are taken, and how many at once after a
// pause; a burst of 0 is one second's worth. Further ones are refused with Overloaded
// and the time after which to try again. 0 a second is no limit.
func WithRateLimit(perSecond float64, burst int) Option {
	return func(c *config) { c.callee.rate = rateOf(perSecond, burst) }
}

// WithMethodRateLimit is WithRateLimit for one method. It may be given for several.
func WithMethodRateLimit(method string, perSecond float64, burst int) Option {
	return func(c *config) {
		if perSecond > 0 {
			c.callee.methodRates = with(c.callee.methodRates, method, rateOf(perSecond, burst))
		}
	}
}

// WithIdentityRateLimit is WithRateLimit for all peers of one identity together, each
// identity for itself. It also holds for calls that a broker passes on. Without a
// Guard everybody is one identity.
func WithIdentityRateLimit(perSecond float64, burst int) Option {
	return func(c *config) { c.callee.identityRate = rateOf(perSecond, burst) }
}

func rateOf(perSecond float64, burst int) protect.Rate {
	return protect.Rate{PerSecond: perSecond, Burst: float64(burst)}
}

// with returns a copy of m with one more: options may be used for several servers.
func with[V any](m map[string]V, key string, v V) map[string]V {
	next := make(map[string]V, len(m)+1)
	for k, old := range m {
		next[k] = old
	}
	next[key] = v
	return next
}
