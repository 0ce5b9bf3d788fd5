package client

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/abstract"
	"trefoil/business/dispatch"
	"trefoil/business/peer"
	"trefoil/business/requestor"
	"trefoil/business/stream"
	"trefoil/concrete/lv"
	"trefoil/concrete/message"
)

// agent is what our HELLO names us.
const agent = "trefoil-client/0.1"

// mode is how a connection is opened.
type mode uint8

const (
	modeAuto   mode = iota // HELLO first; a peer that closes on it or ignores it is legacy
	modeModern             // HELLO, and no other way
	modeLegacy             // no HELLO
)

// wire is what all sessions of one Conn or RpcClient have in common.
type wire struct {
	cfg      *config
	protocol *lv.Protocol
	dispatch *dispatch.Dispatcher[*session] // for what is no response: pushes and notices
	// pushes, unless nil, takes the pushes that a batch begins with, and returns
	// how many these are. It keeps none of them.
	pushes func(batch []abstract.BaseMessage) int
	// asks, unless nil, is what our HELLO asks the server for: a session that
	// outlives connections.
	asks func() *message.SessionRequest
	// serving, unless nil, takes the calls that come to us.
	serving *serving
	// life, unless nil, is whose streams go on when a peer has said goodbye.
	life   context.Context
	warned sync.Once // that the token can be read on its way
	wakes  sync.Pool // of channels for those who wait in ask; an element is sent once, and received before the channel comes back
}

func newWire(cfg *config) *wire {
	w := &wire{
		cfg:      cfg,
		protocol: newProtocol(cfg, nil),
		dispatch: dispatch.New[*session](),
	}
	w.wakes.New = func() any { return make(chan struct{}, 1) }
	w.dispatch.Unhandled = (*session).unserved
	w.carryStreams()
	w.dispatch.OnPanic = func(s *session, m abstract.BaseMessage, v any, stack []byte) {
		cfg.logger.Error("handling a message panicked", "peer", s.name(), "id", m.ID(), "err", v, "stack", string(stack))
	}
	return w
}

func newProtocol(cfg *config, memory *message.Pushes) *lv.Protocol {
	return lv.New(message.New(message.Config{Pushes: memory}), lv.Config{MaxFrame: cfg.maxFrame, Compression: cfg.compression})
}

// session is one live connection: from its HELLO to its loss, after which
// another session takes its place. It is the connection's Receiver; what it
// offers its users is safe for concurrent use.
type session struct {
	abstract.BaseConnection
	*wire
	requests *requestor.Requestor
	streams  *stream.Set
	onLost   func(*session, error) // called after every call in flight has ended, and before, when it is of no use for new ones

	protocol *lv.Protocol   // the wire's, or where pushes come, one of its own
	reuse    message.Pushes // what is read into next; belongs to OnMessages and who calls it

	mu       sync.Mutex // guards both
	judge    *peer.Peer
	received uint64 // when the last tick looked
	batch    []abstract.BaseMessage
	packing

	expects  string                // the instance we mean to reach; empty: any
	leaving  atomic.Pointer[error] // why, when the peer has said goodbye: nothing new is sent then
	detached sync.Once
	taken    atomic.Bool           // its goodbye was answered
	met      chan struct{}         // closed when HELLO is answered
	gone     chan struct{}         // closed when every call has ended and onLost has been called
	granted  *message.SessionGrant // what the server gave us of a session, if it did; set before met is closed
	run      string                // which run of the server this is, if it says so; set before met is closed
	metOnce  sync.Once
	flushing atomic.Bool   // a caller is about to flush
	sooner   chan struct{} // a deadline earlier than the one waited for was added
	wakeAt   atomic.Int64  // when the watcher looks next, in nanoseconds of the monotonic clock since start
	start    time.Time
}

var _ abstract.Receiver = (*session)(nil)

// open connects and, but in legacy mode, exchanges HELLO.
func (w *wire) open(ctx context.Context, addr string, how mode, onLost func(*session, error)) (*session, error) {
	return w.openTo(ctx, addr, "", how, onLost)
}

// openTo is open for one provider: a modern peer that is another instance refuses us.
func (w *wire) openTo(ctx context.Context, addr, instance string, how mode, onLost func(*session, error)) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.connectTimeout)
	defer cancel()
	how, err := w.cfg.opening(how)
	if err != nil {
		return nil, err
	}
	if how == modeLegacy {
		return w.connect(ctx, addr, true, onLost)
	}
	s, err := w.connect(ctx, addr, false, onLost)
	if err != nil {
		return nil, err
	}
	s.expects = instance
	err = s.greet(ctx)
	if err == nil {
		return s, nil
	}
	s.Close(err)
	if how == modeAuto && ctx.Err() == nil && deafToHello(err) {
		return w.connect(ctx, addr, true, onLost)
	}
	return nil, err
}

