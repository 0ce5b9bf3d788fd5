package otel

import (
	"maps"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/propagation"

	"trefoil/abstract"
)

// carrier lets propagators read and write metadata, whose names are of small letters.
type carrier abstract.Metadata

var _ propagation.TextMapCarrier = carrier(nil)

// Get returns an entry.
func (c carrier) Get(key string) string { return c[strings.ToLower(key)] }

// Set sets an entry.
func (c carrier) Set(key, value string) { c[strings.ToLower(key)] = value }

// Keys returns the names of all entries.
func (c carrier) Keys() []string { return slices.Collect(maps.Keys(c)) }
