package jetstream

import (
	"crypto/sha256"
	"encoding/base32"
	"strconv"
	"strings"

	"trefoil/abstract"
)

// Names of topics, incarnations and consumers are any bytes; those of streams, subjects
// and directories are not. What JetStream sees is a readable beginning and a hash; the
// name itself stands in the metadata, quoted.

const (
	safe     = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"
	readable = 32 // characters of the beginning

	metaTopic = "topic"
	metaEpoch = "epoch"
	metaName  = "name"
	metaHoles = "holes" // entries were deleted
)

// streamName is a stream's, and the name of its directory.
func streamName(prefix string, n abstract.LogName) string {
	return prefix + "_" + beginning(n.Topic) + "_" + hash(n.Topic, n.Epoch)
}

// subjectName is where a stream's entries are published to.
func subjectName(prefix string, n abstract.LogName) string {
	return prefix + ".log." + hash(n.Topic, n.Epoch)
}

func consumerName(name string) string { return beginning(name) + "_" + hash(name) }

func beginning(name string) string {
	name = name[:min(len(name), readable)]
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(safe, r) {
			return r
		}
		return '-'
	}, name)
}

// hash is 20 bytes of SHA-256 of the parts, each with its length.
func hash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(strconv.Itoa(len(p)) + ":" + p))
	}
	return base32.StdEncoding.EncodeToString(h.Sum(nil)[:20])
}

// quoted returns a name for the metadata, which is JSON and takes no other bytes than text.
func quoted(name string) string { return strconv.QuoteToASCII(name) }

func unquoted(text string) (string, bool) {
	name, err := strconv.Unquote(text)
	return name, err == nil
}

// idText returns a message's id for a header: as it is where it is printable.
func idText(id string) string {
	plain := strings.IndexFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
	if plain && !strings.HasPrefix(id, `"`) {
		return id
	}
	return quoted(id)
}

func idOf(text string) string {
	if !strings.HasPrefix(text, `"`) {
		return text
	}
	id, _ := unquoted(text)
	return id
}
