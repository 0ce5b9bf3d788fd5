package topic

import (
	"net/url"
	"strconv"
	"strings"

	"trefoil/abstract"
)

// Removed is a durable topic that was removed, and whose log may still be there. It stands
// in the Store, from the transaction that removes the topic on until the log is gone,
// whenever that is, and so says which logs may be removed: in servers that others use, too,
// a log that no topic is known of may well be somebody else's.
type Removed struct{ Topic, Epoch string }

// removedPrefix is where they stand: below Prefix, so that they are told with the topic's
// end, and where no topic's key is, as a name's slashes are escaped.
const removedPrefix = Prefix + "/removed/"

// Key is where it stands in the Store. Delete it when the log is gone.
func (r Removed) Key() string { return removedPrefix + url.PathEscape(r.Topic) + "/" + r.Epoch }

// RemovedIn returns those among keys of the Store.
func RemovedIn(kvs []abstract.KV) (list []Removed) {
	for i := range kvs {
		if r, ok := parseRemoved(kvs[i].Key); ok {
			list = append(list, r)
		}
	}
	return list
}

// RemovedBy returns those that a change of the Store has left.
func RemovedBy(change abstract.Change) (list []Removed) {
	for i := range change.Events {
		if r, ok := parseRemoved(change.Events[i].KV.Key); ok && !change.Events[i].Deleted {
			list = append(list, r)
		}
	}
	return list
}

func parseRemoved(key string) (r Removed, ok bool) {
	rest, ok := strings.CutPrefix(key, removedPrefix)
	escaped, epoch, whole := strings.Cut(rest, "/")
	name, err := url.PathUnescape(escaped)
	r = Removed{name, epoch}
	return r, ok && whole && err == nil && r.Key() == key
}

// epochOf names a topic's incarnation, also one of a broker that did not.
func epochOf(t *topic) string {
	if t.epoch == "" {
		return strconv.FormatInt(t.created, 36)
	}
	return t.epoch
}
