package topic

// Entry is an incarnation of a topic, for who publishes to it often and will not look for
// it by its name each time. It is good until that incarnation is removed, which Apply
// and Load do; like the TopicManager it came from it is used behind the caller's lock.
// The zero value is no topic.
type Entry struct{ t *topic }

// Find returns the topic of a name; not ok: there is none.
func (m *TopicManager) Find(name string) (e Entry, ok bool) {
	t := m.topics[name]
	return Entry{t}, t != nil
}

// Changed is the revision of the topic's settings.
func (e Entry) Changed() int64 { return e.t.changed }

// Own is what SetOwn was called with; nil before.
func (e Entry) Own() any { return e.t.attached }

// SetOwn keeps something of the caller's beside the topic, for as long as it is there.
func (e Entry) SetOwn(own any) { e.t.attached = own }

// Publish is TopicManager.Publish.
func (e Entry) Publish() []*Subscription {
	e.t.shared = true
	return e.t.subs
}

// OthersOf is Others of a topic that was found.
func (m *TopicManager) OthersOf(dst []*Subscription, e Entry) []*Subscription {
	return m.wild.match(append(dst, e.t.tagged...), e.t.name)
}
