package topic

import (
	"iter"
	"reflect"
	"slices"
	"strings"

	"trefoil/abstract"
)

// ConnID is the number of a connection of this broker. It is never used twice.
type ConnID uint64

// Subscription is one connection's subscription to a topic, or to all that a filter
// names. There may be a million of them: it fills a cache line.
type Subscription struct {
	Filter string // what is subscribed to; see Match
	Tag    string // the connection's own name for it; empty for its one plain subscription to a topic
	Conn   ConnID
	wild   bool
	// Lane is the subscription's queue. It is the caller's: set it when
	// Subscribe has returned a Subscription without one, close it when the
	// Subscription is returned by Cancel, Disconnect, Apply or Load.
	Lane abstract.Lane
}

// TopicManager knows topics and their subscribers, in both directions. It holds
// no sockets, clocks or goroutines, and the same events give the same result
// every time.
//
// TopicManager is not safe for concurrent use: the caller's lock covers a call
// and the queueing of what it leads to, which is what keeps messages in the order
// of events. The Store is not called under that lock, as its followers take it.
type TopicManager struct {
	cfg         Config
	applied     int64
	topics      map[string]*topic
	wild        trie
	subscribers map[ConnID][]*Subscription // mirrors topic.subs, topic.tagged and wild; in the order of subscribing
	wildLevels  map[ConnID]int             // of a connection's filters with wildcards: what they cost in wild
}

// NewTopicManager makes a TopicManager without topics.
func NewTopicManager(cfg Config) *TopicManager {
	return &TopicManager{
		cfg:         cfg.withDefaults(),
		topics:      make(map[string]*topic),
		subscribers: make(map[ConnID][]*Subscription),
		wildLevels:  make(map[ConnID]int),
	}
}

// Draft is a topic that is to be created.
type Draft struct {
	Epoch    string                  // names the incarnation; never used before
	Settings *abstract.TopicSettings // nil: a plain topic, or whatever there is already
}

// PlanCreate returns the transaction that creates a topic; one without operations
// when it exists, which is no error and leaves its subscribers alone. Nor is a
// transaction that does not succeed: somebody else was faster. The error is
// InvalidParams, Overloaded at the limit of topics, or Exists when the topic is there
// with other settings.
func (m *TopicManager) PlanCreate(name string, d Draft) (abstract.Txn, error) {
	if err := m.cfg.checkName(name); err != nil {
		return abstract.Txn{}, err
	}
	if d.Settings != nil && IsWild(name) {
		return abstract.Txn{}, abstract.Errorf(abstract.InvalidParams, "%q names many topics, and cannot be the name of one: leave out the levels * and >", name)
	}
	if t := m.topics[name]; t != nil {
		if d.Settings != nil && !reflect.DeepEqual(*d.Settings, t.settings) {
			return abstract.Txn{}, abstract.Errorf(abstract.Exists, "topic %q is there with other settings; change them with set, or remove it first", name)
		}
		return abstract.Txn{}, nil
	}
	if len(m.topics) >= m.cfg.MaxTopics {
		return abstract.Txn{}, abstract.Errorf(abstract.Overloaded, "there are %d topics, which is the limit; remove some first", len(m.topics))
	}
	value, err := encodeRecord(d)
	if err != nil {
		return abstract.Txn{}, err
	}
	key := keyOf(name)
	return abstract.Txn{
		If:   []abstract.Compare{{Key: key, Target: abstract.CompareCreate, Rev: 0}},
		Then: []abstract.Op{{Key: key, Value: value}},
	}, nil
}

// PlanSet returns the transaction that changes a topic's settings. It does not succeed
// when the topic has been removed meanwhile, or somebody else has changed them. The
// error is TopicNotFound, or InvalidOp for a setting that cannot change.
func (m *TopicManager) PlanSet(name string, s abstract.TopicSettings) (abstract.Txn, error) {
	t := m.topics[name]
	if t == nil {
		return abstract.Txn{}, notFound(name)
	}
	if s.Durable != t.settings.Durable {
		return abstract.Txn{}, abstract.Errorf(abstract.InvalidOp, "whether topic %q is durable cannot be changed: remove it, and create it again", name)
	}
	value, err := encodeRecord(Draft{Epoch: t.epoch, Settings: &s})
	if err != nil {
		return abstract.Txn{}, err
	}
	key := keyOf(name)
	return abstract.Txn{
		If:   []abstract.Compare{{Key: key, Target: abstract.CompareMod, Rev: t.changed}},
		Then: []abstract.Op{{Key: key, Value: value}},
	}, nil
}

