package server

import (
	"context"
	"net"
	"time"

	"trefoil/abstract"
	"trefoil/business/dispatch"
	"trefoil/business/node"
	"trefoil/concrete/message"
)

// NodeServer keeps the tree: small pieces of data under paths, permanent or bound
// to the session of who made them, and tells who watches what changes. The providers
// of a registry on the same Store show in it. All methods are safe for concurrent use.
type NodeServer struct {
	ep       *endpoint
	sessions *sessions

	index   index // its lock guards what follows
	nodes   *node.NodeManager
	watches map[watchKey]*watch
	making  map[string]int // nodes that are being made, by their makers; for quotas
}

var _ abstract.BaseServer = (*NodeServer)(nil)
var _ part = (*NodeServer)(nil)

// NewNodeServer makes a server of nodes for addr ("host:port", or "unix:/path").
func NewNodeServer(addr string, opts ...Option) *NodeServer {
	cfg := newConfig(opts)
	return newNodeServer(newEndpoint(addr, cfg), storeOf(cfg))
}

func newNodeServer(ep *endpoint, store abstract.Store) *NodeServer {
	s := &NodeServer{ep: ep, watches: make(map[watchKey]*watch), making: make(map[string]int)}
	s.nodes = node.NewNodeManager(node.Config{Epoch: store.Epoch(), MaxNodes: ep.cfg.maxNodes, MaxData: ep.cfg.maxNodeBytes})
	s.index.init(store, s.nodes.Applied)
	ep.cfg.pingEvery = min(ep.cfg.pingEvery, ep.cfg.sessionInterval) // pongs are what an idle session lives by where datagrams do not pass
	s.sessions = newSessions(ep, s, store)
	ep.sessions = s.sessions
	dispatch.On(ep.dispatch, abstract.ReqNode, s.onNodeRequest)
	ep.attach(s, store)
	return s
}

// Listen binds the address; see Serve.
func (s *NodeServer) Listen() error { return s.ep.Listen() }

// Addr is the address the server listens on; nil before Listen.
func (s *NodeServer) Addr() net.Addr { return s.ep.Addr() }

// Serve serves until Shutdown is called, and then returns nil.
func (s *NodeServer) Serve() error { return s.ep.Serve() }

// Shutdown tells modern peers goodbye and closes the connections, within ctx.
// Sessions that the Store holds live on in it.
func (s *NodeServer) Shutdown(ctx context.Context) error { return s.ep.Shutdown(ctx) }

func (s *NodeServer) drain(context.Context) {}

func (s *NodeServer) close() {
	s.sessions.close()
	s.index.close()
}

// start takes the sessions and then the tree into the indexes. What belongs to
// sessions that are no more goes.
func (s *NodeServer) start() error {
	if err := s.sessions.start(); err != nil {
		return err
	}
	s.index.follow(node.Prefix, s.apply)
	err := load(s.index.store, node.Prefix, func(kvs []abstract.KV, rev int64) bool {
		s.index.Lock()
		defer s.index.Unlock()
		_, ok := s.nodes.Load(kvs, rev)
		return ok
	})
	if err != nil {
		return err
	}
	s.index.Lock()
	orphans := s.nodes.Orphans(s.sessions.alive)
	s.index.Unlock()
	return s.removeOf(orphans)
}

// breath is the pause after each transaction of a mass death: what watchers are told
// by it, and what others ask meanwhile, comes in between.
const breath = 4 * time.Millisecond

// removeOf removes everything that belongs to sessions that have ended.
func (s *NodeServer) removeOf(sessions []string) error {
	plan := func() (abstract.Txn, bool) {
		s.index.Lock()
		defer s.index.Unlock()
		return s.nodes.PlanExpire(sessions...)
	}
	for first := true; ; first = false {
		txn, ok := plan()
		if ok && !first { // only then: while we wait, no other session's nodes go
			if !s.sessions.pause(breath) {
				return context.Canceled
			}
			txn, ok = plan()
		}
		if !ok {
			return nil
		}
		if err := s.index.do(txn); err != nil {
			return err
		}
	}
}

// onNodeRequest serves every operation on nodes.
func (s *NodeServer) onNodeRequest(t *turn, m *message.NodeRequest) {
	slow := !s.index.store.Instant()
	switch m.Op {
	case abstract.NodeGet, abstract.NodeStat, abstract.NodeExists, abstract.NodeList:
		if !t.later(m, slow && m.Linearizable) {
			s.read(t, m)
		}
	case abstract.NodeSync:
		if !t.later(m, slow) {
			s.sync(t, m)
		}
	case abstract.NodeWatch:
		if !t.later(m, false) {
			s.watch(t.conn, m)
		}
	case abstract.NodeUnwatch:
		if !t.later(m, false) {
			s.unwatch(t.conn, m)
		}
	default:
		if !t.later(m, slow) {
			s.write(t, m)
		}
	}
}

// answer sends a response.
func (t *turn) answerNode(m *message.NodeRequest, rsp *message.NodeResponse) {
	rsp.Header = message.ID(m.ID())
	t.conn.reply(rsp)
}

// patience is a context for the store, of what is left of the caller's patience.
func patience(m *message.NodeRequest) *callContext {
	wait := storeTimeout
	if m.TimeoutMs > 0 {
		wait = min(wait, time.Duration(min(m.TimeoutMs, storeTimeout.Milliseconds()))*time.Millisecond)
	}
	return storeContext(time.Now().Add(wait))
}

