package balance

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"
)

// Outliers says when a Group ejects a member: gives it no calls for a while. The
// zero value is the default. The scheme is Envoy's outlier detection (consecutive
// failures, comparison with the others, times that grow with each ejection, a
// largest share); a member is compared with the median of all, not by standard
// deviations, so that it works among three, and comes back by one call on trial.
type Outliers struct {
	Off bool

	Consecutive int           // so many calls in a row that failed; default 5
	Interval    time.Duration // how often members are compared; default 10 s
	MinCalls    int           // in an interval, for a member to be compared; default 20
	RateGap     float64       // so much lower a success rate than the median is too low; default 0.3
	Slower      float64       // so many times the median latency is too slow; default 5
	SlowerBy    time.Duration // and by so much at least; default 20 ms

	First    time.Duration // how long the first ejection is; the n-th is n times that; default 10 s
	Longest  time.Duration // default 5 min
	MaxShare float64       // of the members that are ejected at most, but one of two or more always may be; default 0.3
}

func (o Outliers) withDefaults() Outliers {
	o.Consecutive = cmp.Or(max(0, o.Consecutive), 5)
	o.Interval = cmp.Or(max(0, o.Interval), 10*time.Second)
	o.MinCalls = cmp.Or(max(0, o.MinCalls), 20)
	o.RateGap = cmp.Or(max(0, o.RateGap), 0.3)
	o.Slower = cmp.Or(max(0, o.Slower), 5)
	o.SlowerBy = cmp.Or(max(0, o.SlowerBy), 20*time.Millisecond)
	o.First = cmp.Or(max(0, o.First), 10*time.Second)
	o.Longest = cmp.Or(max(0, o.Longest), 5*time.Minute)
	o.MaxShare = cmp.Or(max(0, o.MaxShare), 0.3)
	return o
}

// trial is what a Group knows of a member's conduct.
type trial struct {
	streak atomic.Int64 // failures in a row
	calls  atomic.Int64 // since the members were compared last
	bad    atomic.Int64 // of them
	took   atomic.Int64 // nanoseconds, all of them together

	// The rest is guarded by the Group's lock.
	out     bool
	running bool          // there is a call on trial
	until   int64         // when out: to be tried from then on
	times   int           // ejections not yet forgotten
	rate    bool          // it is out for its success rate
	bar     time.Duration // it is out for its latency: a call on trial must be faster than this
}

func (t *trial) forget() {
	t.streak.Store(0)
	t.calls.Store(0)
	t.bad.Store(0)
	t.took.Store(0)
}

// judge takes a call's end into account.
func (g *Group) judge(p Pick, now time.Time, r Result) {
	m, o := p.Member, &g.cfg.Outliers
	if p.trial {
		g.tried(m, now, r)
		return
	}
	if r.Outcome == Ignored || r.Outcome == Overloaded {
		return
	}
	t := &m.trial
	t.calls.Add(1)
	t.took.Add(int64(r.Latency))
	switch r.Outcome {
	case Failed:
		t.bad.Add(1)
		if t.streak.Add(1) >= int64(o.Consecutive) {
			g.mu.Lock()
			g.eject(m, now, verdict{why: fmt.Sprintf("%d calls in a row failed", o.Consecutive)})
			g.unlock()
		}
	case Errored:
		t.bad.Add(1)
		t.streak.Store(0)
	default:
		if t.streak.Load() != 0 {
			t.streak.Store(0)
		}
	}
	at, last := m.at(now), g.compared.Load()
	if at-last >= int64(o.Interval) && g.compared.CompareAndSwap(last, at) {
		g.compare(now)
	}
}

// verdict is why a member is ejected.
type verdict struct {
	why  string
	rate bool
	bar  time.Duration
}

// eject takes a member out, unless too many are. It is called with the lock held.
func (g *Group) eject(m *Member, now time.Time, v verdict) {
	t := &m.trial
	if t.out || g.members[m.Instance().name()] != m {
		return
	}
	out, limit := g.ejected()
	if out >= limit {
		return
	}
	t.out, t.rate, t.bar = true, v.rate, v.bar
	t.times++
	g.sentence(m, now, v.why)
	g.change(now)
}

// sentence says how long a member is out. It is called with the lock held.
func (g *Group) sentence(m *Member, now time.Time, why string) {
	t, o := &m.trial, &g.cfg.Outliers
	t.forget()
	long := min(o.Longest, time.Duration(float64(t.times)*float64(o.First)))
	t.until = m.at(now.Add(long))
	g.notices = append(g.notices, Notice{Member: m, Ejected: true, Why: why, Until: now.Add(long)})
}

