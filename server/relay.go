package server

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/abstract"
	"trefoil/business/access"
	"trefoil/business/dispatch"
	"trefoil/business/registry"
	"trefoil/concrete/message"
)

// relay is the part of a broker that passes calls on: over a provider's own
// connection to the broker, for callers that cannot reach it directly. A call that is
// under way has an entry with the provider's end and one with the caller's
// connection, and ends exactly once: by the answer, the deadline, a CANCEL, or the
// loss of either connection.
type relay struct {
	ep       *endpoint
	registry *RegistryServer
	rpc      *RpcServer // nil: the broker serves no methods itself
	on       atomic.Bool
	active   atomic.Int64  // calls under way
	idle     chan struct{} // receives an element when the last of them ends while the broker drains

	mu    sync.Mutex // guards what follows
	ends  map[*relayEnd]struct{}
	timer *time.Timer // of all deadlines
	wake  time.Time   // when it fires; zero: not set
}

var _ part = (*relay)(nil)

// newRelay makes the relay of a broker that has a registry. rpc may be nil.
func newRelay(ep *endpoint, reg *RegistryServer, rpc *RpcServer) *relay {
	r := &relay{ep: ep, registry: reg, rpc: rpc, idle: make(chan struct{}, 1), ends: make(map[*relayEnd]struct{})}
	r.on.Store(!ep.cfg.relay.off)
	r.timer = time.AfterFunc(time.Hour, r.expire)
	r.timer.Stop()
	dispatch.On(ep.dispatch, abstract.RspRPC, r.onResponse)
	if rpc == nil {
		dispatch.On(ep.dispatch, abstract.ReqStream, func(t *turn, req *message.StreamRequest) {
			if !r.takeStream(t, req) {
				t.unserved(req)
			}
		})
		dispatch.On(ep.dispatch, abstract.ReqRPC, func(t *turn, req *message.RpcRequest) {
			if !r.take(t, req) {
				t.unserved(req)
			}
		})
	}
	ep.relay = r
	ep.parts = append(ep.parts, r)
	return r
}

// SetRelaying changes, while the broker runs, whether it passes calls on to
// providers. Calls under way go on.
func (b *Broker) SetRelaying(on bool) {
	if b.ep.relay != nil {
		b.ep.relay.on.Store(on)
	}
}

// RelayedCalls returns how many calls are being passed on now.
func (b *Broker) RelayedCalls() int {
	if b.ep.relay == nil {
		return 0
	}
	return int(b.ep.relay.active.Load())
}

// take passes a call on, or refuses to. It returns false when that is none of its
// business: the broker serves the method itself, or the peer is one that cannot know
// what it asks for.
func (r *relay) take(t *turn, req *message.RpcRequest) bool {
	if r == nil || !req.Relay || !t.conn.modern() {
		return false
	}
	if r.rpc != nil {
		if _, served := r.rpc.router.Lookup(described(req)); served {
			return false
		}
	}
	if err := r.pass(t, req); err != nil && !req.OneWay {
		t.conn.reply(notPassed(req.ID(), err, abstract.SentNo))
	}
	return true
}

// pass passes a call on. An error says that nothing was done.
func (r *relay) pass(t *turn, req *message.RpcRequest) error {
	return r.counted(func() error { return r.begin(t, req) })
}

// counted begins something that counts as under way; without an error it ends with exit.
func (r *relay) counted(begin func() error) error {
	if !r.on.Load() {
		return abstract.Errorf(abstract.Unsupported, "this broker passes no calls on; call the provider directly")
	}
	r.active.Add(1) // before the look, so that drain cannot miss it
	err := error(abstract.Errorf(abstract.Draining, "the broker is shutting down; call again soon"))
	if !r.ep.draining() {
		err = begin()
	}
	if err != nil {
		r.exit()
	}
	return err
}

func (r *relay) begin(t *turn, req *message.RpcRequest) error {
	deadline := t.now.Add(patienceOf(req.TimeoutMs))
	left := time.Until(deadline)
	if left <= 0 {
		return abstract.Errorf(abstract.Timeout, "the call's time was over before it could be passed on")
	}
	end, instance, err := r.choose(req)
	if err != nil {
		return err
	}
	// The id is a piece of the request's frame, which need not stay in memory.
	call := &relayedCall{relay: r, caller: t.conn, end: end, id: strings.Clone(req.ID()), size: int64(len(req.Frame()))}
	call.lists = r.ep.cfg.guard != nil && req.Method == abstract.ListMethods
	limits := r.ep.limits.Load()
	if err := r.ep.afford(t, req); err != nil {
		return err
	}
	if req.OneWay {
		return r.sendOn(t, end, instance, req, deadline)
	}
	if err := t.conn.relaying.enter(call, limits.CallsPerConn, r.ep.cfg.maxInbound); err != nil {
		t.conn.release(access.InFlight)
		return err
	}
	t.conn.cancellable.enter(call.id, call)
	if err := end.begin(call, deadline, limits.CallsPerConn); err != nil {
		call.forget()
		return err
	}
	end.send(call, &message.RpcRequest{
		Header: message.ID(call.pending.ID()), Method: req.Method, Parameters: req.Parameters,
		TimeoutMs: max(1, left.Milliseconds()), Instance: instance, Meta: req.Meta,
	})
	t.touch(end.conn)
	end.settle(t)
	r.wakeAt(deadline)
	return nil
}

