// Package peer judges what the other side of a connection is and whether it is
// still there: all judging of a connection's first bytes happens here.
package peer

import (
	"strconv"
	"sync/atomic"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// Role is which end of a connection we are.
type Role uint8

// The roles.
const (
	Server       Role = iota // waits for the peer's first message, and judges by it
	Client                   // says HELLO
	LegacyClient             // talks to an existing program of the LV family
)

// Config says who we are. The zero value is a server with the defaults.
type Config struct {
	Role     Role
	Agent    string        // what we call ourselves
	MaxFrame int           // the longest frame we take, in bytes, its Length field included; default 8 MiB
	Ping     time.Duration // the interval that a Server dictates, and that holds for a Client whose server names none; default 2 s, 10 ms to 1 h
	Misses   int           // so many intervals of silence mean that the peer is gone, the same way; default 5, 2 to 1000
	// Session is what a Client's HELLO asks for; nil: no session.
	Session *message.SessionRequest
}

// legacyFrame is the longest frame that all existing programs take.
const legacyFrame = 65_532

// minFrame is the least a peer must take: less does not hold our responses.
const minFrame = 1024

// state is what we know of the peer.
type state uint32

const (
	fresh  state = iota // a server has heard nothing yet, a client has no response to its HELLO
	legacy              // the peer does not know HELLO
	modern              // HELLO was exchanged
	ended               // the peer was judged unfit
)

// Peer is what is known of the other side of one connection. Hello, Receive,
// Heard, Tick and PingInterval must be called one at a time; the other methods may
// be called at any time.
type Peer struct {
	agent    string // what we call ourselves
	ourFrame int    // what we take
	role     Role
	session  *message.SessionRequest // what our HELLO asks for
	met      atomic.Bool             // HELLO was exchanged; stays so after the end, for the goodbye
	state    atomic.Uint32
	pings    uint32       // sent at all
	maxFrame atomic.Int64 // what the peer takes

	ping   time.Duration // what holds, or, before HELLO was exchanged, what we mean to propose
	misses int32         // the same
	pinged int32         // pings sent since heard
	heard  time.Time     // when something came
	looked time.Duration // from heard to when Tick last looked
}

// New makes a Peer for a connection that was opened at now.
func New(cfg Config, now time.Time) *Peer {
	if cfg.MaxFrame <= 0 {
		cfg.MaxFrame = 8 << 20
	}
	if cfg.Ping <= 0 {
		cfg.Ping = 2 * time.Second
	}
	if cfg.Misses <= 0 {
		cfg.Misses = 5
	}
	p := &Peer{
		role: cfg.Role, agent: cfg.Agent, ourFrame: cfg.MaxFrame, session: cfg.Session,
		ping: cfg.Ping, misses: int32(min(cfg.Misses, maxMisses)), heard: now,
	}
	p.maxFrame.Store(legacyFrame)
	if cfg.Role == LegacyClient {
		p.become(legacy)
	}
	return p
}

func (p *Peer) is(s state) bool { return state(p.state.Load()) == s }

func (p *Peer) become(s state) { p.state.Store(uint32(s)) }

// Modern says whether HELLO was exchanged. Once true it stays so.
func (p *Peer) Modern() bool { return p.met.Load() }

// MaxFrame is the longest frame the peer takes: what its HELLO said, or what all
// existing programs take as long as it has said none.
func (p *Peer) MaxFrame() int { return int(p.maxFrame.Load()) }

// PingInterval is after how much silence a modern peer is pinged; 0 for others.
func (p *Peer) PingInterval() time.Duration {
	if !p.Modern() {
		return 0
	}
	return p.ping
}

// CheckSize returns an error with code TooLarge when the peer does not take a
// frame of size bytes. Requests to a legacy server are not limited: it may well
// take more, and what to send is the caller's choice.
func (p *Peer) CheckSize(size int) error {
	limit := p.MaxFrame()
	if size <= limit || p.role == LegacyClient {
		return nil
	}
	e := abstract.Errorf(abstract.TooLarge, "a frame of %d bytes is above the %d that the peer takes; send less at a time", size, limit)
	e.Details = message.Raw(`{"limit":` + strconv.Itoa(limit) + `,"size":` + strconv.Itoa(size) + `}`)
	return e
}

// Hello is a client's first message.
func (p *Peer) Hello(id string) abstract.BaseMessage {
	return &message.Hello{Header: message.ID(id), Version: message.ProtocolVersion, Agent: p.agent, MaxFrame: p.ourFrame, Session: p.session}
}
