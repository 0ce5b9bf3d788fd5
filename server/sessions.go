package server

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/abstract"
	"trefoil/business/session"
	"trefoil/concrete/message"
	"trefoil/concrete/udp"
)

// sessions are what peers have that outlives their connections: nodes belong to
// them. A session ends when its owner says goodbye, or when nothing has been heard
// of it for too long, neither over its connection nor by heartbeat datagrams.
type sessions struct {
	ep    *endpoint
	nodes *NodeServer
	began time.Time                    // all times are counted from here: the wall clock has no say
	udp   atomic.Pointer[udp.Listener] // nil where no heartbeats are received

	index    index // its lock guards what follows
	manager  *session.SessionManager
	over     []session.ID  // stored sessions that have ended, and what they own has not gone yet
	anything chan struct{} // holds an element when there is something in over
	ended    sync.WaitGroup
}

// endsAtOnce is how many sessions are taken out of the Store together.
const endsAtOnce = 128

func newSessions(ep *endpoint, nodes *NodeServer, store abstract.Store) *sessions {
	s := &sessions{
		ep: ep, nodes: nodes, began: time.Now(), anything: make(chan struct{}, 1),
		manager: session.NewSessionManager(session.Config{Interval: ep.cfg.sessionInterval, Misses: ep.cfg.sessionMisses}),
	}
	s.index.init(store, s.manager.Applied)
	return s
}

// now is how long the server is there.
func (s *sessions) now() time.Duration { return time.Since(s.began) }

// start takes in the sessions that are in the store. Each has its full time again.
func (s *sessions) start() error {
	s.index.follow(session.Prefix, s.apply)
	return load(s.index.store, session.Prefix, func(kvs []abstract.KV, rev int64) bool {
		s.index.Lock()
		defer s.index.Unlock()
		ended, ok := s.manager.Load(kvs, rev, s.now())
		s.bury(ended)
		return ok
	})
}

// serve begins to look after the sessions, when the server listens at addr.
func (s *sessions) serve(addr net.Addr) {
	if tcp, ok := addr.(*net.TCPAddr); ok && s.ep.cfg.heartbeats {
		listener, err := udp.Listen(udp.Config{Addr: tcp.String(), Handler: s.beat, Logger: s.ep.logs.session})
		if err != nil { // sessions live by their connections then
			s.ep.logs.session.Warn("heartbeat datagrams are not received", "err", err)
		} else {
			s.udp.Store(listener)
		}
	}
	s.ended.Go(s.watch)
	s.ended.Go(s.undertake)
}

// close ends all of it. Stored sessions stay in the store.
func (s *sessions) close() {
	if listener := s.udp.Load(); listener != nil {
		listener.Close()
	}
	s.ended.Wait()
	s.index.close()
}

// port is where heartbeats are received; 0: nowhere.
func (s *sessions) port() int {
	listener := s.udp.Load()
	if listener == nil {
		return 0
	}
	return int(listener.Addr().Port())
}

// greet gives a peer the session that its HELLO asks for. nil: there are too many. The
// error is Denied: it may not have the one that it names, which is somebody else's, or
// the HELLO is one that somebody has recorded.
func (s *sessions) greet(c *conn, req *message.SessionRequest) (*message.SessionGrant, error) {
	s.index.Lock()
	grant, old, err := s.manager.Greet(req, c, c.identity(), s.now())
	s.index.Unlock()
	switch {
	case abstract.CodeOf(err) == abstract.Denied:
		s.ep.logs.session.Warn("session not given to who knows its secret", "peer", c.name(), "identity", c.identity(), "session", req.ID, "err", err)
		return nil, err
	case err != nil:
		s.ep.logs.session.Warn("no session given", "peer", c.name(), "err", err)
		return nil, nil
	}
	if old, ok := old.(*conn); ok {
		s.ep.logs.session.Info("session goes on over another connection", "session", grant.ID.String(), "peer", c.name(), "before", old.name())
		old.leave(abstract.Errorf(abstract.Conflict, "the session goes on over another connection"))
	}
	c.session, c.bound = grant.ID, true
	return grant.Message(s.port()), nil
}

// end ends a session whose owner has said goodbye.
func (s *sessions) end(c *conn) {
	s.index.Lock()
	defer s.index.Unlock()
	if !s.manager.On(c.session, c) { // it goes on over another connection
		return
	}
	if ended, ok := s.manager.Close(c.session); ok {
		s.bury([]session.Ended{ended})
	}
}

// detach notes that a connection is gone. Its session goes on.
func (s *sessions) detach(c *conn) {
	if c.bound {
		s.index.Lock()
		defer s.index.Unlock()
		s.manager.Detach(c.session, c, s.now())
	}
}

// beat takes a heartbeat datagram.
func (s *sessions) beat(datagram []byte, _ netip.AddrPort) {
	s.index.Lock()
	defer s.index.Unlock()
	s.manager.BeatUDP(datagram, s.now())
}

