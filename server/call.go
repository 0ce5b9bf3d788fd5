package server

import (
	"sync"
	"time"

	"trefoil/abstract"
	"trefoil/business/access"
	"trefoil/business/protect"
	"trefoil/business/router"
	"trefoil/concrete/message"
)

// onRpcRequest runs a call inside the connection's turn, or, when its method has
// held up a turn before, on the workers: a slow handler delays nobody else.
func (s *RpcServer) onRpcRequest(t *turn, req *message.RpcRequest) {
	c := t.conn
	if req.Relay && s.ep.relay.take(t, req) {
		return
	}
	if !s.enter() {
		c.refuse(req, abstract.Errorf(abstract.Draining, "the server is shutting down; call another provider"))
		return
	}
	if err := s.admit(t, req); err != nil {
		s.exit()
		c.refuse(req, err)
		return
	}
	slow := s.ep.watchdog.slowMethod(req.Method)
	inline := slow == nil && !s.ep.cfg.strictWorkers
	switch {
	case s.gate != nil:
		s.gate.serve(t, &call{srv: s, conn: c, req: req, slow: slow, stages: s.gate.stagesOf(req.Method)}, inline)
	case inline:
		t.call(s.router, req)
		s.exit()
	default:
		call := &call{srv: s, conn: c, req: req, slow: slow}
		if call.wait(t) {
			call.work()
		}
	}
}

// admit returns why a request is not served, whatever it asks for. When it is, the
// caller's quota has one less, until it is released.
func (s *RpcServer) admit(t *turn, req *message.RpcRequest) error {
	if err := s.addressed(req); err != nil {
		return err
	}
	return s.ep.afford(t, req)
}

// call is one request on the workers.
type call struct {
	srv  *RpcServer
	conn *conn
	req  *message.RpcRequest
	slow *slowMethod // nil when every method runs on workers
	ctx  callContext

	stages []*stage      // that it has to pass
	passed int           // how many it has
	took   time.Duration // how long its handler has run; 0: it has not
}

// wait prepares a call to wait for a handler off its turn, or refuses it, when its
// connection has too many that do.
func (c *call) wait(t *turn) bool {
	most, bytes := c.srv.ep.limits.Load().CallsPerConn, c.srv.ep.cfg.maxInbound
	under, waiting := c.conn.calls.Add(1), c.conn.callBytes.Add(c.size())
	c.ctx.Context, c.ctx.deadline = c.conn.lifeOf(c.req), protect.Deadline(c.req.TimeoutMs, t.came)
	c.ctx.conn, c.ctx.meta = c.conn, c.req.Meta
	if under > int64(most) || under > 1 && waiting > int64(bytes) {
		c.settle()
		c.conn.refuse(c.req, abstract.Errorf(abstract.Overloaded, "more than %d calls, or %d bytes of them, of this connection are under way; wait for some to end", most, bytes))
		c.end()
		return false
	}
	if c.conn.modern() { // existing programs cannot cancel it
		c.conn.cancellable.enter(c.req.ID(), &c.ctx)
	}
	return true
}

// work runs the handler on a worker, as soon as there is one.
func (c *call) work() {
	if !c.srv.workers.Go(c.run) {
		c.settle()
		c.conn.refuse(c.req, overloaded("too many calls wait for a handler"))
		c.conn.Flush() // it may have waited, and its turn be over
		c.end()
	}
}

// run handles the request on a worker, and answers it.
func (c *call) run() {
	defer c.end()
	if err := c.ctx.Err(); err != nil { // waited too long, or nobody is there any more
		c.settle()
		c.conn.refuse(c.req, abstract.Errorf(abstract.CodeOf(err), "the call's time was over before a handler was free"))
		c.conn.Flush()
		return
	}
	begun := time.Now()
	answer := answers.Get().(*router.Answer)
	rsp := c.srv.router.Call(&c.ctx, c.req, answer)
	c.took = time.Since(begun)
	if c.slow != nil {
		c.srv.ep.watchdog.observe(c.req.Method, c.slow, c.took)
	}
	c.settle()
	if !c.conn.unanswered(c.req) {
		c.conn.reply(rsp)
		c.conn.Flush()
	}
	answer.Response = message.RpcResponse{}
	answers.Put(answer)
}

// answers is memory for the results of calls on workers.
var answers = sync.Pool{New: func() any { return new(router.Answer) }}

// size is what the request takes while it waits.
func (c *call) size() int64 { return int64(len(c.req.Frame())) }

// settle gives back what the call has taken of its connection and of its caller's
// quota: before the answer, as whoever has that may send the next one.
func (c *call) settle() {
	c.conn.cancellable.leave(c.req.ID(), &c.ctx)
	c.ctx.finish()
	c.conn.callBytes.Add(-c.size())
	c.conn.calls.Add(-1)
	c.conn.release(access.InFlight)
}

// end comes after the answer, as a server that shuts down waits for that.
func (c *call) end() {
	c.leave()
	c.srv.exit()
}
