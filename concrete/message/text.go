package message

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// alias makes a string of bytes that are never changed again, as a received
// frame's are. The string keeps the frame in memory.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// unquote returns the string that valid JSON text between quotes stands for. It
// aliases b where the text is the string. plain says that this is known.
func unquote(b []byte, plain bool) string {
	if plain || bytes.IndexByte(b, '\\') < 0 && utf8.Valid(b) {
		return alias(b)
	}
	return unescape(b)
}

// excerpt quotes the beginning of a text for an error, as far as there is no token in it.
func excerpt(b []byte) string {
	const most = 60
	if i := bytes.Index(b, []byte(tokenPrefix)); i >= 0 {
		return strconv.Quote(string(b[:min(i, most)])) + "..."
	}
	if len(b) <= most {
		return strconv.Quote(string(b))
	}
	return strconv.Quote(string(b[:most])) + "..."
}

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
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' {
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
