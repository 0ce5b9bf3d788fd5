package topic

import (
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
			ended = m.put(ended, name, ev.KV.CreateRevision)
		}
	}
	return ended
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
			ended = m.put(ended, name, kv.CreateRevision)
		}
	}
	for _, name := range m.missing(there) {
		ended = m.remove(ended, name)
	}
	return ended, true
}

// put adds a topic. One of the same name that was created at another revision has
// been removed in between, with its subscribers.
func (m *TopicManager) put(ended []*Subscription, name string, created int64) []*Subscription {
	if t := m.topics[name]; t != nil {
		if t.created == created {
			return ended
		}
		ended = m.remove(ended, name)
	}
	name = strings.Clone(name) // not the key it is a piece of
	m.topics[name] = &topic{name: name, created: created}
	return ended
}

func (m *TopicManager) remove(ended []*Subscription, name string) []*Subscription {
	t := m.topics[name]
	if t == nil {
		return ended
	}
	delete(m.topics, name)
	for _, sub := range t.subs {
		m.forget(sub)
	}
	return append(ended, t.subs...)
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
