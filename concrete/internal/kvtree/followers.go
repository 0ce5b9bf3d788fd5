package kvtree

import (
	"slices"
	"strings"

	"trefoil/abstract"
)

// Followers are the functions to be told about changes. Its zero value is empty.
type Followers struct {
	list []*Follower
}

// Follower is one entry of Followers.
type Follower struct {
	prefix string
	fn     func(abstract.Change)
}

// Add makes fn a follower of what is below prefix.
func (f *Followers) Add(prefix string, fn func(abstract.Change)) *Follower {
	added := &Follower{prefix: prefix, fn: fn}
	f.list = append(f.list, added)
	return added
}

// Remove takes a follower out; one that is not there changes nothing.
func (f *Followers) Remove(gone *Follower) {
	f.list = slices.DeleteFunc(f.list, func(other *Follower) bool { return other == gone })
}

// Clear removes all.
func (f *Followers) Clear() { f.list = nil }

// Tell calls each with what of a change is below its prefix, if anything is.
func (f *Followers) Tell(c abstract.Change) {
	for _, to := range f.list {
		if below := eventsBelow(to.prefix, c.Events); len(below) > 0 {
			to.fn(abstract.Change{Revision: c.Revision, Events: below})
		}
	}
}

// eventsBelow returns the events below a prefix: the same slice when that is all.
func eventsBelow(prefix string, events []abstract.Event) []abstract.Event {
	n := 0
	for i := range events {
		if strings.HasPrefix(events[i].KV.Key, prefix) {
			n++
		}
	}
	switch n {
	case 0:
		return nil
	case len(events):
		return events
	}
	below := make([]abstract.Event, 0, n)
	for i := range events {
		if strings.HasPrefix(events[i].KV.Key, prefix) {
			below = append(below, events[i])
		}
	}
	return below
}
