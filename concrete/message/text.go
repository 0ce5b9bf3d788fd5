package message

import (
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// unescape returns the string that valid JSON text stands for. What is no UTF-8,
// and half a surrogate pair, become U+FFFD, as in encoding/json.
func unescape(b []byte) string {
	out := make([]byte, 0, len(b))
	for len(b) > 0 {
		if b[0] != '\\' {
			r, n := utf8.DecodeRune(b)
			out = utf8.AppendRune(out, r)
			b = b[n:]
			continue
		}
		if b[1] != 'u' {
			out = append(out, single(b[1]))
			b = b[2:]
			continue
		}
		r := unit(b)
		b = b[6:]
		if utf16.IsSurrogate(r) {
			pair := utf8.RuneError
			if len(b) >= 6 && b[0] == '\\' && b[1] == 'u' {
				pair = utf16.DecodeRune(r, unit(b))
			}
			if r = pair; r != utf8.RuneError {
				b = b[6:]
			}
		}
		out = utf8.AppendRune(out, r)
	}
	return alias(out)
}

// unit reads the code unit of \uXXXX.
func unit(b []byte) rune {
	v, _ := strconv.ParseUint(string(b[2:6]), 16, 16)
	return rune(v)
}

func single(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}

// appendString appends s as JSON text. What is no UTF-8 becomes U+FFFD.
func appendString(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if plain[c] {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				dst = append(append(dst, s[start:i]...), "\ufffd"...)
				start = i + n
			}
			i += n
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}

// integer reads an integral number of 64 bits, however it is written: 2, 2.0 and
// 20e-1 are the same. A larger one is not ok.
func integer(b []byte) (v int64, ok bool) {
	b = trim(b)
	if len(b) == 0 || b[0] != '-' && (b[0] < '0' || b[0] > '9') {
		return 0, false
	}
	if v, err := strconv.ParseInt(alias(b), 10, 64); err == nil {
		return v, true
	}
	mantissa, exponent, ok := decimal(b)
	if !ok {
		return 0, false
	}
	if len(mantissa) == 0 {
		return 0, true
	}
	if exponent < 0 || exponent > 19 || len(mantissa)+exponent > 19 {
		return 0, false
	}
	text := make([]byte, 0, 24)
	if b[0] == '-' {
		text = append(text, '-')
	}
	text = append(text, mantissa...)
	for range exponent {
		text = append(text, '0')
	}
	v, err := strconv.ParseInt(alias(text), 10, 64)
	return v, err == nil
}

// integral says whether a number has no fraction, whatever its size.
func integral(b []byte) bool {
	mantissa, exponent, ok := decimal(b)
	return ok && (len(mantissa) == 0 || exponent >= 0)
}

// decimal splits a valid number into its significant digits, without zeros at
// their ends, and the power of ten they are multiplied with. The digits alias b
// or, when there is a point between them, are a copy.
func decimal(b []byte) (digits []byte, exponent int, ok bool) {
	if len(b) > 0 && b[0] == '-' {
		b = b[1:]
	}
	end, point := len(b), -1
	for i, c := range b {
		if c == 'e' || c == 'E' {
			end = i
			break
		}
		if c == '.' {
			point = i
		}
	}
	if end < len(b) {
		e, err := strconv.Atoi(alias(b[end+1:]))
		if err != nil { // an exponent beyond all use: only zero is still integral
			e = 1 << 30
			if b[end+1] == '-' {
				e = -e
			}
		}
		exponent = e
	}
	digits = b[:end]
	if point >= 0 {
		exponent -= end - point - 1
		digits = append(append(make([]byte, 0, end), b[:point]...), b[point+1:end]...)
	}
	for len(digits) > 0 && digits[0] == '0' {
		digits = digits[1:]
	}
	for len(digits) > 0 && digits[len(digits)-1] == '0' {
		digits = digits[:len(digits)-1]
		exponent++
	}
	return digits, exponent, true
}

// plainIntegers returns valid JSON text in which every integral number of 64 bits
// that is written with a fraction or an exponent is written without: 2.0 as 2. Go's
// decoders take only those for integer types. The text itself is returned when
// there is none.
func plainIntegers(raw []byte) []byte {
	var out []byte
	kept := 0
	s := scanner{b: raw}
	for s.pos < len(raw) {
		switch c := raw[s.pos]; {
		case c == '"':
			s.str()
		case c == '-' || c >= '0' && c <= '9':
			start := s.pos
			s.number()
			text := raw[start:s.pos]
			if v, ok := integer(text); ok && !bareInteger(text) {
				out = strconv.AppendInt(append(out, raw[kept:start]...), v, 10)
				kept = s.pos
			}
		default:
			s.pos++
		}
	}
	if kept == 0 {
		return raw
	}
	return append(out, raw[kept:]...)
}

func bareInteger(text []byte) bool {
	for _, c := range text {
		if c == '.' || c == 'e' || c == 'E' {
			return false
		}
	}
	return true
}
