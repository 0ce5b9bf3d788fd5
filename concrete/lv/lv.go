// Package lv reads and writes length-value frames:
//
//	Length u32 | MType u32 | IdLen u32 | id | body
//
// in network byte order; Length counts what follows it, the body is one JSON object,
// compressed when MType says so.
package lv

import (
	"bytes"
	"encoding/binary"
	"math"
	"sync/atomic"
	"unsafe"

	"trefoil/abstract"
)

// Protocol is the length-value protocol. It is safe for concurrent use, and knows nothing of
// single connections.
type Protocol struct {
	codec abstract.Codec
	cfg   Config

	above       atomic.Int64 // the Compression's, or more than there can be
	compression atomic.Pointer[compressing]
}

var _ abstract.BaseProtocol = (*Protocol)(nil)

// New makes a Protocol whose bodies codec reads and writes.
func New(codec abstract.Codec, cfg Config) *Protocol {
	if cfg.MaxFrame <= 0 {
		cfg.MaxFrame = defaultMaxFrame
	}
	cfg.MaxFrame = min(cfg.MaxFrame, math.MaxInt32) // existing programs read a signed Length
	if cfg.MaxID <= 0 {
		cfg.MaxID = defaultMaxID
	}
	p := &Protocol{codec: codec, cfg: cfg}
	p.SetCompression(cfg.Compression)
	return p
}

// Decode takes the next message out of b. Length, MType and IdLen are each
// checked as soon as they are there, before a byte more is waited for. The message
// keeps the frame's bytes; it is a *Packed when its body is compressed. Errors are *abstract.Error of code InvalidMessage,
// TooLarge or ParseFailed, or what b returned.
func (p *Protocol) Decode(b abstract.BaseBuffer) (m abstract.BaseMessage, ok bool, err error) {
	n := b.Len()
	if n < lengthSize {
		return nil, false, nil
	}
	head, err := b.Peek(min(n, headerSize))
	if err != nil {
		return nil, false, err
	}
	size, err := p.check(head)
	if err != nil || size == 0 || n < size {
		return nil, false, err
	}
	raw, err := b.Next(size)
	if err != nil {
		return nil, false, err
	}
	t := abstract.MType(binary.BigEndian.Uint32(raw[4:]))
	idEnd := headerSize + int(binary.BigEndian.Uint32(raw[8:]))
	if t.Compressed() != abstract.CompressNone {
		return &Packed{raw, idEnd}, true, nil
	}
	m, err = p.codec.Unmarshal(t, alias(raw[headerSize:idEnd]), raw[idEnd:], raw)
	return m, err == nil, err
}

// check returns the size of the frame that begins with head, or 0 when head does
// not hold the whole header yet.
func (p *Protocol) check(head []byte) (size int, err error) {
	length := binary.BigEndian.Uint32(head)
	if length < countedMin || uint64(length)+lengthSize > uint64(p.cfg.MaxFrame) {
		return 0, badLength(head[:lengthSize], length, p.cfg.MaxFrame)
	}
	if len(head) < 8 {
		return 0, nil
	}
	if t := abstract.MType(binary.BigEndian.Uint32(head[4:])); !t.Plain().OnWire() {
		return 0, abstract.Errorf(abstract.InvalidMessage, "%d is no message type", int32(t))
	}
	if len(head) < headerSize {
		return 0, nil
	}
	idLen := binary.BigEndian.Uint32(head[8:])
	switch {
	case idLen > length-countedMin:
		return 0, abstract.Errorf(abstract.InvalidMessage, "an IdLen of %d does not fit a frame whose Length is %d", int32(idLen), length)
	case uint64(idLen) > uint64(p.cfg.MaxID):
		return 0, abstract.Errorf(abstract.TooLarge, "an id of %d bytes is above the limit of %d", idLen, p.cfg.MaxID)
	}
	return lengthSize + int(length), nil
}

// alias makes a string of bytes that a BaseBuffer promises never to write again.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// framed is a message that carries the frame it arrived in.
type framed interface{ Frame() []byte }

// Append appends m's frame to dst: the one it arrived in, if it did, whatever
// limits it was under, else a new one. A new frame or its id above the limits is
// an error with code TooLarge; after any error what is returned is dst as it was.
func (p *Protocol) Append(dst []byte, m abstract.BaseMessage) ([]byte, error) {
	if f, ok := m.(framed); ok && len(f.Frame()) > 0 {
		return append(dst, f.Frame()...), nil
	}
	id := m.ID()
	if len(id) > p.cfg.MaxID {
		return dst, abstract.Errorf(abstract.TooLarge, "an id of %d bytes is above the limit of %d", len(id), p.cfg.MaxID)
	}
	start := len(dst)
	out := append(dst, 0, 0, 0, 0)
	out = binary.BigEndian.AppendUint32(out, uint32(m.Type()))
	out = binary.BigEndian.AppendUint32(out, uint32(len(id)))
	out = append(out, id...)
	out, err := p.codec.AppendBody(out, m)
	if err != nil {
		return dst, err
	}
	size := len(out) - start
	if size > p.cfg.MaxFrame {
		return dst, abstract.Errorf(abstract.TooLarge, "a frame of %d bytes is above the limit of %d; send less at a time", size, p.cfg.MaxFrame)
	}
	binary.BigEndian.PutUint32(out[start:], uint32(size-lengthSize))
	return out, nil
}

// Extend appends a frame to dst with further members at the end of its body, an object
// that has some: `,"name":value` each. It is as a member that is repeated: the last
// counts. The frame must be whole and not compressed.
func Extend(dst, frame []byte, members ...[]byte) []byte {
	end := bytes.LastIndexByte(frame, '}')
	if end < headerSize {
		return append(dst, frame...)
	}
	start := len(dst)
	dst = append(dst, frame[:end]...)
	for _, m := range members {
		dst = append(dst, m...)
	}
	dst = append(dst, '}')
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-lengthSize))
	return dst
}

// DecodeFrame is Decode of one whole frame that is not compressed.
func (p *Protocol) DecodeFrame(frame []byte) (abstract.BaseMessage, error) {
	if len(frame) < headerSize {
		return nil, abstract.Errorf(abstract.ParseFailed, "%d bytes are no frame", len(frame))
	}
	t, idEnd := abstract.MType(binary.BigEndian.Uint32(frame[4:])), headerSize+int(binary.BigEndian.Uint32(frame[8:]))
	if idEnd > len(frame) || t.Compressed() != abstract.CompressNone {
		return nil, abstract.Errorf(abstract.ParseFailed, "the frame is not whole, or compressed")
	}
	return p.codec.Unmarshal(t, alias(frame[headerSize:idEnd]), frame[idEnd:], frame)
}
