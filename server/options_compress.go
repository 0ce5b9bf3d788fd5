package server

import "trefoil/abstract"

// WithCompression lets peers send compressed bodies, and compresses what is sent to
// those whose HELLO says that they take it: with the first method of c that they
// know, bodies above c's threshold. Others, and existing programs, get everything as
// it is. Without this option nothing is compressed. Package trefoil/concrete/compress
// has a Compression.
func WithCompression(c abstract.Compression) Option {
	return func(cfg *config) { cfg.compression = c }
}
