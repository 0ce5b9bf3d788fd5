package message

import (
	"slices"

	"trefoil/abstract"
)

// appendMetadata appends the member "meta", which is left out when it is empty: an
// object of strings, with its names in order.
func appendMetadata(dst []byte, meta abstract.Metadata) []byte {
	if len(meta) == 0 {
		return dst
	}
	var few [8]string // enough for most, and not on the heap
	names := few[:0]
	for name := range meta {
		names = append(names, name)
	}
	slices.Sort(names)
	dst = append(dst, `,"meta":`...)
	comma := byte('{')
	for _, name := range names {
		dst = appendString(append(dst, comma), name)
		dst = appendString(append(dst, ':'), meta[name])
		comma = ','
	}
	return append(dst, '}')
}

// metadata reads the value of the member "meta", which may be missing.
func (e *envelope) metadata(raw []byte) abstract.Metadata {
	if raw == nil {
		return nil
	}
	if KindOf(raw) != Object {
		e.fail(abstract.InvalidParams, `"meta" must be an object of strings`)
		return nil
	}
	if len(raw) > 6*abstract.MaxMetadata+8*abstract.MaxMetadataLen { // else it is too long even when all of it is escaped
		e.fail(abstract.InvalidParams, abstract.ErrMetadataTooLong().Message)
		return nil
	}
	var meta abstract.Metadata
	s := scanner{b: raw}
	s.members(func(m member) bool {
		if KindOf(m.value) != String {
			e.fail(abstract.InvalidParams, `"meta" must be an object of strings`)
			return false
		}
		if meta == nil {
			meta = make(abstract.Metadata)
		}
		meta[unquote(m.name, m.plain)] = unquote(m.value[1:len(m.value)-1], false)
		return len(meta) <= abstract.MaxMetadataLen // Check says what is wrong
	})
	if e.head.fault != nil {
		return nil
	}
	if err := meta.Check(); err != nil {
		e.head.fault, _ = err.(*abstract.Error) //nolint:errorlint // it promises that
		return nil
	}
	return meta
}
