package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"trefoil/abstract"
	"trefoil/client"
)

// streamFlags are those about streams.
func streamFlags(s *settings) []flagRow {
	return []flagRow{
		{commands: "call", name: "stream", to: &s.stream, def: false, help: "open a stream: write each message that comes on a line, and send each line of standard input, JSON as it is and other text as a string; --timeout is then about opening it"},
		{commands: "call", name: "count", to: &s.count, def: 0, help: "with --stream: end after `N` messages; 0 goes on until the stream ends"},
		{commands: "provide", name: "stream", to: &s.stream, def: false, help: "serve streams: run the command once for each, with the parameters as the first line of its standard input and each message that comes as a further one; each line that it writes is a message. --timeout does not hold, and --parallel bounds the streams"},
	}
}

// maxMessageLine is the longest line that is read as a message.
const maxMessageLine = 8 << 20

// callStream opens a stream and carries lines both ways until it ends.
func (a *app) callStream(ctx context.Context, s *settings, method string, params json.RawMessage) error {
	if s.count < 0 {
		return usagef("--count is a number of 0 or more, not %d", s.count)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(s.timeout, func() { cancel(errNotOpened) })
	calls, end, err := a.caller(ctx, s)
	if err != nil {
		return err
	}
	defer end()
	st, err := calls.OpenStream(ctx, method, params, streamOptions(s)...)
	if !timer.Stop() && err != nil {
		return notOpened(err)
	}
	if err != nil {
		ctx, cancel := context.WithTimeout(ctx, s.timeout)
		defer cancel()
		return a.callError(ctx, s, calls, method, err)
	}
	defer st.Close()
	go a.sendLines(st) // which nothing but the end of the process or of the input ends
	for n := 0; s.count == 0 || n < s.count; n++ {
		var v json.RawMessage
		switch err := st.Receive(&v); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if _, err := a.stdout.Write(append(v, '\n')); err != nil {
			return err
		}
	}
	return nil
}

var errNotOpened = &plainError{text: "the stream was not opened in time; see --timeout", err: abstract.ErrTimeout}

// notOpened is errNotOpened with what was waited for, where that is known.
func notOpened(err error) error {
	var e *abstract.Error
	if !errors.As(err, &e) || e.Message == "" {
		return errNotOpened
	}
	return &plainError{errNotOpened.text + ": " + e.Message, err}
}

// sendLines sends the lines of standard input as messages, until there are no more or
// nobody takes them.
func (a *app) sendLines(st abstract.Stream) {
	lines := bufio.NewScanner(a.stdin)
	lines.Buffer(nil, maxMessageLine)
	for lines.Scan() {
		if st.Send(messageOf(lines.Bytes())) != nil {
			return // receiving tells why
		}
	}
	_ = st.CloseSend() // the same
}

// streamOptions is what the flags say of a stream.
func streamOptions(s *settings) []client.CallOption {
	var opts []client.CallOption
	if s.key != "" {
		opts = append(opts, client.Key(s.key))
	}
	if s.protect.retry > 0 {
		opts = append(opts, client.Retry(s.protect.retry))
	}
	return append(opts, relayOptions(s)...)
}
