package session

import (
	"crypto/sha256"
	"encoding/hex"
)

// ID names a session. It is random, and no secret.
type ID [16]byte

// String returns the id as it is on the wire and in keys: 32 hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// ParseID is the way back. It takes what String writes and nothing else, so that
// one session has one text.
func ParseID(s string) (id ID, ok bool) { return id, parseHex(id[:], s) }

// Secret is what shows that somebody is the owner of a session, and the key of its
// heartbeats. It does not print itself.
type Secret [32]byte

// String returns a placeholder: what is logged by accident tells nothing. Hex
// returns the secret.
func (Secret) String() string { return "(secret)" }

// GoString is String.
func (Secret) GoString() string { return "(secret)" }

// Hex returns the secret as it is on the wire: 64 hexadecimal digits.
func (s Secret) Hex() string { return hex.EncodeToString(s[:]) }

// ParseSecret is the way back.
func ParseSecret(s string) (secret Secret, ok bool) { return secret, parseHex(secret[:], s) }

// hash is all that the Store knows of a secret.
func (s *Secret) hash() [sha256.Size]byte { return sha256.Sum256(s[:]) }

// parseHex fills dst from lower-case hexadecimal digits, twice as many as dst has bytes.
func parseHex(dst []byte, s string) bool {
	if len(s) != 2*len(dst) {
		return false
	}
	for i := range dst {
		high, ok1 := digit(s[2*i])
		low, ok2 := digit(s[2*i+1])
		if !ok1 || !ok2 {
			return false
		}
		dst[i] = high<<4 | low
	}
	return true
}

func digit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}
