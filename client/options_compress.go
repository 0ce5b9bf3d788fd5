package client

import "trefoil/abstract"

// WithCompression lets the other side send compressed bodies, and compresses what is
// sent to it when its HELLO says that it takes that: with the first method of c that
// it knows, bodies above c's threshold. Existing programs get everything as it is.
// Without this option nothing is compressed, which is right where the network is
// faster than the processor. Package trefoil/concrete/compress has a Compression.
func WithCompression(c abstract.Compression) Option {
	return func(cfg *config) { cfg.compression = c }
}
