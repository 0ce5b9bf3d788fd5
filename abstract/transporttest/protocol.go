package transporttest

import (
	"encoding/binary"
	"fmt"

	"trefoil/abstract"
)

// MaxFrame is the biggest body of a test message.
const MaxFrame = 8 << 20

// headerLen is what stands before a body: length, type, id.
const headerLen = 4 + 1 + 8

// Message is what the suite sends.
type Message struct {
	Kind abstract.MType // 0 to 255
	N    uint64         // a number, in place of an id
	Body []byte
}

// Type is the message's kind, which decides its write class.
func (m *Message) Type() abstract.MType { return m.Kind }

// ID is the message's number in decimal.
func (m *Message) ID() string { return fmt.Sprint(m.N) }

// Check finds nothing wrong.
func (m *Message) Check() error { return nil }

// Protocol is a small protocol of frames: length u32 of what follows, type u8,
// number u64, body. A length above MaxFrame or below that of an empty body ends
// the stream.
type Protocol struct{}

var _ abstract.BaseProtocol = Protocol{}

// errBad is what a stream ends with that is none of Protocol.
var errBad = abstract.Errorf(abstract.ParseFailed, "the length of a test frame is wrong")

// Decode takes the next message out of b.
func (Protocol) Decode(b abstract.BaseBuffer) (abstract.BaseMessage, bool, error) {
	if b.Len() < 4 {
		return nil, false, nil
	}
	head, err := b.Peek(4)
	if err != nil {
		return nil, false, err
	}
	n := int(binary.BigEndian.Uint32(head))
	if n < headerLen-4 || n > MaxFrame+headerLen-4 {
		return nil, false, errBad
	}
	if b.Len() < 4+n {
		return nil, false, nil
	}
	p, err := b.Next(4 + n)
	if err != nil {
		return nil, false, err
	}
	return &Message{Kind: abstract.MType(p[4]), N: binary.BigEndian.Uint64(p[5:]), Body: p[headerLen:]}, true, nil
}

// Append appends m's frame.
func (Protocol) Append(dst []byte, m abstract.BaseMessage) ([]byte, error) {
	t := m.(*Message)
	if len(t.Body) > MaxFrame {
		return dst, abstract.Errorf(abstract.TooLarge, "the body of a test message is too long")
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(headerLen-4+len(t.Body)))
	dst = append(dst, byte(t.Kind))
	dst = binary.BigEndian.AppendUint64(dst, t.N)
	return append(dst, t.Body...), nil
}

// frame makes a Frame of one message.
func frame(kind abstract.MType, n uint64, body []byte) abstract.Frame {
	b, _ := Protocol{}.Append(nil, &Message{Kind: kind, N: n, Body: body})
	return abstract.Frame{Class: abstract.ClassOf(kind), Count: 1, Bytes: b}
}
