package main

import (
	"math"
	"slices"
	"strings"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/cmd/trefoil/internal/config"
	"trefoil/concrete/compress"
	"trefoil/server"
)

// compressNames are what settings and flags call the ways to compress.
func compressNames() []string {
	return []string{abstract.CompressS2.String(), abstract.CompressZstd.String(), abstract.CompressNone.String()}
}

// compressMethods are those with a name; without any when one of them is none.
func compressMethods(names []string) []abstract.CompressMethod {
	var methods []abstract.CompressMethod
	for _, name := range names {
		m, err := abstract.ParseCompressMethod(name)
		if err != nil || m == abstract.CompressNone { // the names have been checked
			return nil
		}
		methods = append(methods, m)
	}
	return methods
}

// compressing is a broker's compression: it knows every method, for connections that agreed on
// one when it was offered, and offers some.
type compressing struct {
	*compress.Compressor
	methods []abstract.CompressMethod
}

// Methods are those that are offered.
func (c compressing) Methods() []abstract.CompressMethod { return c.methods }

// offering is how a broker compresses for those who ask for it, where bodies have so many
// bytes at most.
func (b *brokerSettings) offering(maxBody config.Size) compressing {
	methods, above := compressMethods(b.compress), int(b.compressAbove)
	switch {
	case len(methods) == 0: // also for those who have agreed on something
		above = math.MaxInt
	case above == 0:
		above = -1
	}
	return compressing{compress.New(compress.Config{Above: above, MaxBody: int(maxBody)}), methods}
}

// compression is how a broker compresses from its start on.
func (b *brokerSettings) compression() []server.Option {
	if len(compressMethods(b.compress)) == 0 {
		return nil
	}
	return []server.Option{server.WithCompression(b.offering(b.maxFrame))}
}

// compression is what --compress says; nil: nothing.
func (s *settings) compression() *compress.Compressor {
	methods := compressMethods(s.compressWith())
	if len(methods) == 0 {
		return nil
	}
	return compress.New(compress.Config{Methods: methods})
}

func (s *settings) compressWith() []string {
	if s.compress == "" {
		return nil
	}
	return strings.Split(s.compress, ",")
}

// checkCompress returns what is wrong with --compress.
func (s *settings) checkCompress() error {
	for _, name := range s.compressWith() {
		if !slices.Contains(compressNames(), name) {
			return usagef("--compress %q is not known; it is one of %s, or several separated by commas", name, strings.Join(compressNames(), ", "))
		}
	}
	return nil
}

// compressClient and compressServer are what --compress means to a client, and to
// the server of a provider.
func (s *settings) compressClient() []client.Option {
	if c := s.compression(); c != nil {
		return []client.Option{client.WithCompression(c)}
	}
	return nil
}

func (s *settings) compressServer() []server.Option {
	if c := s.compression(); c != nil {
		return []server.Option{server.WithCompression(c)}
	}
	return nil
}
