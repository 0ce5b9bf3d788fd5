// Package memlog keeps the messages of topics in memory, for as long as the process
// lives: a list for each topic, bounded by count, bytes and age. There is no goroutine
// and no timer; what is too old leaves when the log is used. A log without bounds keeps
// nothing but where it is, and the ids of its Dedup.
package memlog

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/abstract"
)

// Logs is an abstract.TopicLog in memory.
type Logs struct {
	now   func() time.Time
	most  int64        // bytes
	total atomic.Int64 // what the logs count

	mu   sync.Mutex                // taken before a log's
	logs map[abstract.LogName]*log // nil after Close
}

var _ abstract.TopicLog = (*Logs)(nil)

// Config is what Logs take. The zero value works.
type Config struct {
	Now      func() time.Time // default time.Now
	MaxBytes int64            // that all logs keep together; above it the largest give up their oldest; default DefaultMaxBytes
}

// New makes Logs without a log.
func New(cfg Config) *Logs {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	return &Logs{now: cfg.Now, most: cfg.MaxBytes, logs: make(map[abstract.LogName]*log)}
}

// Durable returns false.
func (l *Logs) Durable() bool { return false }

// Close forgets everything.
func (l *Logs) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, g := range l.logs {
		g.remove()
	}
	l.logs = nil
	return nil
}

// Open opens a log. It fails after Close only.
func (l *Logs) Open(_ context.Context, topic, epoch string, cfg abstract.LogConfig) (abstract.Log, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.logs == nil {
		return nil, abstract.Errorf(abstract.Unavailable, "the broker is stopping; try again at another, or later")
	}
	k := abstract.LogName{Topic: topic, Epoch: epoch}
	g := l.logs[k]
	if g == nil {
		g = &log{logs: l, now: l.now}
		l.logs[k] = g
	}
	g.configure(cfg)
	return g, nil
}

// Remove removes a log.
func (l *Logs) Remove(_ context.Context, topic, epoch string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := abstract.LogName{Topic: topic, Epoch: epoch}
	if g := l.logs[k]; g != nil {
		g.remove()
		delete(l.logs, k)
	}
	return nil
}

// List returns the logs.
func (l *Logs) List(context.Context) ([]abstract.LogName, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	names := make([]abstract.LogName, 0, len(l.logs))
	for n := range l.logs {
		names = append(names, n)
	}
	return names, nil
}

// log is one topic's. The entries are in the order of their offsets.
type log struct {
	logs *Logs
	now  func() time.Time

	mu      sync.Mutex
	counted int64 // of the total, for this log
	cfg     abstract.LogConfig
	entries []abstract.LogEntry
	bytes   int64
	last    uint64
	ids     map[string]uint64 // of Dedup
	seen    []seenID          // the same, oldest first
	gone    bool
}

type seenID struct {
	id string
	at time.Time
}

// maxIDs bounds what is remembered for Dedup: above it the oldest are forgotten early.
const maxIDs = 1 << 16

func (g *log) configure(cfg abstract.LogConfig) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cfg = cfg
	if cfg.Dedup <= 0 {
		g.ids, g.seen = nil, nil
	}
	if g.last < cfg.Last { // what comes does not follow what is there
		g.drop(len(g.entries))
		g.last = cfg.Last
	}
	g.trim(g.now())
}

func (g *log) remove() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gone, g.entries, g.ids, g.seen, g.bytes = true, nil, nil, nil, 0
	g.settle()
}

func errGone() error {
	return abstract.Errorf(abstract.TopicNotFound, "the topic was removed, and with it what it kept")
}

// Append adds entries.
func (g *log) Append(ctx context.Context, entries []abstract.LogEntry) ([]abstract.LogOffset, error) {
	if err := ctx.Err(); err != nil {
		return nil, &abstract.Error{Code: abstract.CodeOf(err), Op: "append", Sent: abstract.SentNo, Err: err}
	}
	defer g.logs.relieve()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone {
		return nil, errGone()
	}
	now := g.now()
	offsets := make([]abstract.LogOffset, len(entries))
	for i, e := range entries {
		if at, ok := g.duplicate(e.ID, now); ok {
			offsets[i] = abstract.LogOffset{Offset: at, Duplicate: true}
			continue
		}
		g.last++
		e.Offset, e.Time = g.last, now
		offsets[i].Offset = g.last
		g.remember(e.ID, now)
		g.entries = append(g.entries, e)
		g.bytes += int64(len(e.Data))
	}
	g.trim(now)
	return offsets, nil
}

