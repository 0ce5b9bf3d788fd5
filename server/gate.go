package server

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"trefoil/abstract"
	"trefoil/business/protect"
)

// gate bounds how many handlers of an RpcServer run at once, and sheds what waits
// too long for one. Servers without such limits have none.
type gate struct {
	all     *stage            // nil: every method has its own limit only
	methods map[string]*stage // of methods with a limit of their own
	alone   map[string][]*stage
	common  []*stage
}

// stage is one limit, with what waits for it. A call that has to pass two of them
// takes its place in the second when it has one in the first.
type stage struct {
	limit interface {
		Enter() bool
		Leave(took time.Duration, now time.Time)
	}
	queue *protect.Queue[*call]
}

// burst is the default of CallQueue.Interval.
const burst = 50 * time.Millisecond

// fixed is a limit that does not learn.
type fixed struct{ *protect.Concurrency }

func (f fixed) Leave(time.Duration, time.Time) { f.Concurrency.Leave() }

func newGate(s *RpcServer) *gate {
	cfg := &s.ep.cfg
	g := &gate{methods: make(map[string]*stage), alone: make(map[string][]*stage)}
	now := time.Now()
	switch most := cfg.atOnce(); {
	case cfg.callee.shedding:
		g.all = newStage(cfg, protect.NewAdaptive(protect.AdaptiveConfig{Most: most}, now), now)
	case cfg.callee.maxConcurrent > 0:
		g.all = newStage(cfg, fixed{protect.NewConcurrency(most)}, now)
	}
	if g.all != nil {
		g.common = []*stage{g.all}
	}
	for method, n := range cfg.callee.methodConcurrent {
		st := newStage(cfg, fixed{protect.NewConcurrency(n)}, now)
		g.methods[method], g.alone[method] = st, append([]*stage{st}, g.common...)
	}
	if g.all == nil && len(g.methods) == 0 {
		return nil
	}
	s.ep.rounds = append(s.ep.rounds, g.shed)
	return g
}

// atOnce is how many handlers may run at once at most.
func (c *config) atOnce() int {
	if n := c.callee.maxConcurrent; n > 0 {
		return min(n, c.handlers)
	}
	return c.handlers
}

func newStage(cfg *config, limit interface {
	Enter() bool
	Leave(time.Duration, time.Time)
}, now time.Time) *stage {
	st := &stage{limit: limit}
	st.queue = protect.NewQueue(protect.QueueConfig{
		Most: cfg.callee.queue.Most, Target: cfg.callee.queue.Target, Interval: cmp.Or(cfg.callee.queue.Interval, burst),
	}, (*call).shed, now)
	return st
}

// stagesOf returns what the calls of a method have to pass.
func (g *gate) stagesOf(method string) []*stage {
	if own := g.alone[method]; own != nil {
		return own
	}
	return g.common
}

// shed refuses what has waited too long, where nothing comes or ends that would see to it.
func (g *gate) shed(now time.Time) {
	for _, st := range g.common {
		st.queue.Shed(now)
	}
	for _, st := range g.methods {
		st.queue.Shed(now)
	}
}

// serve runs a call inside the turn if it may run at once and its method is not slow,
// else on the workers when it may.
func (g *gate) serve(t *turn, c *call, inline bool) {
	inline = c.enter() && inline
	if !inline {
		if c.wait(t) {
			c.advance()
		}
		return
	}
	begun := time.Now()
	t.call(c.srv.router, c.req)
	c.took = time.Since(begun)
	c.leave()
	c.srv.exit()
}

// enter passes as many stages as have room, and returns whether these are all.
func (c *call) enter() bool {
	for c.passed < len(c.stages) {
		if !c.stages[c.passed].limit.Enter() {
			return false
		}
		c.passed++
	}
	return true
}

// advance lets a call wait where it has to, or work.
func (c *call) advance() {
	if c.enter() {
		c.work()
		return
	}
	st, now := c.stages[c.passed], time.Now()
	st.queue.Push(c, c.ctx.deadline, now)
	st.pump(now) // somebody may have left just before
}

// leave gives back what was passed, for others that wait.
func (c *call) leave() {
	if c.passed == 0 {
		return
	}
	now := time.Now()
	for c.passed > 0 {
		c.passed--
		c.stages[c.passed].limit.Leave(c.took, now)
		c.stages[c.passed].pump(now)
	}
}

// pump lets in who waits, as long as there is room.
func (st *stage) pump(now time.Time) {
	for st.queue.Len() > 0 && st.limit.Enter() {
		c, ok := st.queue.Pop(now)
		if !ok {
			st.limit.Leave(0, now) // and look again: who came meanwhile has found us in the way
			continue
		}
		c.passed++
		c.advance()
	}
}

// shed answers a call that has waited too long.
func (c *call) shed(why protect.Reason) {
	err := overloaded("the server has more calls than it can serve: this one has " + why.String())
	switch {
	case c.ctx.Err() != nil:
		err = abstract.Errorf(abstract.CodeOf(c.ctx.Err()), "the call's time was over before a handler was free")
	case why == protect.Expired:
		err = abstract.Errorf(abstract.CodeOf(context.DeadlineExceeded), "the call's time was over before a handler was free")
	case why == protect.Crowded:
		err = overloaded("the server has more calls than it can serve, and the queue is full")
	}
	c.settle()
	c.conn.refuse(c.req, err)
	c.conn.Flush()
	c.end()
}

// overloaded is the refusal of a call that may be tried again soon, by different
// callers at different times.
func overloaded(text string) *abstract.Error {
	return retryLater(text, retryLeast+rand.N(retrySpread))
}

// When a call that was shed may be tried again.
const (
	retryLeast  = 50 * time.Millisecond
	retrySpread = 100 * time.Millisecond
)

// retryLater is a refusal that says when to try again.
func retryLater(text string, after time.Duration) *abstract.Error {
	ms := max(1, (after + time.Millisecond - 1).Milliseconds())
	e := abstract.Errorf(abstract.Overloaded, "%s; try again in %d ms, or elsewhere", text, ms)
	e.Details = fmt.Appendf(nil, `{"retry_after_ms":%d}`, ms)
	return e
}
