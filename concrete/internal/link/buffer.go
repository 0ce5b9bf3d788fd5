package link

import (
	"bytes"
	"fmt"

	"trefoil/abstract"
)

var _ abstract.BaseBuffer = (*Buffer)(nil)

// Buffer assembles received bytes to frames. It copies what it is fed, so that
// the messages made of its bytes may be kept, and holds no memory while empty.
// What it holds grows with what arrived, never with what a header announces. A
// message that keeps a slice keeps the chunk it arrived in, 64 KiB as a rule: copy
// what is to live long. Not safe for concurrent use. The zero value is empty.
type Buffer struct {
	// buf holds the unread bytes. Bytes before it have been handed out; the
	// spare capacity behind it never was, so it may be written.
	buf []byte
}

// Feed appends a copy of p.
func (b *Buffer) Feed(p []byte) { b.buf = appendGrow(b.buf, p) }

// adopt appends chunk, and takes its memory over when nothing else is there.
func (b *Buffer) adopt(chunk []byte) {
	if len(b.buf) == 0 {
		b.buf = chunk
		return
	}
	b.buf = appendGrow(b.buf, chunk)
}

// Len returns how many bytes are there.
func (b *Buffer) Len() int { return len(b.buf) }

// Peek returns the next n bytes and leaves them in the buffer.
func (b *Buffer) Peek(n int) ([]byte, error) {
	if n < 0 || n > len(b.buf) {
		return nil, fmt.Errorf("%d bytes asked for, %d there", n, len(b.buf))
	}
	return b.buf[:n:n], nil
}

// Next takes the next n bytes out.
func (b *Buffer) Next(n int) ([]byte, error) {
	p, err := b.Peek(n)
	if err != nil {
		return nil, err
	}
	if b.buf = b.buf[n:]; len(b.buf) == 0 {
		b.buf = nil
	}
	return p, nil
}

// drop forgets everything.
func (b *Buffer) drop() { b.buf = nil }

// appendGrow appends p to buf. New memory fits exactly, or is twice of what was
// there, so that a long frame is copied a bounded number of times.
func appendGrow(buf, p []byte) []byte {
	if cap(buf)-len(buf) >= len(p) {
		return append(buf, p...)
	}
	if len(p) >= len(buf) {
		return bytes.Join([][]byte{buf, p}, nil) // which does not clear the memory first
	}
	grown := make([]byte, len(buf), max(len(buf)+len(p), 2*len(buf)))
	copy(grown, buf)
	return append(grown, p...)
}
