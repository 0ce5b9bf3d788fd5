package session

import (
	"cmp"
	"crypto/rand"
	"io"
	"time"
)

// Config says how long sessions live. The zero value takes the defaults.
type Config struct {
	Interval time.Duration // in which a sign of life is due; default 2 s, 10 ms to 1 h
	Misses   int           // so many intervals in a row without one end a session; default 5, 2 to 1000
	Max      int           // sessions at a time; default 200,000
	// Stall is from when on a late Tick means that this process stood still; less
	// is the ordinary lateness of timers. Default a quarter of Interval, 20 ms at least.
	Stall time.Duration
	// Random is where ids and secrets come from; default crypto/rand.Reader.
	Random io.Reader
}

const (
	minInterval = 10 * time.Millisecond
	maxInterval = time.Hour
	minMisses   = 2
	maxMisses   = 1000
	minStall    = 20 * time.Millisecond
)

func (c Config) withDefaults() Config {
	c.Interval = clampInterval(cmp.Or(c.Interval, 2*time.Second))
	c.Misses = clampMisses(cmp.Or(c.Misses, 5))
	c.Max = cmp.Or(c.Max, 200_000)
	c.Stall = cmp.Or(c.Stall, max(c.Interval/4, minStall))
	if c.Random == nil {
		c.Random = rand.Reader
	}
	return c
}

func clampInterval(d time.Duration) time.Duration { return min(max(d, minInterval), maxInterval) }

func clampMisses(n int) int { return min(max(n, minMisses), maxMisses) }
