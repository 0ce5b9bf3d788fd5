package logs

import (
	"bytes"
	"io"
)

// What tokens begin with, and what is written in their place.
const (
	tokenPrefix = "tfl_"
	hiddenToken = tokenPrefix + "(hidden)"
)

// HideTokens returns text with a placeholder for every token: for what repeats the
// words of peers and users, who put tokens into wrong places. It does not change
// text, and returns it itself when no token is in it.
func HideTokens(text []byte) []byte {
	at := bytes.Index(text, []byte(tokenPrefix))
	if at < 0 {
		return text
	}
	var out []byte
	for ; at >= 0; at = bytes.Index(text, []byte(tokenPrefix)) {
		out = append(append(out, text[:at]...), hiddenToken...)
		text = bytes.TrimPrefix(text[at+len(tokenPrefix):], []byte("(hidden)"))
		for len(text) > 0 && ofToken(text[0]) {
			text = text[1:]
		}
	}
	return append(out, text...)
}

// ofToken says whether a token is made of such bytes.
func ofToken(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '-' || b == '_'
}

// WithoutTokens is a writer that writes to w what HideTokens leaves of each Write.
func WithoutTokens(w io.Writer) io.Writer { return hiding{w} }

type hiding struct{ w io.Writer }

// Write writes p, which is one line or more.
func (h hiding) Write(p []byte) (int, error) {
	if _, err := h.w.Write(HideTokens(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}
