package access

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"trefoil/abstract"
)

const (
	tokenBytes = 32  // of a random token
	maxToken   = 256 // bytes of text that are looked at
)

// hash is the SHA-256 of a token. It is no secret that anybody could use, as a
// token has 256 random bits; it is hidden all the same, because it tells which
// token belongs to whom.
type hash [sha256.Size]byte

func hashOf(text string) hash { return sha256.Sum256([]byte(text)) }

// Entry is one line of the file of tokens. Its JSON holds the hash, for that is
// what the file is made of; fmt and slog do not show it.
type Entry struct {
	Identity string
	Note     string    // for people; may be empty
	Expires  time.Time // the zero time is never
	sum      sealed
}

// NewToken makes a token of 256 random bits for an identity. The Token is what the
// peer gets, and cannot be had again; the Entry goes into the file.
func NewToken(identity, note string, expires time.Time) (Token, Entry, error) {
	if err := checkIdentity(identity); err != nil {
		return Token{}, Entry{}, abstract.Errorf(abstract.InvalidParams, "%v", err)
	}
	if strings.Contains(note, tokenPrefix) {
		return Token{}, Entry{}, abstract.Errorf(abstract.InvalidParams, "the note looks like a token; notes are for people")
	}
	var secret [tokenBytes]byte
	_, _ = rand.Read(secret[:]) // never fails: without randomness it ends the program
	text := tokenPrefix + base64.RawURLEncoding.EncodeToString(secret[:])
	return TokenOf(text), Entry{Identity: identity, Note: note, Expires: expires, sum: seal(hashOf(text))}, nil
}

// checkIdentity is checkName for who can have a token.
func checkIdentity(name string) error {
	if name == Anonymous {
		return fmt.Errorf("%q is who has no token; take another name", Anonymous)
	}
	return checkName(name)
}

// entryJSON is an Entry in the file.
type entryJSON struct {
	Identity string     `json:"identity"`
	Sum      string     `json:"sha256"`
	Note     string     `json:"note,omitempty"`
	Expires  *time.Time `json:"expires,omitempty"`
}

// MarshalJSON returns the line of the file, with the hash.
func (e Entry) MarshalJSON() ([]byte, error) {
	out := entryJSON{Identity: e.Identity, Note: e.Note}
	if e.sum != nil {
		sum := e.sum()
		out.Sum = hex.EncodeToString(sum[:])
	}
	if !e.Expires.IsZero() {
		t := e.Expires.UTC()
		out.Expires = &t
	}
	return json.Marshal(out)
}

// String returns the entry without the hash.
func (e Entry) String() string {
	s := "token of " + e.Identity
	if !e.Expires.IsZero() {
		s += " until " + e.Expires.UTC().Format(time.RFC3339)
	}
	return s
}

// Format writes the entry without the hash, whatever the verb.
func (e Entry) Format(f fmt.State, verb rune) { formatWord(f, verb, e.String()) }

// LogValue returns the entry without the hash.
func (e Entry) LogValue() slog.Value { return slog.StringValue(e.String()) }

// Tokens is a file of tokens, read. It is never changed, and safe for concurrent use.
type Tokens struct {
	table func() *tokenTable // a function for the reason that Token has one
}

// tokenTable finds entries by their hash.
type tokenTable struct {
	// The key is the beginning of the hash. How long a look-up in the map takes may
	// tell something about the hash of what was tried, which nobody can steer; the
	// rest is compared in constant time.
	byStart map[[8]byte][]Entry
	entries []Entry
}

// ParseTokens reads a file of tokens:
//
//	{"tokens": [{"identity": "billing", "sha256": "64 hex digits", "note": "cron", "expires": "2030-01-02T15:04:05Z"}]}
//
// note and expires may be left out. Unknown keys are errors. Errors repeat nothing
// that could be a secret.
func ParseTokens(file []byte) (*Tokens, error) {
	t := &tokenTable{byStart: make(map[[8]byte][]Entry)}
	err := readObject("", file, map[string]reader{"tokens": t.readAll})
	if err != nil {
		return nil, abstract.Errorf(abstract.InvalidParams, "tokens: %v", err)
	}
	return &Tokens{table: func() *tokenTable { return t }}, nil
}

