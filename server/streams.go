package server

import (
	"bytes"
	"cmp"
	"context"
	"strings"
	"sync"
	"time"

	"trefoil/abstract"
	"trefoil/business/access"
	"trefoil/business/protect"
	"trefoil/business/router"
	"trefoil/business/stream"
	"trefoil/concrete/message"
)

// StreamHandler serves a method that is a stream: it gets the parameters as JSON text, and
// the stream. See RpcServer.HandleStream.
type StreamHandler = router.StreamHandler

// streams are those that are under way at an endpoint, served by it or passed on.
type streams struct {
	mu   sync.Mutex
	open map[*servedStream]struct{}
}

// servedStream is one that a peer has opened: from its request until its handler has
// returned, also when the stream is over before.
type servedStream struct {
	conn *conn
	req  *message.StreamRequest
	end  *stream.End
	quit context.CancelFunc // gives back what its deadline has taken
}

// streamContext is the context of a stream's handler.
type streamContext struct {
	context.Context // the connection's, with the deadline
	conn            *conn
	meta            abstract.Metadata
}

var _ abstract.CallContext = streamContext{}

// CallDeadline returns the opener's deadline.
func (c streamContext) CallDeadline() (time.Time, bool) { return c.Deadline() }

// Value returns what a context made of this one looks for.
func (c streamContext) Value(key any) any {
	switch key.(type) {
	case abstract.CallKey:
		return c
	case abstract.PeerKey:
		return c.conn.peerInfo()
	case abstract.MetadataKey:
		if c.meta != nil {
			return c.meta
		}
	}
	return c.Context.Value(key)
}

// openStream counts a stream in, and makes our end of it, which is to be bound yet. An
// error says why there are too many. Nil: there is one of that id, which is over now, and
// the peer has been told.
func (t *turn) openStream(req *message.StreamRequest) (*servedStream, error) {
	c := t.conn
	if strings.HasPrefix(req.ID(), ownStream) && !c.borrowed() {
		return nil, abstract.Errorf(abstract.InvalidMessage, "the ids of streams that a client opens do not begin with %q", ownStream)
	}
	limits := c.ep.limits.Load()
	if c.streams.serving.Add(1) > int64(limits.StreamsPerConn) {
		c.streams.serving.Add(-1)
		return nil, abstract.Errorf(abstract.Overloaded, "more than %d streams of this connection are open; wait for some to end", limits.StreamsPerConn)
	}
	if !c.streams.all(&c.ep.cfg).Excess().Take(keeps(req)) {
		c.streams.serving.Add(-1)
		return nil, abstract.Errorf(abstract.Overloaded, "more than %d bytes of parameters, and of messages that were not read, of this connection's streams; wait for some to end", c.ep.cfg.maxInbound)
	}
	s := &servedStream{conn: c, req: &message.StreamRequest{ // with what it came with it would keep too much
		Header: message.ID(strings.Clone(req.ID())), Method: strings.Clone(req.Method), Parameters: bytes.Clone(req.Parameters), Meta: cloned(req.Meta),
	}}
	if !c.ep.streams.enter(s, limits.MaxStreams) {
		c.streams.serving.Add(-1)
		c.streams.all(&c.ep.cfg).Excess().Take(-keeps(s.req))
		return nil, overloaded("more streams are open than the server serves")
	}
	ctx := c.ctx
	s.quit = func() {}
	if deadline := protect.Deadline(req.TimeoutMs, t.came); !deadline.IsZero() {
		ctx, s.quit = context.WithDeadline(ctx, deadline)
	}
	end, err := stream.NewEnd(stream.Config{
		ID: s.req.ID(), Op: "serve " + s.req.Method, Context: streamContext{ctx, c, s.req.Meta}, Wire: c,
		Set: c.streams.all(&c.ep.cfg), Credit: req.Credit, Window: int64(limits.StreamWindow),
	})
	if err != nil {
		c.spoilStream(req, err) // the other one with this id cannot be told from this one
		s.leave()
		return nil, nil
	}
	c.ep.streams.set(s, end)
	return s, nil
}

// keeps is what a stream's parameters take as long as it is open.
func keeps(req *message.StreamRequest) int64 { return int64(len(req.Parameters)) }

// cloned is metadata in memory of its own.
func cloned(meta abstract.Metadata) abstract.Metadata {
	if meta == nil {
		return nil
	}
	own := make(abstract.Metadata, len(meta))
	for name, value := range meta {
		own[strings.Clone(name)] = strings.Clone(value)
	}
	return own
}

