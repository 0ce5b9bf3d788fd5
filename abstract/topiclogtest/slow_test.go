package topiclogtest

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"trefoil/abstract"
)

// slowLogs is a driver as simple as can be: everything is in lists behind one lock, and
// whoever waits looks again every millisecond. It can be told to do one thing wrong.
type slowLogs struct {
	fault  string // what to do wrong
	mu     sync.Mutex
	closed bool
	logs   map[abstract.LogName]*slowLog
}

func newSlowLogs(fault string) *slowLogs {
	return &slowLogs{fault: fault, logs: map[abstract.LogName]*slowLog{}}
}

// reopened returns what a store on the disk would have kept.
func (s *slowLogs) reopened() *slowLogs {
	again := newSlowLogs(s.fault)
	for n, l := range s.logs {
		l = &slowLog{s: again, entries: l.entries, deleted: l.deleted, first: l.first, consumers: l.consumers}
		again.logs[n] = l
		for name, c := range l.consumers {
			l.consumers[name] = &slowConsumer{l: l, name: name, cfg: c.cfg, next: c.next, unacked: c.unacked, acked: c.acked}
			if s.fault == "forgets the position" {
				l.consumers[name].next = 1
			}
		}
	}
	return again
}

func (s *slowLogs) Durable() bool { return true }

func (s *slowLogs) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

var errClosed = abstract.Errorf(abstract.Unavailable, "closed")

func (s *slowLogs) Open(_ context.Context, topic, epoch string, cfg abstract.LogConfig) (abstract.Log, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	n := abstract.LogName{Topic: topic, Epoch: epoch}
	if s.fault == "mixes topics" {
		n.Topic = strings.ToLower(topic)
	}
	if s.logs[n] == nil {
		s.logs[n] = &slowLog{s: s, first: 1, deleted: map[uint64]bool{}, consumers: map[string]*slowConsumer{}}
	}
	s.logs[n].cfg = cfg
	return s.logs[n], nil
}

func (s *slowLogs) Remove(_ context.Context, topic, epoch string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := abstract.LogName{Topic: topic, Epoch: epoch}
	if l := s.logs[n]; l != nil && s.fault != "removed logs live on" {
		l.gone = true
	}
	delete(s.logs, n)
	return nil
}

func (s *slowLogs) List(context.Context) (names []abstract.LogName, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := range s.logs {
		names = append(names, n)
	}
	return names, nil
}

// slowLog keeps every entry; first is the offset of the first that counts.
type slowLog struct {
	s         *slowLogs
	cfg       abstract.LogConfig
	entries   []abstract.LogEntry
	deleted   map[uint64]bool
	first     uint64
	gone      bool
	consumers map[string]*slowConsumer
}

// enter locks and lets go of what is beyond the bounds. Call the function it returns.
func (l *slowLog) enter() (leave func(), err error) {
	l.s.mu.Lock()
	switch {
	case l.s.closed:
		err = errClosed
	case l.gone:
		err = abstract.Errorf(abstract.TopicNotFound, "gone")
	}
	if err == nil && l.s.fault != "keeps everything" {
		l.trim()
	}
	return l.s.mu.Unlock, err
}

func (l *slowLog) last() uint64 { return uint64(len(l.entries)) }

func (l *slowLog) trim() {
	h := l.cfg.History
	for ; l.first <= l.last(); l.first++ {
		if l.deleted[l.first] {
			continue
		}
		bytes, count := int64(0), 0
		for _, e := range l.entries[l.first-1:] {
			if !l.deleted[e.Offset] {
				bytes += int64(len(e.Data))
				count++
			}
		}
		alone := count == 1
		old := h.Age > 0 && time.Since(l.entries[l.first-1].Time) > h.Age
		if (h.Count == 0 || count <= h.Count) && (h.Bytes == 0 || bytes <= h.Bytes || alone) && !old {
			return
		}
	}
}

func (l *slowLog) Append(ctx context.Context, entries []abstract.LogEntry) (offsets []abstract.LogOffset, _ error) {
	leave, err := l.enter()
	defer leave()
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if at := l.duplicate(e.ID); at > 0 {
			if l.s.fault == "a duplicate fails the others" {
				return offsets, abstract.Errorf(abstract.Exists, "there already")
			}
			offsets = append(offsets, abstract.LogOffset{Offset: at, Duplicate: true})
			continue
		}
		e.Offset, e.Time = l.last()+1, time.Now()
		offsets = append(offsets, abstract.LogOffset{Offset: e.Offset})
		if l.s.fault == "loses an entry" && len(l.entries) == 500 {
			continue
		}
		l.entries = append(l.entries, e)
	}
	return offsets, nil
}

