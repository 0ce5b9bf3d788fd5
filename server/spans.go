package server

import (
	"cmp"
	"container/heap"
	"slices"
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
	s.by = make(map[uint64]map[spanOf]*span)
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

// expire sees to it that what nobody has renewed is taken out. That is an errand of its
// connection: nothing that the connection asks for of its registrations runs beside it.
func (s *spans) expire() {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	over := make(map[*conn][]spanOf)
	for len(s.queue) > 0 && !s.queue[0].end.After(now) {
		x := s.queue[0]
		s.drop(x)
		over[x.conn] = append(over[x.conn], x.of)
	}
	for c, list := range over {
		slices.SortFunc(list, func(a, b spanOf) int {
			return cmp.Or(cmp.Compare(a.host.IP, b.host.IP), cmp.Compare(a.host.Port, b.host.Port), cmp.Compare(a.instance, b.instance), cmp.Compare(a.method, b.method))
		})
		c.send(&c.errands, errand{do: func(t *turn) { s.end(t, list) }}) // with the lock: see any
	}
	s.schedule(now)
}

// end unregisters providers whose time is over, unless they have come back meanwhile.
// What the store does not take is gone on with by the registry, as is then the rest.
func (s *spans) end(t *turn, list []spanOf) {
	r := s.registry
	var problem error
	for _, b := range s.together(list) {
		if problem != nil {
			r.removeInTime(t.conn, registry.Expired, b.at, b.methods...)
		} else {
			problem = r.remove(t, registry.Expired, b.at, b.methods...)
		}
		if problem != nil {
			r.ep.logs.registry.Error("providers whose time is over are not removed yet", "methods", b.methods, "host", b.at.Host.String(), "err", problem)
			continue
		}
		r.ep.logs.registry.Info("expired", "methods", b.methods, "host", b.at.Host.String(), "peer", t.conn.name())
	}
}

// spanBatch are registrations at one host, as many as are removed at once.
type spanBatch struct {
	at      message.ProviderHost
	methods []string
}

// together puts those that have not come back together, by their hosts.
func (s *spans) together(list []spanOf) (batches []spanBatch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, of := range list {
		if s.by[of.conn][of] != nil {
			continue
		}
		at := message.ProviderHost{Host: of.host, Instance: of.instance}
		last := len(batches) - 1
		if last < 0 || batches[last].at != at || len(batches[last].methods) == registry.MaxOps {
			batches = append(batches, spanBatch{at: at})
			last++
		}
		batches[last].methods = append(batches[last].methods, of.method)
	}
	return batches
}

// any says whether a connection has registrations that end by time. When it has not, the
// errands that end some are among those that wait.
func (s *spans) any(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.by[c.id] != nil
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