// ejected returns how many members are ejected, by whomever, and how many may be. It
// is called with the lock held.
func (g *Group) ejected() (out, limit int) {
	n := 0
	for _, m := range g.order {
		in := m.Instance()
		if in.Draining {
			continue
		}
		n++
		if m.trial.out || in.Ejected {
			out++
		}
	}
	return out, g.limit(n)
}

func (g *Group) limit(n int) int {
	if n < 2 {
		return 0
	}
	return max(1, min(n-1, int(g.cfg.Outliers.MaxShare*float64(n))))
}

// readmit takes members back whose time is not over, when so many others have left
// that too many are ejected. It is called with the lock held.
func (g *Group) readmit(now time.Time) {
	var out []*Member
	n := 0
	for _, m := range g.order {
		if m.Instance().Draining {
			continue
		}
		n++
		if m.trial.out {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b *Member) int { return cmp.Compare(a.trial.until, b.trial.until) })
	for len(out) > g.limit(n) {
		g.acquit(out[0], now)
		out = out[1:]
	}
}

// acquit takes a member back. It is called with the lock held, before change.
func (g *Group) acquit(m *Member, now time.Time) {
	t := &m.trial
	t.out, t.rate, t.bar = false, false, 0
	t.forget()
	m.since.Store(m.at(now)) // as if it were new: its caches may be
	g.notices = append(g.notices, Notice{Member: m})
}

// schedule notes when the next member is to be tried. It is called with the lock held.
func (g *Group) schedule() {
	due := int64(math.MaxInt64)
	for _, m := range g.order {
		if t := &m.trial; t.out && !t.running && !m.Instance().Draining {
			due = min(due, t.until)
		}
	}
	g.due.Store(due)
}

// try returns a member whose time is over, for one call on trial.
func (g *Group) try(c *Call) *Member {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range g.order {
		t, in := &m.trial, m.Instance()
		if t.out && !t.running && m.at(c.Now) >= t.until && !in.Draining && !in.Ejected && c.Accepts(m) {
			t.running = true
			g.schedule()
			return m
		}
	}
	return nil
}

// tried takes the end of a call on trial.
func (g *Group) tried(m *Member, now time.Time, r Result) {
	g.mu.Lock()
	defer g.unlock()
	t := &m.trial
	t.running = false
	if !t.out || g.members[m.Instance().name()] != m {
		return
	}
	slow := t.bar > 0 && r.Latency > t.bar
	switch {
	case r.Outcome == Ignored: // the next call is on trial
		g.schedule()
	case slow || r.Outcome == Failed || r.Outcome == Overloaded || t.rate && r.Outcome == Errored:
		t.times++
		g.sentence(m, now, "a call on trial went badly")
		g.schedule()
	default:
		g.acquit(m, now)
		g.change(now)
	}
}

// conduct is a member's figures of one interval.
type conduct struct {
	m    *Member
	rate float64 // of success
	took float64 // ns, mean
}

// compare ejects members that did much worse than the median, and lets those that
// did well forget an ejection.
func (g *Group) compare(now time.Time) {
	g.mu.Lock()
	defer g.unlock()
	o := &g.cfg.Outliers
	var all []conduct
	for _, m := range g.order {
		t := &m.trial
		calls, bad, took := t.calls.Swap(0), t.bad.Swap(0), t.took.Swap(0)
		if !t.out && t.times > 0 {
			t.times--
		}
		if !t.out && calls >= int64(o.MinCalls) {
			all = append(all, conduct{m, 1 - float64(bad)/float64(calls), float64(took) / float64(calls)})
		}
	}
	if len(all) < 3 {
		return // of two, who is to say which one is the outlier
	}
	rate := median(all, func(c conduct) float64 { return c.rate })
	took := median(all, func(c conduct) float64 { return c.took })
	slices.SortFunc(all, func(a, b conduct) int { // the worst first: they may not all be ejected
		return cmp.Or(cmp.Compare(a.rate, b.rate), cmp.Compare(b.took, a.took))
	})
	for _, c := range all {
		bar := max(took*o.Slower, took+float64(o.SlowerBy))
		switch {
		case c.rate < rate-o.RateGap:
			g.eject(c.m, now, verdict{rate: true, why: fmt.Sprintf("%.0f %% of its calls went well, of the others' %.0f %%", 100*c.rate, 100*rate)})
		case c.took > bar:
			g.eject(c.m, now, verdict{bar: time.Duration(bar), why: fmt.Sprintf("its calls take %v, the others' %v",
				time.Duration(c.took).Round(time.Microsecond), time.Duration(took).Round(time.Microsecond))})
		}
	}
}

func median(all []conduct, of func(conduct) float64) float64 {
	values := make([]float64, len(all))
	for i, c := range all {
		values[i] = of(c)
	}
	slices.Sort(values)
	return values[len(values)/2]
}
