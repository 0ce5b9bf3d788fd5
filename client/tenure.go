package client

import (
	"context"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"trefoil/abstract"
	heartbeat "trefoil/business/session"
	"trefoil/concrete/message"
	"trefoil/concrete/udp"
)

// tenure is the session that the broker has given a Conn: it lasts through lost
// connections, until nothing has been heard for too long. Nodes are bound to it.
// One goroutine, while there is something to do, sends its heartbeats and watches
// the time for those who must know when it may be over. Safe for concurrent use.
type tenure struct {
	conn *Conn

	mu       sync.Mutex
	id       string // empty: none
	secret   string
	interval time.Duration
	misses   int
	heard    time.Time       // the broker has heard of the session then, or later
	life     context.Context // ends with the session; nil while there is none
	end      context.CancelCauseFunc

	beater  *heartbeat.Beater // the sequence lasts as long as the session
	sender  *udp.Sender       // nil: no heartbeats
	stakes  map[*stake]struct{}
	sooner  chan struct{} // holds an element when the goroutine is to look again
	working bool
	closed  bool
}

// stake is what is only safe while the session surely lives.
type stake struct{ lose context.CancelCauseFunc }

// errDoubt ends what stands on a session that may be over.
var errDoubt = &abstract.Error{Code: abstract.SessionExpired, Op: "keep what the session holds", Message: "the broker has not answered for so long that the session may be over"}

func (t *tenure) init(c *Conn) {
	t.conn = c
	t.stakes, t.sooner = make(map[*stake]struct{}), make(chan struct{}, 1)
	c.wire.asks = t.ask
}

// ask says what HELLO asks for: the session that we have, or a new one.
func (t *tenure) ask() *message.SessionRequest {
	t.mu.Lock()
	defer t.mu.Unlock()
	req := &message.SessionRequest{ID: t.id, Secret: t.secret}
	if t.beater != nil {
		req.Sequence = t.beater.Claim()
	}
	return req
}

// met takes what the broker answered to a HELLO that was sent after begun. A session
// that it does not go on with is over.
func (t *tenure) met(s *session, begun time.Time) {
	g := s.granted
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	lost := t.id
	if lost != "" && g != nil && g.Resumed && g.ID == lost {
		lost = ""
	} else {
		t.finish(&abstract.Error{Code: abstract.SessionExpired, Op: "keep session " + lost, Message: "the broker has ended it, or does not know it any more"})
		t.begin(g)
	}
	if g != nil {
		t.interval, t.misses = time.Duration(max(g.IntervalMs, 1))*time.Millisecond, g.Misses
		t.heard = later(t.heard, begun)
		t.aim(s, g.UDP)
		t.work()
	}
	if lost == "" {
		return
	}
	t.conn.cfg.logger.Warn("session expired", "peer", t.conn.addr, "session", lost)
	for _, fn := range t.conn.cfg.onSessionExpired {
		t.conn.events.run(func() { fn(lost) })
	}
}

// begin begins a session, with the lock held.
func (t *tenure) begin(g *message.SessionGrant) {
	if g == nil {
		return
	}
	beater, err := heartbeat.NewBeater(g, 0)
	if err != nil {
		t.conn.cfg.logger.Warn("no heartbeats are sent", "peer", t.conn.addr, "err", err)
	}
	t.id, t.secret, t.beater = g.ID, g.Secret, beater
	t.life, t.end = context.WithCancelCause(t.conn.ctx)
	t.heard = time.Time{}
}

// finish ends the session, if there is one, with the lock held.
func (t *tenure) finish(why error) {
	t.loseAll(why)
	t.aimAt("")
	if t.end != nil {
		t.end(why)
	}
	t.id, t.secret, t.beater, t.life, t.end = "", "", nil, nil, nil
}

// loseAll tells everybody with a stake that it is lost, with the lock held.
func (t *tenure) loseAll(why error) {
	for s := range t.stakes {
		s.lose(why)
	}
	clear(t.stakes)
}

// aim makes heartbeats go to a port of the host that a session is connected to;
// port 0: they go nowhere. With the lock held.
func (t *tenure) aim(s *session, port int) {
	addr := s.RemoteAddr()
	if port == 0 || !t.conn.cfg.heartbeats || t.beater == nil || !strings.HasPrefix(addr.Network(), "tcp") {
		t.aimAt("")
		return
	}
	host, _, err := net.SplitHostPort(addr.String())
	if err != nil {
		host = ""
	}
	t.aimAt(net.JoinHostPort(host, strconv.Itoa(port)))
}

