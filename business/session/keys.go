package session

import (
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"trefoil/concrete/message"
)

// Prefix is where sessions stand in the Store: /sessions/<id>.
const Prefix = "/sessions/"

// Key returns the key of a session, for transactions that compare it.
func Key(id ID) string { return Prefix + id.String() }

func parseKey(key string) (ID, bool) {
	text, ok := strings.CutPrefix(key, Prefix)
	if !ok {
		return ID{}, false
	}
	return ParseID(text)
}

// record is what stands under a key: the hash of the secret, so that who can read
// the Store cannot take a session over.
type record struct {
	hash     [32]byte
	interval time.Duration
	misses   int
	ending   bool // its end has begun, and goes on after a restart
}

func (r *record) value() []byte {
	b := append(make([]byte, 0, 160), `{"secret_sha256":"`...)
	b = hex.AppendEncode(b, r.hash[:])
	b = strconv.AppendInt(append(b, `","interval_ms":`...), r.interval.Milliseconds(), 10)
	b = strconv.AppendInt(append(b, `,"misses":`...), int64(r.misses), 10)
	b = strconv.AppendBool(append(b, `,"ending":`...), r.ending)
	return append(b, '}')
}

// parseRecord reads a value. One that is not understood is a session that nobody
// can resume, and so expires.
func parseRecord(value []byte, cfg *Config) record {
	var v struct {
		Hash       string `json:"secret_sha256"`
		IntervalMs int64  `json:"interval_ms"`
		Misses     int    `json:"misses"`
		Ending     bool   `json:"ending"`
	}
	r := record{interval: cfg.Interval, misses: cfg.Misses}
	if message.Decode(value, &v) != nil {
		return r
	}
	r.ending = v.Ending
	if v.IntervalMs > 0 {
		r.interval = clampInterval(time.Duration(min(v.IntervalMs, maxInterval.Milliseconds())) * time.Millisecond)
	}
	if v.Misses > 0 {
		r.misses = clampMisses(v.Misses)
	}
	if !parseHex(r.hash[:], v.Hash) {
		r.hash = [32]byte{} // the hash of nothing that anybody knows
	}
	return r
}

func (e *entry) record() record {
	return record{hash: e.hash(), interval: e.interval, misses: int(e.misses), ending: e.ending}
}
