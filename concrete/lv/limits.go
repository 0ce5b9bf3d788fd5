package lv

import (
	"strings"

	"trefoil/abstract"
)

// Config bounds frames. The zero value takes the defaults.
type Config struct {
	MaxFrame int // bytes of a whole frame, its Length field included; default 8 MiB
	MaxID    int // bytes of an id; default 1024
}

const (
	defaultMaxFrame = 8 << 20
	defaultMaxID    = 1024
)

// Sizes of a frame's head.
const (
	lengthSize = 4              // the Length field
	countedMin = 8              // MType and IdLen, which Length counts
	headerSize = lengthSize + 8 // all three fields
)

// badLength explains a Length that cannot be right. Strangers that speak another
// protocol are named: their first bytes read as a length of a gigabyte.
func badLength(first []byte, length uint32, limit int) error {
	text := string(first)
	for _, method := range []string{"GET ", "POST", "PUT ", "HEAD", "OPTI", "DELE", "PRI "} {
		if text == method {
			return abstract.Errorf(abstract.InvalidMessage, "this looks like HTTP (%q); the port takes length-value frames", strings.TrimSpace(text))
		}
	}
	if first[0] == 0x16 && first[1] == 0x03 {
		return abstract.Errorf(abstract.InvalidMessage, "this looks like TLS; the port takes plain length-value frames")
	}
	if length < countedMin {
		return abstract.Errorf(abstract.InvalidMessage, "a frame's Length of %d is below %d, the size of its header", int32(length), countedMin)
	}
	return abstract.Errorf(abstract.TooLarge, "a frame's Length of %d is above the limit of %d bytes", length, limit-lengthSize)
}