// PlanRemove returns the transaction that removes a topic, and not one of the same
// name that is created meanwhile: then it does not succeed, which is no error. Of a
// durable topic it leaves a Removed behind. The error is TopicNotFound.
func (m *TopicManager) PlanRemove(name string) (abstract.Txn, error) {
	t := m.topics[name]
	if t == nil {
		return abstract.Txn{}, notFound(name)
	}
	key := keyOf(name)
	txn := abstract.Txn{
		If:   []abstract.Compare{{Key: key, Target: abstract.CompareCreate, Rev: t.created}},
		Then: []abstract.Op{{Key: key, Delete: true}, {Key: endedKey, Value: []byte("{}")}},
	}
	if t.settings.Durable {
		txn.Then = append(txn.Then, abstract.Op{Key: Removed{name, epochOf(t)}.Key(), Value: []byte("{}")})
	}
	return txn, nil
}

// Subscribe makes conn a subscriber of a topic. One that is a subscriber already
// gets the Subscription it has. The error is TopicNotFound, or Overloaded at the
// limit of subscriptions.
func (m *TopicManager) Subscribe(conn ConnID, name string) (*Subscription, error) {
	t := m.topics[name]
	if t == nil {
		return nil, notFound(name)
	}
	i, found := t.search(conn)
	if found {
		return t.subs[i], nil
	}
	sub, err := m.newSubscription(conn, "", t.name)
	if err != nil {
		return nil, err
	}
	t.insert(i, sub)
	return sub, nil
}

// SubscribeAs makes a subscription with a name of the connection's own, to a topic or to
// all that a filter names, those included that will be created. There may be any number
// to the same filter. The tag is not empty. One that has the tag already, and the same
// filter, is returned as it is; another filter is an error with code Exists. The error
// otherwise is as with Subscribe, or InvalidParams for a filter that is none.
func (m *TopicManager) SubscribeAs(conn ConnID, tag, filter string) (*Subscription, error) {
	if err := m.cfg.checkFilter(filter); err != nil {
		return nil, err
	}
	if sub := m.tagged(conn, tag); sub != nil {
		if sub.Filter != filter {
			return nil, abstract.Errorf(abstract.Exists, "this connection has a subscription %q already, to %q; cancel that first, or take another name", tag, sub.Filter)
		}
		return sub, nil
	}
	if IsWild(filter) {
		n := levelsOf(filter)
		if m.wildLevels[conn]+n > m.cfg.MaxWildLevelsPerConn {
			return nil, abstract.Errorf(abstract.Overloaded, "the filters with wildcards of a connection have at most %d levels together; cancel some, or use another connection", m.cfg.MaxWildLevelsPerConn)
		}
		sub, err := m.newSubscription(conn, tag, strings.Clone(filter))
		if err != nil {
			return nil, err
		}
		sub.wild = true
		m.wildLevels[conn] += n
		m.wild.add(sub)
		return sub, nil
	}
	t := m.topics[filter]
	if t == nil {
		return nil, notFound(filter)
	}
	sub, err := m.newSubscription(conn, tag, t.name)
	if err != nil {
		return nil, err
	}
	t.tagged = append(t.tagged, sub)
	return sub, nil
}

func (m *TopicManager) newSubscription(conn ConnID, tag, filter string) (*Subscription, error) {
	if len(m.subscribers[conn]) >= m.cfg.MaxSubscriptionsPerConn {
		return nil, abstract.Errorf(abstract.Overloaded, "a connection has at most %d subscriptions; cancel some or use another connection", m.cfg.MaxSubscriptionsPerConn)
	}
	sub := &Subscription{Filter: filter, Tag: strings.Clone(tag), Conn: conn}
	m.subscribers[conn] = append(m.subscribers[conn], sub)
	return sub, nil
}

// tagged returns conn's subscription with a tag; nil when there is none.
func (m *TopicManager) tagged(conn ConnID, tag string) *Subscription {
	for _, sub := range m.subscribers[conn] {
		if sub.Tag == tag {
			return sub
		}
	}
	return nil
}

// Tagged returns conn's subscription with a tag; nil when there is none. The tag is not
// empty.
func (m *TopicManager) Tagged(conn ConnID, tag string) *Subscription { return m.tagged(conn, tag) }

