// Package message holds the messages of the protocol and their JSON codec. It is
// the one home of go-json: bodies are scanned without reflection, and what users
// put into them stays raw until somebody asks for it.
package message

import (
	"encoding/json"

	"trefoil/abstract"
)

// Raw is the JSON text of a value that has not been decoded. It is never changed.
type Raw = json.RawMessage

// Header is what all messages have in common.
type Header struct {
	id    string
	frame []byte
	fault *abstract.Error
}

// ID makes the Header of a new message.
func ID(id string) Header { return Header{id: id} }

// ID returns the message's id.
func (h *Header) ID() string { return h.id }

// Frame returns the bytes the message arrived in, or nil for a message that we
// made. They are never changed and may be passed on.
func (h *Header) Frame() []byte { return h.frame }

// Check returns what was wrong with the message when it was decoded, or nil.
func (h *Header) Check() error {
	if h.fault == nil {
		return nil // not a nil *Error in an error
	}
	return h.fault
}
