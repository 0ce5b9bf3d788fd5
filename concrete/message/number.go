package message

import (
	"bytes"
	"math"
)

// decimal is a valid JSON number in its parts: whole.fraction times ten to the exponent.
type decimal struct {
	negative        bool
	whole, fraction []byte
	exponent        int
}

// maxExponent is beyond every number of digits that fits a frame. Larger
// exponents mean the same.
const maxExponent = 1 << 27

func split(b []byte) (d decimal) {
	if d.negative = b[0] == '-'; d.negative {
		b = b[1:]
	}
	d.whole, b = leading(b)
	if len(b) > 0 && b[0] == '.' {
		d.fraction, b = leading(b[1:])
	}
	if len(b) > 0 {
		d.exponent = exponent(b[1:])
	}
	return d
}

// leading splits the digits from the beginning of b.
func leading(b []byte) (digits, rest []byte) {
	i := 0
	for i < len(b) && b[i]-'0' <= 9 {
		i++
	}
	return b[:i], b[i:]
}

func exponent(b []byte) int {
	sign := 1
	switch b[0] {
	case '-':
		sign, b = -1, b[1:]
	case '+':
		b = b[1:]
	}
	e := 0
	for _, c := range b {
		e = min(e*10+int(c-'0'), maxExponent)
		if e == maxExponent {
			break
		}
	}
	return sign * e
}

// integral says whether the number has no fraction, whatever its size: whether
// its last digit that is not 0 stands before the point.
func (d decimal) integral() bool {
	for i := len(d.fraction); i > 0; i-- {
		if d.fraction[i-1] != '0' {
			return d.exponent >= i
		}
	}
	for i := len(d.whole); i > 0; i-- {
		if d.whole[i-1] != '0' {
			return d.exponent >= i-len(d.whole)
		}
	}
	return true
}

// maxDigits is how many digits the largest 64-bit integer has.
const maxDigits = 20

// appendDigits appends an integral number's digits, without sign, exponent and
// leading zeros. ok is false when there are more than maxDigits of them.
func (d decimal) appendDigits(dst []byte) (digits []byte, ok bool) {
	first := 0
	for first < len(d.whole)+len(d.fraction) && d.digit(first) == '0' {
		first++
	}
	if first == len(d.whole)+len(d.fraction) {
		return append(dst, '0'), true
	}
	last := len(d.whole) + d.exponent
	if last-first > maxDigits {
		return dst, false
	}
	for i := first; i < last; i++ {
		dst = append(dst, d.digit(i))
	}
	return dst, true
}

// digit returns the digit at a place counted from the front; zeros follow the last.
func (d decimal) digit(i int) byte {
	switch {
	case i < len(d.whole):
		return d.whole[i]
	case i < len(d.whole)+len(d.fraction):
		return d.fraction[i-len(d.whole)]
	}
	return '0'
}

// integer reads an integral number of 64 bits, however it is written. It is not
// ok for any other JSON value, for a larger integer, and for nothing.
func integer(b []byte) (v int64, ok bool) {
	if len(b) == 0 || b[0] != '-' && b[0]-'0' > 9 {
		return 0, false
	}
	if v, ok := short(b); ok {
		return v, true
	}
	d := split(b)
	if !d.integral() {
		return 0, false
	}
	var room [maxDigits]byte
	digits, ok := d.appendDigits(room[:0])
	if !ok {
		return 0, false
	}
	return d.signed(digits)
}

// short reads what most integers are: a few digits and nothing else.
func short(b []byte) (v int64, ok bool) {
	if len(b) > 18 {
		return 0, false
	}
	for _, c := range b {
		if c-'0' > 9 {
			return 0, false
		}
		v = v*10 + int64(c-'0')
	}
	return v, true
}

// signed counts below zero, where int64 reaches one further.
func (d decimal) signed(digits []byte) (v int64, ok bool) {
	for _, c := range digits {
		n := int64(c - '0')
		if v < (math.MinInt64+n)/10 {
			return 0, false
		}
		v = v*10 - n
	}
	if d.negative {
		return v, true
	}
	return -v, v != math.MinInt64
}

// plainIntegers returns valid JSON text in which integral numbers that are
// written with a point or an exponent, such as 2.0, are written as integers, and
// whether there was one. Larger numbers than 64 bits hold stay as they are.
func plainIntegers(raw []byte) (text []byte, changed bool) {
	kept := 0
	for i := 0; i < len(raw); {
		switch c := raw[i]; {
		case c == '"':
			i, _ = skipText(raw, i)
		case c == '-' || c-'0' <= 9:
			start := i
			i = skipNumber(raw, i)
			if plain, ok := plainInteger(raw[start:i]); ok {
				text = append(append(text, raw[kept:start]...), plain...)
				kept, changed = i, true
			}
		default:
			i++
		}
	}
	return append(text, raw[kept:]...), changed
}

// plainInteger returns the digits of a number that is integral and not written so.
func plainInteger(number []byte) (plain []byte, ok bool) {
	if !bytes.ContainsAny(number, ".eE") {
		return nil, false
	}
	d := split(number)
	if !d.integral() {
		return nil, false
	}
	if d.negative {
		plain = append(plain, '-')
	}
	return d.appendDigits(plain)
}
