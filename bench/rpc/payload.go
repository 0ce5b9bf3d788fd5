package rpc

import (
	"errors"
	"strings"
	"time"
)

// A text that begins with slowMark asks the handler to take slowTime.
const (
	slowMark = 's'
	fastMark = 'f'
	slowTime = 5 * time.Millisecond
)

// payload is the text of a call, in the forms that the contestants take.
type payload struct {
	text  string
	bytes []byte
}

func newPayload(size int, mark byte) payload {
	const letters = "the quick brown fox jumps over the lazy dog, and then again; "
	text := string(mark) + strings.Repeat(letters, size/len(letters)+1)[:size-1]
	return payload{text: text, bytes: []byte(text)}
}

var errEcho = errors.New("the echo is not what was sent")

func (p payload) check(echo string) error {
	if echo != p.text {
		return errEcho
	}
	return nil
}

func (p payload) checkBytes(echo []byte) error {
	if string(echo) != p.text { // compares without copying
		return errEcho
	}
	return nil
}

// work is what every handler does before it answers.
func work(text string) {
	if len(text) > 0 && text[0] == slowMark {
		time.Sleep(slowTime)
	}
}

func workBytes(text []byte) {
	if len(text) > 0 && text[0] == slowMark {
		time.Sleep(slowTime)
	}
}

// callTimeout is for contestants that ask for one; the others have none, or
// their default.
const callTimeout = time.Minute
