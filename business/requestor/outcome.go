package requestor

import (
	"errors"

	"trefoil/abstract"
)

// refuse returns why m cannot be the response that the call waits for, or nil.
func (p *Pending) refuse(m abstract.BaseMessage) *abstract.Error {
	switch t := m.Type(); {
	case t == abstract.RspUnsupported && t != p.want:
		return fromPeer(abstract.Unsupported, "the peer does not know this kind of request", nil)
	case t != p.want:
		return fromPeer(abstract.WrongMessageType, "the response is a "+t.String()+" in place of a "+p.want.String(), nil)
	}
	if err := m.Check(); err != nil {
		return fromPeer(abstract.InvalidMessage, "the response cannot be understood", err)
	}
	return nil
}

func fromPeer(code abstract.RCode, text string, cause error) *abstract.Error {
	return &abstract.Error{Code: code, Message: text, Sent: abstract.SentYes, FromPeer: true, Err: cause}
}

// fail ends a call that got no response. Whether its request left is decided here
// and stays so: a request that waits in a queue is taken back.
func (p *Pending) fail(e abstract.Error) {
	e.Sent = abstract.SentUnknown
	words := "the request may have been handled"
	if p.mark.Withdraw() {
		e.Sent = abstract.SentNo
		words = "the request was not sent"
	}
	if e.Message != "" {
		e.Message += "; "
	}
	e.Message += words
	p.done.Ended(nil, &e)
}

// failure is what a call ends with whose request could not be queued.
func failure(err error) abstract.Error {
	var e *abstract.Error
	if errors.As(err, &e) {
		return *e
	}
	return abstract.Error{Code: abstract.CodeOf(err), Message: "the request could not be queued", Err: err}
}
