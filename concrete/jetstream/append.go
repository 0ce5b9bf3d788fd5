package jetstream

import (
	"context"
	"slices"
	"sync"

	"trefoil/abstract"
)

// Limits of what waits to be appended to one log.
const (
	maxWaiting      = 64 << 10 // entries
	maxWaitingBytes = 64 << 20
	maxGroup        = 1000 // entries published together; JetStream takes no more in a batch
	maxGroupBytes   = 4 << 20
	// overhead is what an entry takes on the disk beside Data and ID, at most.
	overhead = 256
)

// queue is what waits to be appended. One goroutine at a time publishes what has gathered,
// so that entries that come while the disk is written to go there together; there is none
// while nothing waits.
type queue struct {
	mu      sync.Mutex
	running bool
	waiting []*request
	entries int
	bytes   int
}

// request is a call of Append.
type request struct {
	entries []abstract.LogEntry
	bytes   int
	offsets []abstract.LogOffset // ours to read after done
	err     error
	done    chan struct{}
}

// Append adds entries, and waits until the server has them as safe as its sync mode says.
func (l *log) Append(ctx context.Context, entries []abstract.LogEntry) ([]abstract.LogOffset, error) {
	r := &request{entries: entries, done: make(chan struct{})}
	if err := l.admit(ctx, r); err != nil || len(entries) == 0 {
		return nil, err
	}
	if err := l.enqueue(r); err != nil {
		return nil, err
	}
	select {
	case <-r.done:
		return r.offsets, r.err
	case <-ctx.Done():
	}
	if l.queue.withdraw(r) {
		return nil, &abstract.Error{Code: abstract.CodeOf(ctx.Err()), Op: "append", Sent: abstract.SentNo, Err: ctx.Err(), Message: "given up before anything was done"}
	}
	select {
	case <-r.done: // both at once
		return r.offsets, r.err
	default:
		return nil, unknown(ctx.Err())
	}
}

// admit refuses what can be known to fail.
func (l *log) admit(ctx context.Context, r *request) error {
	if l.life.Err() != nil {
		return context.Cause(l.life)
	}
	if l.writable.Err() != nil {
		return context.Cause(l.writable)
	}
	if err := ctx.Err(); err != nil {
		return &abstract.Error{Code: abstract.CodeOf(err), Op: "append", Sent: abstract.SentNo, Err: err}
	}
	most := min(int64(l.s.cfg.MaxMessage+overhead), l.s.nc.MaxPayload())
	if kept := l.settings().History.Bytes; kept > 0 {
		most = min(most, kept)
	}
	for i := range r.entries {
		e := &r.entries[i]
		size := len(e.Data) + overhead
		if e.ID != "" {
			size += len(idText(e.ID))
		}
		if int64(size) > most {
			return &abstract.Error{Code: abstract.TooLarge, Op: "append", Sent: abstract.SentNo,
				Message: "the message is larger than the topic, or the NATS servers, keep; split it, or raise the topic's history or the limit"}
		}
		r.bytes += size
	}
	return nil
}

// enqueue puts a request behind those that wait, and sees to it that somebody publishes.
func (l *log) enqueue(r *request) error {
	q := &l.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) > 0 && (q.entries+len(r.entries) > maxWaiting || q.bytes+r.bytes > maxWaitingBytes) {
		return &abstract.Error{Code: abstract.Overloaded, Op: "append", Sent: abstract.SentNo,
			Message: "more is published to the topic than the disk takes; publish more slowly, or wait for the answers"}
	}
	if !q.running && !l.s.spawn(l.publishAll) {
		return errClosed
	}
	q.running = true
	q.waiting = append(q.waiting, r)
	q.entries += len(r.entries)
	q.bytes += r.bytes
	return nil
}

// withdraw takes back a request that nobody has begun with.
func (q *queue) withdraw(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, r)
	if i < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	q.forget(r)
	return true
}

func (q *queue) forget(r *request) {
	q.entries -= len(r.entries)
	q.bytes -= r.bytes
}

// take takes what can be published together, one request at least. There is nobody to
// publish from the time on when it takes none.
func (q *queue) take() []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, entries, bytes := 0, 0, 0
	for ; n < len(q.waiting); n++ {
		r := q.waiting[n]
		entries += len(r.entries)
		bytes += r.bytes
		if n > 0 && (entries > maxGroup || bytes > maxGroupBytes) {
			break
		}
		q.forget(r)
	}
	group := slices.Clone(q.waiting[:n])
	q.waiting = slices.Delete(q.waiting, 0, n)
	q.running = n > 0
	return group
}

// publishAll publishes until nothing waits.
func (l *log) publishAll() {
	for group := l.queue.take(); len(group) > 0; group = l.queue.take() {
		l.publish(group)
	}
}
