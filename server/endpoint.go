package server

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/abstract"
	"trefoil/business/dispatch"
	"trefoil/business/peer"
	"trefoil/concrete/lv"
	"trefoil/concrete/message"
	"trefoil/concrete/workers"
)

// agent is what our HELLO names us.
const agent = "trefoil/0.1"

// part is one service that runs on an endpoint.
type part interface {
	// start is called once, before the endpoint listens.
	start() error
	// lost is called once for a connection that is gone, after its last message.
	lost(*turn)
	// drain stops taking new work and returns when what is under way has
	// ended, or ctx has.
	drain(ctx context.Context)
	// close frees what the part holds, after the last connection is gone.
	close()
}

// endpoint listens on one address, judges peers, and hands their messages to the
// parts that registered for them. It is what all servers have in common.
type endpoint struct {
	cfg      config
	logs     loggers
	limits   atomic.Pointer[Limits] // those that can change
	protocol *lv.Protocol
	dispatch *dispatch.Dispatcher[*turn]
	commands map[string]struct{} // methods for operators, that need another permission; not changed any more when it listens
	listener abstract.BaseServer
	parts    []part

	run      string // tells this server from the one that ran here before
	instance string // what the RpcServer registers as, if there is one
	nextConn atomic.Uint64
	lastID   atomic.Uint64
	mu       sync.RWMutex
	conns    map[uint64]*conn

	listening  sync.Once
	listenErr  error
	life       context.Context // ends with the first Shutdown
	stop       context.CancelFunc
	unheard    context.Context // of handlers whose callers wait for nothing; ends when the connections are closed
	abandon    context.CancelFunc
	closed     sync.Once
	over       atomic.Bool    // its parts are closed: what they say now is worth nothing
	watcher    sync.WaitGroup // the goroutine that looks after silent and stalled connections
	deliverers *workers.Pool  // goroutines on which connections deliver
	watchdog   watchdog       // looks after handlers that hold up a turn

	instant  bool                  // no part has a Store that waits for anything
	errands  sync.WaitGroup        // that are waiting or under way
	keepers  sync.WaitGroup        // of registrations
	rounds   []func(now time.Time) // called by watch at each round
	rates    callRates
	arrivals arrivals
	refusals refusals
	sessions *sessions // nil where none are given
	relay    *relay    // nil where no calls are passed on
	streams  streams
	accepts  *acceptor
}

// newEndpoint makes an endpoint without parts; they attach before it listens.
func newEndpoint(addr string, cfg config) *endpoint {
	codec := message.New(message.Config{MaxDepth: cfg.maxDepth})
	ep := &endpoint{
		cfg:        cfg,
		logs:       newLoggers(cfg.logger),
		protocol:   lv.New(codec, lv.Config{MaxFrame: cfg.maxFrame, Compression: cfg.compression}),
		dispatch:   dispatch.New[*turn](),
		conns:      make(map[uint64]*conn),
		commands:   make(map[string]struct{}),
		run:        rand.Text(),
		deliverers: workers.New(workers.Config{}),
		instant:    true,
		accepts:    newAcceptor(),
	}
	ep.limits.Store(cfg.limits())
	ep.rates.init(&cfg.callee)
	ep.arrivals.init(cfg.callee.acceptRate)
	ep.rounds = append(ep.rounds, ep.countRefused, ep.tellRefusals)
	ep.life, ep.stop = context.WithCancel(context.Background())
	ep.unheard, ep.abandon = context.WithCancel(context.Background())
	ep.dispatch.Unhandled = (*turn).unserved
	dispatch.On(ep.dispatch, abstract.Cancel, (*turn).onCancel)
	ep.carryStreams()
	ep.dispatch.OnPanic = func(t *turn, m abstract.BaseMessage, v any, stack []byte) {
		c := t.conn
		ep.logs.conn.Error("handling a message panicked", "peer", c.name(), "id", m.ID(), "err", v, "stack", string(stack))
		c.refuse(m, abstract.Errorf(abstract.Internal, "the server failed on this message"))
	}
	ep.listener = cfg.transport(addr, abstract.TransportConfig{
		Protocol:     ep.protocol,
		OnOpen:       ep.open,
		MaxInbound:   cfg.maxInbound,
		MaxQueued:    cfg.maxQueued,
		WriteTimeout: cfg.writeTimeout,
		MaxConns:     cfg.maxConns,
		Go:           ep.deliverers.Go,
		Logger:       ep.logs.transport,
	})
	return ep
}

// Listen binds the address. Serve does it when it was not called before; call it
// first to learn the port from Addr.
func (ep *endpoint) Listen() error {
	ep.listening.Do(func() {
		for _, p := range ep.parts {
			if ep.listenErr = p.start(); ep.listenErr != nil {
				return
			}
		}
		if ep.listenErr = ep.listener.Listen(); ep.listenErr == nil {
			ep.watcher.Go(ep.watch)
			if ep.sessions != nil {
				ep.sessions.serve(ep.Addr())
			}
		}
	})
	return ep.listenErr
}

// Addr is the address the server listens on; nil before Listen.
func (ep *endpoint) Addr() net.Addr { return ep.listener.Addr() }

// Serve accepts connections until Shutdown is called, and then returns nil.
func (ep *endpoint) Serve() error {
	if err := ep.Listen(); err != nil {
		return err
	}
	ep.logs.server.Info("server started", "addr", ep.Addr().String())
	return ep.accepts.serve(ep.listener)
}