// NewTokens makes Tokens of entries.
func NewTokens(entries ...Entry) (*Tokens, error) {
	file, err := MarshalTokens(entries)
	if err != nil {
		return nil, err
	}
	return ParseTokens(file)
}

// MarshalTokens returns the file of tokens that ParseTokens reads.
func MarshalTokens(entries []Entry) ([]byte, error) {
	if entries == nil {
		entries = []Entry{}
	}
	out, err := json.MarshalIndent(map[string][]Entry{"tokens": entries}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write tokens: %w", err)
	}
	return append(out, '\n'), nil
}

func (t *tokenTable) readAll(at string, value json.RawMessage) error {
	list, err := decode[[]json.RawMessage](at, "a list of objects", value)
	if err != nil {
		return err
	}
	for i, raw := range list {
		at := fmt.Sprintf("%s[%d]", at, i)
		e, err := readEntry(at, raw)
		if err != nil {
			return err
		}
		sum := e.sum()
		if _, there := t.find(&sum); there {
			return fmt.Errorf("%s: the same sha256 is there twice: a token belongs to one identity", at)
		}
		start := [8]byte(sum[:8])
		t.byStart[start] = append(t.byStart[start], e)
		t.entries = append(t.entries, e)
	}
	return nil
}

func readEntry(at string, raw json.RawMessage) (e Entry, err error) {
	var sum, expires string
	err = readObject(at, raw, map[string]reader{
		"identity": into(&e.Identity, "a name"),
		"sha256":   into(&sum, "64 hex digits"),
		"note":     into(&e.Note, "a text"),
		"expires":  into(&expires, "a time"),
	})
	if err != nil {
		return e, err
	}
	if err := checkIdentity(e.Identity); err != nil {
		return e, fmt.Errorf("%s.identity: %w", at, err)
	}
	if strings.HasPrefix(sum, tokenPrefix) {
		return e, fmt.Errorf("%s.sha256: this is the token itself: withdraw it, and write the sha256 of a new one here", at)
	}
	h, err := hex.DecodeString(sum)
	if err != nil || len(h) != sha256.Size {
		return e, fmt.Errorf("%s.sha256: want 64 hex digits", at)
	}
	e.sum = seal(hash(h))
	if strings.Contains(e.Note, tokenPrefix) {
		return e, fmt.Errorf("%s.note: this looks like a token: withdraw it; notes are for people", at)
	}
	if expires != "" {
		if e.Expires, err = time.Parse(time.RFC3339, expires); err != nil {
			return e, fmt.Errorf("%s.expires: want a time like 2030-01-02T15:04:05Z", at)
		}
	}
	return e, nil
}

// find looks a hash up.
func (t *tokenTable) find(sum *hash) (Entry, bool) {
	for _, e := range t.byStart[[8]byte(sum[:8])] {
		h := e.sum()
		if subtle.ConstantTimeCompare(h[:], sum[:]) == 1 {
			return e, true
		}
	}
	return Entry{}, false
}

// find looks a hash up. Nobody has a token where there are no Tokens.
func (t *Tokens) find(sum hash) (Entry, bool) {
	if t == nil {
		return Entry{}, false
	}
	return t.table().find(&sum)
}

// lookup finds the entry of a token's text that is valid now.
func (t *Tokens) lookup(text string, now time.Time) (Entry, bool) {
	if len(text) > maxToken {
		return Entry{}, false
	}
	e, ok := t.find(hashOf(text))
	return e, ok && e.valid(now)
}

func (e *Entry) valid(now time.Time) bool { return e.Expires.IsZero() || now.Before(e.Expires) }

// Entries returns the lines of the file, in their order.
func (t *Tokens) Entries() []Entry { return append([]Entry(nil), t.table().entries...) }

// String says how many tokens there are.
func (t *Tokens) String() string {
	if t == nil {
		return "no tokens"
	}
	return fmt.Sprintf("%d tokens", len(t.table().entries))
}

// Format writes how many tokens there are, whatever the verb.
func (t *Tokens) Format(f fmt.State, verb rune) { formatWord(f, verb, t.String()) }

// LogValue says how many tokens there are.
func (t *Tokens) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText says how many tokens there are; MarshalTokens writes the file.
func (t *Tokens) MarshalText() ([]byte, error) { return []byte(t.String()), nil }
