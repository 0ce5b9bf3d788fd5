package access

import (
	"fmt"
	"log/slog"
	"strconv"
)

// tokenPrefix begins every token, so that people and scanners of repositories
// recognise one.
const tokenPrefix = "tfl_"

// hidden stands in place of a token.
const hidden = tokenPrefix + "(hidden)"

// Token is a secret that proves an identity. Whatever prints, logs or encodes it
// shows a placeholder; Reveal gives the text. The zero value is no token.
type Token struct {
	// A function keeps the text away from everything that reads fields by
	// reflection, of this struct and of those that hold it.
	reveal func() string
}

// TokenOf makes a Token of the text that a peer sent. It is not judged here.
func TokenOf(text string) Token {
	if text == "" {
		return Token{}
	}
	return Token{reveal: func() string { return text }}
}

// Reveal returns the text: for the wire, and to show it once to whoever made it.
func (t Token) Reveal() string {
	if t.reveal == nil {
		return ""
	}
	return t.reveal()
}

// IsZero reports whether there is no token.
func (t Token) IsZero() bool { return t.reveal == nil }

// String returns a placeholder.
func (t Token) String() string {
	if t.IsZero() {
		return ""
	}
	return hidden
}

// GoString returns a placeholder.
func (t Token) GoString() string { return strconv.Quote(t.String()) }

// Format writes a placeholder, whatever the verb.
func (t Token) Format(f fmt.State, verb rune) { formatWord(f, verb, t.String()) }

// LogValue returns a placeholder.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText returns a placeholder.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// formatWord writes s for a fmt.Formatter that has nothing else to show.
func formatWord(f fmt.State, verb rune, s string) {
	if verb == 'q' || verb == 'v' && f.Flag('#') {
		s = strconv.Quote(s)
	}
	_, _ = f.Write([]byte(s)) // fmt takes everything
}

// sealed gives a value, and keeps it from everything that reads fields by
// reflection. nil: there is none.
type sealed func() hash

func seal(h hash) sealed { return func() hash { return h } }
