package server

import (
	"time"

	"trefoil/abstract"
	"trefoil/concrete/lv"
	"trefoil/concrete/message"
)

// agree answers what a HELLO says of compression, and remembers how to compress for
// its sender.
func (c *conn) agree(m abstract.BaseMessage, rsp *message.HelloResponse) {
	hello, ok := m.(*message.Hello)
	if !ok || rsp.Code != abstract.OK {
		return
	}
	rsp.Compress = c.ep.protocol.Methods()
	c.packs.Store(uint32(abstract.ChooseCompressMethod(c.ep.protocol.Compression(), hello.Compress)))
}

// packing is how to compress for the peer; CompressNone: not at all.
func (c *conn) packing() abstract.CompressMethod {
	return abstract.CompressMethod(c.packs.Load())
}

// pack compresses a frame that nobody else has, if that is agreed upon and worth it.
func (c *conn) pack(frame []byte) []byte {
	if !c.ep.protocol.Packs(len(frame)) {
		return frame
	}
	packed := c.ep.protocol.Pack(c.packing(), frame)
	if &packed[0] != &frame[0] {
		lv.Recycle(frame)
	}
	return packed
}

// receivePacked makes a message whole and receives it. It is forgotten when it was
// handled: a batch of such messages may be whole far larger than what has arrived.
func (t *turn) receivePacked(packed *lv.Packed) (open bool) {
	c := t.conn
	m, err := c.unpack(packed)
	if err != nil {
		c.refused = true // what follows is not looked at
		c.leave(err)
		return false
	}
	if t.broke == nil {
		t.broke = c.charge(sizeOf(m)-packed.Size(), t.now)
	}
	at := t.next - 1
	t.waiting[at] = m // a publish takes its run from there
	_, open = t.receive(m)
	t.waiting[at] = nil
	return open
}

// charge counts what has become of few bytes as bytes too.
func (c *conn) charge(n int, now time.Time) error {
	b := c.badge.Load()
	if n <= 0 || b == nil {
		return nil
	}
	return b.account.AcquireBytes(n, now)
}

func (c *conn) unpack(packed *lv.Packed) (abstract.BaseMessage, error) {
	if !c.modern() {
		return nil, abstract.Errorf(abstract.Unsupported, "the body of a %s is compressed; how to compress is not agreed upon before HELLO", packed.Type().Plain())
	}
	return c.ep.protocol.Unpack(packed)
}