// aimAt makes heartbeats go to an address, from a socket that knows which way that
// is now; empty: nowhere. With the lock held.
func (t *tenure) aimAt(addr string) {
	if t.sender != nil {
		_ = t.sender.Close()
		t.sender = nil
	}
	if addr == "" {
		return
	}
	sender, err := udp.Dial(t.conn.ctx, addr) // waits for nothing, as it is no name
	if err != nil {
		t.conn.cfg.logger.Debug("no heartbeats are sent", "peer", t.conn.addr, "err", err)
		return
	}
	t.sender = sender
}

// hears notes that the broker has answered what was sent over a session after sent.
func (t *tenure) hears(s *session, sent time.Time) {
	g := s.granted
	if g == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if g.ID == t.id {
		t.heard = later(t.heard, sent)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// current returns the session's id, and a context that ends with it; empty and nil
// when there is none.
func (t *tenure) current() (id string, life context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.id, t.life
}

// stake makes lose be called as soon as a session may be over, always before the
// broker can have ended it: so long as this process runs. It returns nil when it may
// be over already.
func (t *tenure) stake(id string, lose context.CancelCauseFunc) *stake {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.id != id || id == "" || time.Since(t.heard) >= t.certain() {
		return nil
	}
	s := &stake{lose}
	t.stakes[s] = struct{}{}
	t.work()
	return s
}

// unstake takes a stake back.
func (t *tenure) unstake(s *stake) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.stakes, s)
}

// certain is how long after the broker was heard from a session surely lives: what
// it takes to expire, without a quarter for clocks that do not go alike and for the
// time that it takes to stop. With the lock held.
func (t *tenure) certain() time.Duration { return t.timeout() * 3 / 4 }

func (t *tenure) timeout() time.Duration { return t.interval * time.Duration(max(t.misses, 1)) }

// period is how often the broker is told of the session: so often that one loss does
// no harm. With the lock held.
func (t *tenure) period() time.Duration {
	return max(min(t.interval/2, t.timeout()/8), time.Millisecond)
}

// work sees to it, with the lock held, that the goroutine looks what there is to do.
func (t *tenure) work() {
	if t.working {
		select {
		case t.sooner <- struct{}{}:
		default:
		}
		return
	}
	if t.idle() {
		return
	}
	t.working = t.conn.tasks.run(t.keep)
}

func (t *tenure) idle() bool { return t.closed || t.sender == nil && len(t.stakes) == 0 }

// keep sends heartbeats and watches the time until there is nothing to do.
func (t *tenure) keep() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-t.conn.ctx.Done():
			return
		case <-t.sooner:
		case <-timer.C:
		}
		now := time.Now()
		next, doubted, ok := t.tick(now)
		if !ok {
			return
		}
		if s := t.conn.current.Load(); s != nil && doubted {
			t.ping(s, now)
		}
		timer.Reset(next)
	}
}

// tick does what is due. It returns when to come again, and whether somebody has to
// know that the session lives; not ok: never.
func (t *tenure) tick(now time.Time) (next time.Duration, doubted, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	next = t.period()
	if silent := now.Sub(t.heard); silent >= t.certain() {
		t.loseAll(errDoubt)
	} else {
		next = min(next, t.certain()-silent)
	}
	if t.idle() {
		t.working = false
		return 0, false, false
	}
	if t.sender != nil {
		_ = t.sender.Send(t.beater.Append(make([]byte, 0, heartbeat.DatagramSize))) // the next one may arrive
	}
	return next, len(t.stakes) > 0, true
}

// ping asks the broker for a sign of life of its own. What it says unasked does not
// prove that it hears us.
func (t *tenure) ping(s *session, sent time.Time) {
	ping := func(id string) abstract.BaseMessage { return &message.Ping{Header: message.ID(id)} }
	s.begin(sent.Add(t.conn.cfg.timeout), abstract.Pong, ping, func(_ abstract.BaseMessage, err error) {
		if err == nil {
			t.hears(s, sent)
		}
	})
}

// close ends all of it: what stands on the session is lost before the broker hears
// that it ends.
func (t *tenure) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.loseAll(t.conn.closedError())
	t.aimAt("")
	if t.end != nil {
		t.end(t.conn.closedError())
	}
}

// SessionID is the id of the session that the broker has given this Conn, which its
// session nodes show as their owner; empty when it gave none. It stays the same when
// the connection is lost and comes back, until the session is lost: OnSessionExpired.
func (c *Conn) SessionID() string {
	id, _ := c.tenure.current()
	return id
}
