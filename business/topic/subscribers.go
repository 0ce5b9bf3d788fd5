package topic

import (
	"cmp"
	"slices"

	"trefoil/abstract"
)

// topic is one that exists.
type topic struct {
	name     string
	created  int64 // the revision that made it: another one is another topic
	changed  int64 // the revision of its settings
	epoch    string
	settings abstract.TopicSettings
	subs     []*Subscription // by connection
	shared   bool            // a publisher may be using subs[:len(subs)]
	tagged   []*Subscription // by the topic's name
	attached any             // the caller's
}

// search returns the place where a connection's Subscription is or belongs.
func (t *topic) search(conn ConnID) (int, bool) {
	return slices.BinarySearchFunc(t.subs, conn, func(sub *Subscription, conn ConnID) int {
		return cmp.Compare(sub.Conn, conn)
	})
}

// insert adds a Subscription at its place. Who uses the shared slice does not see
// what is appended behind it, so the common case, the newest connection, copies
// nothing.
func (t *topic) insert(i int, sub *Subscription) {
	if i < len(t.subs) {
		t.own()
	}
	t.subs = slices.Insert(t.subs, i, sub)
}

// delete removes the Subscription at a place.
func (t *topic) delete(i int) {
	t.own()
	t.subs = slices.Delete(t.subs, i, i+1)
	if len(t.subs) == 0 {
		t.subs = nil
	}
}

// own makes sure that changing subs in place disturbs nobody.
func (t *topic) own() {
	if t.shared {
		t.subs, t.shared = slices.Clone(t.subs), false
	}
}
