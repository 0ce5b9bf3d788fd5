package stream

import (
	"cmp"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// Wire is the connection of a stream. Safe for concurrent use.
type Wire interface {
	// SendStream queues a message and sees to it that it is written; it never blocks.
	// written, unless nil, is called when it is, but not when the connection is lost. An
	// error says that nothing of it will be.
	SendStream(m abstract.BaseMessage, written func()) error
}

// Config is what an End is made of.
type Config struct {
	ID      string
	Op      string          // what errors say that we were doing: "serve clock.ticks"
	Context context.Context // bounds the stream, from Bind on
	Wire    Wire
	Set     *Set
	Opener  bool  // we open it
	Credit  int64 // what the other side takes, as far as it has said
	Window  int64 // what we take; 0: DefaultWindow
	// Answer, for an opener, is called at most once, by whoever reads the connection: when
	// the other side has taken the stream, or, with an error, when it has refused it.
	Answer func(*abstract.Error)
}

// End is one side's end of a stream on a connection. The side that serves it ends it
// once, with Finish, and the other one learns how.
type End struct {
	state  *Stream
	share  Share
	id     string
	op     string
	wire   Wire
	set    *Set
	opener bool
	ctx    context.Context
	cancel context.CancelCauseFunc
	bounds context.Context
	answer func(*abstract.Error) // nil once it was called; for who reads the connection

	ended atomic.Bool // the stream is over

	mu       sync.Mutex
	over     func(error)
	unbind   func() bool // ends the watch of bounds
	gone     bool        // all is told
	why      error       // the same
	instance string      // who serves it
	asking   bool        // Open has not yet been written
	owes     bool        // a CANCEL, when it is
}

var _ abstract.Stream = (*End)(nil)

// NewEnd makes an end of a stream and adds it to its Set. An error says that it cannot
// be: the id is taken, or the connection lost.
func NewEnd(cfg Config) (*End, error) {
	e := &End{
		state: New(cfg.Credit, cfg.Window), id: cfg.ID, op: cfg.Op, wire: cfg.Wire, set: cfg.Set, opener: cfg.Opener,
		bounds: cfg.Context, answer: cfg.Answer,
	}
	e.state.excess = e.set.excess
	e.ctx, e.cancel = context.WithCancelCause(cfg.Context)
	if err := e.set.enter(e); err != nil {
		e.cancel(err)
		return nil, err
	}
	return e, nil
}

// Bind makes the stream end with its context. over is called once, when the stream is
// over: with the reason, as the other side said or as we noticed; nil: well. It must not
// block.
func (e *End) Bind(over func(error)) {
	e.mu.Lock()
	if e.gone {
		e.mu.Unlock()
		over(e.why)
		return
	}
	e.over = over
	e.unbind = context.AfterFunc(e.bounds, func() { e.Abort(e.given(e.bounds)) })
	e.mu.Unlock()
}

// given is the error of a stream whose context has ended.
func (e *End) given(ctx context.Context) error {
	cause := context.Cause(ctx)
	var own *abstract.Error
	if errors.As(cause, &own) {
		return noEnd(cause)
	}
	text := "the stream was cancelled"
	if abstract.CodeOf(ctx.Err()) == abstract.Timeout {
		text = "the stream was not over before the deadline"
	}
	return &abstract.Error{Code: abstract.CodeOf(ctx.Err()), Op: e.op, Message: text, Sent: e.sent(), Err: noEnd(cause)}
}

func (e *End) sent() abstract.Sent {
	if e.opener {
		return abstract.SentYes
	}
	return abstract.SentUnknown
}

// From says who serves the stream, for the errors of its opener.
func (e *End) From(instance string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.instance = instance
}

func (e *End) who() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.instance
}

// Context ends when the stream is over, and for whoever serves it when nobody wants it
// any more.
func (e *End) Context() context.Context { return e.ctx }

// Window is what we take before we say more.
func (e *End) Window() int64 { return e.state.Window() }

// Open asks the other side for the stream, when there is room for that. An error says
// that it was not asked, and why.
func (e *End) Open(m *message.StreamRequest) error {
	cost := message.StreamCost(m.Parameters)
	e.mu.Lock()
	e.asking = true
	e.mu.Unlock()
	if !e.set.room.Enter(&e.share, cost, e.ctx.Done()) {
		return context.Cause(e.ctx)
	}
	err := e.wire.SendStream(m, func() {
		e.set.room.Leave(&e.share, cost)
		e.asked()
	})
	if err != nil {
		e.set.room.Leave(&e.share, cost)
	}
	return err
}

