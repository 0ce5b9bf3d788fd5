package client

import (
	"context"
	"errors"
	"sync"
	"time"

	"trefoil/abstract"
	"trefoil/business/dispatch"
	"trefoil/concrete/message"
)

// topics is what stands on a Conn of topics: those it created, and those it is
// subscribed to. The broker sees one subscription for each topic, however many
// there are here.
type topics struct {
	conn *Conn

	mu         sync.Mutex
	created    map[string]struct{}
	subscribed map[string]map[*Subscription]struct{}
	retrying   map[string]bool // subscriptions that a restarted broker refused
}

func (t *topics) init(c *Conn) {
	t.conn = c
	t.created, t.subscribed = make(map[string]struct{}), make(map[string]map[*Subscription]struct{})
	t.retrying = make(map[string]bool)
	dispatch.On(c.wire.dispatch, abstract.ReqTopic, t.onPublish)
	dispatch.On(c.wire.dispatch, abstract.Gap, t.onGap)
}

func topicRequest(op abstract.TopicOp, topic string, data message.Raw) request {
	return request{want: abstract.RspTopic, harmless: op != abstract.TopicPublish, build: func(id string) abstract.BaseMessage {
		return &message.TopicRequest{Header: message.ID(id), Op: op, Topic: topic, Message: data}
	}}
}

// operate asks the broker for a topic operation.
func (t *topics) operate(ctx context.Context, op abstract.TopicOp, topic string, data message.Raw, harmless bool) error {
	what := op.String() + " " + topic
	r := topicRequest(op, topic, data)
	r.harmless = harmless
	m, err := t.conn.ask(ctx, what, r)
	if err != nil {
		return err
	}
	if rsp := m.(*message.TopicResponse); rsp.Code != abstract.OK {
		return refused(what, rsp.Code, rsp.Message, t.conn.addr)
	}
	return nil
}

func (t *topics) create(ctx context.Context, topic string) error {
	if err := t.operate(ctx, abstract.TopicCreate, topic, nil, true); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.created[topic] = struct{}{}
	return nil
}

func (t *topics) remove(ctx context.Context, topic string) error {
	t.mu.Lock()
	delete(t.created, topic)
	t.mu.Unlock()
	return t.operate(ctx, abstract.TopicRemove, topic, nil, false)
}

// subscribe adds a subscription, and tells the broker. It is there before the
// broker knows, so that the first message finds it.
func (t *topics) subscribe(ctx context.Context, sub *Subscription) error {
	t.mu.Lock()
	if t.subscribed[sub.topic] == nil {
		t.subscribed[sub.topic] = make(map[*Subscription]struct{})
	}
	t.subscribed[sub.topic][sub] = struct{}{}
	t.mu.Unlock()
	err := t.operate(ctx, abstract.TopicSubscribe, sub.topic, nil, true)
	if err != nil {
		t.drop(sub)
	}
	return err
}

// drop takes a subscription away and returns whether it was the topic's last.
func (t *topics) drop(sub *Subscription) (last bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	subs := t.subscribed[sub.topic]
	if _, ok := subs[sub]; !ok {
		return false
	}
	delete(subs, sub)
	if len(subs) == 0 {
		delete(t.subscribed, sub.topic)
		return true
	}
	return false
}

func (t *topics) cancelAll(ctx context.Context, topic string) error {
	t.mu.Lock()
	subs := t.subscribed[topic]
	delete(t.subscribed, topic)
	t.mu.Unlock()
	for sub := range subs {
		sub.end(errCancelled)
	}
	return t.operate(ctx, abstract.TopicCancel, topic, nil, true)
}

// unsubscribe tells the broker that nobody here wants the topic any more.
func (t *topics) unsubscribe(ctx context.Context, topic string) error {
	return t.operate(ctx, abstract.TopicCancel, topic, nil, true)
}

// onPublish gives a push to the topic's subscriptions.
func (t *topics) onPublish(_ *session, m *message.TopicRequest) {
	if m.Op != abstract.TopicPublish {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for sub := range t.subscribed[m.Topic] {
		sub.put(Message{Topic: m.Topic, ID: m.ID(), Data: m.Message})
	}
}

// onGap notes that the broker dropped messages, because we did not read fast enough.
func (t *topics) onGap(_ *session, n *message.GapNotice) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for sub := range t.subscribed[n.Topic] {
		sub.miss(n.Missed)
	}
}

// restore creates topics and subscribes again.
func (t *topics) restore(ctx context.Context, s *session) error {
	t.mu.Lock()
	var requests []request
	for topic := range t.created {
		requests = append(requests, topicRequest(abstract.TopicCreate, topic, nil))
	}
	for topic := range t.subscribed {
		r := topicRequest(abstract.TopicSubscribe, topic, nil)
		r.see = func(m abstract.BaseMessage) { t.resubscribed(topic, m.(*message.TopicResponse)) }
		requests = append(requests, r)
	}
	t.mu.Unlock()
	return s.askAll(ctx, requests)
}

// resubscribed looks at the answer to a subscription that was restored. A topic
// that is not there yet will be made again by whoever made it; we go on asking.
func (t *topics) resubscribed(topic string, rsp *message.TopicResponse) {
	if rsp.Code == abstract.OK {
		return
	}
	t.conn.report(refused("subscribe "+topic, rsp.Code, rsp.Message, t.conn.addr))
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.retrying[topic] {
		t.retrying[topic] = true
		go t.retry(topic)
	}
}

// retry subscribes until it succeeds or nobody wants it any more.
func (t *topics) retry(topic string) {
	defer func() {
		t.mu.Lock()
		delete(t.retrying, topic)
		t.mu.Unlock()
	}()
	for try := 2; ; try++ {
		select {
		case <-t.conn.ctx.Done():
			return
		case <-time.After(backoff(&t.conn.cfg, try)):
		}
		t.mu.Lock()
		_, wanted := t.subscribed[topic]
		t.mu.Unlock()
		if !wanted {
			return
		}
		err := t.operate(t.conn.ctx, abstract.TopicSubscribe, topic, nil, true)
		if err == nil {
			return
		}
	}
}

// close ends all subscriptions.
func (t *topics) close() {
	t.mu.Lock()
	all := t.subscribed
	t.subscribed = nil
	t.mu.Unlock()
	for _, subs := range all {
		for sub := range subs {
			sub.end(t.conn.closedError())
		}
	}
}

// errCancelled is why next ends after a subscription was cancelled.
var errCancelled = errors.New("the subscription was cancelled")