// read answers from the index, or, when it is to be linearizable, once the index
// has what anybody was acknowledged before.
func (s *NodeServer) read(t *turn, m *message.NodeRequest) {
	if m.Linearizable {
		if err := s.catchUp(m); err != nil {
			t.conn.refuse(m, err)
			return
		}
	}
	s.index.Lock()
	rsp, err := s.nodes.Read(&m.NodeAction, t.conn.sees())
	s.index.Unlock()
	if err != nil {
		t.conn.refuse(m, err)
		return
	}
	t.answerRead(m, rsp)
}

// answerRead sends what was read. When the peer has not read enough of what it has
// asked for before, the request waits until it has.
func (t *turn) answerRead(m *message.NodeRequest, rsp *message.NodeResponse) {
	rsp.Header = message.ID(m.ID())
	c := t.conn
	frame, err := c.encode(rsp)
	switch {
	case err != nil: // which encode has logged
	case t.errand:
		c.deliver(frame)
	case abstract.CodeOf(c.Queue(frame)) == abstract.Overloaded:
		c.send(&c.errands, errand{m: m, size: errandCost + sizeOf(m)})
	}
}

// catchUp returns when the index has what anybody was acknowledged before the call.
func (s *NodeServer) catchUp(m *message.NodeRequest) error {
	ctx := patience(m)
	defer ctx.finish()
	_, err := s.index.store.Sync(ctx) // followers have been told by then
	return err
}

// sync answers with the revision up to which the index has everything.
func (s *NodeServer) sync(t *turn, m *message.NodeRequest) {
	if err := s.catchUp(m); err != nil {
		t.conn.refuse(m, err)
		return
	}
	s.index.Lock()
	rsp := &message.NodeResponse{Revision: s.nodes.Applied(), Epoch: s.index.store.Epoch()}
	s.index.Unlock()
	t.answerNode(m, rsp)
}

// write plans a request, runs its transaction, and answers when the index has it:
// so the events that it causes are queued before the answer. Where somebody was
// faster it is planned again, until the caller's patience is over.
func (s *NodeServer) write(t *turn, m *message.NodeRequest) {
	rsp, err := s.attempt(t, m)
	if err != nil {
		t.conn.refuse(m, err)
		return
	}
	t.answerNode(m, rsp)
}

func (s *NodeServer) attempt(t *turn, m *message.NodeRequest) (*message.NodeResponse, error) {
	ctx := patience(m)
	defer ctx.finish()
	owner := ""
	if t.conn.bound {
		owner = t.conn.session.String()
	}
	caughtUp := s.index.store.Instant()
	by := s.maker(t.conn)
	for {
		plan, rsp, err := s.plan(by, owner, m)
		switch {
		case err != nil && !caughtUp: // the index may be behind what others have done
			if _, err := s.index.store.Sync(ctx); err != nil {
				return nil, err
			}
			caughtUp = true
			continue
		case err != nil || rsp != nil:
			return rsp, err
		}
		res, err := s.execute(ctx, t, by, plan)
		switch {
		case err != nil:
			return nil, err
		case ctx.Err() != nil && (!res.Succeeded || plan.More):
			return nil, outOfTime(res.Succeeded)
		case res.Succeeded && !plan.More:
			return s.done(plan, res.Revision), nil
		}
	}
}

// plan plans a request. There is a response when there is nothing to run.
func (s *NodeServer) plan(by node.Maker, owner string, m *message.NodeRequest) (*node.Plan, *message.NodeResponse, error) {
	s.index.Lock()
	defer s.index.Unlock()
	plan, err := s.nodes.PlanBy(by, time.Now().UnixMilli(), owner, m)
	switch {
	case err != nil:
		return nil, nil, err
	case plan.Done():
		return plan, s.nodes.Response(plan, 0), nil
	}
	s.reserve(by, plan.Made)
	return plan, nil, nil
}

// execute runs the transaction of a plan.
func (s *NodeServer) execute(ctx context.Context, t *turn, by node.Maker, plan *node.Plan) (abstract.TxnResult, error) {
	defer s.settle(by, plan.Made)
	if plan.Session {
		if err := s.sessions.hold(t.conn, &plan.Txn); err != nil {
			return abstract.TxnResult{}, err
		}
	}
	res, told, err := s.index.run(ctx, plan.Txn)
	for _, c := range told {
		t.touch(c)
	}
	return res, err
}

// done is the answer to a write that is in the index.
func (s *NodeServer) done(plan *node.Plan, revision int64) *message.NodeResponse {
	s.index.Lock()
	defer s.index.Unlock()
	return s.nodes.Response(plan, revision)
}

// outOfTime is the error of a write that its caller has no more patience for.
func outOfTime(partly bool) error {
	if partly {
		return abstract.Errorf(abstract.Timeout, "not everything is deleted yet, and what is left is a whole tree; delete it again")
	}
	return abstract.Errorf(abstract.Timeout, "others changed the same nodes again and again, and nothing was done; try again")
}

// apply takes a change of the store into the index and queues what it says to the
// watchers. It runs in revision order.
func (s *NodeServer) apply(change abstract.Change) {
	s.index.Lock()
	defer s.index.Unlock()
	for _, n := range s.nodes.Apply(change) {
		s.push(n)
	}
	s.index.advanced()
}

// lost ends the watches of a connection that is gone. Its session lives on.
func (s *NodeServer) lost(t *turn) {
	s.sessions.detach(t.conn)
	s.index.Lock()
	defer s.index.Unlock()
	s.forget(t.conn)
}
