package server

// streamConfig is what the options say that are about streams.
type streamConfig struct {
	perConn int
	most    int
	window  int
}

// WithStreams sets how many streams may be open at once: of one connection, and in all,
// those included that a broker passes on. Further ones are refused with Overloaded. The
// default is 1,024 and 16,384; 0 leaves one as it is.
func WithStreams(perConn, inAll int) Option {
	return func(c *config) {
		if perConn > 0 {
			c.streams.perConn = perConn
		}
		if inAll > 0 {
			c.streams.most = inAll
		}
	}
}

// WithStreamWindow sets how many bytes of messages of one stream may wait for a handler
// that does not read, beside one message that is larger, and in a broker that passes a
// stream on, in each direction. The default is 64 KiB. Over long distances a stream moves
// one window in each round trip.
func WithStreamWindow(bytes int) Option {
	return func(c *config) {
		if bytes > 0 {
			c.streams.window = bytes
		}
	}
}
