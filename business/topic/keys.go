package topic

import (
	"net/url"
	"strings"
)

// Prefix is where topics stand in the Store: /topics/<name>, the name escaped as
// a part of a URL's path is. The value is a JSON object, for settings.
const Prefix = "/topics/"

// settings is the value of a topic: nothing can be set yet.
const settings = "{}"

func keyOf(name string) string { return Prefix + url.PathEscape(name) }

// parseKey is the way back. It is not ok for any text that keyOf would not write,
// so that one topic has one key.
func parseKey(key string) (name string, ok bool) {
	escaped, ok := strings.CutPrefix(key, Prefix)
	if !ok {
		return "", false
	}
	name, err := url.PathUnescape(escaped)
	return name, err == nil && url.PathEscape(name) == escaped
}
