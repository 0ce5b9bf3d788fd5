package main

import (
	"errors"
	"io"
	"iter"
	"unicode"
	"unicode/utf8"
)

// maxChunk is how much text one call carries. As JSON it is at most six times as
// long, so that it fits into a frame of 8 MiB whatever is in it.
const maxChunk = 1 << 20

// chunk is a piece of a text.
type chunk struct {
	text  string
	first bool // of its file
	// joined says that its first word is the rest of the last chunk's last
	// word: counted separately, they are one word too many.
	joined bool
}

// chunks splits a text at white space into pieces of at most limit bytes. A word
// longer than that is split inside. There is always at least one piece.
func chunks(r io.Reader, size int64, limit int) iter.Seq2[chunk, error] {
	return func(yield func(chunk, error) bool) {
		room := int(min(size+1, int64(limit))) // one more than the file has, to see its end
		buf := make([]byte, 0, max(room, utf8.UTFMax))
		first, insideWord := true, false
		for {
			n, err := io.ReadFull(r, buf[len(buf):cap(buf)])
			buf = buf[:len(buf)+n]
			last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
			if err != nil && !last {
				yield(chunk{}, err)
				return
			}
			cut := len(buf)
			if !last {
				cut = cutAt(buf)
			}
			if cut > 0 || first {
				c := chunk{text: string(buf[:cut]), first: first, joined: insideWord && !beginsWithSpace(buf)}
				if !yield(c, nil) {
					return
				}
			}
			if last {
				return
			}
			first, insideWord = false, !endsWithSpace(buf[:cut])
			buf = buf[:copy(buf, buf[cut:])]
		}
	}
}

// cutAt is where to cut a full buffer: behind its last white space, or, when it
// has none, behind its last whole rune.
func cutAt(buf []byte) int {
	for end := len(buf); end > 0; {
		r, size := utf8.DecodeLastRune(buf[:end])
		if unicode.IsSpace(r) {
			return end
		}
		end -= size
	}
	end := len(buf) - 1
	for end > 0 && !utf8.RuneStart(buf[end]) {
		end--
	}
	if utf8.FullRune(buf[end:]) {
		return len(buf)
	}
	return end
}

func beginsWithSpace(b []byte) bool {
	r, _ := utf8.DecodeRune(b)
	return unicode.IsSpace(r)
}

func endsWithSpace(b []byte) bool {
	r, _ := utf8.DecodeLastRune(b)
	return unicode.IsSpace(r)
}
