package message

import (
	"unicode/utf8"
	"unsafe"

	"trefoil/abstract"
)

// scanner walks over JSON text (RFC 8259, nothing else: no byte-order mark, no
// comments) without reflection, recursion or allocation, and validates all of
// it, also what it skips.
type scanner struct {
	b   []byte
	pos int
	// depth counts open brackets; objects has a bit for each of the first 64
	// levels, deeper ones are in more.
	depth   int
	deepest int
	objects uint64
	more    []uint64
}

// white is a table of the four bytes that may stand between tokens; plain of
// those that need no look inside a string.
var white, plain = func() (w, p [256]bool) {
	for _, c := range " \t\r\n" {
		w[c] = true
	}
	for c := 0x20; c < 0x80; c++ {
		p[c] = c != '"' && c != '\\'
	}
	return
}()

func (s *scanner) space() {
	for s.pos < len(s.b) && white[s.b[s.pos]] {
		s.pos++
	}
}

// peek returns the next byte, or 0 at the end: no token begins with it.
func (s *scanner) peek() byte {
	if s.pos < len(s.b) {
		return s.b[s.pos]
	}
	return 0
}

// take consumes c and returns whether it was there.
func (s *scanner) take(c byte) bool {
	if s.pos < len(s.b) && s.b[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

// str consumes a string and returns its text with the quotes; simple says that
// what is between them is the string itself: no escapes, only ASCII.
func (s *scanner) str() (text []byte, simple, ok bool) {
	start := s.pos
	if !s.take('"') {
		return nil, false, false
	}
	simple = true
	for s.pos < len(s.b) {
		c := s.b[s.pos]
		switch {
		case plain[c]:
			s.pos++
		case c == '"':
			s.pos++
			return s.b[start:s.pos:s.pos], simple, true
		case c == '\\':
			simple = false
			if !s.escape() {
				return nil, false, false
			}
		case c < 0x20:
			return nil, false, false
		default: // UTF-8, or what takes its place: encoding/json takes both
			simple = false
			s.pos++
		}
	}
	return nil, false, false
}

func (s *scanner) escape() bool {
	if s.pos+1 >= len(s.b) {
		return false
	}
	switch s.b[s.pos+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos += 2
		return true
	case 'u':
		if s.pos+6 > len(s.b) {
			return false
		}
		for _, c := range s.b[s.pos+2 : s.pos+6] {
			if !hex(c) {
				return false
			}
		}
		s.pos += 6
		return true
	}
	return false
}

func hex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.b) && s.b[s.pos] >= '0' && s.b[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > start
}

// number consumes a number.
func (s *scanner) number() bool {
	s.take('-')
	if !s.take('0') && !s.digits() {
		return false
	}
	if s.take('.') && !s.digits() {
		return false
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		return s.digits()
	}
	return true
}

func (s *scanner) word(w string) bool {
	if len(s.b)-s.pos < len(w) || string(s.b[s.pos:s.pos+len(w)]) != w {
		return false
	}
	s.pos += len(w)
	return true
}

// value consumes one value of any kind and returns its text.
func (s *scanner) value() (text []byte, ok bool) {
	start := s.pos
	floor := s.depth
	for {
		if !s.begin() {
			return nil, false
		}
		if !s.after(floor) {
			return nil, false
		}
		if s.depth == floor {
			return s.b[start:s.pos:s.pos], true
		}
	}
}

// begin consumes a scalar, or the opening of an array or object up to where its
// first value stands. An empty one is consumed whole.
func (s *scanner) begin() bool {
	for {
		switch c := s.peek(); c {
		case '{', '[':
			s.pos++
			s.push(c == '{')
			s.space()
			if s.take(c + 2) { // the closing bracket is two further in ASCII
				s.depth--
				return true
			}
			if c == '{' && !s.key() {
				return false
			}
			s.space()
		case '"':
			_, _, ok := s.str()
			return ok
		case 't':
			return s.word("true")
		case 'f':
			return s.word("false")
		case 'n':
			return s.word("null")
		default:
			return s.number()
		}
	}
}

// key consumes a member's name and its colon.
func (s *scanner) key() bool {
	if _, _, ok := s.str(); !ok {
		return false
	}
	s.space()
	return s.take(':')
}

// after consumes what may follow a value: closing brackets, or a comma up to the
// next value. It stops at the level floor without consuming anything.
func (s *scanner) after(floor int) bool {
	for s.depth > floor {
		s.space()
		object := s.inObject()
		switch {
		case s.take(','):
			s.space()
			if object && !s.key() {
				return false
			}
			s.space()
			return true
		case object && s.take('}'), !object && s.take(']'):
			s.depth--
		default:
			return false
		}
	}
	return true
}

// push notes that a bracket was opened. One bit for each level is enough, and
// for the deepest nesting that fits a frame it is a small part of that frame.
func (s *scanner) push(object bool) {
	level := s.depth
	s.depth++
	s.deepest = max(s.deepest, s.depth)
	word := &s.objects
	if level >= 64 {
		i := level/64 - 1
		if i == len(s.more) {
			s.more = append(s.more, 0)
		}
		word = &s.more[i]
	}
	bit := uint64(1) << (level % 64)
	if object {
		*word |= bit
	} else {
		*word &^= bit
	}
}

func (s *scanner) inObject() bool {
	level := s.depth - 1
	if level < 64 {
		return s.objects>>level&1 == 1
	}
	return s.more[level/64-1]>>(level%64)&1 == 1
}

// members walks over the members of the object that is the whole text, and
// returns whether it is one. key is the name as it is written, between the quotes;
// simple says that this is the name itself.
func (s *scanner) members(yield func(key []byte, simple bool, value []byte) bool) bool {
	s.space()
	if !s.take('{') {
		return false
	}
	s.push(true)
	s.space()
	if s.take('}') {
		return s.end()
	}
	for {
		key, simple, ok := s.str()
		if !ok {
			return false
		}
		s.space()
		if !s.take(':') {
			return false
		}
		s.space()
		value, ok := s.value()
		if !ok {
			return false
		}
		if !yield(key[1:len(key)-1], simple, value) {
			return true
		}
		s.space()
		if s.take('}') {
			return s.end()
		}
		if !s.take(',') {
			return false
		}
		s.space()
	}
}

// end checks that nothing but space follows.
func (s *scanner) end() bool {
	s.space()
	return s.pos == len(s.b)
}

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

// KindOf returns the kind of a value that is valid JSON; it only looks as far as
// that takes.
func KindOf(raw Raw) Kind {
	s := scanner{b: raw}
	s.space()
	switch c := s.peek(); {
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
		if integral(trim(raw)) {
			return Integer
		}
		return Number
	}
	return Invalid
}

// Fits reports whether a value of kind k may stand where want is described.
func (k Kind) Fits(want Kind) bool {
	return k == want || want == Any || k == Integer && want == Number
}

func trim(raw []byte) []byte {
	for len(raw) > 0 && white[raw[0]] {
		raw = raw[1:]
	}
	for len(raw) > 0 && white[raw[len(raw)-1]] {
		raw = raw[:len(raw)-1]
	}
	return raw
}

// Members walks over the members of an object in order, with their unescaped
// names. It returns an error with code ParseFailed when raw is no JSON object;
// yield may have been called before that is seen.
func Members(raw Raw, yield func(key string, value Raw) bool) error {
	s := scanner{b: raw}
	if !s.members(func(key []byte, simple bool, value []byte) bool { return yield(unquote(key, simple), value) }) {
		return abstract.Errorf(abstract.ParseFailed, "not a JSON object")
	}
	return nil
}

// Valid reports whether raw is exactly one JSON value.
func Valid(raw Raw) bool {
	s := scanner{b: raw}
	s.space()
	_, ok := s.value()
	return ok && s.end()
}

// alias makes a string of bytes that are never changed: those of a received
// frame. The string keeps the frame alive.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// unquote returns the string that is written between quotes.
func unquote(b []byte, simple bool) string {
	if simple || !escaped(b) && utf8.Valid(b) {
		return alias(b)
	}
	return unescape(b)
}

func escaped(b []byte) bool {
	for _, c := range b {
		if c == '\\' {
			return true
		}
	}
	return false
}
