package protect

import "time"

// Hedge says when to send a call to a second provider because the first one takes
// long, and takes the answer that comes first: once most calls would have been
// answered (Dean, Barroso, "The Tail at Scale", 2013). That costs few extra calls and
// cuts off the slowest answers. It is only for methods that may be called twice.
//
// The caller says Call when it makes a call, asks After how long to wait, then Extra
// whether there may be another attempt, and says Ended when the call has ended.
// Make it with NewHedge, one for each method. Safe for concurrent use.
type Hedge struct {
	after  time.Duration
	least  time.Duration
	most   int
	known  uint64
	seen   histogram
	budget *Budget
}

// HedgeConfig says how a Hedge works. The zero value is the default.
type HedgeConfig struct {
	Fixed      time.Duration // how long to wait; default: a percentile of what calls took lately
	Percentile float64       // from 0 to 1; default 0.95
	Least      time.Duration // never wait less; default 1 ms
	Known      int           // calls that must have ended before the percentile is believed in; default 100
	Most       int           // extra attempts for one call; default 1
	Ratio      float64       // extra attempts for each call, all in all, and 10 saved up; default 0.05
}

// NewHedge makes a Hedge.
func NewHedge(cfg HedgeConfig, now time.Time) *Hedge {
	h := &Hedge{
		after: cfg.Fixed, least: or(cfg.Least, time.Millisecond),
		most: or(cfg.Most, 1), known: max(every, uint64(or(max(0, cfg.Known), 100))),
		budget: NewBudget(BudgetConfig{Ratio: or(cfg.Ratio, 0.05), PerSecond: -1, Burst: 10}, now),
	}
	h.budget.tokens.Store(h.budget.most) // who calls for the first time may hedge
	h.seen.part = or(cfg.Percentile, 0.95)
	return h
}

// Call says that a call is made.
func (h *Hedge) Call() { h.budget.Call() }

// After is how long to wait for an answer before there is another attempt. Not ok:
// too little is known yet, do not hedge.
func (h *Hedge) After() (wait time.Duration, ok bool) {
	if h.after > 0 {
		return h.after, true
	}
	if h.seen.seen.Load() < h.known {
		return 0, false
	}
	return max(h.least, time.Duration(h.seen.value.Load())), true
}

// Extra asks for another attempt, when the call has had so many extra ones already.
// False: it must not be made.
func (h *Hedge) Extra(had int, now time.Time) bool {
	return had < h.most && h.budget.Spend(now)
}

// NotMade takes an Extra back: there was nobody to ask.
func (h *Hedge) NotMade() { h.budget.Refund() }

// Ended says how long a call took, from its first attempt to its end, whichever
// attempt was answered.
func (h *Hedge) Ended(took time.Duration) {
	if h.after <= 0 {
		h.seen.observe(took)
	}
}