// duplicate returns where an entry of this id stands.
func (g *log) duplicate(id string, now time.Time) (offset uint64, ok bool) {
	if id == "" || g.cfg.Dedup <= 0 {
		return 0, false
	}
	for len(g.seen) > 0 && now.Sub(g.seen[0].at) >= g.cfg.Dedup {
		g.forget()
	}
	offset, ok = g.ids[id]
	return offset, ok
}

func (g *log) forget() {
	delete(g.ids, g.seen[0].id)
	g.seen[0] = seenID{}
	g.seen = g.seen[1:]
}

func (g *log) remember(id string, now time.Time) {
	if id == "" || g.cfg.Dedup <= 0 {
		return
	}
	if g.ids == nil {
		g.ids = make(map[string]uint64)
	}
	for len(g.seen) >= maxIDs {
		g.forget()
	}
	g.ids[id] = g.last
	g.seen = append(g.seen, seenID{id, now})
}

// trim lets go of what is beyond the bounds. Without any nothing is kept but positions.
func (g *log) trim(now time.Time) {
	h, n, bytes := g.cfg.History, 0, g.bytes
	for ; n < len(g.entries); n++ {
		left := len(g.entries) - n
		over := !h.Kept() || h.Count > 0 && left > h.Count || h.Bytes > 0 && bytes > h.Bytes && left > 1 || h.Age > 0 && now.Sub(g.entries[n].Time) >= h.Age
		if !over {
			break
		}
		bytes -= int64(len(g.entries[n].Data))
	}
	g.drop(n)
	g.settle()
}

// drop lets go of the first n entries.
func (g *log) drop(n int) {
	if n == 0 {
		return
	}
	for _, e := range g.entries[:n] {
		g.bytes -= int64(len(e.Data))
	}
	clear(g.entries[:n])
	if g.entries = g.entries[n:]; len(g.entries) == 0 {
		g.entries = nil
	}
}

// Read returns entries from an offset on.
func (g *log) Read(_ context.Context, from uint64, most, bytes int) ([]abstract.LogEntry, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone {
		return nil, errGone()
	}
	g.trim(g.now())
	i, _ := g.find(from)
	list := g.entries[i:]
	n := 0
	for ; n < len(list) && n < most; n++ {
		if bytes -= len(list[n].Data); bytes < 0 && n > 0 {
			break
		}
	}
	return slices.Clone(list[:n]), nil
}

// Bounds returns the first and the last offset.
func (g *log) Bounds(context.Context) (first, last uint64, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone {
		return 0, 0, errGone()
	}
	g.trim(g.now())
	return g.offset(0), g.last, nil
}

// find returns where the entry of an offset stands, or the next one.
func (g *log) find(offset uint64) (i int, found bool) {
	return slices.BinarySearchFunc(g.entries, offset, func(e abstract.LogEntry, o uint64) int { return cmp.Compare(e.Offset, o) })
}

// offset is that of an entry, and last+1 behind the end.
func (g *log) offset(i int) uint64 {
	if i < len(g.entries) {
		return g.entries[i].Offset
	}
	return g.last + 1
}

// Delete removes single entries.
func (g *log) Delete(_ context.Context, offsets ...uint64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone {
		return errGone()
	}
	drop := make(map[uint64]struct{}, len(offsets))
	for _, o := range offsets {
		i, found := g.find(o)
		if _, twice := drop[o]; found && !twice {
			drop[o] = struct{}{}
			g.bytes -= int64(len(g.entries[i].Data))
		}
	}
	if len(drop) > 0 {
		g.entries = slices.DeleteFunc(g.entries, func(e abstract.LogEntry) bool { _, gone := drop[e.Offset]; return gone })
		g.settle()
	}
	return nil
}

// OffsetAt returns the first entry that is not older than t.
func (g *log) OffsetAt(_ context.Context, t time.Time) (uint64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone {
		return 0, errGone()
	}
	g.trim(g.now())
	i, _ := slices.BinarySearchFunc(g.entries, t, func(e abstract.LogEntry, t time.Time) int { return e.Time.Compare(t) })
	return g.offset(i), nil
}

// Consumer returns Unsupported.
func (g *log) Consumer(context.Context, string, abstract.ConsumerConfig) (abstract.LogConsumer, error) {
	return nil, abstract.Errorf(abstract.Unsupported, "only a durable topic keeps how far a consumer is; create the topic as a durable one")
}

// RemoveConsumer does nothing: there is none.
func (g *log) RemoveConsumer(context.Context, string) error { return nil }

// Consumers returns none.
func (g *log) Consumers(context.Context) ([]abstract.ConsumerInfo, error) { return nil, nil }