// asked notes that the request is written, and cancels it if that is wanted already:
// before, a CANCEL would have overtaken it, and done nothing.
func (e *End) asked() {
	e.mu.Lock()
	owes := e.owes
	e.asking = false
	e.mu.Unlock()
	if owes {
		_ = e.wire.SendStream(&message.Cancel{Header: message.ID(e.id)}, nil) // or the connection is lost
	}
}

// cancelling is the CANCEL of a stream, or nil when that is to be sent later, or never.
func (e *End) cancelling() abstract.BaseMessage {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.asking {
		e.owes = true
		return nil
	}
	return &message.Cancel{Header: message.ID(e.id)}
}

// Accept tells the opener that the stream is served, and how much it may send.
func (e *End) Accept() error { return e.give(e.state.Window()) }

func (e *End) give(credit int64) error {
	return e.wire.SendStream(&message.CreditNotice{Header: message.ID(e.id), Bytes: credit}, nil)
}

// Send sends v as JSON; see abstract.Stream.
func (e *End) Send(v any) error {
	raw, err := message.Encode(v)
	if err != nil {
		return err
	}
	return e.SendRaw(raw)
}

// SendRaw is Send for JSON text.
func (e *End) SendRaw(data message.Raw) error {
	cost := message.StreamCost(data)
	if err := e.state.Reserve(context.Background(), cost); err != nil {
		return err
	}
	if !e.set.room.Enter(&e.share, cost, e.ctx.Done()) {
		e.state.Return(cost)
		return e.refusal(cost)
	}
	err := e.wire.SendStream(&message.StreamMessage{Header: message.ID(e.id), Data: data}, func() {
		e.set.room.Leave(&e.share, cost)
		e.state.Written(cost)
	})
	if err != nil {
		e.set.room.Leave(&e.share, cost)
		e.state.Return(cost)
	}
	return err
}

// refusal is why nothing can be sent once the stream's context has ended.
func (e *End) refusal(cost int64) error {
	if err := e.state.Reserve(e.ctx, cost); err != nil {
		return err
	}
	e.state.Return(cost) // who ends the stream is about to
	return e.given(e.ctx)
}

// Receive waits for the next message; see abstract.Stream.
func (e *End) Receive(v any) error {
	raw, err := e.ReceiveRaw()
	if err != nil || v == nil {
		return err
	}
	if err := message.Decode(raw, v); err != nil {
		if !e.opener {
			return err
		}
		return &abstract.Error{Code: abstract.InvalidMessage, Op: e.op, Message: "the message does not fit", Instance: e.who(), Sent: abstract.SentYes, Err: err}
	}
	return nil
}

// ReceiveRaw is Receive that returns JSON text.
func (e *End) ReceiveRaw() (message.Raw, error) {
	raw, grant, err := e.state.Next(context.Background())
	if grant > 0 {
		_ = e.give(grant) // or the connection is lost, which ends the stream
	}
	return raw, err
}

// CloseSend says that this side sends nothing more. Whoever serves the stream need not
// say it.
func (e *End) CloseSend() error {
	if !e.state.CloseSend() || !e.opener || e.ended.Load() {
		return nil
	}
	return e.wire.SendStream(&message.EndNotice{Header: message.ID(e.id)}, nil)
}

// Close ends the stream, unless it is over.
func (e *End) Close() error {
	e.Abort(&abstract.Error{Code: abstract.Cancelled, Op: e.op, Message: "the stream was closed", Instance: e.who(), Sent: e.sent(), Err: errClosed(e.opener)})
	return nil
}

// errClosed is the cause of a stream that its opener has closed.
func errClosed(opener bool) error {
	if opener {
		return context.Canceled
	}
	return nil
}

// Finish ends a stream that we serve: well, or with the error that its opener is told.
func (e *End) Finish(err *abstract.Error) {
	over := abstract.Errorf(abstract.InvalidOp, "the stream is over, as its handler has returned")
	if err == nil {
		e.end(nil, over, &message.EndNotice{Header: message.ID(e.id)})
		return
	}
	e.end(err, over, e.notice(err))
}

