package lv

import (
	"encoding/binary"
	"math"
	"slices"

	"trefoil/abstract"
)

// Packed is a message whose body is compressed, as it arrived. Whoever takes it from
// the connection calls Unpack, one after the other: what a peer has squeezed into
// little must not be large all at once.
type Packed struct {
	raw   []byte // the frame
	idEnd int
}

// Type returns MType as it is in the frame, the method included: the type of no
// other message.
func (m *Packed) Type() abstract.MType {
	return abstract.MType(binary.BigEndian.Uint32(m.raw[lengthSize:]))
}

// ID returns the message's id.
func (m *Packed) ID() string { return alias(m.raw[headerSize:m.idEnd]) }

// Size returns how many bytes the frame has as it is.
func (m *Packed) Size() int { return len(m.raw) }

// Check returns an error: what the message says is not known yet.
func (m *Packed) Check() error {
	return abstract.Errorf(abstract.Unsupported, "the body is compressed")
}

// Unpack returns the message that m is, with the frame it would have come in without
// compression. Errors say that the stream cannot be trusted: a method that the
// Config's Compression does not have (Unsupported), a frame that is whole above
// MaxFrame (TooLarge), damage and no JSON object (ParseFailed), and a HELLO
// (InvalidMessage), which is never compressed.
func (p *Protocol) Unpack(m *Packed) (abstract.BaseMessage, error) {
	t := m.Type()
	method := t.Compressed()
	switch t = t.Plain(); {
	case t == abstract.ReqHello || t == abstract.RspHello:
		return nil, abstract.Errorf(abstract.InvalidMessage, "the body of a %s is compressed; how to compress is not agreed upon before it", t)
	case p.Compression() == nil:
		return nil, abstract.Errorf(abstract.Unsupported, "the body of a %s is compressed with %s, and nobody has offered that", t, method)
	}
	head, data := m.raw[:m.idEnd], m.raw[m.idEnd:]
	raw, err := p.Compression().Decompress(head, method, data, p.cfg.MaxFrame-m.idEnd)
	if err != nil {
		return nil, err
	}
	setHead(raw, t)
	return p.codec.Unmarshal(t, alias(raw[headerSize:m.idEnd]), raw[m.idEnd:], raw)
}

// Pack returns frame with its body compressed, in memory of its own that is no more
// than it needs. It returns frame itself when its body is no longer than what the
// Compression takes, or would not become smaller, and for the frames of HELLO, which
// are never compressed. frame is one whole frame, and is not changed.
func (p *Protocol) Pack(m abstract.CompressMethod, frame []byte) []byte {
	c := p.Compression()
	if m == abstract.CompressNone || c == nil {
		return frame
	}
	t := abstract.MType(binary.BigEndian.Uint32(frame[lengthSize:]))
	if t == abstract.ReqHello || t == abstract.RspHello || t.Compressed() != abstract.CompressNone {
		return frame
	}
	idEnd := headerSize + int(binary.BigEndian.Uint32(frame[2*lengthSize:]))
	out, ok := c.Compress(frame[:idEnd], m, frame[idEnd:])
	if !ok {
		return frame
	}
	setHead(out, t.With(m))
	return out
}

// setHead makes a frame's Length that of its bytes, and its MType t.
func setHead(frame []byte, t abstract.MType) {
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-lengthSize))
	binary.BigEndian.PutUint32(frame[lengthSize:], uint32(t))
}

// Packs says whether a frame of size bytes may be worth compressing for a peer.
// It is false for every size when there is no Compression.
func (p *Protocol) Packs(size int) bool { return int64(size) > p.above.Load() }

// compressing is a Compression, which may be nil, and what is asked of it often.
type compressing struct {
	abstract.Compression
	methods []string
}

// Compression is what Pack and Unpack use; nil: none.
func (p *Protocol) Compression() abstract.Compression { return p.compression.Load().Compression }

// SetCompression changes what Pack and Unpack use. Who has agreed on a method with a peer
// goes on with it: unless c knows that still, the peer's frames are refused.
func (p *Protocol) SetCompression(c abstract.Compression) {
	above := int64(math.MaxInt64)
	if c != nil {
		above = int64(c.Above())
	}
	p.compression.Store(&compressing{c, abstract.CompressNames(c)})
	p.above.Store(above)
}

// Methods returns the names of the methods that Unpack knows, for HELLO.
func (p *Protocol) Methods() []string { return slices.Clone(p.compression.Load().methods) }
