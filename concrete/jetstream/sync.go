package jetstream

import (
	"strings"
	"time"

	"trefoil/abstract"
)

// Sync says when a server inside this process writes to the disk for good. Until it does,
// the operating system has what was appended: a process that dies loses nothing, a
// machine that does may.
type Sync time.Duration

// The ways to sync; any other value is how often, such as Sync(200*time.Millisecond).
const (
	SyncAlways Sync = 0  // before an append is acknowledged
	SyncOS     Sync = -1 // when the operating system sees fit, and at least every two minutes
)

const (
	osInterval = 2 * time.Minute
	minSync    = Sync(time.Millisecond)
)

// ParseSync returns the Sync of "always", "os" or "interval=200ms"; an empty text is
// SyncAlways.
func ParseSync(text string) (Sync, error) {
	switch text {
	case "", "always":
		return SyncAlways, nil
	case "os":
		return SyncOS, nil
	}
	if every, ok := strings.CutPrefix(text, "interval="); ok {
		if d, err := time.ParseDuration(every); err == nil && Sync(d) >= minSync {
			return Sync(d), nil
		}
	}
	return 0, abstract.Errorf(abstract.InvalidParams, "%.40q does not say when to sync; take always, os, or interval=200ms", text)
}

// String returns what ParseSync takes.
func (s Sync) String() string {
	switch {
	case s == SyncAlways:
		return "always"
	case s < 0:
		return "os"
	}
	return "interval=" + time.Duration(s).String()
}

// interval is how often JetStream syncs what was written since.
func (s Sync) interval() time.Duration {
	if s <= 0 {
		return osInterval
	}
	return time.Duration(s)
}