func (l *slowLog) duplicate(id string) uint64 {
	window := l.cfg.Dedup
	if l.s.fault == "looks at every id" {
		window = time.Hour
	}
	if id == "" || window == 0 {
		return 0
	}
	for _, e := range slices.Backward(l.entries) {
		if e.ID == id && (time.Since(e.Time) < window || l.s.fault == "forgets no id") {
			return e.Offset
		}
	}
	return 0
}

func (l *slowLog) Read(_ context.Context, from uint64, most, bytes int) (list []abstract.LogEntry, _ error) {
	leave, err := l.enter()
	defer leave()
	if err != nil {
		return nil, err
	}
	for o := max(from, l.first); o <= l.last() && len(list) < most; o++ {
		e := l.entries[o-1]
		if l.deleted[o] {
			continue
		}
		if bytes -= len(e.Data); bytes < 0 && len(list) > 0 && l.s.fault != "reads too much" {
			break
		}
		list = append(list, e)
	}
	return list, nil
}

func (l *slowLog) Bounds(context.Context) (first, last uint64, err error) {
	leave, err := l.enter()
	defer leave()
	return l.first, l.last(), err
}

func (l *slowLog) Delete(_ context.Context, offsets ...uint64) error {
	leave, err := l.enter()
	defer leave()
	if err != nil || l.s.fault == "deletes nothing" {
		return err
	}
	for _, o := range offsets {
		if o == 0 || o > l.last() {
			continue
		}
		l.deleted[o] = true
		if l.s.fault == "uses offsets again" && o == l.last() {
			l.entries = l.entries[:o-1]
			delete(l.deleted, o)
		}
		for _, c := range l.consumers {
			if l.s.fault != "delivers what was deleted" {
				c.unacked = slices.DeleteFunc(c.unacked, func(d *slowDelivery) bool { return d.entry.Offset == o })
			}
		}
	}
	l.trim()
	return nil
}

func (l *slowLog) OffsetAt(_ context.Context, t time.Time) (uint64, error) {
	leave, err := l.enter()
	defer leave()
	for o := l.first; o <= l.last(); o++ {
		if e := l.entries[o-1]; !l.deleted[o] && !e.Time.Before(t) && (l.s.fault != "finds no exact time" || e.Time.After(t)) {
			return o, err
		}
	}
	return l.last() + 1, err
}

func (l *slowLog) Consumer(_ context.Context, name string, cfg abstract.ConsumerConfig) (abstract.LogConsumer, error) {
	leave, err := l.enter()
	defer leave()
	if err != nil {
		return nil, err
	}
	c := l.consumers[name]
	if c == nil {
		c = &slowConsumer{l: l, name: name, next: cfg.From}
		if cfg.From == 0 {
			c.next = l.last() + 1
		}
		c.acked = max(c.next, l.first) - 1
		l.consumers[name] = c
	}
	if cfg.MaxUnacked == 0 {
		cfg.MaxUnacked = 1024
	}
	c.cfg = cfg
	return &slowHandle{slowConsumer: c}, nil
}

func (l *slowLog) RemoveConsumer(_ context.Context, name string) error {
	leave, err := l.enter()
	defer leave()
	if c := l.consumers[name]; c != nil {
		c.gone = true
		delete(l.consumers, name)
	}
	return err
}

func (l *slowLog) Consumers(context.Context) (infos []abstract.ConsumerInfo, err error) {
	leave, err := l.enter()
	defer leave()
	for _, c := range l.consumers {
		infos = append(infos, c.info())
	}
	return infos, err
}

// slowConsumer is what is known of a consumer.
type slowConsumer struct {
	l       *slowLog
	name    string
	cfg     abstract.ConsumerConfig
	next    uint64
	acked   uint64
	unacked []*slowDelivery // in order
	gone    bool
}

// slowHandle is a consumer as somebody opened it.
type slowHandle struct {
	*slowConsumer
	closed bool
}

