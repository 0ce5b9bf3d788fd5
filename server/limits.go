package server

import (
	"cmp"
	"time"
)

// Limits are the settings that can be changed while a server runs. A field that is
// zero leaves its setting as it is; the Option of the same name says what it does.
type Limits struct {
	CallsPerConn    int           // for calls that begin from then on
	SubscriberQueue int           // in bytes, for subscriptions made from then on
	WatcherQueue    int           // in bytes, for watches begun from then on
	FrameTimeout    time.Duration // for all connections
	AcceptRate      int           // for connections that come from then on; below 0: no limit
	CallRate        int           // WithIdentityRateLimit, a second; below 0: no limit
	CallBurst       int           // of the same, at once; below 0: one second's worth
	StreamsPerConn  int           // for streams that are opened from then on
	MaxStreams      int           // the same
	StreamWindow    int           // in bytes, the same
}

// over is l where it is not zero, and old where it is.
func (l Limits) over(old Limits) Limits {
	return Limits{
		CallsPerConn:    cmp.Or(l.CallsPerConn, old.CallsPerConn),
		SubscriberQueue: cmp.Or(l.SubscriberQueue, old.SubscriberQueue),
		WatcherQueue:    cmp.Or(l.WatcherQueue, old.WatcherQueue),
		FrameTimeout:    cmp.Or(l.FrameTimeout, old.FrameTimeout),
		AcceptRate:      cmp.Or(l.AcceptRate, old.AcceptRate),
		CallRate:        cmp.Or(l.CallRate, old.CallRate),
		CallBurst:       cmp.Or(l.CallBurst, old.CallBurst),
		StreamsPerConn:  cmp.Or(l.StreamsPerConn, old.StreamsPerConn),
		MaxStreams:      cmp.Or(l.MaxStreams, old.MaxStreams),
		StreamWindow:    cmp.Or(l.StreamWindow, old.StreamWindow),
	}
}

func (c config) limits() *Limits {
	return &Limits{
		CallsPerConn: c.callsPerConn, SubscriberQueue: c.subscriberCap,
		WatcherQueue: c.watcherCap, FrameTimeout: c.frameTimeout, AcceptRate: c.callee.acceptRate,
		CallRate: int(c.callee.identityRate.PerSecond), CallBurst: int(c.callee.identityRate.Burst),
		StreamsPerConn: c.streams.perConn, MaxStreams: c.streams.most, StreamWindow: c.streams.window,
	}
}

// setLimits changes limits while the server runs.
func (ep *endpoint) setLimits(l Limits) {
	for {
		old := ep.limits.Load()
		next := l.over(*old)
		if ep.limits.CompareAndSwap(old, &next) {
			ep.setRates(l, next)
			return
		}
	}
}

// setRates changes the rates that l names to those of next.
func (ep *endpoint) setRates(l, next Limits) {
	if l.AcceptRate != 0 {
		ep.arrivals.set(next.AcceptRate)
	}
	if l.CallRate != 0 || l.CallBurst != 0 {
		ep.rates.set(rateOf(float64(next.CallRate), max(0, next.CallBurst)))
	}
}

// SetLimits changes limits while the broker runs. What is there already stays, also
// above a lower limit.
func (b *Broker) SetLimits(l Limits) { b.ep.setLimits(l) }
