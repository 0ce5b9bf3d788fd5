package topic

import (
	"net/url"
	"reflect"
	"strings"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// Prefix is where topics stand in the Store: /topics/<name>, the name escaped as
// a part of a URL's path is. The value is a JSON object, for settings.
const Prefix = "/topics/"

// record is the value of a topic.
type record struct {
	Epoch    string      `json:"epoch,omitempty"`
	Settings message.Raw `json:"settings,omitempty"`
}

func encodeRecord(d Draft) ([]byte, error) {
	r := record{Epoch: d.Epoch}
	if d.Settings != nil && !reflect.DeepEqual(*d.Settings, abstract.TopicSettings{}) {
		r.Settings = message.WriteTopicSettings(*d.Settings)
	}
	return message.Encode(r)
}

// decodeRecord reads a value. What it cannot read, as a newer broker has written it, is
// left out: a topic with less to it is better than none.
func decodeRecord(value []byte) (epoch string, s abstract.TopicSettings) {
	var r record
	if message.Decode(value, &r) != nil {
		return "", s
	}
	s, _ = message.ReadTopicSettings(r.Settings)
	return r.Epoch, s
}

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