// deafToHello says whether a failed greeting looks like a peer that does not
// know HELLO: it closes, or says nothing.
func deafToHello(err error) bool {
	return errors.Is(err, abstract.ErrDisconnected) || errors.Is(err, abstract.ErrTimeout)
}

// connect opens a connection and makes a session of it.
func (w *wire) connect(ctx context.Context, addr string, legacy bool, onLost func(*session, error)) (*session, error) {
	role := peer.Client
	if legacy {
		role = peer.LegacyClient
	}
	now := time.Now()
	s := &session{
		wire:     w,
		onLost:   onLost,
		requests: requestor.New(requestor.Config{MaxPending: w.cfg.maxPending}),
		streams:  stream.NewSet(w.cfg.maxFrame, w.cfg.maxQueued, nil),
		judge:    peer.New(peer.Config{Role: role, Agent: agent, MaxFrame: w.cfg.maxFrame}, now),
		met:      make(chan struct{}),
		gone:     make(chan struct{}),
		sooner:   make(chan struct{}, 1),
		start:    now,
		protocol: w.protocol,
	}
	if w.pushes != nil {
		s.protocol = newProtocol(w.cfg, &s.reuse)
	}
	transport := w.cfg.transport(addr, abstract.TransportConfig{
		Protocol:     s.protocol,
		OnOpen:       func(bc abstract.BaseConnection) abstract.Receiver { s.BaseConnection = bc; return s },
		MaxQueued:    w.cfg.maxQueued,
		WriteTimeout: w.cfg.writeTimeout,
		Direct:       true, // our receiver never blocks
		Logger:       w.cfg.logger,
	})
	if _, err := transport.Connect(ctx); err != nil {
		return nil, &abstract.Error{Code: abstract.Unavailable, Op: "connect to " + addr, Sent: abstract.SentNo, Err: err}
	}
	go s.watch()
	return s, nil
}

// greet sends HELLO and waits for its answer.
func (s *session) greet(ctx context.Context) error {
	s.mu.Lock()
	hello := s.judge.Hello("hello")
	s.mu.Unlock()
	if m, ok := hello.(*message.Hello); ok {
		if s.asks != nil {
			m.Session = s.asks()
		}
		if s.cfg.token != nil {
			m.Token = s.cfg.token()
			s.warnOfToken(s.RemoteAddr())
		}
		m.Instance, m.Compress = s.expects, s.protocol.Methods()
	}
	// A connection that is closed already says below why.
	if err := s.Send(hello); err != nil && !errors.Is(err, abstract.ErrDisconnected) {
		return err
	}
	patience := time.NewTimer(s.cfg.helloTimeout)
	defer patience.Stop()
	select {
	case <-s.met:
		return nil
	case <-s.Done():
		if err := s.Err(); err != nil && !errors.Is(err, io.EOF) {
			var e *abstract.Error
			if errors.As(err, &e) {
				return err // we closed it, or the peer refused our HELLO: no legacy peer does that
			}
		}
		return abstract.Errorf(abstract.Disconnected, "the peer closed the connection on HELLO")
	case <-patience.C:
		return abstract.Errorf(abstract.Timeout, "the peer did not answer HELLO within %s", s.cfg.helloTimeout)
	case <-ctx.Done():
		return &abstract.Error{Code: abstract.CodeOf(ctx.Err()), Op: "greet", Message: "no answer to HELLO", Err: ctx.Err()}
	}
}

func (s *session) name() string { return s.RemoteAddr().String() }

// modern says whether the peer speaks HELLO.
func (s *session) modern() bool { return s.judge.Modern() }

