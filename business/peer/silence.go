package peer

import (
	"strconv"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// What a server may dictate: pings more often cost too much, more seldom they find
// nothing, and the first silent interval only causes the first ping.
const (
	minPing   = 10 * time.Millisecond
	maxPing   = time.Hour
	minMisses = 2
	maxMisses = 1000
)

// milliseconds makes a Duration of what a peer said, which may be beyond all reason.
func milliseconds(n int64) time.Duration {
	return time.Duration(min(n, maxPing.Milliseconds())) * time.Millisecond
}

// Heard notes that bytes came at now. Receive does it for messages; call it when
// part of a long frame has come, which holds up the peer's pongs.
func (p *Peer) Heard(now time.Time) {
	p.heard, p.looked, p.pinged = now, 0, 0
}

// Tick judges the silence of a modern peer: it is pinged once in every interval
// without a message, and given up with Disconnected after the last one. Call it
// at least once in an interval. Time in which nobody called it is not held against
// the peer: this process may have stood still, with the peer's messages waiting.
func (p *Peer) Tick(now time.Time) Verdict {
	if !p.is(modern) {
		return Verdict{}
	}
	silent := now.Sub(p.heard)
	if gap := silent - p.looked; gap > p.ping {
		p.heard = p.heard.Add(gap - p.ping)
		silent -= gap - p.ping
	}
	p.looked = silent
	switch intervals := int(silent / p.ping); {
	case intervals >= int(p.misses):
		return p.end(abstract.Errorf(abstract.Disconnected, "half-open: nothing was heard from the peer for %s", silent.Round(time.Millisecond)))
	case intervals <= int(p.pinged):
		return Verdict{}
	}
	p.pinged++
	p.pings++
	return Verdict{Reply: &message.Ping{Header: message.ID("p" + strconv.FormatUint(uint64(p.pings), 36))}}
}
