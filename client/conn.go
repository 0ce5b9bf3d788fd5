package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/abstract"
)

// Conn is a connection to a broker, or to one server, that connects again by
// itself whenever it is lost, and then restores what stood on it: registrations,
// discoveries, topics and subscriptions. RpcClient, RegistryClient,
// DiscoveryClient, TopicClient and NodeClient share it. Safe for concurrent use; Close it
// when it is no longer needed.
type Conn struct {
	addr string
	wire *wire
	cfg  config

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	ended  sync.WaitGroup // the goroutine that keeps the connection up
	events *serial        // runs the user's callbacks in order
	tasks  tasks          // goroutines that Close waits for

	topics        topics
	registrations registrations
	discoveries   discoveries
	watches       watches
	tenure        tenure

	current atomic.Pointer[session] // nil while it is down; changed with mu held

	mu      sync.Mutex
	modern  bool // the peer has answered HELLO once: it is never taken for legacy again
	waiting map[*waiter]struct{}
	problem error // why the last try failed
}

// keeper keeps what stands on a connection beyond the connection's life.
type keeper interface {
	// restore tells a new session what stood on the old one. An error means
	// that the session is gone; what is only refused is kept and tried again.
	restore(ctx context.Context, s *session) error
}

// waiter is somebody who waits for a session.
type waiter struct{ fn func(*session, error) }

// Dial connects to addr ("host:port", or "unix:/path") and returns when the
// connection is up. When it is not up by ctx's end, or within the connect
// timeout, Dial gives up and returns the reason.
func Dial(ctx context.Context, addr string, opts ...Option) (*Conn, error) {
	c := newConn(addr, newConfig(opts))
	s, err := c.open(ctx)
	if err != nil {
		c.cancel()
		c.tenure.close()
		c.tasks.close()
		c.events.close()
		return nil, err
	}
	c.ended.Go(func() { c.keep(s) })
	return c, nil
}

// Open is Dial that does not wait: it returns at once, and connects in the background,
// again and again until Close. What needs the connection meanwhile waits for it, until
// its own deadline. With WithListsIn, an RpcClient calls the providers of the last time
// as soon as the broker turns out to be away.
func Open(addr string, opts ...Option) *Conn {
	c := newConn(addr, newConfig(opts))
	c.ended.Go(func() {
		if s := c.connect(0); s != nil {
			c.keep(s)
		}
	})
	return c
}

func newConn(addr string, cfg config) *Conn {
	ctx, cancel := context.WithCancel(context.Background())
	c := &Conn{addr: addr, cfg: cfg, ctx: ctx, cancel: cancel, events: newSerial(), waiting: make(map[*waiter]struct{})}
	c.wire = newWire(&c.cfg)
	c.wire.serves()
	c.registrations.init(c)
	c.discoveries.init(c)
	c.topics.init(c)
	c.watches.init(c)
	c.tenure.init(c)
	return c
}

// open makes one try to connect and to restore.
func (c *Conn) open(ctx context.Context) (*session, error) {
	how := modeAuto
	c.mu.Lock()
	if c.modern {
		how = modeModern
	}
	c.mu.Unlock()
	if c.cfg.legacy {
		how = modeLegacy
	}
	begun := time.Now()
	s, err := c.wire.open(ctx, c.addr, how, c.lost)
	if err != nil {
		return nil, err
	}
	c.tenure.met(s, begun)
	for _, k := range []keeper{&c.topics, &c.registrations, &c.discoveries, &c.watches} {
		if err := k.restore(ctx, s); err != nil {
			c.abandon(s, err)
			return nil, err
		}
	}
	if err := c.up(s); err != nil {
		return s, err
	}
	if err := c.registrations.settle(ctx, s); err != nil {
		c.cfg.logger.Debug("what was unregistered meanwhile is not undone", "peer", c.addr, "err", err) // the session has ended
	}
	return s, nil
}

// up makes a session the current one.
func (c *Conn) up(s *session) error {
	c.mu.Lock()
	select {
	case <-s.Done():
		c.mu.Unlock()
		return abstract.Errorf(abstract.Disconnected, "%s closed the connection at once", c.addr)
	default:
	}
	if c.waiting == nil { // closed meanwhile
		c.mu.Unlock()
		c.abandon(s, nil)
		return c.closedError()
	}
	c.current.Store(s)
	c.problem = nil
	c.modern = c.modern || s.modern()
	waiting := c.waiting
	c.waiting = make(map[*waiter]struct{})
	c.mu.Unlock()

	for w := range waiting {
		w.fn(s, nil)
	}
	for _, fn := range c.cfg.onConnected {
		c.events.run(fn)
	}
	return nil
}