// OnMessages judges messages, ends the calls they answer, and dispatches the rest.
func (s *session) OnMessages(batch []abstract.BaseMessage) {
	if s.deaf {
		return
	}
	now := time.Now()
	rest := s.batch[:0]
	trusted := false // the judge has seen a message of this batch; it has no say in calls, topics and services after it
	unpacked := 0
	for _, m := range batch {
		if packed, ok := m.(*lv.Packed); ok {
			var err error
			if m, err = s.unpack(packed); err != nil {
				s.deaf = true
				s.Close(err)
				break
			}
			if unpacked += frameSize(m); unpacked > maxUnpacked {
				rest, unpacked = s.handle(rest), frameSize(m)
			}
		}
		legacy := m.Type().Legacy()
		if trusted && legacy && m.Type().Response() {
			rest = s.complete(rest, m)
			continue
		}
		v := peer.Verdict{Deliver: true}
		if !trusted || !legacy {
			s.mu.Lock()
			v = s.judge.Receive(m, now)
			s.mu.Unlock()
		}
		trusted = v.Deliver && legacy
		switch {
		case v.Met:
			if hello, ok := m.(*message.HelloResponse); ok {
				s.run, s.granted = hello.Run, hello.Session
				s.agree(hello)
			}
			s.metOnce.Do(func() { close(s.met) })
		case v.Reply != nil:
			s.answer(v.Reply)
		case m.Type() == abstract.Pong:
			s.requests.Complete(m) // of a ping that somebody waits for, or else of the judge's
		case v.Deliver && m.Type().Response():
			rest = s.complete(rest, m)
		case v.Deliver && m.Check() == nil:
			rest = append(rest, m)
		case v.Deliver:
			s.spoilStream(m)
			s.cfg.logger.Debug("message ignored", "peer", s.name(), "type", m.Type().String(), "err", m.Check())
		}
		switch {
		case v.Close == nil:
		case v.Leaving: // its last answers follow; what comes now goes elsewhere
			s.leaveSoon(v.Close)
		default:
			s.Close(untilLater(v.Close, m))
			s.batch = s.handle(rest)
			return
		}
	}
	s.batch = s.handle(rest)
	s.takeLeave()
	if s.pushes != nil && len(batch) >= yieldAfter {
		runtime.Gosched()
	}
}

// yieldAfter is how many messages come together before their subscribers' callbacks get
// a turn, while the messages are still in the processor's cache and before more is read:
// with as much to read as there is time for they would wait long.
const yieldAfter = 32

// takeLeave answers the peer's goodbye once every request is answered: then it knows
// that nothing more is on its way, and closes. Who begins a request counts it first
// and looks for a goodbye then, so none can slip in between.
func (s *session) takeLeave() {
	if s.leaving.Load() != nil && !s.busy() && s.taken.CompareAndSwap(false, true) {
		s.bye(abstract.Draining, "as you do")
	}
}

// complete ends the call that m answers. A notice that came before it is handled
// before it.
func (s *session) complete(rest []abstract.BaseMessage, m abstract.BaseMessage) []abstract.BaseMessage {
	if len(rest) > 0 {
		rest = s.handle(rest)
	}
	if !s.requests.Complete(m) {
		s.cfg.logger.Debug("response without a call ignored", "peer", s.name(), "id", m.ID())
	}
	return rest
}

func (s *session) handle(rest []abstract.BaseMessage) []abstract.BaseMessage {
	for todo := rest; len(todo) > 0; {
		n := 0
		if s.pushes != nil {
			n = s.pushes(todo)
			s.reuse.Reuse(todo[:n])
		}
		if n == 0 {
			n = 1
			s.dispatch.Dispatch(s, todo[:1])
		}
		todo = todo[n:]
	}
	clear(rest)
	return rest[:0]
}

// OnClose ends every call in flight at once.
func (s *session) OnClose(err error) {
	if why := s.leaving.Load(); why != nil && errors.Is(err, io.EOF) {
		err = *why
	}
	s.requests.CloseAll(&abstract.Error{Code: abstract.Disconnected, Message: "the connection to " + s.name() + " was lost", Err: err})
	s.streams.CloseAll(&abstract.Error{Code: abstract.Disconnected, Message: "the connection to " + s.name() + " was lost", Err: err})
	s.serving.lost(s, err)
	s.onLost(s, err)
	close(s.gone)
}

// unserved answers requests to us that nobody serves.
func (s *session) unserved(m abstract.BaseMessage) {
	if req, ok := m.(*message.RpcRequest); ok && !req.OneWay {
		s.answer(&message.RpcResponse{Header: message.ID(req.ID()), Code: abstract.ServiceNotFound, Message: "a client serves no methods"})
		return
	}
	if req, ok := m.(*message.StreamRequest); ok {
		s.answer(&message.EndNotice{Header: message.ID(req.ID()), Code: abstract.ServiceNotFound, Message: "a client serves no methods"})
		return
	}
	s.cfg.logger.Debug("message ignored", "peer", s.name(), "type", m.Type().String(), "id", m.ID())
}

