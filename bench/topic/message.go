package topic

import "trefoil/bench/internal/harness"

// A message is a JSON string of fixed length for every bus: twenty digits for
// when it was meant to be sent, and filling. Zero says that nobody takes its time.
const (
	stampDigits = 20
	minPayload  = stampDigits + 2
)

func newPayload(size int) []byte {
	p := make([]byte, max(size, minPayload))
	for i := range p {
		p[i] = 'x'
	}
	p[0], p[len(p)-1] = '"', '"'
	putStamp(p, 0)
	return p
}

// putStamp writes a time of harness.Monotonic into a message.
func putStamp(payload []byte, at int64) {
	for i := stampDigits; i > 0; i-- {
		payload[i] = byte('0' + at%10)
		at /= 10
	}
}

// stamp reads it; 0 for a message that is not timed.
func stamp(payload []byte) (at int64) {
	if len(payload) < minPayload || payload[stampDigits] == '-' {
		return 0
	}
	for _, d := range payload[1 : 1+stampDigits] {
		at = 10*at + int64(d-'0')
	}
	return at
}

// untimed marks a message as one whose time nobody takes, so that reading the
// mark costs one byte.
func untimed(payload []byte) { payload[stampDigits] = '-' }

// now is the clock that all processes of a run share.
func now() int64 { return harness.Monotonic() }