// What a call may take that says no deadline, and any other one.
const (
	relayPatience = time.Minute
	relayLongest  = 24 * time.Hour
)

func patienceOf(timeoutMs int64) time.Duration {
	if timeoutMs <= 0 {
		return relayPatience
	}
	return time.Duration(min(timeoutMs, relayLongest.Milliseconds())) * time.Millisecond
}

// relayLooks is how many providers are looked at to find the one with the fewest
// calls under way.
const relayLooks = 16

// choose finds the provider that a call goes to: the one that it names, or of some
// the one that has the fewest relayed calls under way.
func (r *relay) choose(req *message.RpcRequest) (end *relayEnd, instance string, err error) {
	r.registry.index.Lock()
	list := r.registry.pd.Relays(described(req))
	r.registry.index.Unlock()
	if req.Instance != "" {
		for _, p := range list {
			if p.Instance == req.Instance {
				if end := r.endOf(p); end != nil {
					return end, p.Instance, nil
				}
			}
		}
		return nil, "", abstract.Errorf(abstract.WrongInstance, "provider %.64q of method %.64q has no connection to this broker that takes calls", req.Instance, req.Method)
	}
	for i, from := 0, rand.IntN(max(1, len(list))); i < len(list) && (i < relayLooks || end == nil); i++ {
		p := list[(from+i)%len(list)]
		if e := r.endOf(p); e != nil && (end == nil || e.requests.Len() < end.requests.Len()) {
			end, instance = e, p.Instance
		}
	}
	if end == nil {
		err = abstract.Errorf(abstract.ServiceNotFound, "nobody provides method %.64q through this broker now", req.Method)
	}
	return end, instance, err
}

// endOf returns a provider's end, which is made for its first call; nil when its
// connection is gone.
func (r *relay) endOf(p registry.Relay) *relayEnd {
	c := r.ep.conn(uint64(p.Conn))
	if c == nil {
		return nil
	}
	if end := c.relaying.end.Load(); end != nil {
		return end
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if end := c.relaying.end.Load(); end != nil {
		return end
	}
	if c.ctx.Err() != nil { // lost has been here, or will not find what we make
		return nil
	}
	end := newRelayEnd(c)
	r.ends[end] = struct{}{}
	c.relaying.end.Store(end)
	return end
}

// onResponse takes a provider's answer to a call.
func (r *relay) onResponse(t *turn, m *message.RpcResponse) {
	if end := t.conn.relaying.end.Load(); end != nil && end.requests.Complete(m) {
		end.settle(t)
		return
	}
	t.conn.ep.logs.conn.Debug("response without a call ignored", "peer", t.conn.name(), "id", m.ID())
}

// spoiled takes an answer that has a fault, or that may not be looked at: it ends its
// call as well.
func (r *relay) spoiled(c *conn, m *message.RpcResponse) {
	if end := c.relaying.end.Load(); end != nil && end.requests.Complete(m) {
		end.settle(nil)
		return
	}
	c.ep.logs.conn.Debug("response ignored", "peer", c.name(), "id", m.ID(), "err", m.Check())
}

// lost ends the calls of a connection that is gone: those that came from it, and
// those that went to it.
func (r *relay) lost(t *turn) {
	c := t.conn
	for _, call := range c.relaying.all() {
		call.giveUp()
		call.end.settle(t)
	}
	r.mu.Lock()
	end := c.relaying.end.Load()
	delete(r.ends, end)
	r.mu.Unlock()
	if end != nil {
		end.requests.CloseAll(&abstract.Error{Code: abstract.Disconnected, Message: "the provider's connection to the broker was lost"})
		end.settle(t)
	}
}

// wakeAt sees to it that the deadlines are looked at no later than at a time.
func (r *relay) wakeAt(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wake.IsZero() || at.Before(r.wake) {
		r.wake = at
		r.timer.Reset(max(time.Until(at), time.Millisecond))
	}
}

// expire ends the calls whose deadline has passed.
func (r *relay) expire() {
	r.mu.Lock()
	r.wake = time.Time{}
	ends := make([]*relayEnd, 0, len(r.ends))
	for end := range r.ends {
		ends = append(ends, end)
	}
	r.mu.Unlock()
	var next time.Time
	for _, end := range ends {
		at := end.requests.Expire(time.Now())
		end.settle(nil)
		if next.IsZero() || !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	if !next.IsZero() {
		r.wakeAt(next)
	}
}

func (r *relay) start() error { return nil }

// exit counts a call out.
func (r *relay) exit() {
	if r.active.Add(-1) == 0 && r.ep.draining() {
		select {
		case r.idle <- struct{}{}:
		default:
		}
	}
}

// drain waits for the calls under way; new ones are refused.
func (r *relay) drain(ctx context.Context) {
	defer r.ep.streams.endSoon(ctx, r.ep.cfg.callee.drainMost)()
	for r.active.Load() > 0 {
		select {
		case <-r.idle: // look again
		case <-ctx.Done():
			return
		}
	}
}

func (r *relay) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wake = time.Now() // nothing is earlier
	r.timer.Stop()
}
