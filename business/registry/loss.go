package registry

import (
	"cmp"
	"sync/atomic"
	"time"
)

// LossConfig says when the loss of many providers at once is not believed. The zero
// value takes the defaults.
type LossConfig struct {
	Share  float64       // of the connections that provide something; default 0.5, negative: all losses are believed
	Least  int           // so many must be missing; default 20
	Within time.Duration // in such a time; default 10 s
	Hold   time.Duration // for so long at most; default 1 min
}

func (c LossConfig) withDefaults() LossConfig {
	c.Share = cmp.Or(c.Share, 0.5)
	c.Least = cmp.Or(c.Least, 20)
	c.Within = cmp.Or(c.Within, 10*time.Second)
	c.Hold = cmp.Or(c.Hold, time.Minute)
	return c
}

// Losses judges lost connections: when most providers seem to die at once, it is
// rather the broker's network that has. Those lost from then on are to be kept, for a
// bounded time, or until somebody lifts that. Eureka's self-preservation and Nacos'
// protection threshold are the same idea. Not safe for concurrent use, but for Configure and
// Plausible; time goes forward.
type Losses struct {
	cfg   atomic.Pointer[LossConfig]
	lost  []lost    // within the window, oldest first, those before which there were fewer connections left out
	since time.Time // when protection began; zero: there is none
	until time.Time
}

// lost is one loss, and how many connections provided something before it.
type lost struct {
	at        time.Time
	providing int
}

// NewLosses makes Losses.
func NewLosses(cfg LossConfig) *Losses {
	l := &Losses{}
	l.Configure(cfg)
	return l
}

// Configure changes what losses are judged by from now on. Protection that has begun ends
// when it was to.
func (l *Losses) Configure(cfg LossConfig) {
	cfg = cfg.withDefaults()
	l.cfg.Store(&cfg)
}

// Lost notes the loss of a connection that provides something, where so many do with
// it, held ones included. keep says that its providers are to be kept until Until; began, that
// it is the first one. Who has come in place of those lost counts: providers that are
// restarted in turn, however fast, are not missing.
func (l *Losses) Lost(providing int, now time.Time) (keep, began bool) {
	cfg := l.cfg.Load()
	if cfg.Share < 0 {
		return false, false
	}
	if l.On(now) {
		return true, false
	}
	l.prune(now, cfg.Within)
	for n := len(l.lost); n > 0 && l.lost[n-1].providing <= providing; n-- {
		l.lost = l.lost[:n-1] // the highest number within the window is the first one so
	}
	l.lost = append(l.lost, lost{now, providing})
	most := l.lost[0].providing
	missing := most - (providing - 1)
	if missing < cfg.Least || float64(missing) <= cfg.Share*float64(most) {
		return false, false
	}
	l.since, l.until = now, now.Add(cfg.Hold)
	l.lost = nil // what is held is not to begin it again when it is let go
	return true, true
}

func (l *Losses) prune(now time.Time, within time.Duration) {
	i := 0
	for i < len(l.lost) && now.Sub(l.lost[i].at) > within {
		i++
	}
	l.lost = l.lost[i:]
}

// On says whether losses are not believed now.
func (l *Losses) On(now time.Time) bool { return !l.since.IsZero() && now.Before(l.until) }

// Since and Until say from when to when losses are not believed, when they are not.
func (l *Losses) Since() time.Time { return l.since }

// Until is when losses are believed again.
func (l *Losses) Until() time.Time { return l.until }

// Lift ends protection.
func (l *Losses) Lift() { l.since, l.until, l.lost = time.Time{}, time.Time{}, nil }

// Plausible says whether so many of all providers may be unhealthy: it is the same
// rule for what checks find.
func (l *Losses) Plausible(unhealthy, all int) bool {
	share := l.cfg.Load().Share
	return share < 0 || all < 4 || float64(unhealthy) <= share*float64(all)
}
