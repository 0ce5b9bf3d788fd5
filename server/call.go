package server

import (
	"context"
	"sync"
	"time"

	"trefoil/abstract"
	"trefoil/business/router"
	"trefoil/concrete/message"
)

// onRpcRequest runs a call inside the connection's turn, or, when its method has
// held up a turn before, on the workers: a slow handler delays nobody else.
func (s *RpcServer) onRpcRequest(t *turn, req *message.RpcRequest) {
	c := t.conn
	if !s.enter() {
		c.refuse(req, abstract.Errorf(abstract.Draining, "the server is shutting down; call another provider"))
		return
	}
	slow := s.ep.watchdog.slowMethod(req.Method)
	if slow == nil && !s.ep.cfg.strictWorkers {
		t.call(s.router, req)
		s.exit()
		return
	}
	call := &call{srv: s, conn: c, req: req, slow: slow}
	most := s.ep.limits.Load().CallsPerConn
	under, waiting := c.calls.Add(1), c.callBytes.Add(call.size())
	if under > int64(most) || under > 1 && waiting > int64(s.ep.cfg.maxInbound) {
		call.end()
		c.refuse(req, abstract.Errorf(abstract.Overloaded, "more than %d calls, or %d bytes of them, of this connection are under way; wait for some to end", most, s.ep.cfg.maxInbound))
		return
	}
	if req.TimeoutMs > 0 {
		call.ctx.deadline = t.now.Add(time.Duration(req.TimeoutMs) * time.Millisecond)
	}
	call.ctx.Context = c.ctx
	if !s.workers.Go(call.run) {
		call.end()
		c.refuse(req, abstract.Errorf(abstract.Overloaded, "too many calls wait for a handler; try later or elsewhere"))
	}
}

// call is one request on the workers.
type call struct {
	srv  *RpcServer
	conn *conn
	req  *message.RpcRequest
	slow *slowMethod // nil when every method runs on workers
	ctx  callContext
}

// run handles the request on a worker, and answers it.
func (c *call) run() {
	defer c.end()
	if err := c.ctx.Err(); err != nil { // waited too long, or nobody is there any more
		c.conn.refuse(c.req, abstract.Errorf(abstract.CodeOf(err), "the call's time was over before a handler was free"))
		c.conn.Flush()
		return
	}
	begun := time.Now()
	answer := answers.Get().(*router.Answer)
	rsp := c.srv.router.Call(&c.ctx, c.req, answer)
	if c.slow != nil {
		c.srv.ep.watchdog.observe(c.req.Method, c.slow, time.Since(begun))
	}
	c.conn.reply(rsp)
	c.conn.Flush()
	answer.Response = message.RpcResponse{}
	answers.Put(answer)
}

// answers is memory for the results of calls on workers.
var answers = sync.Pool{New: func() any { return new(router.Answer) }}

// size is what the request takes while it waits.
func (c *call) size() int64 { return int64(len(c.req.Frame())) }

func (c *call) end() {
	c.ctx.finish()
	c.conn.callBytes.Add(-c.size())
	c.conn.calls.Add(-1)
	c.srv.exit()
}

// callContext is a handler's context. Most handlers never look at it, so its
// timer and channel are only made when somebody asks for Done.
type callContext struct {
	context.Context           // the connection's
	deadline        time.Time // zero when the caller named none

	mu     sync.Mutex
	lazy   context.Context // made by the first Done
	cancel context.CancelFunc
	over   bool // the handler has returned
}

// Deadline returns the caller's deadline.
func (c *callContext) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }

// Done is closed at the deadline, when the caller's connection is lost, and when
// the handler has returned.
func (c *callContext) Done() <-chan struct{} { return c.made().Done() }

// Err says why Done is closed.
func (c *callContext) Err() error {
	c.mu.Lock()
	lazy := c.lazy
	c.mu.Unlock()
	if lazy != nil {
		return lazy.Err()
	}
	if err := c.Context.Err(); err != nil {
		return err
	}
	if !c.deadline.IsZero() && !time.Now().Before(c.deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

// made returns the real context behind this one.
func (c *callContext) made() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lazy == nil {
		if c.deadline.IsZero() {
			c.lazy, c.cancel = context.WithCancel(c.Context)
		} else {
			c.lazy, c.cancel = context.WithDeadline(c.Context, c.deadline)
		}
		if c.over {
			c.cancel()
		}
	}
	return c.lazy
}

// finish ends the context when the handler has returned.
func (c *callContext) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.cancel != nil {
		c.cancel()
	}
}
