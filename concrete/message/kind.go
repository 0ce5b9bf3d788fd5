package message

import "trefoil/abstract"

// Kind is the kind of a JSON value, as a service description names it.
type Kind string

// The kinds. An integer is a number without a fraction, however it is written:
// 2, 2.0 and 2e0 are the same.
const (
	Bool    Kind = "bool"
	Integer Kind = "integer"
	Number  Kind = "number"
	String  Kind = "string"
	Array   Kind = "array"
	Object  Kind = "object"
	Any     Kind = "any" // in descriptions only
	Null    Kind = "null"
	Invalid Kind = "" // no JSON value
)

// KindOf returns the kind of a value that is valid JSON, as all Raws in received
// messages are. It looks no further than that takes, so what it says of other
// text means nothing. An integer may have any size.
func KindOf(raw Raw) Kind {
	start := skipSpace(raw, 0)
	switch c := at(raw, start); {
	case c == '{':
		return Object
	case c == '[':
		return Array
	case c == '"':
		return String
	case c == 't', c == 'f':
		return Bool
	case c == 'n':
		return Null
	case c == '-', c >= '0' && c <= '9':
		if end := skipNumber(raw, start); end != 0 && split(raw[start:end]).integral() {
			return Integer
		}
		return Number
	}
	return Invalid
}

// Fits reports whether a value of kind k may stand where want is described:
// anything where want is Any, and an integer where it is Number.
func (k Kind) Fits(want Kind) bool {
	return k == want || want == Any || k == Integer && want == Number
}

// Members calls yield with the members of an object in the order of the text,
// repeated names included, with names unescaped. It stops when yield returns
// false, and does not look at what follows. Text that is no JSON object is an
// error with code ParseFailed; members before the fault have been yielded then.
// The slices alias raw.
func Members(raw Raw, yield func(name string, value Raw) bool) error {
	s := scanner{b: raw}
	if !s.members(func(m member) bool { return yield(unquote(m.name, m.plain), m.value) }) {
		return abstract.Errorf(abstract.ParseFailed, "this is no JSON object: %s", excerpt(raw))
	}
	return nil
}

// Valid returns nil when raw is exactly one JSON value, with or without white
// space round it, else an error with code ParseFailed.
func Valid(raw Raw) error {
	s := scanner{b: raw}
	if i := s.skip(skipSpace(raw, 0)); i == 0 || !s.ends(i) {
		return abstract.Errorf(abstract.ParseFailed, "this is no JSON: %s", excerpt(raw))
	}
	return nil
}
