package abstract

import (
	"context"
	"maps"
)

// Metadata is words that travel beside the parameters of a call or stream, or beside a
// message of a topic: who asks, for what trace. Names are of lower-case letters,
// digits, and any of "-_.".
type Metadata map[string]string

// The limits of metadata.
const (
	MaxMetadata     = 8 << 10 // names and values together, in bytes
	MaxMetadataName = 64
	MaxMetadataLen  = 64 // entries
)

type (
	metadataOut struct{}
	// MetadataKey is the key under which the context of a handler, or of a subscriber's
	// callback, holds the Metadata that came.
	MetadataKey struct{}
)

// IncomingMetadata returns a context as a handler's or a callback's: MetadataOf returns
// meta for it. Calls made with it do not carry meta on.
func IncomingMetadata(ctx context.Context, meta Metadata) context.Context {
	return context.WithValue(ctx, MetadataKey{}, meta)
}

// WithMetadata returns a context whose calls, streams and messages carry meta, over
// what ctx had already.
func WithMetadata(ctx context.Context, meta Metadata) context.Context {
	return context.WithValue(ctx, metadataOut{}, OutgoingMetadata(ctx).With(meta))
}

// OutgoingMetadata is what calls made with ctx carry; it must not be changed.
func OutgoingMetadata(ctx context.Context) Metadata {
	meta, _ := ctx.Value(metadataOut{}).(Metadata)
	return meta
}

// MetadataOf is what came with the call, stream or message that ctx belongs to; nil
// when there was nothing. It must not be changed.
func MetadataOf(ctx context.Context) Metadata {
	meta, _ := ctx.Value(MetadataKey{}).(Metadata)
	return meta
}

// With returns a new map, never nil, of m and of more over it.
func (m Metadata) With(more Metadata) Metadata {
	all := make(Metadata, len(m)+len(more))
	maps.Copy(all, m)
	maps.Copy(all, more)
	return all
}

// Check returns an *Error with code InvalidParams that says what of meta cannot be
// sent, or nil.
func (m Metadata) Check() error {
	if len(m) > MaxMetadataLen {
		return Errorf(InvalidParams, "metadata of more than %d entries; send large things as parameters", MaxMetadataLen)
	}
	bytes := 0
	for name, value := range m {
		if !validMetadataName(name) {
			return Errorf(InvalidParams, `metadata %.80q: a name is 1 to %d of a-z, 0-9 and "-_."`, name, MaxMetadataName)
		}
		if bytes += len(name) + len(value); bytes > MaxMetadata {
			return ErrMetadataTooLong()
		}
	}
	return nil
}

// ErrMetadataTooLong is the error of metadata above MaxMetadata.
func ErrMetadataTooLong() *Error {
	return Errorf(InvalidParams, "metadata of more than %d bytes; send large things as parameters", MaxMetadata)
}

func validMetadataName(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return name != "" && len(name) <= MaxMetadataName
}