// abandon ends a session that nobody uses yet: with a goodbye after Close, so that
// what the broker keeps for us ends too.
func (c *Conn) abandon(s *session, err error) {
	if c.ctx.Err() == nil {
		s.Close(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s.leave(ctx, "the client closes")
}

// lost is called by a session that is gone.
func (c *Conn) lost(s *session, err error) {
	c.mu.Lock()
	was := c.current.CompareAndSwap(s, nil)
	if was {
		c.problem = err
	}
	c.mu.Unlock()
	if !was || c.ctx.Err() != nil { // our own Close is no loss
		return
	}
	if err == nil {
		err = abstract.Errorf(abstract.Disconnected, "the connection was closed")
	}
	for _, fn := range c.cfg.onDisconnected {
		c.events.run(func() { fn(err) })
	}
}

// keep keeps the connection up until Close.
func (c *Conn) keep(s *session) {
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-s.Done():
		}
		if s = c.connect(backoff(&c.cfg, 0)); s == nil {
			return
		}
	}
}

// connect tries until a session is up, for the first time after a pause; nil after
// Close.
func (c *Conn) connect(pause time.Duration) *session {
	for try := 1; ; try++ {
		select {
		case <-c.ctx.Done():
			return nil
		case <-time.After(pause):
		}
		s, err := c.open(c.ctx)
		if err == nil {
			return s
		}
		c.mu.Lock()
		c.problem = err
		c.mu.Unlock()
		c.cfg.logger.Debug("reconnect failed", "peer", c.addr, "err", err)
		c.discoveries.brokerAway()
		pause = max(backoff(&c.cfg, try), patience(err))
	}
}

// backoff is how long to wait before a try: a random part of a limit that
// doubles, so that many clients do not come back in step.
func backoff(cfg *config, try int) time.Duration {
	limit := cfg.backoffMin << min(try, 20)
	if limit <= 0 || limit > cfg.backoffMax {
		limit = cfg.backoffMax
	}
	return rand.N(limit) + 1
}

// Addr is the address that was dialled.
func (c *Conn) Addr() string { return c.addr }

// Connected says whether the connection is up now.
func (c *Conn) Connected() bool { return c.current.Load() != nil }

func (c *Conn) down() bool { return !c.Connected() }

// Modern says whether the other side has answered HELLO; otherwise it is an
// existing program of the LV family.
func (c *Conn) Modern() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.modern
}

// Close says goodbye, closes the connection and ends everything that stands on
// it: calls end with Disconnected, subscriptions and watches end. It waits for
// the callbacks that run, so it must not be called from one.
func (c *Conn) Close() error {
	c.cancel()
	c.tenure.close()
	c.mu.Lock()
	s := c.current.Load()
	waiting := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	for w := range waiting {
		w.fn(nil, c.closedError())
	}
	if s != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		s.leave(ctx, "the client closes")
		cancel()
	}
	c.ended.Wait()
	c.topics.close()
	c.discoveries.close()
	c.watches.close()
	c.tasks.close()
	c.events.close()
	return nil
}

func (c *Conn) closedError() *abstract.Error {
	return &abstract.Error{Code: abstract.Disconnected, Op: "use " + c.addr, Message: "the connection was closed by its owner", Sent: abstract.SentNo}
}

// acquire calls fn with the current session: at once, or when the connection is
// up again. The returned function takes the wish back; fn may be running then.
func (c *Conn) acquire(fn func(*session, error)) (forget func()) {
	c.mu.Lock()
	if s := c.current.Load(); s != nil {
		c.mu.Unlock()
		fn(s, nil)
		return func() {}
	}
	switch {
	case c.waiting == nil:
		c.mu.Unlock()
		fn(nil, c.closedError())
		return func() {}
	case len(c.waiting) >= c.cfg.maxWaiting:
		c.mu.Unlock()
		fn(nil, &abstract.Error{Code: abstract.Overloaded, Message: "too many calls wait for the connection to " + c.addr, Sent: abstract.SentNo})
		return func() {}
	}
	w := &waiter{fn}
	c.waiting[w] = struct{}{}
	c.mu.Unlock()
	return func() {
		c.mu.Lock()
		delete(c.waiting, w)
		c.mu.Unlock()
	}
}

// session waits for the connection to be up.
func (c *Conn) session(ctx context.Context) (*session, error) {
	type outcome struct {
		s   *session
		err error
	}
	got := make(chan outcome, 1)
	forget := c.acquire(func(s *session, err error) { got <- outcome{s, err} })
	select {
	case out := <-got:
		return out.s, out.err
	case <-ctx.Done():
		forget()
		return nil, c.downError(ctx.Err())
	}
}

