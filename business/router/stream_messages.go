package router

import (
	"reflect"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// typedStream is a stream of messages that are read into Go types: what of one does not
// fit is named.
type typedStream struct {
	abstract.Stream
	method string
}

// Receive reads the next message.
func (s typedStream) Receive(v any) error {
	var raw message.Raw
	if err := s.Stream.Receive(&raw); err != nil || v == nil {
		return err
	}
	err := message.Decode(raw, v)
	if err == nil {
		return nil
	}
	t := reflect.TypeOf(v)
	if t.Kind() != reflect.Pointer {
		return err
	}
	switch p := newSearch().misplaced(t.Elem(), raw, 0); {
	case p == nil:
		return err
	case p.path == "":
		return abstract.Errorf(abstract.InvalidParams, "a message to %s %s", s.method, p.problem)
	default:
		return abstract.Errorf(abstract.InvalidParams, "%q in a message to %s %s", p.path, s.method, p.problem)
	}
}
