package client

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"trefoil/abstract"
	"trefoil/business/protect"
)

// ErrRetryBudget is in the chain of an error whose call could have been tried once
// more, had there not been too many further attempts at that service already. Find
// it with errors.Is.
var ErrRetryBudget = errors.New("not tried again, as the budget of further attempts at this service is used up")

// RetryBudget bounds the attempts after the first of all calls of a service (what
// stands before the last dot of a method's name) that one RpcClient makes. Attempts
// that follow one whose request never left, or was refused by a provider that shuts
// down or is another one, are not counted: nothing was done. The zero value is the
// default.
type RetryBudget struct {
	Ratio     float64 // further attempts for each call; default 0.2, negative: none
	PerSecond float64 // and for each second; default 10, negative: none
	Burst     int     // saved up at most; default 1000: the calls that one lost connection may end
	Off       bool    // no bound but each call's deadline
}

// WithRetryBudget changes how many attempts after the first an RpcClient makes in
// all. A call that finds the budget used up ends with the error of its last attempt,
// and ErrRetryBudget in its chain.
func WithRetryBudget(b RetryBudget) Option { return func(c *config) { c.retries = b } }

// make makes the budget of one service.
func (b RetryBudget) make(now time.Time) *protect.Budget {
	if b.Off {
		return nil
	}
	if b.Burst <= 0 {
		b.Burst = 1000
	}
	return protect.NewBudget(protect.BudgetConfig{Ratio: b.Ratio, PerSecond: b.PerSecond, Burst: b.Burst}, now)
}

// serviceOf is the service that a method belongs to.
func serviceOf(method string) string {
	if i := strings.LastIndexByte(method, '.'); i >= 0 {
		return method[:i]
	}
	return method
}

// Retry bounds the attempts of the call, the first one and hedged ones included. What
// may be repeated, and the retry budget, stay as they are. Without it only the
// deadline bounds them.
func Retry(attempts int) CallOption {
	return func(o *abstract.CallOptions) { o.Attempts = max(1, attempts) }
}

// NoRetry makes the call have one attempt only.
func NoRetry() CallOption { return Retry(1) }

// goOn goes on after an attempt that has failed: with another one, where that can do
// no harm and is allowed, else to the call's end.
func (c *call) goOn(e *abstract.Error, at *provider, harmless bool) {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return
	}
	c.last = e
	c.left = c.left || e.Sent == abstract.SentUnknown
	harmless = harmless && c.gaveUp == nil && time.Now().Before(c.deadline) && c.client.ctx.Err() == nil
	if harmless && at != nil {
		c.tried = append(c.tried, at)
	}
	if harmless && c.extra.busy() { // with an attempt that may be answered still
		c.extra.stalled = true
		c.watchTime() // that attempt may wait for a connection
		c.mu.Unlock()
		return
	}
	pause := time.Duration(0)
	if harmless && !c.client.movable() { // the same server again: give it time to come back
		pause = c.pause()
		c.watchTime()
	}
	c.mu.Unlock()
	if harmless {
		e, harmless = c.allowed(e)
	}
	if !harmless {
		c.finish(Reply{}, e)
		return
	}
	c.client.later(pause, c.try)
}

// harmless says whether another attempt can do no harm: when the request never left,
// when the peer refused it before doing anything, or when the method is idempotent.
func (c *call) harmless(e *abstract.Error) bool {
	switch e.Code {
	case abstract.Disconnected, abstract.Unavailable:
		return e.Sent == abstract.SentNo || c.idempotent
	case abstract.Draining:
		return true
	case abstract.WrongInstance:
		return c.client.movable() || !c.extra.pinned()
	case abstract.ServiceNotFound, abstract.Overloaded:
		return e.FromPeer && c.client.movable() // elsewhere
	case abstract.Unsupported:
		return c.notRelayed(e)
	}
	return false
}

// allowed says whether there may be another attempt after one that failed with e,
// and pays for it. If not, the error says why.
func (c *call) allowed(e *abstract.Error) (*abstract.Error, bool) {
	c.mu.Lock()
	attempts, most := c.attempts, c.extra.most()
	c.mu.Unlock()
	switch {
	case most > 0 && attempts >= most:
		return e, false
	case free(e) || c.budget == nil || c.budget.Spend(time.Now()):
		return e, true
	}
	d := *e
	d.Err = ErrRetryBudget
	if e.Err != nil {
		d.Err = fmt.Errorf("%w; %w", e.Err, ErrRetryBudget)
	}
	return &d, false
}

// free says whether an attempt after one that failed with e costs nobody anything,
// as nothing was done.
func free(e *abstract.Error) bool {
	return e.Sent == abstract.SentNo && e.Code != abstract.Overloaded || e.Code == abstract.Draining || e.Code == abstract.WrongInstance
}

// pauseAfterAll bounds the first pause of a call before it asks providers again that
// have all failed it; the pauses grow up to longestPause.
const (
	pauseAfterAll = 50 * time.Millisecond
	longestPause  = time.Second
)

// pause is how long to wait before the same provider is asked again. It is called
// with the lock held.
func (c *call) pause() time.Duration {
	c.rounds++
	return protect.Backoff{First: pauseAfterAll, Most: longestPause}.Pause(c.rounds-1, 0)
}

// startOver forgets which providers have failed, now that all have, and returns how
// long to wait before they are asked again. Not ok: they are not to be asked again,
// as they have too much to do.
func (c *call) startOver() (pause time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.last; e != nil && e.Code == abstract.Overloaded && e.FromPeer || c.extra.once() {
		return 0, false
	}
	c.tried = nil
	return c.pause(), true
}

// exhausted ends the call with the error of its last attempt, when there is nobody
// else to ask.
func (c *call) exhausted() {
	if c.budget != nil {
		c.budget.Refund() // paid for an attempt that is not made
	}
	c.mu.Lock()
	last := c.last
	c.mu.Unlock()
	c.finish(Reply{}, last)
}
