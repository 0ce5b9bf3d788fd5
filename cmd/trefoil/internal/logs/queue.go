package logs

import (
	"context"
	"fmt"
	"io"
	"sync"
)

const (
	// chunkBytes is about how much is written at once. A file is rotated between
	// writes, so it is well below the smallest file.
	chunkBytes = 64 << 10
	// maxLine is the longest line taken.
	maxLine = 256 << 10
	// keepBytes is the largest buffer that stays when all is written.
	keepBytes = 256 << 10
)

// queue takes lines and writes them on a goroutine of its own, so that whoever
// logs never waits for a disk or a terminal. It is bounded in lines and in bytes,
// those being written included; what does not fit is dropped and counted, and a
// notice stands in the log where it is missing. Safe for concurrent use.
type queue struct {
	tell   teller
	ended  chan struct{} // closed when the goroutine is gone
	mu     sync.Mutex
	awake  sync.Cond
	bounds bounds
	buf    []byte
	lines  []line
	inUse  bounds // what is being written
	gap    uint64 // lines dropped since the last one taken
	next   sink   // replaces the sink in use
	reopen bool
	closed bool

	// The goroutine's own.
	sink    sink
	lost    uint64 // lines that could not be written since the last that could
	torn    bool   // a line was written in part
	failing bool   // the sink's last write failed, and that was told
}

// bounds is an amount of log.
type bounds struct{ lines, bytes int }

// line is one line in a queue's buffer.
type line struct {
	size int
	gap  uint64 // how many were dropped just before it
}

// sink is where lines end up. Only the queue's goroutine calls it.
type sink interface {
	io.Writer
	// Reopen opens what it writes to again, if that has a name.
	Reopen()
	Close() error
}

// teller says what the queue itself has to say.
type teller struct {
	dropped func(n uint64) []byte // makes the line about lines that found no room
	lost    func(n uint64) []byte // makes the line about lines that could not be written
	trouble func(err error)       // is told when the sink begins to fail
}

func newQueue(to sink, b bounds, tell teller) *queue {
	q := &queue{tell: tell, bounds: b, sink: to, ended: make(chan struct{})}
	q.awake.L = &q.mu
	go q.run()
	return q
}

// Write takes one line. It never blocks and never fails.
func (q *queue) Write(p []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.fits(len(p)) {
		q.gap++
		return len(p), nil
	}
	if len(q.lines) == 0 {
		q.awake.Signal()
	}
	q.buf = append(q.buf, p...)
	q.lines = append(q.lines, line{size: len(p), gap: q.gap})
	q.gap = 0
	return len(p), nil
}

func (q *queue) fits(size int) bool {
	return !q.closed && size <= maxLine &&
		len(q.lines)+q.inUse.lines < q.bounds.lines && len(q.buf)+q.inUse.bytes+size <= q.bounds.bytes
}

// limit changes the bounds. What is in the queue stays.
func (q *queue) limit(b bounds) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bounds = b
}

// replace makes lines go to another sink, and closes the one before when its last
// write has ended.
func (q *queue) replace(to sink) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.next != nil {
		_ = q.next.Close() // it was never used
	}
	q.next = to
	q.awake.Signal()
}

// openAgain has the sink reopened before the next line.
func (q *queue) openAgain() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.reopen = true
	q.awake.Signal()
}

// close takes no more lines, and returns when those taken are written and the sink
// is closed, or ctx ends.
func (q *queue) close(ctx context.Context) error {
	q.mu.Lock()
	q.closed = true
	left := len(q.lines) + q.inUse.lines
	q.awake.Signal()
	q.mu.Unlock()
	select {
	case <-q.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("up to %d log lines were not written in time: %w", left, ctx.Err())
	}
}

func (q *queue) run() {
	defer close(q.ended)
	var b batch
	for q.take(&b) {
		q.prepare(&b)
		q.write(&b)
	}
	if q.lost > 0 {
		q.output(q.tell.lost(q.lost))
	}
	_ = q.sink.Close()
}

// batch is what the goroutine takes from the queue at once.
type batch struct {
	buf    []byte
	lines  []line
	gap    uint64 // lines dropped after the last one
	sink   sink   // not nil: to be used from here on
	reopen bool
}

// take waits for something to do. It gives the buffers of the batch before back to
// the queue, and returns false when there will be nothing any more.
func (q *queue) take(b *batch) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.lines) == 0 && q.gap == 0 && q.next == nil && !q.reopen && !q.closed {
		q.awake.Wait()
	}
	if q.closed && len(q.lines) == 0 && q.gap == 0 && q.next == nil {
		return false
	}
	if cap(b.buf) > keepBytes {
		b.buf, b.lines = nil, nil
	}
	q.buf, b.buf = b.buf[:0], q.buf
	q.lines, b.lines = b.lines[:0], q.lines
	q.inUse = bounds{lines: len(b.lines), bytes: len(b.buf)}
	b.gap, q.gap = q.gap, 0
	b.sink, q.next = q.next, nil
	b.reopen, q.reopen = q.reopen, false
	return true
}

// prepare does to the sink what was asked for.
func (q *queue) prepare(b *batch) {
	if b.reopen {
		q.sink.Reopen()
	}
	if b.sink != nil {
		_ = q.sink.Close()
		q.sink, q.failing, q.torn = b.sink, false, false
	}
}

// write writes a batch in chunks of whole lines.
func (q *queue) write(b *batch) {
	from, to, first := 0, 0, 0
	flush := func(last int) {
		q.put(b.buf[from:to], b.lines[first:last])
		from, first = to, last
	}
	for i, l := range b.lines {
		if l.gap > 0 || to-from+l.size > chunkBytes {
			flush(i)
		}
		q.sayDropped(l.gap)
		to += l.size
	}
	flush(len(b.lines))
	q.sayDropped(b.gap)
}

func (q *queue) sayDropped(n uint64) {
	if n > 0 && !q.try(q.tell.dropped(n), nil) {
		q.lost += n
	}
}

// put writes lines and makes room for as many.
func (q *queue) put(text []byte, lines []line) {
	if len(lines) == 0 {
		return
	}
	q.try(text, lines)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.inUse.lines -= len(lines)
	q.inUse.bytes -= len(text)
}

// try writes text, and counts which of its lines are lost when that fails. When
// earlier ones are lost, it says so first.
func (q *queue) try(text []byte, lines []line) bool {
	if q.lost > 0 {
		if _, ok := q.output(q.tell.lost(q.lost)); !ok {
			q.lost += uint64(len(lines))
			return false
		}
		q.lost = 0
	}
	n, ok := q.output(text)
	if ok {
		return true
	}
	for i, l := range lines {
		if n < l.size {
			q.lost += uint64(len(lines) - i)
			break
		}
		n -= l.size
	}
	return false
}

// output writes to the sink, and tells when it begins to fail.
func (q *queue) output(p []byte) (n int, ok bool) {
	if q.torn { // what follows shall not look like the rest of the line
		if _, err := q.sink.Write([]byte{'\n'}); err != nil {
			return 0, q.fails(err)
		}
		q.torn = false
	}
	n, err := q.sink.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err == nil {
		q.failing = false
		return n, true
	}
	n = min(max(n, 0), len(p))
	q.torn = n > 0 && p[n-1] != '\n'
	return n, q.fails(err)
}

func (q *queue) fails(err error) bool {
	if !q.failing {
		q.failing = true
		q.tell.trouble(err)
	}
	return false
}
