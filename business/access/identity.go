package access

import (
	"fmt"
	"strings"
)

// Anonymous is the identity of a peer that shows nothing, and of every legacy peer.
const Anonymous = "anonymous"

const maxIdentity = 128

// Identity is who a peer is, and by what it proved it. The zero value is anonymous.
type Identity struct {
	name  string
	proof proof
}

// proof is what an Identity stands on: the hash of a token, or the words of a
// certificate. The zero value is nothing.
type proof struct {
	token sealed
	cert  *certificate
}

// Name is the name that policies use.
func (id Identity) Name() string {
	if id.name == "" {
		return Anonymous
	}
	return id.name
}

// IsAnonymous reports whether the peer proved nothing.
func (id Identity) IsAnonymous() bool { return id.name == "" }

// String returns the name.
func (id Identity) String() string { return id.Name() }

// Format writes the name, whatever the verb: the hash of the token stays hidden.
func (id Identity) Format(f fmt.State, verb rune) { formatWord(f, verb, id.Name()) }

// MarshalText returns the name.
func (id Identity) MarshalText() ([]byte, error) { return []byte(id.Name()), nil }

// checkName says what is wrong with the name of an identity or a group.
func checkName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("the name is empty")
	case strings.Contains(name, tokenPrefix):
		return fmt.Errorf("the name looks like a token; never write a token into a file, only its sha256")
	case len(name) > maxIdentity:
		return fmt.Errorf("the name %s has more than %d bytes", quote(name), maxIdentity)
	}
	for i := range len(name) {
		if c := name[i]; !isNameByte(c) {
			return fmt.Errorf("the name %s may only have letters, digits and the characters . _ - / @ : in it", quote(name))
		}
	}
	return nil
}

func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("._-/@:", c) >= 0
}