// answer sends a message that nobody waits for. A peer that does not read even
// its pongs is closed.
func (s *session) answer(m abstract.BaseMessage) {
	if err := s.Send(s.judge.Shape(m)); abstract.CodeOf(err) == abstract.Overloaded {
		s.Close(err)
	}
}

// frameTimeout is how long a frame may take from its first byte to its last.
const frameTimeout = 60 * time.Second

// maxPause is how long the watcher sleeps when nothing is due.
const maxPause = time.Second

// watch is the session's only goroutine of its own: it ends calls whose deadline
// has passed, and pings a silent peer. One timer serves all calls.
func (s *session) watch() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.Done():
			return
		case <-s.sooner:
		case <-timer.C:
		}
		now := time.Now()
		s.tick(now)
		pause := maxPause
		s.mu.Lock()
		if every := s.judge.PingInterval(); every > 0 {
			pause = min(pause, max(every/4, 5*time.Millisecond))
		}
		s.mu.Unlock()
		// Publish how long we are going to sleep before looking at the
		// deadlines: whoever adds an earlier one from here on wakes us.
		s.wakeAt.Store(int64(now.Add(pause).Sub(s.start)))
		s.takeLeave() // the last call may have ended without an answer
		if next := s.requests.Expire(now); !next.IsZero() && next.Sub(now) < pause {
			pause = max(next.Sub(now), time.Millisecond)
			s.wakeAt.Store(int64(now.Add(pause).Sub(s.start)))
		}
		timer.Reset(pause)
	}
}

// tick lets the judge look at the clock.
func (s *session) tick(now time.Time) {
	stalled := s.Stalled()
	if stalled > frameTimeout {
		s.Close(abstract.Errorf(abstract.Timeout, "the peer did not finish a frame within %s", frameTimeout))
		return
	}
	s.mu.Lock()
	if received := s.Received(); stalled > 0 && received != s.received {
		s.received = received
		s.judge.Heard(now) // a long frame is on its way, and holds up the peer's pongs
	}
	v := s.judge.Tick(now)
	s.mu.Unlock()
	if v.Reply != nil {
		s.answer(v.Reply)
	}
	if v.Close != nil {
		s.Close(v.Close)
	}
}

// begin sends a request. done is called exactly once, by whoever ends the call
// and perhaps before begin returns: it must not block.
func (s *session) begin(deadline time.Time, want abstract.MType, build func(id string) abstract.BaseMessage, done requestor.Completion) *requestor.Pending {
	p := new(requestor.Pending)
	if !s.store(p, deadline, want, done) {
		return nil
	}
	s.post(build(p.ID()), p)
	return p
}

// store makes a pending call that done waits for. It returns false when the call
// has ended already.
func (s *session) store(p *requestor.Pending, deadline time.Time, want abstract.MType, done requestor.Waiter) bool {
	if s.leaving.Load() != nil {
		done.Ended(nil, s.leavingError())
		return false
	}
	if err := s.requests.Put(p, deadline, want, done); err != nil {
		done.Ended(nil, err)
		return false
	}
	if s.leaving.Load() != nil { // see takeLeave
		s.requests.Fail(p, s.leavingError())
		return false
	}
	if int64(deadline.Sub(s.start)) < s.wakeAt.Load() {
		select {
		case s.sooner <- struct{}{}:
		default: // it is about to look anyway
		}
	}
	return true
}

func (s *session) leavingError() error {
	return &abstract.Error{Code: abstract.Disconnected, Message: s.name() + " is about to close the connection", Sent: abstract.SentNo}
}

// post queues the request of a pending call and writes it; what goes wrong ends
// the call.
func (s *session) post(m abstract.BaseMessage, p *requestor.Pending) {
	if s.enqueue(m, p) {
		s.flushSoon()
	}
}

// enqueue queues the request of a pending call. What goes wrong ends the call, and
// enqueue returns false.
func (s *session) enqueue(m abstract.BaseMessage, p *requestor.Pending) bool {
	b, err := s.protocol.Append(lv.Memory(room(m)), m)
	if err == nil {
		err = s.judge.CheckSize(len(b))
	}
	if err == nil {
		err = s.Queue(abstract.Frame{Class: abstract.ClassOf(m.Type()), Count: 1, Bytes: s.pack(b), Mark: p.Mark(), Free: lv.Recycle})
	}
	if err != nil {
		s.requests.Fail(p, err)
	}
	return err == nil
}

