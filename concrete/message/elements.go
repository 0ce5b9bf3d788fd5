package message

import "trefoil/abstract"

// Elements calls yield with the elements of an array in their order. It stops when
// yield returns false, and does not look at what follows. Text that is no JSON array
// is an error with code ParseFailed; elements before the fault have been yielded
// then. The slices alias raw.
func Elements(raw Raw, yield func(value Raw) bool) error {
	s := scanner{b: raw}
	if !s.elements(yield) {
		return abstract.Errorf(abstract.ParseFailed, "this is no JSON array: %s", excerpt(raw))
	}
	return nil
}

// elements is members for an array.
func (s *scanner) elements(yield func(Raw) bool) (ok bool) {
	i := skipSpace(s.b, 0)
	if at(s.b, i) != '[' {
		return false
	}
	s.push(false)
	if i = skipSpace(s.b, i+1); at(s.b, i) == ']' {
		return s.ends(i + 1)
	}
	for {
		next := s.skip(i)
		if next == 0 {
			return false
		}
		if !yield(s.b[i:next:next]) {
			return true
		}
		i = skipSpace(s.b, next)
		switch at(s.b, i) {
		case ']':
			return s.ends(i + 1)
		case ',':
			i = skipSpace(s.b, i+1)
		default:
			return false
		}
	}
}