// watch ends the sessions that have expired.
func (s *sessions) watch() {
	every := max(s.ep.cfg.sessionInterval/8, 5*time.Millisecond)
	due := s.now() + every
	timer := time.NewTimer(every)
	defer timer.Stop()
	for {
		select {
		case <-s.ep.life.Done():
			return
		case <-timer.C:
		}
		now := s.now()
		for more := true; more; {
			more = s.tick(now, now-due)
		}
		due = s.now() + every
		timer.Reset(every)
	}
}

// tick looks at some sessions, and returns whether there are more to look at.
func (s *sessions) tick(now, late time.Duration) (more bool) {
	s.index.Lock()
	expired := s.manager.Tick(now, late)
	next, any := s.manager.NextDeadline()
	s.bury(expired)
	s.index.Unlock()
	for _, e := range expired {
		s.ep.logs.session.Info("session expired", "session", e.ID.String())
		if c, ok := e.Conn.(*conn); ok {
			c.leave(abstract.Errorf(abstract.SessionExpired, "nothing was heard of the session for too long; open a new one"))
		}
		if fn := s.ep.cfg.onSessionExpired; fn != nil {
			id := e.ID.String()
			if !s.ep.deliverers.Go(func() { fn(id) }) {
				go fn(id)
			}
		}
	}
	return any && next <= now
}

// apply takes a change of the store into the index.
func (s *sessions) apply(change abstract.Change) {
	s.index.Lock()
	defer s.index.Unlock()
	s.bury(s.manager.Apply(change, s.now()))
	s.index.advanced()
}

// bury sees to it, with the lock held, that what ended sessions own goes.
func (s *sessions) bury(ended []session.Ended) {
	for _, e := range ended {
		if e.Stored {
			s.over = append(s.over, e.ID)
		}
	}
	if len(s.over) > 0 {
		select {
		case s.anything <- struct{}{}:
		default:
		}
	}
}

// undertake takes ended sessions and what they own out of the store, until the
// server is shut down: what is left then is gone on with at the next start.
func (s *sessions) undertake() {
	for {
		select {
		case <-s.ep.life.Done():
			return
		case <-s.anything:
		}
		for {
			s.index.Lock()
			some := slices.Clone(s.over[:min(len(s.over), endsAtOnce)])
			s.index.Unlock()
			if len(some) == 0 {
				break
			}
			if err := s.remove(some); err != nil {
				if s.ep.draining() {
					return
				}
				s.ep.logs.session.Error("nodes of ended sessions not removed yet", "sessions", len(some), "err", err)
				if !s.pause(time.Second) {
					return
				}
				continue
			}
			s.index.Lock()
			s.over = slices.DeleteFunc(s.over, func(id session.ID) bool { return slices.Contains(some, id) })
			s.index.Unlock()
		}
	}
}

// pause waits; false: the server is shut down.
func (s *sessions) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-s.ep.life.Done():
		return false
	case <-timer.C:
		return true
	}
}

// remove takes sessions out of the store: first it is told that they have ended, so
// that nothing more can be made to belong to them, then what they own goes, and they
// come last. Each step is gone on with where somebody else has done a part of it.
func (s *sessions) remove(ids []session.ID) error {
	if err := s.each(ids, s.manager.PlanEnd); err != nil {
		return err
	}
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = id.String()
	}
	if err := s.nodes.removeOf(names); err != nil {
		return err
	}
	return s.each(ids, s.manager.PlanForget)
}

// each runs what plan says for each session, all in one transaction, until it says
// nothing.
func (s *sessions) each(ids []session.ID, plan func(session.ID) (abstract.Txn, bool)) error {
	for s.ep.life.Err() == nil {
		var txn abstract.Txn
		s.index.Lock()
		for _, id := range ids {
			if t, ok := plan(id); ok {
				txn.If, txn.Then = append(txn.If, t.If...), append(txn.Then, t.Then...)
			}
		}
		s.index.Unlock()
		if len(txn.Then) == 0 {
			return nil
		}
		if err := s.index.do(txn); err != nil {
			return err
		}
	}
	return context.Canceled
}

// hold adds to a transaction that makes something belong to a session what ties it
// to that. The error is SessionExpired, or InvalidParams without a session.
func (s *sessions) hold(c *conn, txn *abstract.Txn) error {
	s.index.Lock()
	defer s.index.Unlock()
	ifs, then, err := s.manager.PlanStore(c.session)
	if err != nil {
		return err
	}
	txn.If, txn.Then = append(txn.If, ifs...), append(txn.Then, then...)
	return nil
}

// alive says whether a session is alive, by its name.
func (s *sessions) alive(name string) bool {
	id, ok := session.ParseID(name)
	if !ok {
		return false
	}
	s.index.Lock()
	defer s.index.Unlock()
	return s.manager.Alive(id)
}
