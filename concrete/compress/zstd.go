package compress

import (
	"errors"
	"sync"

	"github.com/klauspost/compress/zstd"

	"trefoil/abstract"
)

// maxWindow bounds how far back a body of ours refers: it is what an encoder keeps.
const maxWindow = 256 << 10

// commonWindow is how far back encoders of other programs may say that they refer,
// however short a body is. It costs nothing here, as all that was decoded is there.
const commonWindow = 8 << 20

// slack is how far a decoder goes beyond a limit before it sees that: one block.
// With room for it, the memory it works in need not be moved.
const slack = 129 << 10

// zstdPools holds encoders and decoders, each of which works for one caller at a
// time and starts no goroutines.
type zstdPools struct {
	encoders, decoders sync.Pool
}

func (z *zstdPools) init(most int) {
	z.encoders.New = func() any {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true),
			zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(maxWindow), zstd.WithEncoderCRC(false))
		if err != nil {
			panic("zstd does not take its options: " + err.Error()) // constants
		}
		return e
	}
	z.decoders.New = func() any {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(uint64(max(most, commonWindow))), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			panic("zstd does not take its options: " + err.Error()) // constants, and a limit above 0
		}
		return d
	}
}

// encode returns body compressed, in scratch memory if it has the room.
func (z *zstdPools) encode(scratch, body []byte) []byte {
	e := z.encoders.Get().(*zstd.Encoder)
	defer z.encoders.Put(e)
	return e.EncodeAll(body, scratch)
}

// decode tries little scratch memory first, unless the beginning of data says that
// it will not do. Who sends much that says little is tried twice, and no more.
func (z *zstdPools) decode(head, data []byte, limit int) ([]byte, error) {
	says, err := oneFrame(data)
	if err != nil {
		return nil, errDamaged(abstract.CompressZstd, err)
	}
	if says.WindowSize > uint64(max(limit, commonWindow)) {
		return nil, errTooLarge(limit)
	}
	first := min(smallScratch, limit+slack)
	if says.HasFCS {
		if says.FrameContentSize > uint64(limit) {
			return nil, errTooLarge(limit)
		}
		first = max(first, int(says.FrameContentSize)+slack)
	}
	out, err := z.try(head, data, first, limit)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) && first < limit+slack {
		out, err = z.try(head, data, limit+slack, limit)
	}
	switch {
	case err == nil:
		return out, nil
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded):
		return nil, errTooLarge(limit)
	}
	return nil, errDamaged(abstract.CompressZstd, err)
}

// try decodes into scratch memory of a capacity.
func (z *zstdPools) try(head, data []byte, capacity, limit int) (out []byte, err error) {
	withScratch(capacity, func(scratch []byte) {
		d := z.decoders.Get().(*zstd.Decoder)
		defer z.decoders.Put(d)
		var whole []byte
		switch whole, err = d.DecodeAll(data, scratch); {
		case err != nil:
		case len(whole) > limit:
			err = zstd.ErrDecoderSizeExceeded
		default:
			out = own(head, whole)
		}
	})
	return out, err
}

var errFrame = errors.New("it is not one frame from its beginning to its end")

// oneFrame reads the head of data, which must be one frame and nothing more. Limits
// of the decoder are those of a frame, and nobody has a reason to send several.
func oneFrame(data []byte) (head zstd.Header, err error) {
	if err := head.Decode(data); err != nil {
		return head, errFrame
	}
	if head.Skippable {
		return head, errFrame
	}
	end := head.HeaderSize
	for last := false; !last; {
		if len(data)-end < blockHeader {
			return head, errFrame
		}
		block := uint32(data[end]) | uint32(data[end+1])<<8 | uint32(data[end+2])<<16
		last = block&1 != 0
		size := int(block >> 3)
		if block>>1&3 == blockRLE {
			size = 1 // the byte that is repeated
		}
		end += blockHeader + size
	}
	if head.HasCheckSum {
		end += checksum
	}
	if end != len(data) {
		return head, errFrame
	}
	return head, nil
}

// The layout of a frame, RFC 8878.
const (
	blockHeader = 3
	blockRLE    = 1
	checksum    = 4
)
