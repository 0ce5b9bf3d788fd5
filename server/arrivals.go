package server

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/abstract"
	"trefoil/business/protect"
	"trefoil/concrete/message"
)

// arrivals bounds how many connections are taken in a time, so that a server that has
// just been started is not trampled down by those who come back to it. Who is too many
// is told when to come again: each at a time of its own, as many in a second as
// are taken in one.
type arrivals struct {
	rate    atomic.Int64 // connections a second; 0: no limit
	limiter *protect.RateLimiter
	refused atomic.Int64 // since the last round

	mu       sync.Mutex
	promised time.Time // up to when there is somebody for every place
}

// acceptBurst is how many seconds' worth of connections may come at once.
const acceptBurst = 4

// longestWait is the longest time that a peer is asked to stay away.
const longestWait = time.Minute

func (a *arrivals) init(perSecond int) {
	a.rate.Store(int64(max(0, perSecond)))
	a.limiter = protect.NewRateLimiter(acceptRate(perSecond), time.Now())
}

// set changes the rate; 0 or less is no limit.
func (a *arrivals) set(perSecond int) {
	a.rate.Store(int64(max(0, perSecond)))
	a.limiter.Set(acceptRate(perSecond), time.Now())
}

func acceptRate(perSecond int) protect.Rate {
	return protect.Rate{PerSecond: float64(perSecond), Burst: acceptBurst * float64(perSecond)}
}

// admit says whether a connection is taken now, and if not, when to come again.
func (a *arrivals) admit() (wait time.Duration, ok bool) {
	rate := a.rate.Load()
	if rate == 0 {
		return 0, true
	}
	now := time.Now()
	if _, ok := a.limiter.Allow(1, now); ok {
		return 0, true
	}
	a.refused.Add(1)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.promised.Before(now) {
		a.promised = now
	}
	place := time.Second / time.Duration(rate)
	a.promised = a.promised.Add(place)
	wait = a.promised.Sub(now) + rand.N(place+1)
	if wait > longestWait { // they come again and are told again
		wait = longestWait/2 + rand.N(longestWait/2)
	}
	return wait, false
}

// countRefused logs what was refused since the last one.
func (ep *endpoint) countRefused(time.Time) {
	if n := ep.arrivals.refused.Swap(0); n > 0 {
		ep.logs.conn.Warn("connections refused for now, as too many come at once", "refused", n, "accepted_per_second", ep.arrivals.rate.Load())
	}
}

// turnedBack is the Receiver of a connection that is one too many for now. It is not
// one of the endpoint's, and takes little memory.
type turnedBack struct {
	abstract.BaseConnection
	ep    *endpoint
	wait  time.Duration
	timer *time.Timer // closes it when nothing comes
	told  bool
}

// saysSomething is how long a peer that is turned back may take to say who it is.
const saysSomething = 2 * time.Second

// turnBack refuses a connection as soon as its peer has said who it is: a modern one is
// told when to come again, others would not understand it.
func (ep *endpoint) turnBack(bc abstract.BaseConnection, wait time.Duration) abstract.Receiver {
	r := &turnedBack{BaseConnection: bc, ep: ep, wait: wait}
	r.timer = time.AfterFunc(saysSomething, func() { bc.Close(nil) })
	return r
}

// OnMessages looks at the first message.
func (r *turnedBack) OnMessages(batch []abstract.BaseMessage) {
	if r.told || len(batch) == 0 {
		return
	}
	r.told = true
	e := retryLater("too many connect at once", r.wait)
	hello, ok := batch[0].(*message.Hello)
	if !ok {
		r.Close(e)
		return
	}
	_ = r.Send(&message.HelloResponse{ // or it is gone
		Header: message.ID(hello.ID()), Code: e.Code, Version: message.ProtocolVersion, Agent: agent, MaxFrame: r.ep.cfg.maxFrame,
		Message: e.Message, RetryAfterMs: max(1, r.wait.Milliseconds()),
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	go func() {
		defer cancel()
		r.Shutdown(ctx, e)
	}()
}

// OnClose stops the timer.
func (r *turnedBack) OnClose(error) { r.timer.Stop() }
