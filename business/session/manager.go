package session

import (
	"container/heap"
	"crypto/subtle"
	"io"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// Conn is what is asked of a connection that a session is on: how many bytes have
// come so far. When that has grown the peer is alive, so that frames cost nothing
// for being signs of life. abstract.BaseConnection is one. Conns are compared: use
// the same value for one connection always.
type Conn interface{ Received() uint64 }

// SessionManager knows the sessions of a broker: an event goes in, what is to be
// done comes out. It holds no sockets, clocks or goroutines, and the same events
// give the same result every time.
//
// It is not safe for concurrent use. Of the Conns it is given it calls nothing but
// Received. now never goes back, and is on one scale in all calls.
type SessionManager struct {
	cfg      Config
	applied  int64
	sessions map[ID]*entry
	due      deadlines
	stats    stats
}

// NewSessionManager makes an empty SessionManager.
func NewSessionManager(cfg Config) *SessionManager {
	return &SessionManager{cfg: cfg.withDefaults(), sessions: make(map[ID]*entry)}
}

// entry is one session: alive, or on the way out of the Store.
type entry struct {
	id       ID
	secret   Secret // while !keyed only its hash is known, and stands here
	keyed    bool
	ending   bool // it is over; out of the heap, and here until the Store has forgotten it
	marked   bool // and the Store knows that
	planned  bool // a transaction that stores it may be under way
	misses   int32
	missed   int32 // intervals in a row
	interval time.Duration

	conn     Conn   // that it is on, or nil
	received uint64 // of conn, when we last looked
	sequence uint64 // of the last heartbeat
	claimed  uint64 // the sequence that the last HELLO named
	owner    string // whose it is: only that identity gets on with it; empty: not known yet

	heard    time.Duration // the last sign of life that we know of
	deadline time.Duration // when to look for one
	index    int           // in the heap
	revision int64         // of its key; 0: it is not stored, as far as we know
}

// hear notes a sign of life. The heap is left alone: the deadline will find it.
func (e *entry) hear(now time.Duration) { e.heard = max(e.heard, now) }

// catchUp finds signs of life that came over the connection.
func (e *entry) catchUp(now time.Duration) {
	if e.conn == nil {
		return
	}
	if received := e.conn.Received(); received != e.received {
		e.received = received
		e.hear(now)
	}
}

// attach moves the session to a connection.
func (e *entry) attach(conn Conn) {
	if e.conn = conn; conn != nil {
		e.received = conn.Received()
	}
}

// Grant is a session as its owner gets it.
type Grant struct {
	ID       ID
	Secret   Secret
	Interval time.Duration
	Misses   int
	Resumed  bool
}

// Message returns the grant as HELLO's response carries it. udp is the port that
// takes heartbeats; 0: none.
func (g *Grant) Message(udp int) *message.SessionGrant {
	return &message.SessionGrant{
		ID: g.ID.String(), Secret: g.Secret.Hex(), IntervalMs: g.Interval.Milliseconds(), Misses: g.Misses, Resumed: g.Resumed, UDP: udp,
	}
}

func (e *entry) grant(resumed bool) Grant {
	return Grant{ID: e.id, Secret: e.secret, Interval: e.interval, Misses: int(e.misses), Resumed: resumed}
}

// Greet does what a HELLO of an identity asks for: the session it names goes on over
// conn, or, where there is no such living session or the secret is not its own, a new
// one is opened. old is the connection that the session was taken from, nil when there
// was none or it is conn: tell it goodbye. The error is Overloaded, Denied for who
// knows the secret and may not go on with the session all the same, or Internal
// without a source of randomness.
func (m *SessionManager) Greet(req *message.SessionRequest, conn Conn, identity string, now time.Duration) (g Grant, old Conn, err error) {
	id, ok1 := ParseID(req.ID)
	secret, ok2 := ParseSecret(req.Secret)
	if ok1 && ok2 {
		if e := m.owned(id, &secret); e != nil {
			if err := e.claim(req.Sequence, identity); err != nil {
				m.stats.refused++
				return Grant{}, nil, err
			}
		}
		if g, old, ok := m.Resume(id, secret, req.Sequence, conn, now); ok {
			return g, old, nil
		}
	}
	if g, err = m.Open(conn, now); err == nil {
		m.sessions[g.ID].owner = identity
	}
	return g, nil, err
}

// Open opens a session on a connection. The error is Overloaded, or Internal
// without a source of randomness.
func (m *SessionManager) Open(conn Conn, now time.Duration) (Grant, error) {
	if len(m.sessions) >= m.cfg.Max {
		return Grant{}, abstract.Errorf(abstract.Overloaded, "the broker has %d sessions, which is the limit; try again when some have ended", len(m.sessions))
	}
	e := &entry{keyed: true, interval: m.cfg.Interval, misses: int32(m.cfg.Misses)}
	for taken := true; taken; _, taken = m.sessions[e.id] {
		if _, err := io.ReadFull(m.cfg.Random, e.id[:]); err != nil {
			return Grant{}, &abstract.Error{Code: abstract.Internal, Op: "open a session", Err: err}
		}
	}
	if _, err := io.ReadFull(m.cfg.Random, e.secret[:]); err != nil {
		return Grant{}, &abstract.Error{Code: abstract.Internal, Op: "open a session", Err: err}
	}
	e.attach(conn)
	m.add(e, now)
	m.stats.opened++
	return e.grant(false), nil
}

// Resume moves a living session to conn, which is a sign of life. sequence is that
// of the owner's last heartbeat. old is as in Greet. It is not ok when there is no
// such session or the secret is not its own.
func (m *SessionManager) Resume(id ID, secret Secret, sequence uint64, conn Conn, now time.Duration) (g Grant, old Conn, ok bool) {
	e := m.owned(id, &secret)
	if e == nil {
		return g, nil, false
	}
	e.secret, e.keyed = secret, true
	e.sequence = max(e.sequence, sequence)
	if e.conn != conn {
		old = e.conn
	}
	e.attach(conn)
	e.hear(now)
	m.stats.resumed++
	return e.grant(true), old, true
}

// owned returns a living session if the secret is its own, else nil.
func (m *SessionManager) owned(id ID, secret *Secret) *entry {
	e := m.alive(id)
	if e == nil {
		return nil
	}
	got, want := secret.hash(), e.hash()
	if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
		return nil
	}
	return e
}

