package client

import (
	"errors"

	"trefoil/abstract"
)

// asError returns err as an *abstract.Error, wrapped in one when it is none.
func asError(err error) *abstract.Error {
	var e *abstract.Error
	if errors.As(err, &e) {
		return e
	}
	return &abstract.Error{Code: abstract.CodeOf(err), Err: err}
}

// decorate returns a copy of e that says what was being done, and with whom.
func decorate(e *abstract.Error, op string, attempts int, instance string) *abstract.Error {
	d := *e
	if d.Op == "" {
		d.Op = op
	}
	d.Attempts, d.Instance = attempts, instance
	return &d
}

// refused makes the error of an answer whose code is not OK.
func refused(op string, code abstract.RCode, text string, instance string) *abstract.Error {
	sent := abstract.SentYes
	if code == abstract.UnknownFate { // the peer does not know what became of it
		sent = abstract.SentUnknown
	}
	return &abstract.Error{Code: code, Op: op, Message: text, Instance: instance, Sent: sent, FromPeer: true}
}