// Shutdown drains the server: new work is refused, what is under way finishes,
// modern peers get a goodbye, connections are written out and closed. It returns
// when all is done or ctx ends, whichever is first; the server is closed in both
// cases. Calls after the first do the same again and find nothing to do.
func (ep *endpoint) Shutdown(ctx context.Context) error {
	ep.stop()
	for _, p := range ep.parts {
		p.drain(ctx)
	}
	ep.sayGoodbye(ctx)
	err := ep.listener.Shutdown(ctx)
	ep.abandon()
	ep.accepts.wait(ctx)
	ep.watcher.Wait()
	ep.watchdog.close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		ep.watchdog.ended.Wait()
		ep.errands.Wait()
		ep.keepers.Wait()
	}()
	select {
	case <-done:
	case <-ctx.Done(): // something holds a turn up, or the store does not answer
	}
	ep.closed.Do(func() {
		ep.over.Store(true)
		for _, p := range ep.parts {
			p.close()
		}
		// A handler that ignores the end of its context must not hold us up.
		go ep.deliverers.Close()
		ep.logs.server.Info("server stopped")
	})
	return err
}

// farewell is how long a server that shuts down waits for its peers to answer the
// goodbye, unless WithDrain gives it longer. What they had sent before they saw it is
// answered until then.
const farewell = time.Second

// sayGoodbye tells modern peers that we are about to close, and waits until those
// that know that have nothing more on its way to us.
func (ep *endpoint) sayGoodbye(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, max(farewell, ep.cfg.callee.drainMost))
	defer cancel()
	all := ep.all()
	for _, c := range all {
		c.goodbye(abstract.Draining, "the server is shutting down")
	}
	for _, c := range all {
		if c.modern() {
			select {
			case <-c.Done():
			case <-ctx.Done():
				return
			}
		}
	}
}

// open makes the receiver of a new connection.
func (ep *endpoint) open(bc abstract.BaseConnection) abstract.Receiver {
	if wait, ok := ep.arrivals.admit(); !ok {
		return ep.turnBack(bc, wait)
	}
	c := ep.newConn(bc)
	ep.mu.Lock()
	ep.conns[c.id] = c
	ep.mu.Unlock()
	return c
}

// newConn makes our end of a connection.
func (ep *endpoint) newConn(bc abstract.BaseConnection) *conn {
	ctx, cancel := context.WithCancelCause(context.Background())
	return &conn{
		BaseConnection: bc,
		id:             ep.nextConn.Add(1),
		ep:             ep,
		ctx:            ctx,
		cancel:         cancel,
		opened:         time.Now(),
		judge: peer.New(peer.Config{
			Role: peer.Server, Agent: agent, MaxFrame: ep.cfg.maxFrame,
			Ping: ep.cfg.pingEvery, Misses: ep.cfg.pingMisses,
		}, time.Now()),
	}
}

// deliver runs a function on a goroutine that is kept for such work.
func (ep *endpoint) deliver(fn func()) {
	if !ep.deliverers.Go(fn) {
		go fn()
	}
}

// attach adds a part to the endpoint, with the Store that it works on.
func (ep *endpoint) attach(p part, store abstract.Store) {
	ep.parts = append(ep.parts, p)
	ep.instant = ep.instant && store.Instant()
}

// draining says whether Shutdown has been called: no new work is taken.
func (ep *endpoint) draining() bool { return ep.life.Err() != nil }

// conn returns the connection with an id, or nil when it is gone.
func (ep *endpoint) conn(id uint64) *conn {
	ep.mu.RLock()
	defer ep.mu.RUnlock()
	return ep.conns[id]
}

func (ep *endpoint) all() []*conn {
	ep.mu.RLock()
	defer ep.mu.RUnlock()
	list := make([]*conn, 0, len(ep.conns))
	for _, c := range ep.conns {
		list = append(list, c)
	}
	return list
}

// forget is called when a connection is gone.
func (ep *endpoint) forget(t *turn) {
	for _, p := range ep.parts {
		p.lost(t)
	}
	ep.mu.Lock()
	delete(ep.conns, t.conn.id)
	ep.mu.Unlock()
}

// watch looks at every connection now and then: who is silent gets a ping or is
// given up, who does not finish a frame is closed. One goroutine for all of them
// costs less than a timer each. It looks at some at a time: pongs that came from
// thousands of peers at once would take memory that stays taken.
func (ep *endpoint) watch() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		every := max(min(ep.cfg.pingEvery/4, ep.limits.Load().FrameTimeout/4, time.Second), 5*time.Millisecond)
		all := ep.all()
		parts := min(1+len(all)/watchedAtOnce, int(every/time.Millisecond))
		ticker.Reset(every / time.Duration(parts))
		for i := range parts {
			select {
			case <-ep.life.Done():
				return
			case now := <-ticker.C:
				if i == 0 {
					for _, fn := range ep.rounds {
						fn(now)
					}
				}
				for _, c := range all[i*len(all)/parts : (i+1)*len(all)/parts] {
					c.tick(now)
				}
			}
		}
	}
}

// watchedAtOnce is about how many connections are looked at in one go.
const watchedAtOnce = 64

// lostWithoutFault says whether a connection's end is part of normal life.
func lostWithoutFault(err error) bool {
	e, ok := asError(err)
	return !ok || e.Code == abstract.Draining || e.Code == abstract.OK
}

// newID makes the id of a message that we send of our own accord. It only needs
// to differ from the others of this server.
func (ep *endpoint) newID() string {
	return "s" + strconv.FormatUint(ep.lastID.Add(1), 36)
}

func asError(err error) (*abstract.Error, bool) {
	var e *abstract.Error
	ok := errors.As(err, &e)
	return e, ok
}
