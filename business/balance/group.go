package balance

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Group holds the instances of one method for one caller. Make it with NewGroup.
// Safe for concurrent use; on the way of a call without trouble it takes no lock
// that others hold for long, and allocates nothing.
type Group struct {
	cfg  Config
	base time.Time // times are kept as nanoseconds from here

	due      atomic.Int64 // when the next ejected member is to be tried
	compared atomic.Int64 // when the members were compared last

	mu      sync.Mutex
	members map[name]*Member
	order   []*Member // as in the last Update
	notices []Notice  // to be told after unlocking
}

// Config says how a Group works. The zero value is the default.
type Config struct {
	Balancer  Balancer      // the Group's own; default NewLeastPending(nil)
	SlowStart time.Duration // how long a new instance's share grows; default 10 s, negative: no slow start
	Subset    Subset        // default: all instances are used
	Outliers  Outliers
	OnNotice  func(Notice) // told when a member is ejected or back, by whoever called Pick, End or Update; must not block
}

// Notice says that a member was ejected, or is used again.
type Notice struct {
	Member  *Member
	Ejected bool
	Why     string    // it was ejected
	Until   time.Time // when it is to be tried again
}

// Pick is the choice for one call. Give it back with End.
type Pick struct {
	Member *Member
	Begun  time.Time // latency counts from here; set it later when the call has waited for something that is not the instance's fault
	trial  bool
}

// State is what is known of one member.
type State struct {
	Instance Instance
	Pending  int
	Latency  time.Duration // lately; 0: unknown
	Share    float64       // of its weight; below 1 while it is new
	Ejected  bool          // by the Group; Instance.Ejected is somebody else's word
	Until    time.Time     // when it is to be tried again, if it is ejected
	Times    int           // how often it was ejected, less one for each interval that went well since
}

// NewGroup makes a Group of no instances.
func NewGroup(cfg Config, now time.Time) *Group {
	if cfg.Balancer == nil {
		cfg.Balancer = NewLeastPending(nil)
	}
	if cfg.SlowStart == 0 {
		cfg.SlowStart = 10 * time.Second
	}
	cfg.SlowStart = max(0, cfg.SlowStart)
	cfg.Outliers = cfg.Outliers.withDefaults()
	g := &Group{cfg: cfg, base: now, members: make(map[name]*Member)}
	g.due.Store(math.MaxInt64)
	return g
}

// Update replaces the instances. Those that were there already keep what is known
// of them. New ones start slowly, except in the first Update: there the caller is
// what is new, and only Instance.Since says otherwise.
func (g *Group) Update(list []Instance, now time.Time) {
	list = g.cfg.Subset.Of(list)
	g.mu.Lock()
	first := len(g.members) == 0
	members := make(map[name]*Member, len(list))
	g.order = make([]*Member, 0, len(list))
	for i := range list {
		in := list[i]
		m := g.members[in.name()]
		if m == nil {
			m = &Member{base: g.base, ramp: g.cfg.SlowStart}
			m.since.Store(max(m.at(g.born(&in, first, now)), m.at(now)-int64(m.ramp))) // older is no older
		}
		m.instance.Store(&in)
		if members[in.name()] == nil {
			g.order = append(g.order, m)
		}
		members[in.name()] = m
	}
	g.members = members
	g.change(now)
	g.unlock()
}

// born is when slow start counts from.
func (g *Group) born(in *Instance, first bool, now time.Time) time.Time {
	switch {
	case !in.Since.IsZero():
		return in.Since
	case first:
		return now.Add(-g.cfg.SlowStart)
	}
	return now
}

// change tells the balancer who is there. It is called with the lock held.
func (g *Group) change(now time.Time) {
	g.readmit(now)
	var m Members
	for _, x := range g.order {
		if in := x.Instance(); in.Draining || in.Ejected || x.trial.out {
			m.Away = append(m.Away, x)
		} else {
			m.List = append(m.List, x)
		}
	}
	if len(m.List) == 0 { // an ejected one is better than nobody; a draining one is not
		m.Away = nil
		for _, x := range g.order {
			if x.Instance().Draining {
				m.Away = append(m.Away, x)
			} else {
				m.List = append(m.List, x)
			}
		}
	}
	g.cfg.Balancer.Change(m)
	g.schedule()
}

// unlock unlocks, and tells what is to be told.
func (g *Group) unlock() {
	notices := g.notices
	g.notices = nil
	g.mu.Unlock()
	if g.cfg.OnNotice == nil {
		return
	}
	for _, n := range notices {
		g.cfg.OnNotice(n)
	}
}

// Pick chooses a member for a call, and counts the call as begun: it must be ended
// with End, once. Not ok: there is nobody, or nobody whom the call does not avoid.
func (g *Group) Pick(c Call) (p Pick, ok bool) {
	var m *Member
	trial := false
	if int64(c.Now.Sub(g.base)) >= g.due.Load() {
		m = g.try(&c)
		trial = m != nil
	}
	if m == nil {
		m = g.cfg.Balancer.Choose(c)
	}
	if m == nil && c.Away {
		m = g.away(&c)
	}
	if m == nil {
		return Pick{}, false
	}
	m.pending.Add(1)
	g.cfg.Balancer.Begin(m, c.Now)
	return Pick{Member: m, Begun: c.Now, trial: trial}, true
}

// away returns the ejected member that the call accepts and that has the fewest calls
// in flight. A draining one it does not take.
func (g *Group) away(c *Call) (least *Member) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range g.order {
		in := m.Instance()
		if !in.Draining && (in.Ejected || m.trial.out) && c.Accepts(m) && (least == nil || m.Pending() < least.Pending()) {
			least = m
		}
	}
	return least
}

// End tells how a call went that Pick chose a member for.
func (g *Group) End(p Pick, now time.Time, o Outcome) {
	g.EndTook(p, now, now.Sub(p.Begun), o)
}

// EndTook is End for what is not to be judged by how long it was under way, as a stream:
// took is how long the member has let it wait.
func (g *Group) EndTook(p Pick, now time.Time, took time.Duration, o Outcome) {
	m, r := p.Member, Result{Latency: max(0, took), Outcome: o}
	m.pending.Add(-1)
	if o != Ignored && o != Overloaded { // a refusal is fast, and is no work done
		m.seen.observe(m.at(now), r.Latency, o == Failed)
	}
	g.cfg.Balancer.End(m, now, r)
	if !g.cfg.Outliers.Off {
		g.judge(p, now, r)
	}
}

// States returns what is known of all members, in the order of the last Update.
func (g *Group) States(now time.Time) []State {
	g.mu.Lock()
	defer g.mu.Unlock()
	states := make([]State, 0, len(g.order))
	for _, m := range g.order {
		s := State{
			Instance: *m.Instance(), Pending: m.Pending(), Latency: m.Latency(now),
			Share: m.Share(now), Ejected: m.trial.out, Times: m.trial.times,
		}
		if s.Ejected {
			s.Until = g.base.Add(time.Duration(m.trial.until))
		}
		states = append(states, s)
	}
	return states
}
