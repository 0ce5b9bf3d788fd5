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
	// buf holds the next unread bytes. Bytes before it have been handed out; the
	// spare capacity behind it never was, so it may be written.
	buf  []byte
	more [][]byte // the unread bytes behind buf, in the pieces they came in
	n    int      // unread bytes in all
}

// mergeBytes is up to what size pieces are put together when they arrive: so that
// a peer that sends byte by byte does not make us keep a piece for each.
const mergeBytes = 1 << 10

// Feed appends a copy of p.
func (b *Buffer) Feed(p []byte) {
	last := b.last()
	if b.n > 0 && len(*last)+len(p) <= mergeBytes {
		*last = appendGrow(*last, p)
		b.n += len(p)
		return
	}
	b.adopt(appendGrow(nil, p))
}

// adopt appends chunk and takes its memory over. Only small pieces are copied.
func (b *Buffer) adopt(chunk []byte) {
	last := b.last()
	switch {
	case b.n == 0:
		b.buf = chunk
	case len(*last)+len(chunk) <= mergeBytes:
		*last = appendGrow(*last, chunk)
	default:
		b.more = append(b.more, chunk)
	}
	b.n += len(chunk)
}

// last is the piece that arrived last.
func (b *Buffer) last() *[]byte {
	if len(b.more) == 0 {
		return &b.buf
	}
	return &b.more[len(b.more)-1]
}

// Len returns how many bytes are there.
func (b *Buffer) Len() int { return b.n }

// Peek returns the next n bytes and leaves them in the buffer. What lies in
// several pieces is copied together, and nothing beyond it.
func (b *Buffer) Peek(n int) ([]byte, error) {
	if n < 0 || n > b.n {
		return nil, fmt.Errorf("%d bytes asked for, %d there", n, b.n)
	}
	if n > len(b.buf) {
		b.gather(n)
	}
	return b.buf[:n:n], nil
}

// gather makes buf the next n bytes, of which it has only some.
func (b *Buffer) gather(n int) {
	pieces := [][]byte{b.buf}
	taken, whole := len(b.buf), 0
	for taken < n {
		p := b.more[whole]
		if left := n - taken; left < len(p) {
			pieces = append(pieces, p[:left])
			b.more[whole] = p[left:]
			break
		}
		pieces = append(pieces, p)
		taken += len(p)
		whole++
	}
	clear(b.more[:whole])
	b.more = b.more[whole:]
	b.buf = bytes.Join(pieces, nil) // which does not clear the memory first
}

// Next takes the next n bytes out.
func (b *Buffer) Next(n int) ([]byte, error) {
	p, err := b.Peek(n)
	if err != nil {
		return nil, err
	}
	b.n -= n
	if b.buf = b.buf[n:]; len(b.buf) > 0 {
		return p, nil
	}
	if b.buf = nil; len(b.more) > 0 {
		b.buf, b.more[0] = b.more[0], nil
		b.more = b.more[1:]
	}
	if len(b.more) == 0 {
		b.more = nil
	}
	return p, nil
}

// drop forgets everything.
func (b *Buffer) drop() { *b = Buffer{} }

// appendGrow appends p to buf. New memory fits exactly, or is twice of what was
// there, so that growing piece by piece copies a bounded number of times.
func appendGrow(buf, p []byte) []byte {
	if cap(buf)-len(buf) >= len(p) {
		return append(buf, p...)
	}
	if len(p) >= len(buf) {
		return bytes.Join([][]byte{buf, p}, nil)
	}
	grown := make([]byte, len(buf), max(len(buf)+len(p), 2*len(buf)))
	copy(grown, buf)
	return append(grown, p...)
}