// downError is the end of an operation that waited for the connection in vain.
func (c *Conn) downError(cause error) *abstract.Error {
	c.mu.Lock()
	problem := c.problem
	c.mu.Unlock()
	if errors.Is(cause, context.Canceled) {
		return &abstract.Error{Code: abstract.Cancelled, Message: "cancelled while waiting for the connection to " + c.addr, Sent: abstract.SentNo, Err: problem}
	}
	return &abstract.Error{Code: abstract.Unavailable, Message: "no connection to " + c.addr + "; is it running?", Sent: abstract.SentNo, Err: problem}
}

// ask sends a request on the current session and waits for its answer. It is
// tried again on the next session when it never left, and, if repeating it does
// no harm, also when that is unknown.
func (c *Conn) ask(ctx context.Context, op string, r request) (abstract.BaseMessage, error) {
	return c.askOn(ctx, op, r.harmless, func(s *session, deadline time.Time) (abstract.BaseMessage, error) { return s.ask(ctx, deadline, r) })
}

// askOn is ask for whoever must know the session to ask. harmless is as in attempt.
func (c *Conn) askOn(ctx context.Context, op string, harmless bool, do func(s *session, deadline time.Time) (abstract.BaseMessage, error)) (abstract.BaseMessage, error) {
	if err := ctx.Err(); err != nil {
		return nil, &abstract.Error{Code: abstract.CodeOf(err), Op: op, Message: "the context was over before the request was sent", Sent: abstract.SentNo, Err: err}
	}
	deadline := c.deadline(ctx)
	return c.attempt(ctx, op, deadline, harmless, func(s *session) (abstract.BaseMessage, error) { return do(s, deadline) })
}

// deadline is when an operation that begins now has to be done.
func (c *Conn) deadline(ctx context.Context) time.Time {
	deadline := time.Now().Add(c.cfg.timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		return d
	}
	return deadline
}

// attempt is ask with something to do on a session instead of a request. harmless
// says that doing it twice does the same as doing it once.
func (c *Conn) attempt(ctx context.Context, op string, deadline time.Time, harmless bool, do func(*session) (abstract.BaseMessage, error)) (abstract.BaseMessage, error) {
	s := c.current.Load() // as a rule there is one, and nobody has to wait for it
	var err error
	unknown := false // an attempt before may have been done
	for attempt := 1; ; attempt++ {
		if s == nil {
			if s, err = c.sessionBefore(ctx, deadline); err != nil {
				e := decorate(asError(err), op, attempt, c.addr)
				if unknown {
					e.Sent = abstract.SentUnknown
				}
				return nil, e
			}
		}
		begun := time.Now()
		m, err := do(s)
		if err == nil {
			c.tenure.hears(s, begun)
			return m, nil
		}
		e := asError(err)
		if unknown = unknown || e.Sent != abstract.SentNo; unknown && e.Sent == abstract.SentNo {
			d := *e
			d.Sent, e = abstract.SentUnknown, &d
		}
		late := ctx.Err() != nil || !time.Now().Before(deadline)
		if late || e.Code != abstract.Disconnected || c.ctx.Err() != nil || (e.Sent != abstract.SentNo && !harmless) {
			return nil, decorate(e, op, attempt, c.addr)
		}
		if !c.outlived(ctx, deadline, s) { // the session fails calls before it is replaced
			return nil, decorate(e, op, attempt, c.addr)
		}
		s = nil
	}
}

// outlived waits for the end of a session, and returns false when it does not come
// in time.
func (c *Conn) outlived(ctx context.Context, deadline time.Time, s *session) bool {
	late := time.NewTimer(time.Until(deadline))
	defer late.Stop()
	select {
	case <-s.gone:
		return true
	case <-late.C:
	case <-ctx.Done():
	case <-c.ctx.Done():
	}
	return false
}

// sessionBefore is session with a deadline.
func (c *Conn) sessionBefore(ctx context.Context, deadline time.Time) (*session, error) {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	return c.session(ctx)
}

// report tells the user about something that could not be restored yet.
func (c *Conn) report(err error) {
	c.cfg.logger.Warn("not restored yet, trying again", "peer", c.addr, "err", err)
	c.tellProblem(err)
}

// tellProblem calls the user's OnProblem callbacks.
func (c *Conn) tellProblem(err error) {
	for _, fn := range c.cfg.onProblem {
		c.events.run(func() { fn(err) })
	}
}