// Abort ends the stream for a reason that the other side is told, and drops what was
// not received.
func (e *End) Abort(why error) {
	if e.opener {
		e.end(why, why, e.cancelling())
		return
	}
	e.end(why, why, e.notice(why))
}

// Dropped says whether the stream was aborted on our side: nothing of it can be received
// any more.
func (e *End) Dropped() bool {
	select {
	case <-e.state.Done():
		return true
	default:
		return false
	}
}

// Drop is Abort that the other side is not told of.
func (e *End) Drop(why error) { e.end(why, why, nil) }

// notice is the STREAM_END of an error.
func (e *End) notice(err error) *message.EndNotice {
	m := &message.EndNotice{Header: message.ID(e.id), Code: abstract.CodeOf(err)}
	var own *abstract.Error
	if errors.As(err, &own) {
		m.Message, m.Details = own.Message, own.Details
	}
	return m
}

// end ends the stream on our side, once. cause is what whoever still uses it is told.
func (e *End) end(why, cause error, tell abstract.BaseMessage) {
	if !e.ended.CompareAndSwap(false, true) {
		return
	}
	e.set.leave(e, false)
	e.cancel(cause) // first: who tells the other side may have to write for others, and whoever learns of the end finds the context over
	if tell != nil {
		_ = e.wire.SendStream(tell, nil) // or the connection is lost
	}
	e.state.Close(cause)
	e.tell(why)
}

// close ends the stream, once, as the other side has: what has come can be received.
func (e *End) close(why error) {
	if !e.ended.CompareAndSwap(false, true) {
		return
	}
	e.set.leave(e, true)
	e.cancel(cmp.Or(why, io.EOF)) // first, as in end
	e.state.End(why)
	e.tell(why)
}

// tell tells everybody on our side that the stream is over.
func (e *End) tell(why error) {
	e.mu.Lock()
	over, unbind := e.over, e.unbind
	e.gone, e.why = true, why
	e.mu.Unlock()
	if unbind != nil {
		unbind()
	}
	if over != nil {
		over(why)
	}
}

// take takes a message of the other side.
func (e *End) take(m abstract.BaseMessage) {
	end, ends := m.(*message.EndNotice)
	if answer := e.answer; answer != nil && !ends {
		e.answer = nil
		answer(nil)
	}
	switch m := m.(type) {
	case *message.StreamMessage:
		if err := e.state.Receive(m.Data); err != nil {
			e.Abort(err)
		}
	case *message.CreditNotice:
		e.state.Credit(m.Bytes)
	case *message.EndNotice:
		e.peerEnded(end)
	}
}

// peerEnded takes the other side's end: of its direction, or, from who serves the
// stream, of all.
func (e *End) peerEnded(m *message.EndNotice) {
	var err error
	if m.Code != abstract.OK {
		err = &abstract.Error{
			Code: m.Code, Op: e.op, Message: m.Message, Details: m.Details, Instance: e.who(), Sent: e.sent(), FromPeer: true,
		}
	}
	if !e.opener {
		e.state.Finish(err)
		return
	}
	if answer := e.answer; answer != nil {
		e.answer = nil
		refusal := new(abstract.Error)
		if !errors.As(err, &refusal) {
			refusal = abstract.Errorf(abstract.InvalidMessage, "the stream was ended before it was taken")
		}
		answer(refusal) // before the context ends: who sees that looks for the answer
	}
	e.close(err)
}

// lost ends the stream with its connection. Its opener can still receive what has come.
func (e *End) lost(why error) {
	if !e.opener {
		why = noEnd(why)
		e.end(why, why, nil)
		return
	}
	e.close(&abstract.Error{Code: abstract.CodeOf(why), Op: e.op, Message: "the connection was lost", Instance: e.who(), Sent: e.sent(), Err: noEnd(why)})
}

// noEnd is a cause that is not taken for the good end of a stream: io.EOF is also what a
// connection ends with that the other side has closed.
func noEnd(cause error) error {
	if !errors.Is(cause, io.EOF) {
		return cause
	}
	var own *abstract.Error
	if !errors.As(cause, &own) {
		return errors.New(cause.Error())
	}
	e := *own
	if e.Err != nil {
		e.Err = errors.New(e.Err.Error())
	}
	return &e
}