// room is about how long the frame of a request will be.
func room(m abstract.BaseMessage) int {
	const slack = 128 // for all that is neither a name nor a value
	switch m := m.(type) {
	case *message.RpcRequest:
		return len(m.Method) + len(m.Parameters) + (1+len(m.Meta))*slack
	case *message.TopicRequest:
		return len(m.Topic) + len(m.Message) + (1+len(m.Meta))*slack
	}
	return 2 * slack
}

// flushLater is flushSoon for callers who do not wait for their answer: as long as
// answers are outstanding they go on, and another goroutine writes for all of them.
func (s *session) flushLater() {
	if s.requests.Len() <= 1 {
		s.flushSoon()
		return
	}
	if s.flushing.CompareAndSwap(false, true) {
		go func() {
			s.flushing.Store(false)
			s.Flush()
		}()
	}
}

// flushSoon writes what is queued. Callers that come at the same time share one
// write: the first of them yields once to let the others queue.
func (s *session) flushSoon() {
	if !s.flushing.CompareAndSwap(false, true) {
		return // somebody else is about to, and will find what we have queued
	}
	if s.requests.Len() > 1 || s.streams.Crowded() {
		runtime.Gosched()
	}
	s.flushing.Store(false)
	s.Flush()
}

// request is a question to the other side, for ask and askAll.
type request struct {
	want     abstract.MType // of the answer
	harmless bool           // asking twice does the same as asking once
	build    func(id string) abstract.BaseMessage
	// see, unless nil, gets the answer on the connection's own goroutine, in
	// order with the notices that come after it. It must not block.
	see func(abstract.BaseMessage)
}

// asked is a request that somebody waits for, in one piece of memory.
type asked struct {
	pending requestor.Pending
	see     func(abstract.BaseMessage)
	answer  abstract.BaseMessage
	err     error
	ended   chan struct{} // gets an element when the others are set
}

// Ended takes the answer.
func (a *asked) Ended(m abstract.BaseMessage, err error) {
	if a.answer, a.err = m, err; err == nil && a.see != nil {
		a.see(m)
	}
	a.ended <- struct{}{}
}

// ask sends a request and waits for its answer.
func (s *session) ask(ctx context.Context, deadline time.Time, r request) (abstract.BaseMessage, error) {
	a := &asked{see: r.see, ended: s.wakes.Get().(chan struct{})}
	if s.store(&a.pending, deadline, r.want, a) {
		s.post(r.build(a.pending.ID()), &a.pending)
	}
	if ctx.Done() == nil {
		<-a.ended
	} else {
		select {
		case <-a.ended:
		case <-ctx.Done():
			s.requests.Cancel(&a.pending, ctx.Err())
			<-a.ended // by whatever ended it first
		}
	}
	s.wakes.Put(a.ended)
	return a.answer, a.err
}

// askAll sends requests without waiting in between, and returns when all are
// answered. An error means that an answer is missing.
func (s *session) askAll(ctx context.Context, requests []request) error {
	const window = 256 // requests on their way at once
	deadline := time.Now().Add(s.cfg.timeout)
	for len(requests) > 0 {
		n := min(window, len(requests))
		ended := make(chan error, n)
		for _, r := range requests[:n] {
			s.begin(deadline, r.want, r.build, func(m abstract.BaseMessage, err error) {
				if err == nil && r.see != nil {
					r.see(m)
				}
				ended <- err
			})
		}
		for range n {
			select {
			case err := <-ended:
				if err != nil {
					return err
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		requests = requests[n:]
	}
	return nil
}

// leave says goodbye to a modern peer, writes what is queued and closes. It
// returns when every call in flight has ended.
func (s *session) leave(ctx context.Context, reason string) {
	if s.modern() {
		s.bye(abstract.OK, reason)
	}
	s.Shutdown(ctx, nil)
	<-s.gone
}

// leaveWhenIdle leaves when no call is in flight any more; every call has a
// deadline, so that comes.
func (s *session) leaveWhenIdle(ctx context.Context) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for s.busy() {
		select {
		case <-s.Done():
			return
		case <-ctx.Done(): // nobody else knows this session any more
			s.Close(&abstract.Error{Code: abstract.Disconnected, Message: "the client was closed by its owner"})
			return
		case <-ticker.C:
		}
	}
	s.leave(ctx, "no longer needed")
}