// slowDelivery is an entry that was delivered.
type slowDelivery struct {
	c     *slowConsumer
	entry abstract.LogEntry
	nth   int
	due   time.Time // when it is delivered again
}

func (c *slowHandle) enter() (leave func(), err error) {
	leave, err = c.l.enter()
	switch {
	case err != nil:
	case c.gone:
		err = abstract.Errorf(abstract.NotFound, "gone")
	case c.closed:
		err = errClosed
	}
	return leave, err
}

func (c *slowHandle) Fetch(ctx context.Context, most int) ([]abstract.LogDelivery, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		leave, err := c.enter()
		var list []abstract.LogDelivery
		for err == nil && len(list) < most {
			d := c.deliver()
			if d == nil {
				break
			}
			list = append(list, &slowHandled{slowDelivery: d, nth: d.nth})
		}
		leave()
		if len(list) > 0 || err != nil {
			return list, err
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// deliver returns what is due, or the next.
func (c *slowHandle) deliver() *slowDelivery {
	for _, d := range c.unacked {
		if !time.Now().Before(d.due) || c.l.s.fault == "delivers twice" && d.nth == 1 {
			d.nth++
			if c.l.s.fault == "does not count" {
				d.nth = 1
			}
			d.due = time.Now().Add(c.cfg.AckWait)
			return d
		}
	}
	c.next = max(c.next, c.l.first)
	for c.l.deleted[c.next] && c.l.s.fault != "delivers what was deleted" {
		c.next++
	}
	if c.next > c.l.last() || len(c.unacked) >= c.cfg.MaxUnacked && c.l.s.fault != "does not bound" {
		return nil
	}
	d := &slowDelivery{c: c.slowConsumer, entry: c.l.entries[c.next-1], nth: 1, due: time.Now().Add(c.cfg.AckWait)}
	c.next++
	c.unacked = append(c.unacked, d)
	return d
}

func (c *slowConsumer) info() abstract.ConsumerInfo {
	info := abstract.ConsumerInfo{Name: c.name, Acked: c.next - 1, Unacked: len(c.unacked)}
	for o := c.next; o <= c.l.last(); o++ {
		if !c.l.deleted[o] {
			info.Pending++
		}
	}
	for _, d := range c.unacked {
		info.Acked = min(info.Acked, d.entry.Offset-1)
		if d.nth > 1 {
			info.Redelivered++
		}
	}
	info.Acked = max(info.Acked, c.acked)
	return info
}

func (c *slowHandle) Info(context.Context) (abstract.ConsumerInfo, error) {
	leave, err := c.enter()
	defer leave()
	return c.info(), err
}

func (c *slowHandle) Ack(ctx context.Context, list ...abstract.LogDelivery) error {
	if c.l.s.fault == "acknowledges the last" {
		list = list[max(0, len(list)-1):]
	}
	var err error
	for _, d := range list {
		err = cmp.Or(err, d.Ack(ctx))
	}
	return err
}

func (c *slowHandle) Close() error {
	c.l.s.mu.Lock()
	defer c.l.s.mu.Unlock()
	c.closed = true
	return nil
}

// slowHandled is one delivery of an entry.
type slowHandled struct {
	*slowDelivery
	nth   int
	ended bool
}

func (d *slowHandled) Entry() abstract.LogEntry { return d.entry }
func (d *slowHandled) Delivered() int           { return d.nth }

// end runs f unless the delivery is ended.
func (d *slowHandled) end(f func()) error {
	leave, err := d.c.l.enter()
	defer leave()
	if err == nil && !d.ended {
		d.ended = true
		f()
	}
	return err
}

func (d *slowHandled) Ack(context.Context) error {
	return d.end(func() {
		d.c.unacked = slices.DeleteFunc(d.c.unacked, func(other *slowDelivery) bool { return other == d.slowDelivery })
	})
}

func (d *slowHandled) Nack(_ context.Context, delay time.Duration) error {
	if d.c.l.s.fault == "nacks at once" {
		delay = 0
	}
	return d.end(func() { d.due = time.Now().Add(delay) })
}

func (d *slowHandled) Progress(context.Context) error {
	leave, err := d.c.l.enter()
	defer leave()
	if !d.ended && d.c.l.s.fault != "makes no progress" {
		d.due = time.Now().Add(d.c.cfg.AckWait)
	}
	return err
}
