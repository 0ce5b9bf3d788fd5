package server

import (
	"sync/atomic"
	"time"

	"trefoil/business/access"
	"trefoil/business/protect"
	"trefoil/concrete/message"
)

// callRates bounds how many calls are taken in a time.
type callRates struct {
	on         atomic.Bool // there is any limit at all
	all        *protect.RateLimiter
	methods    map[string]*protect.RateLimiter
	identity   atomic.Pointer[protect.Rate]
	identities *protect.RateLimiters
}

func (r *callRates) init(cfg *calleeConfig) {
	now := time.Now()
	r.identity.Store(&cfg.identityRate)
	r.identities = protect.NewRateLimiters(0, func(string) protect.Rate { return *r.identity.Load() }, now)
	if cfg.rate.PerSecond > 0 {
		r.all = protect.NewRateLimiter(cfg.rate, now)
	}
	if len(cfg.methodRates) > 0 {
		r.methods = make(map[string]*protect.RateLimiter)
	}
	for method, rate := range cfg.methodRates {
		r.methods[method] = protect.NewRateLimiter(rate, now)
	}
	r.look()
}

func (r *callRates) look() {
	r.on.Store(r.all != nil || r.methods != nil || r.identity.Load().PerSecond > 0)
}

// set changes the rate of each identity.
func (r *callRates) set(rate protect.Rate) {
	r.identity.Store(&rate)
	r.identities.Reset(time.Now())
	r.look()
}

// allow returns why a call comes too soon; nil: it does not.
func (r *callRates) allow(c *conn, method string, now time.Time) error {
	if r.identity.Load().PerSecond > 0 {
		who := c.identity()
		if after, ok := r.identities.Of(who, now).Allow(1, now); !ok {
			return retryLater("identity "+who+" calls more often than is allowed", after)
		}
	}
	if after, ok := r.methods[method].Allow(1, now); !ok {
		return retryLater("the method is called more often than the server allows", after)
	}
	if after, ok := r.all.Allow(1, now); !ok {
		return retryLater("the server is called more often than it allows", after)
	}
	return nil
}

// afford returns why a call is one too many for its caller or for the server: too
// many at once, or too soon. When it is not, the caller's quota has one less, until
// it is released.
func (ep *endpoint) afford(t *turn, req *message.RpcRequest) error {
	if ep.rates.on.Load() {
		if err := ep.rates.allow(t.conn, req.Method, t.now); err != nil {
			return err
		}
	}
	return t.conn.acquire(access.InFlight)
}