// hash returns the hash of the secret.
func (e *entry) hash() [32]byte {
	if e.keyed {
		return e.secret.hash()
	}
	return e.secret
}

// Detach notes that a connection is gone. The session lives on until it expires. It
// does nothing when the session is on another connection by now.
func (m *SessionManager) Detach(id ID, conn Conn, now time.Duration) {
	if e := m.sessions[id]; e != nil && e.conn == conn {
		e.catchUp(now)
		e.conn = nil
	}
}

// Heard notes a sign of life that came neither over the session's connection nor
// as a datagram. It returns false when there is no such living session.
func (m *SessionManager) Heard(id ID, now time.Duration) bool {
	e := m.alive(id)
	if e == nil {
		return false
	}
	e.hear(now)
	return true
}

// On says whether a living session is on a connection.
func (m *SessionManager) On(id ID, conn Conn) bool {
	e := m.alive(id)
	return e != nil && e.conn == conn
}

// Alive says whether a session is alive.
func (m *SessionManager) Alive(id ID) bool { return m.alive(id) != nil }

func (m *SessionManager) alive(id ID) *entry {
	if e := m.sessions[id]; e != nil && !e.ending {
		return e
	}
	return nil
}

// Ended is a session that is over.
type Ended struct {
	ID   ID
	Conn Conn // that it was on, or nil
	// Stored says that the Store may know it and own nodes of it: run PlanEnd,
	// delete the nodes, run PlanForget. The session is in the manager until then.
	Stored bool
}

// Close ends a session at once, as its owner's goodbye does. It is not ok when
// there is no such living session.
func (m *SessionManager) Close(id ID) (ended Ended, ok bool) {
	e := m.alive(id)
	if e == nil {
		return Ended{}, false
	}
	m.stats.closed++
	return m.end(e), true
}

// add takes a living session in, with its full time from now on.
func (m *SessionManager) add(e *entry, now time.Duration) {
	e.heard, e.deadline = now, now+e.interval
	m.sessions[e.id] = e
	heap.Push(&m.due, e)
}

// end ends a living session. One that the Store may know stays until that has
// forgotten it.
func (m *SessionManager) end(e *entry) Ended {
	heap.Remove(&m.due, e.index)
	ended := Ended{ID: e.id, Conn: e.conn, Stored: e.planned || e.revision != 0}
	e.ending, e.conn = true, nil
	if !ended.Stored {
		delete(m.sessions, e.id)
	}
	return ended
}
