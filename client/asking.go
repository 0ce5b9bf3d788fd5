package client

import (
	"context"

	"trefoil/abstract"
)

// asking is a call as it is asked for, beside its method and parameters.
type asking struct {
	abstract.CallOptions
	only   *provider // the provider to ask, once; nil: any
	oneway bool
	about  string // the method whose providers are asked; empty: the one that is called
	final  bool   // Meta is all there is to send: the context's is in it, or was taken out
}

// askingOf applies options; nil when there are none.
func askingOf(opts []CallOption) *asking {
	if len(opts) == 0 {
		return nil
	}
	d := new(asking)
	for _, opt := range opts {
		opt(&d.CallOptions)
	}
	return d
}

// own returns an asking that may be changed: a copy of d, or a new one for nil.
func (d *asking) own() *asking {
	if d == nil {
		return new(asking)
	}
	e := *d
	return &e
}

// metadata is what the call carries: the context's, with its own over it.
func (d *asking) metadata(ctx context.Context) abstract.Metadata {
	switch {
	case d == nil || len(d.Meta) == 0 && !d.final:
		return abstract.OutgoingMetadata(ctx)
	case d.final:
		return d.Meta
	}
	return d.allMetadata(ctx)
}

// allMetadata is metadata as a map that may be changed; it is never nil.
func (d *asking) allMetadata(ctx context.Context) abstract.Metadata {
	var own abstract.Metadata
	if d != nil {
		own = d.Meta
	}
	return abstract.OutgoingMetadata(ctx).With(own)
}
