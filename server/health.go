package server

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/abstract"
	"trefoil/business/registry"
	"trefoil/client"
	"trefoil/concrete/message"
)

// HealthChecks says how a registry looks whether providers can be reached: it connects
// to them, and exchanges HELLO with those that speak it. The zero value takes the
// defaults.
type HealthChecks struct {
	Interval    time.Duration   // between two checks of a host; default 0: only when callers report that they cannot reach it
	Timeout     time.Duration   // of one check; default 2 s
	Failures    int             // so many in a row make a host unhealthy; one success makes it healthy again; default 3
	Concurrency int             // checks under way at once; default 64
	Dial        []client.Option // how to connect to providers that speak HELLO, such as client.WithTLS; others are only connected to
}

func (h HealthChecks) withDefaults() HealthChecks {
	h.Timeout = cmp.Or(h.Timeout, 2*time.Second)
	h.Failures = cmp.Or(h.Failures, 3)
	h.Concurrency = cmp.Or(h.Concurrency, 64)
	return h
}

const (
	// recheck is how often hosts are looked at that are unhealthy or in doubt, when
	// the others are not looked at at all.
	recheck = 5 * time.Second
	// reportQuorum is how many callers must report a host before it is looked at.
	reportQuorum = 2
	// reportWindow is how long a report counts.
	reportWindow = 10 * time.Second
	// breather is the least time between two looks at what callers have reported.
	breather = 50 * time.Millisecond
	// maxReports bounds how many hosts one connection may have reported lately.
	maxReports = 64
)

// health looks after the hosts of a registry. It has one goroutine, and one for each
// check under way.
type health struct {
	r    *RegistryServer
	cfg  atomic.Pointer[HealthChecks]
	ctx  context.Context
	stop context.CancelFunc
	jobs sync.WaitGroup
	room chan struct{} // an element for each check under way
	soon chan struct{} // holds an element when somebody is in doubt
	news chan struct{} // holds an element when cfg is another one

	mu      sync.Mutex
	running bool
	hosts   map[abstract.Host]*hostHealth // those that are not simply well
}

// hostHealth is what is known of a host that is not simply well.
type hostHealth struct {
	failures  int
	down      bool // marked unhealthy
	busy      bool // a check is under way
	doubted   bool // to be checked soon
	reporters map[uint64]time.Time
}

func (h *health) init(r *RegistryServer, cfg HealthChecks) {
	cfg = cfg.withDefaults()
	h.r = r
	h.cfg.Store(&cfg)
	h.ctx, h.stop = context.WithCancel(context.Background())
	h.room, h.soon, h.news = make(chan struct{}, cfg.Concurrency), make(chan struct{}, 1), make(chan struct{}, 1)
	h.hosts = make(map[abstract.Host]*hostHealth)
}

// start begins to look, if it has not begun.
func (h *health) start() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.running && h.ctx.Err() == nil {
		h.running = true
		h.jobs.Go(h.run)
	}
}

func (h *health) close() {
	h.mu.Lock() // start does not begin after that
	h.stop()
	h.mu.Unlock()
	h.jobs.Wait()
}

// run looks after all hosts once in each interval, and after those in doubt at once.
func (h *health) run() {
	for {
		every := h.every()
		if !h.wait(every - every/10 + rand.N(every/5+1)) { // not in step with other brokers
			return
		}
		h.round(false)
	}
}

func (h *health) every() time.Duration { return cmp.Or(h.cfg.Load().Interval, recheck) }

// wait looks at what callers report meanwhile, and ends early when the settings change. It
// returns false when all is over.
func (h *health) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-h.news:
			return true
		case <-h.soon:
			h.round(true)
			if !h.pause(breather) {
				return false
			}
		}
	}
}

// round checks the hosts that are due: those in doubt at once, all of them spread over half
// of an interval.
func (h *health) round(doubtful bool) {
	if h.quiet() {
		return
	}
	h.r.index.Lock()
	all := h.r.pd.Hosts()
	h.r.index.Unlock()
	h.forgetOthers(all)
	for _, p := range all {
		if !h.due(p.Host, doubtful) {
			continue
		}
		select {
		case h.room <- struct{}{}:
		case <-h.ctx.Done():
			return
		}
		h.jobs.Go(func() {
			defer func() { <-h.room }()
			h.check(p, len(all))
		})
		if !doubtful && !h.wait(h.every()/2/time.Duration(len(all))) {
			return
		}
	}
}

// quiet says that there is nothing to look at. Who was reported long ago by too few is
// forgotten.
func (h *health) quiet() bool {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for host, x := range h.hosts {
		x.forgetReports(now)
		if !x.busy && !x.doubted && x.failures == 0 && len(x.reporters) == 0 {
			delete(h.hosts, host)
		}
	}
	return h.cfg.Load().Interval == 0 && len(h.hosts) == 0
}

func (x *hostHealth) forgetReports(now time.Time) {
	for id, at := range x.reporters {
		if now.Sub(at) > reportWindow {
			delete(x.reporters, id)
		}
	}
}

func (h *health) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-h.ctx.Done():
		return false
	}
}