// CancelAs ends conn's subscription with a tag and returns it. The error is
// TopicNotFound.
func (m *TopicManager) CancelAs(conn ConnID, tag string) (*Subscription, error) {
	sub := m.tagged(conn, tag)
	if sub == nil || tag == "" {
		return nil, abstract.Errorf(abstract.TopicNotFound, "this connection has no subscription %q", tag)
	}
	m.unlink(sub)
	m.forget(sub)
	return sub, nil
}

// unlink takes a subscription out of what finds it for a publish.
func (m *TopicManager) unlink(sub *Subscription) {
	if sub.wild {
		m.wild.remove(sub)
		if m.wildLevels[sub.Conn] -= levelsOf(sub.Filter); m.wildLevels[sub.Conn] == 0 {
			delete(m.wildLevels, sub.Conn)
		}
		return
	}
	t := m.topics[sub.Filter]
	if sub.Tag != "" {
		t.tagged, _ = without(t.tagged, sub)
		return
	}
	i, _ := t.search(sub.Conn)
	t.delete(i)
}

// Cancel ends conn's subscription to a topic and returns it. The error is
// TopicNotFound when there is no such topic or conn is not subscribed to it.
func (m *TopicManager) Cancel(conn ConnID, name string) (*Subscription, error) {
	t := m.topics[name]
	if t == nil {
		return nil, notFound(name)
	}
	i, found := t.search(conn)
	if !found {
		return nil, abstract.Errorf(abstract.TopicNotFound, "this connection is not subscribed to topic %q", name)
	}
	sub := t.subs[i]
	t.delete(i)
	m.forget(sub)
	return sub, nil
}

// Info is what is known of a topic.
type Info struct {
	Epoch       string // names this incarnation
	Created     int64  // the revision that made it
	Changed     int64  // the revision of its settings
	Settings    abstract.TopicSettings
	Subscribers int // to the topic by its name; those with wildcards are not counted
}

// Topic returns what is known of a topic. Its settings must not be changed.
func (m *TopicManager) Topic(name string) (Info, bool) {
	t := m.topics[name]
	if t == nil {
		return Info{}, false
	}
	return Info{Epoch: epochOf(t), Created: t.created, Changed: t.changed, Settings: t.settings, Subscribers: len(t.subs) + len(t.tagged)}, true
}

// Topics returns the names of the topics that a filter names, those behind after only, in no
// order: sorting many is not to hold up who waits for the caller's lock.
func (m *TopicManager) Topics(filter, after string) []string {
	var list []string
	for name := range m.Matching(filter) {
		if after == "" || name > after {
			list = append(list, name)
		}
	}
	return list
}

// Matching yields the names of the topics that a filter names, in no order.
func (m *TopicManager) Matching(filter string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for name := range m.topics {
			if Match(filter, name) && !yield(name) {
				return
			}
		}
	}
}

// Others appends to dst who gets what is published to a topic besides those that Publish
// returns: tagged subscriptions, those with wildcards included.
func (m *TopicManager) Others(dst []*Subscription, name string) []*Subscription {
	if t := m.topics[name]; t != nil {
		dst = append(dst, t.tagged...)
	}
	return m.wild.match(dst, name)
}

// Publish returns the plain subscriptions of who gets what is published to a topic now,
// in the order of their connections. The slice must not be changed; it is not changed here
// either, so it may be used after the caller's lock has been released. The error
// is TopicNotFound; a topic without subscribers is none.
func (m *TopicManager) Publish(name string) ([]*Subscription, error) {
	t := m.topics[name]
	if t == nil {
		return nil, notFound(name)
	}
	t.shared = true
	return t.subs, nil
}

// Disconnect ends and returns all subscriptions of a connection that is gone.
func (m *TopicManager) Disconnect(conn ConnID) []*Subscription {
	subs := m.subscribers[conn]
	delete(m.subscribers, conn)
	for _, sub := range subs {
		m.unlink(sub)
	}
	return subs
}

// forget takes a Subscription out of its connection's list.
func (m *TopicManager) forget(sub *Subscription) {
	list := m.subscribers[sub.Conn]
	if len(list) == 1 {
		delete(m.subscribers, sub.Conn)
		return
	}
	i := slices.Index(list, sub)
	m.subscribers[sub.Conn] = slices.Delete(list, i, i+1)
}
