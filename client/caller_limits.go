package client

import (
	"encoding/json"
	"fmt"
	"time"

	"trefoil/abstract"
	"trefoil/business/protect"
)

// WithRateLimit bounds how many calls an RpcClient begins: perSecond, and burst at
// once (0: one second's worth). Further calls end at once with Overloaded, were not
// sent, and say when to try again; "retry_after_ms" in the details says it, too.
func WithRateLimit(perSecond float64, burst int) Option {
	return func(c *config) { c.rate = protect.Rate{PerSecond: perSecond, Burst: float64(burst)} }
}

// WithMaxConcurrent bounds how many calls of an RpcClient are under way, those that
// wait for a connection included. Further calls end at once with Overloaded, and were
// not sent.
func WithMaxConcurrent(n int) Option { return func(c *config) { c.concurrent = n } }

// callerLimits is what a client allows itself.
type callerLimits struct {
	rate  *protect.RateLimiter // nil: no limit
	speed float64
	under *protect.Concurrency // nil: no limit
	most  int
}

// newCallerLimits returns nil when there are none.
func newCallerLimits(cfg *config, now time.Time) *callerLimits {
	if cfg.rate.PerSecond <= 0 && cfg.concurrent <= 0 {
		return nil
	}
	l := &callerLimits{speed: cfg.rate.PerSecond, most: cfg.concurrent}
	if cfg.rate.PerSecond > 0 {
		l.rate = protect.NewRateLimiter(cfg.rate, now)
	}
	if cfg.concurrent > 0 {
		l.under = protect.NewConcurrency(cfg.concurrent)
	}
	return l
}

// enter counts a call that begins, or returns why it must not.
func (l *callerLimits) enter(c *call) *abstract.Error {
	if !l.under.Enter() {
		return &abstract.Error{Code: abstract.Overloaded, Sent: abstract.SentNo, Message: fmt.Sprintf("this client's own limit of %d calls at once is reached; wait for some to end", l.most)}
	}
	if wait, ok := l.rate.Allow(1, c.begun); !ok {
		l.under.Leave()
		wait = max(time.Millisecond, wait.Round(time.Millisecond))
		return &abstract.Error{
			Code: abstract.Overloaded, Sent: abstract.SentNo, Details: retryAfter(wait),
			Message: fmt.Sprintf("this client's own limit of %g calls a second is reached; try again in %s", l.speed, wait),
		}
	}
	c.entered = true
	return nil
}

// leave ends a call that was counted.
func (l *callerLimits) leave() { l.under.Leave() }

// retryHint is what the details of a refusal say of when to try again.
type retryHint struct {
	Ms int64 `json:"retry_after_ms"`
}

func retryAfter(wait time.Duration) json.RawMessage {
	text, _ := json.Marshal(retryHint{max(1, wait.Milliseconds())}) // a number always encodes
	return text
}

// longestHint bounds how long a peer can make us stay away.
const longestHint = 30 * time.Second

// hinted is for how long the peer that answered with e asked us to stay away.
func hinted(e *abstract.Error) time.Duration {
	var hint retryHint
	if len(e.Details) == 0 || json.Unmarshal(e.Details, &hint) != nil || hint.Ms <= 0 {
		return 0
	}
	return time.Duration(min(hint.Ms, longestHint.Milliseconds())) * time.Millisecond
}
