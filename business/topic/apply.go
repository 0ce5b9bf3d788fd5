package topic

import (
	"iter"
	"slices"
	"strings"

	"trefoil/abstract"
)

// Apply takes a change of the Store into the index and returns the subscriptions
// that ended because their topic was removed. Changes must come in order; one
// that was applied already is ignored, and so are keys that are not ours.
func (m *TopicManager) Apply(change abstract.Change) []*Subscription {
	if change.Revision <= m.applied {
		return nil
	}
	m.applied = change.Revision
	var ended []*Subscription
	for i := range change.Events {
		ev := &change.Events[i]
		name, ok := parseKey(ev.KV.Key)
		switch {
		case !ok:
		case ev.Deleted:
			ended = m.remove(ended, name)
		default:
			ended = m.put(ended, name, &ev.KV)
		}
	}
	return ended
}

// Names yields the names of the topics that a change is about.
func Names(change abstract.Change) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range change.Events {
			if name, ok := parseKey(change.Events[i].KV.Key); ok && !yield(name) {
				return
			}
		}
	}
}

// Applied returns the revision of the last change that is in the index. It is 0
// before the first, and stays behind the Store's where others write to that.
func (m *TopicManager) Applied() int64 { return m.applied }

// Load makes the index what the Store held below Prefix at a revision, and
// returns the subscriptions that ended. It is for a Store that was not empty when
// following began, or one that was out of reach: follow first, then Range, then
// Load. It is not ok, and nothing has changed, when the index has meanwhile seen
// a newer revision: Range again.
func (m *TopicManager) Load(kvs []abstract.KV, rev int64) (ended []*Subscription, ok bool) {
	if rev < m.applied {
		return nil, false
	}
	m.applied = rev
	there := make(map[string]struct{}, len(kvs))
	for _, kv := range kvs {
		if name, ok := parseKey(kv.Key); ok {
			there[name] = struct{}{}
			ended = m.put(ended, name, &kv)
		}
	}
	for _, name := range m.missing(there) {
		ended = m.remove(ended, name)
	}
	return ended, true
}

// put adds a topic, or changes its settings. One of the same name that was created at
// another revision has been removed in between, with its subscribers.
func (m *TopicManager) put(ended []*Subscription, name string, kv *abstract.KV) []*Subscription {
	t := m.topics[name]
	if t != nil && t.created != kv.CreateRevision {
		ended = m.remove(ended, name)
		t = nil
	}
	if t == nil {
		name = strings.Clone(name) // not the key it is a piece of
		t = &topic{name: name, created: kv.CreateRevision}
		m.topics[name] = t
	}
	t.changed = kv.ModRevision
	t.epoch, t.settings = decodeRecord(kv.Value)
	return ended
}

func (m *TopicManager) remove(ended []*Subscription, name string) []*Subscription {
	t := m.topics[name]
	if t == nil {
		return ended
	}
	delete(m.topics, name)
	gone := append(slices.Clone(t.subs), t.tagged...)
	for _, sub := range gone {
		m.forget(sub)
	}
	return append(ended, gone...)
}

// missing returns our topics that are not there, in order.
func (m *TopicManager) missing(there map[string]struct{}) []string {
	var list []string
	for name := range m.topics {
		if _, ok := there[name]; !ok {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}
