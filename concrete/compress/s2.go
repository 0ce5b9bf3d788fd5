package compress

import (
	"errors"

	"github.com/klauspost/compress/s2"

	"trefoil/abstract"
)

// roomS2 is what the block of a body of size bytes may take, and that of any other
// method too; negative when size is far above every limit.
func roomS2(size int) int { return s2.MaxEncodedLen(size) }

// encodeS2 returns the block of body, in scratch memory of roomS2 bytes.
func encodeS2(scratch, body []byte) []byte { return s2.Encode(scratch[:cap(scratch)], body) }

var errBlock = errors.New("the length at its beginning is none")

// decodeS2 reads a block, whose length at its beginning is only looked at.
func decodeS2(head, data []byte, limit int) (out []byte, err error) {
	n, err := s2.DecodedLen(data)
	switch {
	case errors.Is(err, s2.ErrTooLarge), err == nil && n > limit:
		return nil, errTooLarge(limit)
	case err != nil || n < 0:
		return nil, errDamaged(abstract.CompressS2, errBlock)
	}
	withScratch(n, func(scratch []byte) {
		var whole []byte
		if whole, err = s2.Decode(scratch[:cap(scratch)], data); err == nil {
			out = own(head, whole)
		}
	})
	if err != nil {
		return nil, errDamaged(abstract.CompressS2, err)
	}
	return out, nil
}
