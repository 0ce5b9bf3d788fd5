package lv

import "sync"

// The sizes of memory that is used again for one frame after the other. Larger
// frames are rare, and cost more than their memory.
const (
	size512 = 512
	size2K  = 2 << 10
	size8K  = 8 << 10
	size32K = 32 << 10
	size96K = 96 << 10 // what a message of 64 KiB needs
)

// Pointers to arrays, unlike slices, go into a sync.Pool without an allocation.
var (
	pool512 = sync.Pool{New: func() any { return new([size512]byte) }}
	pool2K  = sync.Pool{New: func() any { return new([size2K]byte) }}
	pool8K  = sync.Pool{New: func() any { return new([size8K]byte) }}
	pool32K = sync.Pool{New: func() any { return new([size32K]byte) }}
	pool96K = sync.Pool{New: func() any { return new([size96K]byte) }}
)

// Memory returns an empty slice with room for at least n bytes. It belongs to the
// caller, who puts it into a Frame with Recycle as its Free, or calls Recycle, or
// leaves it to the collector.
func Memory(n int) []byte {
	switch {
	case n <= size512:
		return pool512.Get().(*[size512]byte)[:0]
	case n <= size2K:
		return pool2K.Get().(*[size2K]byte)[:0]
	case n <= size8K:
		return pool8K.Get().(*[size8K]byte)[:0]
	case n <= size32K:
		return pool32K.Get().(*[size32K]byte)[:0]
	case n <= size96K:
		return pool96K.Get().(*[size96K]byte)[:0]
	}
	return make([]byte, 0, n)
}

// Recycle takes memory back that nobody uses any more. What has grown since it
// came from Memory, or never came from there, is left to the collector.
func Recycle(b []byte) {
	switch cap(b) {
	case size512:
		pool512.Put((*[size512]byte)(b[:size512]))
	case size2K:
		pool2K.Put((*[size2K]byte)(b[:size2K]))
	case size8K:
		pool8K.Put((*[size8K]byte)(b[:size8K]))
	case size32K:
		pool32K.Put((*[size32K]byte)(b[:size32K]))
	case size96K:
		pool96K.Put((*[size96K]byte)(b[:size96K]))
	}
}
