package abstract

import (
	"fmt"
	"slices"
)

// CompressMethod is a way to compress the body of a frame. Its number is on the
// wire, in bits 28 to 30 of MType; its name is in HELLO.
type CompressMethod uint8

// The methods.
const (
	CompressNone CompressMethod = 0 // the body is what it is
	CompressZstd CompressMethod = 1 // smaller
	CompressS2   CompressMethod = 2 // faster: one block, without the framing of a stream
)

// String returns the name of m, as HELLO names it; "none" for CompressNone.
func (m CompressMethod) String() string {
	switch m {
	case CompressNone:
		return "none"
	case CompressZstd:
		return "zstd"
	case CompressS2:
		return "s2"
	}
	return fmt.Sprintf("method %d", uint8(m))
}

// ParseCompressMethod returns the method of a name.
func ParseCompressMethod(name string) (CompressMethod, error) {
	for _, m := range []CompressMethod{CompressNone, CompressZstd, CompressS2} {
		if m.String() == name {
			return m, nil
		}
	}
	return CompressNone, Errorf(InvalidParams, "%.20q is no way to compress; known are s2, zstd and none", name)
}

// Compression compresses bodies and makes them whole again. Package
// trefoil/concrete/compress has one. Safe for concurrent use.
type Compression interface {
	// Methods are the methods that it knows, the one it likes best first. They are
	// never changed.
	Methods() []CompressMethod
	// Above is how many bytes a body must exceed to be worth it.
	Above() int
	// Compress returns head, and after it body compressed with m, in memory of its
	// own and no more than that needs. ok is false when body is not above Above, or
	// would not become smaller: send it as it is then.
	Compress(head []byte, m CompressMethod, body []byte) (out []byte, ok bool)
	// Decompress returns head, and after it what data was before it was compressed
	// with m, in memory of its own and no more than that needs. When that body has
	// more than limit bytes the error is TooLarge, and no memory of that size was
	// made on the peer's word; it is ParseFailed when data is damaged, and
	// Unsupported for a method that is not among Methods.
	Decompress(head []byte, m CompressMethod, data []byte, limit int) (out []byte, err error)
}

// CompressNames returns the names of c's methods, for HELLO; nil when c is nil.
func CompressNames(c Compression) []string {
	if c == nil {
		return nil
	}
	var names []string
	for _, m := range c.Methods() {
		names = append(names, m.String())
	}
	return names
}

// ChooseCompressMethod returns the first of c's methods whose name is among those
// that a peer gave, and CompressNone when there is none, or c is nil. Names that are
// not known are passed over.
func ChooseCompressMethod(c Compression, theirs []string) CompressMethod {
	if c == nil {
		return CompressNone
	}
	for _, m := range c.Methods() {
		if slices.Contains(theirs, m.String()) {
			return m
		}
	}
	return CompressNone
}

const (
	compressShift       = 28
	compressMask  MType = 7 << compressShift
)

// Compressed returns how the body is compressed of a frame whose MType is t.
func (t MType) Compressed() CompressMethod { return CompressMethod(t & compressMask >> compressShift) }

// Plain returns what is left of t without how the body is compressed.
func (t MType) Plain() MType { return t &^ compressMask }

// With returns the MType of a frame of type t whose body is compressed with m.
func (t MType) With(m CompressMethod) MType { return t.Plain() | MType(m)<<compressShift&compressMask }