// leave counts the stream out.
func (s *servedStream) leave() {
	s.quit()
	s.conn.streams.all(&s.conn.ep.cfg).Excess().Take(-keeps(s.req))
	s.conn.streams.serving.Add(-1)
	s.conn.ep.streams.leave(s)
}

func (s *streams) enter(one *servedStream, most int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) >= most {
		return false
	}
	if s.open == nil {
		s.open = make(map[*servedStream]struct{})
	}
	s.open[one] = struct{}{}
	return true
}

func (s *streams) set(one *servedStream, end *stream.End) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one.end = end
}

func (s *streams) leave(one *servedStream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.open, one); len(s.open) == 0 {
		s.open = nil // the memory of a burst does not stay
	}
}

func (s *streams) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// endSoon ends all streams after a while, as the server shuts down, and leaves half of
// the time of ctx at least for the rest of that. Who calls stop does not need it any more.
func (s *streams) endSoon(ctx context.Context, most time.Duration) (stop func()) {
	most = cmp.Or(most, drainMost)
	if deadline, ok := ctx.Deadline(); ok {
		most = min(most, time.Until(deadline)/2)
	}
	timer := time.AfterFunc(most, s.endAll)
	end := context.AfterFunc(ctx, s.endAll)
	return func() {
		timer.Stop()
		end()
	}
}

func (s *streams) endAll() {
	s.mu.Lock()
	all := make([]*stream.End, 0, len(s.open))
	for one := range s.open {
		if one.end != nil {
			all = append(all, one.end)
		}
	}
	s.mu.Unlock()
	for _, end := range all {
		end.Abort(&abstract.Error{Code: abstract.Draining, Op: "serve", Message: "the server is shutting down; open the stream at another provider"})
	}
}

// onStreamRequest serves a stream, on a goroutine of its own.
func (s *RpcServer) onStreamRequest(t *turn, req *message.StreamRequest) {
	if req.Relay && s.ep.relay.takeStream(t, req) {
		return
	}
	if err := s.serveStream(t, req); err != nil {
		t.conn.refuse(req, err)
	}
}

func (s *RpcServer) serveStream(t *turn, req *message.StreamRequest) error {
	if !s.enter() {
		return abstract.Errorf(abstract.Draining, "the server is shutting down; open the stream at another provider")
	}
	handler, err := s.admitStream(t, req)
	if err != nil {
		s.exit()
		return err
	}
	served, err := t.openStream(req)
	if served == nil {
		t.conn.release(access.InFlight)
		s.exit()
		return err
	}
	_ = served.end.Accept() // or the connection is lost
	served.end.Bind(func(error) {})
	go func() {
		defer s.exit()
		defer served.conn.release(access.InFlight)
		defer served.leave()
		served.end.Finish(s.router.Serve(handler, served.req, served.end))
	}()
	return nil
}

// admitStream returns the handler of a stream, or why it is not served. When it is, the
// caller's quota has one less, until it is released.
func (s *RpcServer) admitStream(t *turn, req *message.StreamRequest) (StreamHandler, error) {
	call := &message.RpcRequest{Header: req.Header, Method: req.Method, Instance: req.Instance}
	if err := s.addressed(call); err != nil {
		return nil, err
	}
	handler, err := s.router.Stream(req.Method, req.Parameters)
	if err != nil {
		return nil, err
	}
	return handler, s.ep.afford(t, call)
}

// HandleStream serves a method that is a stream. The handler has the stream until it
// returns: nil ends it well, an error as it does a call. It runs on a goroutine of its own.
// Its context ends at the opener's deadline, when that gives up, when the connection is
// lost, and some time after Shutdown was called; what is received and sent after that
// is an error. A Description that does not say which way messages go describes both.
func (s *RpcServer) HandleStream(d Description, h StreamHandler) error {
	if err := reserved(d.Method); err != nil {
		return err
	}
	d.Kind = cmp.Or(d.Kind, abstract.BidiStream)
	if err := s.router.AddStream(d, h); err != nil {
		return err
	}
	return s.announce(context.Background(), d.Method)
}

// Streams returns how many streams are being served now.
func (s *RpcServer) Streams() int { return s.ep.streams.len() }

// HandleStream serves streams in the broker itself; see RpcServer.HandleStream.
func (b *Broker) HandleStream(d Description, h StreamHandler) error {
	if b.rpc == nil {
		return b.servesNone()
	}
	return b.rpc.HandleStream(d, h)
}

// Streams returns how many streams the broker serves or passes on now.
func (b *Broker) Streams() int { return b.ep.streams.len() }
