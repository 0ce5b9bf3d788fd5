package message

import "strings"

// Cursor goes once over the JSON text of one value, from its beginning to its end,
// for packages that read values into something else than Go's own types. At each
// moment it stands at a value, which Skip, Text or Open goes over:
//
//	for more := c.Open(); more; more = c.More() {
//		name := c.Name() // in an object only
//		...              // the value: any of Skip, Text, Open
//	}
//
// The text must be valid JSON, as all Raws in received messages are. On other text, or
// when it is asked for what is not there, it stops: from then on there are no more
// members and every value is Invalid.
type Cursor struct {
	b      []byte
	i      int
	failed bool
}

// NewCursor makes a Cursor that stands at the value that raw is.
func NewCursor(raw Raw) Cursor { return Cursor{b: raw, i: skipSpace(raw, 0)} }

// Kind is the kind of the value; Integer and Number are told apart.
func (c *Cursor) Kind() Kind {
	if c.failed {
		return Invalid
	}
	return KindOf(c.b[c.i:])
}

// Open goes into the array or object, and returns whether there is anything in it.
func (c *Cursor) Open() bool {
	open := at(c.b, c.i)
	if c.failed || open != '{' && open != '[' {
		c.failed = true
		return false
	}
	c.i = skipSpace(c.b, c.i+1)
	if at(c.b, c.i) == open+2 { // the closing bracket is two further in ASCII
		c.i++
		return false
	}
	return true
}

// More goes on to the next member or element after a value. When there is none it
// goes out of the array or object, which ends the value that this was.
func (c *Cursor) More() bool {
	if c.failed {
		return false
	}
	c.i = skipSpace(c.b, c.i)
	switch at(c.b, c.i) {
	case ',':
		c.i = skipSpace(c.b, c.i+1)
		return true
	case '}', ']':
		c.i++
	default:
		c.failed = true
	}
	return false
}

// Name reads a member's name, and goes on to its value. It may share the text's memory.
func (c *Cursor) Name() string {
	end, plain := c.text()
	if end == 0 {
		return ""
	}
	name := unquote(c.b[c.i+1:end-1], plain)
	if c.i = skipColon(c.b, end); c.i == 0 {
		c.failed = true
	}
	return name
}

// Text reads a string, in memory of its own.
func (c *Cursor) Text() string {
	end, plain := c.text()
	if end == 0 {
		return ""
	}
	inside := c.b[c.i+1 : end-1]
	c.i = end
	if plain {
		return string(inside)
	}
	return strings.Clone(unquote(inside, false))
}

func (c *Cursor) text() (end int, plain bool) {
	if !c.failed {
		end, plain = skipText(c.b, c.i)
	}
	c.failed = end == 0
	return end, plain
}

// Skip goes over any value and returns its text, which shares memory.
func (c *Cursor) Skip() Raw {
	if c.failed {
		return nil
	}
	s := scanner{b: c.b}
	end := s.skip(c.i)
	if end == 0 {
		c.failed = true
		return nil
	}
	value := c.b[c.i:end:end]
	c.i = end
	return value
}

// Int returns the integer that a JSON number is, however it is written. Not ok: it is
// something else, or beyond 64 bits.
func Int(number Raw) (v int64, ok bool) { return integer(number) }

// Uint is Int for those from 0 to the largest of 64 bits.
func Uint(number Raw) (v uint64, ok bool) {
	if v, ok := integer(number); ok {
		return uint64(v), v >= 0
	}
	if len(number) == 0 || number[0]-'0' > 9 {
		return 0, false
	}
	d := split(number)
	if !d.integral() {
		return 0, false
	}
	var room [maxDigits]byte
	digits, ok := d.appendDigits(room[:0])
	if !ok {
		return 0, false
	}
	for _, c := range digits {
		n := uint64(c - '0')
		if v > (1<<64-1-n)/10 {
			return 0, false
		}
		v = v*10 + n
	}
	return v, true
}

// AppendText appends s as a JSON string. What is no UTF-8 becomes U+FFFD.
func AppendText(dst []byte, s string) []byte {
	start := len(dst)
	text := append(append(append(dst, '"'), s...), '"')
	if end, plain := skipText(text, start); plain && end == len(text) {
		return text
	}
	return appendString(text[:start], s)
}
