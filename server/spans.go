package server

import (
	"container/heap"
	"strings"
	"sync"
	"time"

	"trefoil/abstract"
	"trefoil/business/registry"
	"trefoil/concrete/message"
)

// The bounds of a registration's time to live. What is asked for outside of them is
// taken as the nearest.
const (
	minTTL = time.Second
	maxTTL = time.Hour
)

// spans are the registrations that asked for a time to live: they end when nobody
// renews them, also while their connection lives. One timer serves all.
type spans struct {
	registry *RegistryServer

	mu     sync.Mutex
	by     map[uint64]map[spanOf]*span // by connection
	ending map[spanOf]chan struct{}    // being taken out; closed when that is done
	queue  spanQueue
	timer  *time.Timer
	closed bool
}

// spanOf names a registration.
type spanOf struct {
	conn     uint64
	method   string
	instance string
	host     abstract.Host
}

// clone returns what does not lie in a received frame.
func (o spanOf) clone() spanOf {
	o.method, o.instance, o.host.IP = strings.Clone(o.method), strings.Clone(o.instance), strings.Clone(o.host.IP)
	return o
}

// span is a registration's time to live.
type span struct {
	of    spanOf
	conn  *conn
	ttl   time.Duration
	end   time.Time
	index int // in the queue
}

func (s *spans) init(r *RegistryServer) {
	s.registry = r
	s.by, s.ending = make(map[uint64]map[spanOf]*span), make(map[spanOf]chan struct{})
}

func milliseconds(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }

// renew notes that registrations end after so long; 0: not by time.
func (s *spans) renew(c *conn, p message.ProviderHost, ttl time.Duration, methods []string) {
	if ttl > 0 {
		ttl = min(max(ttl, minTTL), maxTTL)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.by[c.id]
	if ttl == 0 && of == nil || s.closed {
		return
	}
	now := time.Now()
	if of == nil {
		of = make(map[spanOf]*span)
		s.by[c.id] = of
	}
	for _, method := range methods {
		name := spanOf{c.id, method, p.Instance, p.Host}
		known := of[name]
		switch {
		case ttl == 0 && known != nil:
			s.drop(known)
		case ttl == 0:
		case known != nil:
			known.ttl, known.end = ttl, now.Add(ttl)
			heap.Fix(&s.queue, known.index)
		default:
			known = &span{of: name.clone(), conn: c, ttl: ttl, end: now.Add(ttl)}
			of[known.of] = known
			heap.Push(&s.queue, known)
		}
	}
	s.schedule(now)
}

// beat renews registrations, and returns whether all of them are known here.
func (s *spans) beat(c *conn, p message.ProviderHost, methods []string, now time.Time) (known int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, method := range methods {
		if x := s.by[c.id][spanOf{c.id, method, p.Instance, p.Host}]; x != nil {
			known++
			x.end = now.Add(x.ttl)
			heap.Fix(&s.queue, x.index)
		}
	}
	s.schedule(now)
	return known
}

// forget takes registrations out that were taken back.
func (s *spans) forget(c *conn, p message.ProviderHost, methods []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, method := range methods {
		if x := s.by[c.id][spanOf{c.id, method, p.Instance, p.Host}]; x != nil {
			s.drop(x)
		}
	}
}

// lost takes out what a connection had.
func (s *spans) lost(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.by[c.id] {
		s.drop(x)
	}
}

// drop is called with the lock held.
func (s *spans) drop(x *span) {
	of := s.by[x.of.conn]
	if delete(of, x.of); len(of) == 0 {
		delete(s.by, x.of.conn)
	}
	heap.Remove(&s.queue, x.index)
}

// schedule sets the timer for the next end. It is called with the lock held.
func (s *spans) schedule(now time.Time) {
	if len(s.queue) == 0 || s.closed {
		return
	}
	wait := max(0, s.queue[0].end.Sub(now))
	if s.timer == nil {
		s.timer = time.AfterFunc(wait, s.expire)
		return
	}
	s.timer.Reset(wait)
}

// expire takes out what nobody has renewed.
func (s *spans) expire() {
	now := time.Now()
	var over []*span
	s.mu.Lock()
	for len(s.queue) > 0 && !s.queue[0].end.After(now) {
		x := s.queue[0]
		s.drop(x)
		s.ending[x.of] = make(chan struct{})
		over = append(over, x)
	}
	s.schedule(now)
	s.mu.Unlock()
	for _, x := range over {
		s.end(x)
	}
}

// end unregisters a provider whose time is over. When the store does not take that it
// is tried again, unless the provider has come back meanwhile.
func (s *spans) end(x *span) {
	r := s.registry
	p := message.ProviderHost{Host: x.of.host, Instance: x.of.instance}
	err := r.remove(nil, x.conn, p, registry.Expired, x.of.method)
	s.mu.Lock()
	close(s.ending[x.of])
	delete(s.ending, x.of)
	s.mu.Unlock()
	if err == nil {
		r.ep.logs.registry.Info("expired", "method", x.of.method, "host", x.of.host.String(), "peer", x.conn.name())
		return
	}
	r.ep.logs.registry.Error("a provider whose time is over is not removed yet", "method", x.of.method, "host", x.of.host.String(), "err", err)
	r.after(storeTimeout, func() {
		s.mu.Lock()
		back := s.by[x.of.conn][x.of] != nil || s.ending[x.of] != nil
		if !back {
			s.ending[x.of] = make(chan struct{})
		}
		s.mu.Unlock()
		if !back {
			s.end(x)
		}
	})
}

// settle waits until none of these is being taken out, and sees to it that none is for
// as long as it takes to register them: whoever registers one again would find it
// there, and then it would go.
func (s *spans) settle(c *conn, p message.ProviderHost, methods []string) {
	for {
		waits := s.hold(c, p, methods)
		if len(waits) == 0 {
			return
		}
		for _, ch := range waits {
			<-ch // within the store's time
		}
	}
}

// hold returns what is to be waited for; when that is nothing, none of these ends soon.
func (s *spans) hold(c *conn, p message.ProviderHost, methods []string) (waits []chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ending) > 0 {
		for _, method := range methods {
			if ch := s.ending[spanOf{c.id, method, p.Instance, p.Host}]; ch != nil {
				waits = append(waits, ch)
			}
		}
	}
	of := s.by[c.id]
	if len(waits) > 0 || of == nil {
		return waits
	}
	soonest := time.Now().Add(2 * storeTimeout)
	for _, method := range methods {
		if x := of[spanOf{c.id, method, p.Instance, p.Host}]; x != nil && x.end.Before(soonest) {
			x.end = soonest
			heap.Fix(&s.queue, x.index)
		}
	}
	return nil
}

func (s *spans) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
}

// heartbeat renews registrations that asked for a time to live. One that is not
// there, or lasts as long as its connection, is an error: its owner registers it again.
func (s *RegistryServer) heartbeat(c *conn, m *message.ServiceRequest) {
	p, _, err := providerHost(c, m)
	if err != nil {
		c.refuse(m, err)
		return
	}
	methods := methodsOf(m, nil)
	if known := s.spans.beat(c, p, methods, time.Now()); known < len(methods) {
		c.refuse(m, abstract.Errorf(abstract.NotFound, "%d of %d registrations with a time to live are not there, or no more; register them again", len(methods)-known, len(methods)))
		return
	}
	s.done(c, m, nil)
}

// spanQueue is a heap of spans, the next one to end first.
type spanQueue []*span

// Len is heap.Interface's.
func (q spanQueue) Len() int { return len(q) }

// Less is heap.Interface's.
func (q spanQueue) Less(i, j int) bool { return q[i].end.Before(q[j].end) }

// Swap is heap.Interface's.
func (q spanQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push is heap.Interface's.
func (q *spanQueue) Push(x any) {
	s := x.(*span)
	s.index = len(*q)
	*q = append(*q, s)
}

// Pop is heap.Interface's.
func (q *spanQueue) Pop() any {
	old := *q
	x := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return x
}
