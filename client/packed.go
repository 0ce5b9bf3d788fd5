package client

import (
	"trefoil/abstract"
	"trefoil/concrete/lv"
	"trefoil/concrete/message"
)

// maxUnpacked bounds what of a batch is whole at the same time. It may have come as
// far less.
const maxUnpacked = 1 << 20

// packing is what a session knows of compression. It belongs to OnMessages, but for
// method, which is set before the session is met.
type packing struct {
	method abstract.CompressMethod // of what is sent
	agreed bool                    // the peer has answered HELLO
	deaf   bool                    // a message could not be made whole: what follows is not looked at
}

// agree remembers how to compress for the peer, and that it may do the same.
func (s *session) agree(hello *message.HelloResponse) {
	s.method = abstract.ChooseCompressMethod(s.cfg.compression, hello.Compress)
	s.agreed = true
}

// pack compresses a frame, if that is agreed upon and worth it.
func (s *session) pack(frame []byte) []byte {
	if !s.protocol.Packs(len(frame)) {
		return frame
	}
	packed := s.protocol.Pack(s.method, frame)
	if &packed[0] != &frame[0] {
		lv.Recycle(frame)
	}
	return packed
}

// unpack makes a message whole.
func (s *session) unpack(packed *lv.Packed) (abstract.BaseMessage, error) {
	if !s.agreed {
		return nil, abstract.Errorf(abstract.Unsupported, "the body of a %s is compressed; how to compress is not agreed upon before HELLO", packed.Type().Plain())
	}
	return s.protocol.Unpack(packed)
}

// frameSize is the size of the frame that a message has come in.
func frameSize(m abstract.BaseMessage) int {
	f, _ := m.(interface{ Frame() []byte })
	if f == nil {
		return 0
	}
	return len(f.Frame())
}
