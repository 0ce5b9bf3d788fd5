package server

import (
	"errors"
	"io"
	"strconv"
	"sync"
	"time"

	"trefoil/abstract"
	"trefoil/business/access"
	"trefoil/business/stream"
	"trefoil/concrete/message"
)

// ownStream is what the ids of streams begin with that a broker opens at a provider: so
// they are not those that the provider opens itself over the same connection.
const ownStream = "~"

// takeStream passes a stream on, or refuses to; see take.
func (r *relay) takeStream(t *turn, req *message.StreamRequest) bool {
	if r == nil || !req.Relay {
		return false
	}
	if r.rpc != nil {
		if _, served := r.rpc.router.Lookup(req.Method); served {
			return false
		}
	}
	if err := r.passStream(t, req); err != nil {
		refusal := notPassed(req.ID(), err, abstract.SentNo)
		t.conn.reply(&message.EndNotice{Header: message.ID(req.ID()), Code: refusal.Code, Message: refusal.Message, Details: refusal.Details})
	}
	return true
}

// passStream passes a stream on. An error says that nothing was done.
func (r *relay) passStream(t *turn, req *message.StreamRequest) error {
	return r.counted(func() error { return r.beginStream(t, req) })
}

func (r *relay) beginStream(t *turn, req *message.StreamRequest) error {
	call := &message.RpcRequest{Header: req.Header, Method: req.Method, Instance: req.Instance}
	end, instance, err := r.choose(call)
	if err != nil {
		return err
	}
	if err := r.ep.afford(t, call); err != nil {
		return err
	}
	served, err := t.openStream(req)
	if served == nil {
		t.conn.release(access.InFlight)
		if err == nil {
			r.exit()
		}
		return err
	}
	served.end.Bind(func(error) {})
	go func() {
		defer r.exit()
		defer served.conn.release(access.InFlight)
		defer served.leave()
		served.end.Finish(passOn(served, end.conn, instance))
	}()
	return nil
}

// passOn opens a stream at a provider and carries messages both ways, until one side has
// ended it. Each side has a window of its own here: a reader that does not read holds up
// the writer through both, and no more than these wait here.
func passOn(caller *servedStream, provider *conn, instance string) *abstract.Error {
	far, err := openAt(caller, provider, instance)
	if err != nil {
		return err
	}
	if e := caller.end.Accept(); e != nil {
		far.Abort(e)
		return asOwn(e)
	}
	var up sync.WaitGroup
	up.Go(func() { carryUp(caller.end, far) })
	err = carryDown(caller.end, far)
	caller.end.Finish(err)
	up.Wait()
	return err
}

// openAt opens the stream at the provider, and waits until that has taken it.
func openAt(caller *servedStream, provider *conn, instance string) (*stream.End, *abstract.Error) {
	ctx, req := caller.end.Context(), caller.req
	opening := &message.StreamRequest{
		Header: message.ID(ownStream + strconv.FormatUint(provider.ep.lastID.Add(1), 36)), Method: req.Method, Parameters: req.Parameters,
		Credit: int64(provider.ep.limits.Load().StreamWindow), Instance: instance, Meta: req.Meta,
	}
	if deadline, ok := ctx.Deadline(); ok {
		opening.TimeoutMs = max(1, time.Until(deadline).Milliseconds())
	}
	answered := make(chan *abstract.Error, 1)
	far, err := stream.NewEnd(stream.Config{
		ID: opening.ID(), Op: "pass on " + req.Method, Context: ctx, Wire: provider, Set: provider.streams.all(&provider.ep.cfg),
		Opener: true, Window: opening.Credit, Answer: func(refusal *abstract.Error) { answered <- refusal },
	})
	if err == nil && provider.ctx.Err() != nil { // its end has been, and may not have found us
		far.Drop(errCallerGone())
		err = errCallerGone()
	}
	if err != nil {
		return nil, notReached(abstract.SentNo)
	}
	far.Bind(func(why error) {
		if far.Dropped() { // nothing of it is on its way to the caller, who may not read
			caller.end.Abort(asOwn(why))
		}
	})
	if err := far.Open(opening); err != nil { // which waits for room: who does not read must not be closed for what others ask
		far.Drop(err)
		e := asOwn(err)
		e.Details = notPassed("", err, abstract.SentNo).Details
		return nil, e
	}
	select {
	case refusal := <-answered:
		return taken(far, refusal)
	case <-far.Context().Done():
	}
	select {
	case refusal := <-answered: // it is over already
		return taken(far, refusal)
	default:
		return nil, notReached(abstract.SentUnknown)
	}
}

// taken is what a provider's answer means. A stream that is over by now may have messages
// that came before.
func taken(far *stream.End, refusal *abstract.Error) (*stream.End, *abstract.Error) {
	if refusal != nil {
		return nil, &abstract.Error{Code: refusal.Code, Message: refusal.Message, Details: refusal.Details}
	}
	return far, nil
}

func notReached(sent abstract.Sent) *abstract.Error {
	e := abstract.Errorf(abstract.Disconnected, "the provider's connection to the broker was lost")
	e.Details = notPassed("", e, sent).Details
	return e
}

// asOwn is an error as one of ours.
func asOwn(err error) *abstract.Error {
	if e, ok := asError(err); ok {
		return &abstract.Error{Code: e.Code, Message: e.Message, Details: e.Details}
	}
	return abstract.Errorf(abstract.CodeOf(err), "the stream could not be passed on")
}

// carryUp carries the caller's messages to the provider.
func carryUp(caller, provider *stream.End) {
	for {
		data, err := caller.ReceiveRaw()
		switch {
		case errors.Is(err, io.EOF):
			_ = provider.CloseSend() // or it is over, which carryDown sees
			return
		case err != nil:
			provider.Abort(err)
			return
		}
		if err := provider.SendRaw(data); err != nil {
			provider.Abort(err) // unless it is over, the same
			return
		}
	}
}

// carryDown carries the provider's messages to the caller, and returns how the provider
// has ended the stream.
func carryDown(caller, provider *stream.End) *abstract.Error {
	for {
		data, err := provider.ReceiveRaw()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return asOwn(err)
		}
		if err := caller.SendRaw(data); err != nil {
			provider.Abort(err)
			return asOwn(err)
		}
	}
}