// forgetOthers forgets hosts where nobody provides anything any more.
func (h *health) forgetOthers(all []registry.Provided) {
	there := make(map[abstract.Host]struct{}, len(all))
	for _, p := range all {
		there[p.Host] = struct{}{}
	}
	var gone []abstract.Host
	h.mu.Lock()
	for host, x := range h.hosts {
		if _, ok := there[host]; !ok && !x.busy {
			delete(h.hosts, host)
			gone = append(gone, host)
		}
	}
	h.mu.Unlock()
	for _, host := range gone {
		h.r.mark(host, abstract.Up)
	}
}

// due says whether a host is to be checked now, and takes it as being checked.
func (h *health) due(host abstract.Host, doubtful bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	x := h.hosts[host]
	switch {
	case x == nil && (doubtful || h.cfg.Load().Interval == 0):
		return false
	case x == nil:
		x = &hostHealth{}
		h.hosts[host] = x
	case x.busy || doubtful && !x.doubted:
		return false
	case h.cfg.Load().Interval == 0 && !x.doubted && x.failures == 0: // too few have reported it
		return false
	}
	x.busy, x.doubted = true, false
	return true
}

// check looks whether a host can be reached, and says so to who wants to know. One
// that fails is looked at again at once until it has failed often enough.
func (h *health) check(p registry.Provided, all int) {
	for {
		ctx, cancel := context.WithTimeout(h.ctx, h.cfg.Load().Timeout)
		err := h.r.probe(ctx, p.ProviderHost)
		cancel()
		if h.ctx.Err() != nil {
			return
		}
		if again := h.judge(p, err, all); !again || !h.pause(h.cfg.Load().Timeout/10) {
			return
		}
	}
}

// judge takes what a check has found.
func (h *health) judge(p registry.Provided, err error, all int) (again bool) {
	h.mu.Lock()
	x := h.hosts[p.Host]
	was := x.down
	if err == nil {
		delete(h.hosts, p.Host) // it is well
		h.mu.Unlock()
		if was {
			h.r.ep.logs.registry.Info("host is healthy again", "host", p.Host.String())
			h.r.mark(p.Host, abstract.Up)
		}
		return false
	}
	x.failures++
	if x.failures < h.cfg.Load().Failures && abstract.CodeOf(err) != abstract.WrongInstance {
		h.mu.Unlock()
		return true
	}
	x.busy = false
	down := 1
	for _, y := range h.hosts {
		if y.down && y != x {
			down++
		}
	}
	x.down = was || h.r.plausible(down, all)
	is := x.down
	h.mu.Unlock()
	switch {
	case is && !was:
		h.r.ep.logs.registry.Warn("host cannot be reached", "host", p.Host.String(), "method", p.Methods[0], "err", err)
		h.r.mark(p.Host, abstract.Unhealthy)
	case !is:
		h.r.ep.logs.registry.Warn("host cannot be reached, as so many others that it is rather us; kept", "host", p.Host.String(), "err", err)
	}
	return false
}

// reported takes a caller's word that it could not reach a host. It is looked at when
// somebody else says the same, or nobody else could.
func (h *health) reported(c *conn, host abstract.Host, alone bool, now time.Time) {
	h.mu.Lock()
	x := h.hosts[host]
	if x == nil {
		x = &hostHealth{}
	}
	if x.reporters == nil {
		x.reporters = make(map[uint64]time.Time)
	}
	x.forgetReports(now)
	x.reporters[c.id] = now
	enough := alone || len(x.reporters) >= reportQuorum
	if enough {
		clear(x.reporters)
		x.doubted = true
	}
	h.hosts[host] = x
	h.mu.Unlock()
	h.start() // it also forgets what too few have reported
	if enough {
		h.hurry()
	}
}

// back has a host that is unhealthy looked at at once: somebody registers there again.
func (h *health) back(host abstract.Host) {
	h.mu.Lock()
	x := h.hosts[host]
	hurry := x != nil && x.down
	if hurry {
		x.doubted = true
	}
	h.mu.Unlock()
	if hurry {
		h.hurry()
	}
}

func (h *health) hurry() {
	select {
	case h.soon <- struct{}{}:
	default:
	}
}

// mark notes a host's state and tells discoverers.
func (s *RegistryServer) mark(host abstract.Host, state abstract.ProviderState) {
	s.index.Lock()
	s.notify(s.pd.Mark(host, state))
	told := s.index.told
	s.index.told = nil
	s.index.Unlock()
	flushAll(told)
}

// report takes the word of a discoverer of a method that it cannot reach a provider.
// What comes of it is nobody's to wait for, and the answer says nothing of it.
func (s *RegistryServer) report(c *conn, m *message.ServiceRequest) {
	now := time.Now()
	s.index.Lock()
	others, ok := s.pd.Discoverers(registry.ConnID(c.id), m.Method, message.ProviderHost{Host: *m.Host, Instance: m.Instance})
	alone := !slices.ContainsFunc(others, func(id registry.ConnID) bool { // existing programs report nothing
		other := s.ep.conn(uint64(id))
		return other != nil && other != c && other.modern()
	})
	s.index.Unlock()
	s.done(c, m, nil) // before what comes of it
	if ok && c.mayReport(now) {
		s.health.reported(c, *m.Host, alone, now)
	}
}

// mayReport bounds how often a connection is listened to.
func (c *conn) mayReport(now time.Time) bool {
	if now.Sub(c.reportedAt) > reportWindow {
		c.reportedAt, c.reports = now, 0
	}
	c.reports++
	return c.reports <= maxReports
}
