package lv

import "trefoil/abstract"

// Config bounds frames. The zero value takes the defaults.
type Config struct {
	MaxFrame int // bytes of a whole frame, its Length field included; default 8 MiB, at most 2 GiB less one
	MaxID    int // bytes of an id; default 1024
	// Compression is what Pack and Unpack use; nil: none.
	Compression abstract.Compression
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

// badLength explains a Length that cannot be right.
func badLength(first []byte, length uint32, limit int) error {
	if speaks := stranger(first); speaks != "" {
		return abstract.Errorf(abstract.InvalidMessage,
			"the first bytes look like %s, and this port takes length-value frames: check the address that the peer was given", speaks)
	}
	if length < countedMin {
		return abstract.Errorf(abstract.InvalidMessage, "a frame's Length of %d is below %d, the size of what it must count", length, countedMin)
	}
	return abstract.Errorf(abstract.TooLarge,
		"a frame's Length of %d is above the limit of %d bytes: send less at a time, or raise the limit on both sides", length, limit-lengthSize)
}

// stranger names the protocol that begins with these bytes, if it is one that is
// often sent to the wrong port. They all read as a length of far too much.
func stranger(first []byte) string {
	switch string(first) {
	case "GET ", "POST", "PUT ", "HEAD", "OPTI", "DELE", "PATC", "CONN", "TRAC":
		return "HTTP"
	case "PRI ":
		return "HTTP/2"
	case "SSH-":
		return "SSH"
	}
	if first[0] == 0x16 && first[1] == 0x03 {
		return "TLS"
	}
	return ""
}
