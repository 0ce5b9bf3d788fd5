package compress

import (
	"slices"

	"trefoil/abstract"
)

const (
	// defaultAbove is where compression begins to pay on a network: see the
	// measurements in docs/performance.md.
	defaultAbove   = 4 << 10
	defaultMaxBody = 8 << 20
)

// Config says how bodies are compressed. The zero value takes the defaults.
type Config struct {
	Methods []abstract.CompressMethod // what is known, the one to send with first; default s2, zstd
	Above   int                       // a body of so many bytes, or fewer, is left as it is; default 4 KiB, negative for 0
	MaxBody int                       // bytes of a body that is made whole, whatever the caller's limit; default 8 MiB: as long as a frame may be
}

// Compressor compresses and decompresses. Safe for concurrent use; it works on the
// caller's goroutine and starts none.
type Compressor struct {
	methods []abstract.CompressMethod
	above   int
	maxBody int
	zstd    zstdPools
}

var _ abstract.Compression = (*Compressor)(nil)

// New makes a Compressor. Methods that are none, or not known, are passed over.
func New(cfg Config) *Compressor {
	if len(cfg.Methods) == 0 {
		cfg.Methods = []abstract.CompressMethod{abstract.CompressS2, abstract.CompressZstd}
	}
	if cfg.Above == 0 {
		cfg.Above = defaultAbove
	}
	if cfg.MaxBody <= 0 {
		cfg.MaxBody = defaultMaxBody
	}
	c := &Compressor{above: max(cfg.Above, 0), maxBody: cfg.MaxBody}
	for _, m := range cfg.Methods {
		if (m == abstract.CompressS2 || m == abstract.CompressZstd) && !slices.Contains(c.methods, m) {
			c.methods = append(c.methods, m)
		}
	}
	c.zstd.init(cfg.MaxBody)
	return c
}

// Methods returns the methods of the Config.
func (c *Compressor) Methods() []abstract.CompressMethod { return c.methods }

// Above returns Above of the Config.
func (c *Compressor) Above() int { return c.above }

// Compress returns head, and after it body compressed with m.
func (c *Compressor) Compress(head []byte, m abstract.CompressMethod, body []byte) (out []byte, ok bool) {
	if len(body) <= c.above || !slices.Contains(c.methods, m) {
		return nil, false
	}
	most := roomS2(len(body))
	if most < 0 { // far above every limit
		return nil, false
	}
	withScratch(most, func(scratch []byte) {
		if m == abstract.CompressZstd {
			scratch = c.zstd.encode(scratch, body)
		} else {
			scratch = encodeS2(scratch, body)
		}
		if ok = len(scratch) < len(body); ok {
			out = own(head, scratch)
		}
	})
	return out, ok
}

// Decompress returns head, and after it what data was before it was compressed
// with m.
func (c *Compressor) Decompress(head []byte, m abstract.CompressMethod, data []byte, limit int) ([]byte, error) {
	if !slices.Contains(c.methods, m) {
		return nil, abstract.Errorf(abstract.Unsupported, "%v is no way to compress that was offered here", m)
	}
	limit = max(0, min(limit, c.maxBody))
	if m == abstract.CompressZstd {
		return c.zstd.decode(head, data, limit)
	}
	return decodeS2(head, data, limit)
}

func errTooLarge(limit int) error {
	return abstract.Errorf(abstract.TooLarge, "a compressed body is above the limit of %d bytes when it is whole: send less at a time", limit)
}

func errDamaged(m abstract.CompressMethod, err error) error {
	return &abstract.Error{Code: abstract.ParseFailed, Message: "a body is not compressed with " + m.String() + " as it says", Err: err}
}
