package topic

import (
	"slices"

	"trefoil/abstract"
)

// ConnID is the number of a connection of this broker. It is never used twice.
type ConnID uint64

// Subscription is one connection's subscription to a topic.
type Subscription struct {
	ID     uint64 // never used twice by one TopicManager
	Filter string // what is subscribed to; see Match
	Conn   ConnID
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
	lastID      uint64
	topics      map[string]*topic
	subscribers map[ConnID][]*Subscription // mirrors topic.subs; in the order of subscribing
}

// NewTopicManager makes a TopicManager without topics.
func NewTopicManager(cfg Config) *TopicManager {
	return &TopicManager{
		cfg:         cfg.withDefaults(),
		topics:      make(map[string]*topic),
		subscribers: make(map[ConnID][]*Subscription),
	}
}

// PlanCreate returns the transaction that creates a topic; one without operations
// when it exists, which is no error and leaves its subscribers alone. Nor is a
// transaction that does not succeed: somebody else was faster. The error is
// InvalidParams, or Overloaded at the limit of topics.
func (m *TopicManager) PlanCreate(name string) (abstract.Txn, error) {
	if err := m.cfg.checkName(name); err != nil {
		return abstract.Txn{}, err
	}
	if m.topics[name] != nil {
		return abstract.Txn{}, nil
	}
	if len(m.topics) >= m.cfg.MaxTopics {
		return abstract.Txn{}, abstract.Errorf(abstract.Overloaded, "there are %d topics, which is the limit; remove some first", len(m.topics))
	}
	key := keyOf(name)
	return abstract.Txn{
		If:   []abstract.Compare{{Key: key, Target: abstract.CompareCreate, Rev: 0}},
		Then: []abstract.Op{{Key: key, Value: []byte(settings)}},
	}, nil
}

// PlanRemove returns the transaction that removes a topic, and not one of the same
// name that is created meanwhile: then it does not succeed, which is no error. The
// error is TopicNotFound.
func (m *TopicManager) PlanRemove(name string) (abstract.Txn, error) {
	t := m.topics[name]
	if t == nil {
		return abstract.Txn{}, notFound(name)
	}
	key := keyOf(name)
	return abstract.Txn{
		If:   []abstract.Compare{{Key: key, Target: abstract.CompareCreate, Rev: t.created}},
		Then: []abstract.Op{{Key: key, Delete: true}},
	}, nil
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
	if len(m.subscribers[conn]) >= m.cfg.MaxSubscriptionsPerConn {
		return nil, abstract.Errorf(abstract.Overloaded, "a connection has at most %d subscriptions; cancel some or use another connection", m.cfg.MaxSubscriptionsPerConn)
	}
	m.lastID++
	sub := &Subscription{ID: m.lastID, Filter: t.name, Conn: conn}
	t.insert(i, sub)
	m.subscribers[conn] = append(m.subscribers[conn], sub)
	return sub, nil
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

// Publish returns who gets what is published to a topic now, in the order of
// their connections. The slice must not be changed; it is not changed here
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
		t := m.topics[sub.Filter]
		i, _ := t.search(conn)
		t.delete(i)
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
