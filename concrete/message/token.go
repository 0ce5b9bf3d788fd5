package message

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// The functions below skip one token of JSON text at b[i]. They return where it
// ends, and 0 when it is not there.

// at returns b[i], or 0 at the end: no token begins with it.
func at(b []byte, i int) byte {
	if i < len(b) {
		return b[i]
	}
	return 0
}

// skipSpace returns where the next token begins; that may be the end.
func skipSpace(b []byte, i int) int {
	for i < len(b) && b[i] <= ' ' && white(b[i]) {
		i++
	}
	return i
}

func white(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// skipKey skips a member's name and its colon, up to the value.
func skipKey(b []byte, i int) int {
	if i, _ = skipText(b, i); i == 0 {
		return 0
	}
	return skipColon(b, i)
}

// skipColon skips a colon and the space round it.
func skipColon(b []byte, i int) int {
	if i = skipSpace(b, i); at(b, i) != ':' {
		return 0
	}
	return skipSpace(b, i+1)
}

func skipWord(b []byte, i int, word string) int {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return 0
	}
	return i + len(word)
}

func skipNumber(b []byte, i int) int {
	if at(b, i) == '-' {
		i++
	}
	if at(b, i) == '0' {
		i++
	} else if i = skipDigits(b, i); i == 0 {
		return 0
	}
	if at(b, i) == '.' {
		if i = skipDigits(b, i+1); i == 0 {
			return 0
		}
	}
	if at(b, i)|0x20 != 'e' {
		return i
	}
	i++
	if c := at(b, i); c == '+' || c == '-' {
		i++
	}
	return skipDigits(b, i)
}

// skipDigits skips one or more digits.
func skipDigits(b []byte, i int) int {
	start := i
	for i < len(b) && b[i]-'0' <= 9 {
		i++
	}
	if i == start {
		return 0
	}
	return i
}

// skipText skips a string. plain says that what stands between its quotes is the
// string itself: no escapes, only ASCII. Bytes that are no UTF-8 are taken, as
// encoding/json takes them.
func skipText(b []byte, i int) (end int, plain bool) {
	if i+9 > len(b) || b[i] != '"' {
		return skipAnyText(b, i)
	}
	i++
	word := binary.LittleEndian.Uint64(b[i:])
	stop := stops(word)
	n := bits.TrailingZeros64(stop) / 8 // 8 when there is none
	if n == 8 || b[i+n] != '"' {
		return skipAnyText(b, i-1)
	}
	return i + n + 1, word&(stop&-stop-1)&highBits == 0
}

// skipAnyText is skipText for strings that are not short and simple.
func skipAnyText(b []byte, i int) (end int, plain bool) {
	if at(b, i) != '"' {
		return 0, false
	}
	i++
	n, seen := skim(b[i:]) // once in a string: it may look at all that follows
	i += n
	escapes := false
	for {
		for ; i < len(b) && b[i] >= ' ' && b[i] != '"' && b[i] != '\\'; i++ {
			seen |= uint64(b[i])
		}
		if at(b, i) == '"' {
			return i + 1, !escapes && seen&highBits == 0
		}
		n := escape(b[i:])
		if n == 0 {
			return 0, false
		}
		escapes = true
		i += n
	}
}

const (
	lowBits  = 0x0101010101010101
	highBits = 0x80 * lowBits
)

// stops marks, in the highest bit of its byte, the first byte of a word at which
// a string does not simply go on: a quote, a backslash, a control character.
// Bits above that first one mean nothing.
func stops(word uint64) uint64 {
	quote := word ^ '"'*lowBits
	slash := word ^ '\\'*lowBits
	return ((quote-lowBits)&^quote | (slash-lowBits)&^slash | (word-' '*lowBits)&^word) & highBits
}

// skim returns how many bytes of a long string have no stop in them, in whole
// words, and these bytes together. It is quick and need not find all of them.
func skim(b []byte) (n int, seen uint64) {
	n = bytes.IndexByte(b, '"')
	if n < 0 {
		return 0, 0
	}
	if slash := bytes.IndexByte(b[:n], '\\'); slash >= 0 {
		n = slash
	}
	n &^= 7
	rest := b[:n]
	for ; len(rest) >= 32; rest = rest[32:] { // four words at a time, which do not wait for each other
		w0, w1 := binary.LittleEndian.Uint64(rest), binary.LittleEndian.Uint64(rest[8:])
		w2, w3 := binary.LittleEndian.Uint64(rest[16:]), binary.LittleEndian.Uint64(rest[24:])
		if (w0|(w0-' '*lowBits)|w1|(w1-' '*lowBits)|w2|(w2-' '*lowBits)|w3|(w3-' '*lowBits))&highBits != 0 {
			break // something is no ASCII, or a control character
		}
	}
	var control uint64
	for ; len(rest) >= 8; rest = rest[8:] {
		word := binary.LittleEndian.Uint64(rest)
		control |= (word - ' '*lowBits) &^ word
		seen |= word
	}
	if control&highBits != 0 {
		return 0, 0
	}
	return n, seen
}

// escape returns how many bytes the escape sequence at the beginning of b takes,
// 0 when it is none.
func escape(b []byte) int {
	if len(b) < 2 || b[0] != '\\' {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) >= 6 && hex(b[2]) && hex(b[3]) && hex(b[4]) && hex(b[5]) {
			return 6
		}
	}
	return 0
}

func hex(c byte) bool { return c-'0' <= 9 || c|0x20-'a' <= 5 }
