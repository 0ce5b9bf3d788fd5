package client

import (
	"context"
	"sync"
	"time"

	"trefoil/abstract"
	"trefoil/business/dispatch"
	"trefoil/concrete/message"
	"trefoil/concrete/workers"
)

// topics is what stands on a Conn of topics: those it created, and those it is
// subscribed to. The broker sees one subscription for each topic, however many
// there are here.
type topics struct {
	conn    *Conn
	wakes   sync.Pool     // channels for those who wait for an answer
	answers *serial       // runs the callbacks of publications
	late    *workers.Pool // publications that wait for the connection
	aside   tasks         // publications inside interceptors

	mu         sync.Mutex
	created    map[string]struct{}
	subscribed map[string]map[*Subscription]struct{}
	retrying   map[string]bool // subscriptions that a restarted broker refused
	gates      map[string]*gate
	run        string // of the broker that knows what was created
	delivering sync.WaitGroup
}

func (t *topics) init(c *Conn) {
	t.conn = c
	t.created, t.subscribed = make(map[string]struct{}), make(map[string]map[*Subscription]struct{})
	t.retrying, t.gates = make(map[string]bool), make(map[string]*gate)
	t.wakes.New = func() any { return make(chan struct{}, 1) }
	t.answers, t.late = newSerial(), workers.New(workers.Config{})
	c.wire.pushes = t.onPushes
	dispatch.On(c.wire.dispatch, abstract.Gap, t.onGap)
}

// enter waits for a topic's gate.
func (t *topics) enter(ctx context.Context, topic string) (leave func(), err error) {
	t.mu.Lock()
	g := t.gates[topic]
	if g == nil {
		g = newGate()
		t.gates[topic] = g
	}
	g.users++
	t.mu.Unlock()
	done := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if g.users--; g.users == 0 {
			delete(t.gates, topic)
		}
	}
	if err := g.enter(ctx); err != nil {
		done()
		return nil, &abstract.Error{Code: abstract.CodeOf(err), Op: "subscribe " + topic, Message: "another change of the subscription is still on its way", Sent: abstract.SentNo, Err: err}
	}
	return func() { g.leave(); done() }, nil
}

// wanted says whether somebody here is subscribed to a topic.
func (t *topics) wanted(topic string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.subscribed[topic]) > 0
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
	return t.answered(ctx, what, r)
}

// answered asks, and returns what is wrong with the answer.
func (t *topics) answered(ctx context.Context, what string, r request) error {
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
	if t.subscribed == nil { // after Close
		t.mu.Unlock()
		return t.conn.closedError()
	}
	if t.subscribed[sub.topic] == nil {
		t.subscribed[sub.topic] = make(map[*Subscription]struct{})
	}
	t.subscribed[sub.topic][sub] = struct{}{}
	t.mu.Unlock()
	leave, err := t.enter(ctx, sub.topic)
	if err != nil {
		t.drop(sub)
		return err
	}
	defer leave()
	err = t.operate(ctx, abstract.TopicSubscribe, sub.topic, nil, true)
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
	return t.unsubscribe(ctx, topic)
}

// unsubscribe tells the broker that nobody here wants the topic any more, if that
// is still so.
func (t *topics) unsubscribe(ctx context.Context, topic string) error {
	leave, err := t.enter(ctx, topic)
	if err != nil {
		return err
	}
	defer leave()
	if t.wanted(topic) {
		return nil
	}
	return t.operate(ctx, abstract.TopicCancel, topic, nil, true)
}

// onPushes gives the pushes that a batch begins with to their topic's
// subscriptions, and returns how many these are: those of one topic.
func (t *topics) onPushes(batch []abstract.BaseMessage) int {
	topic, n := "", 0
	for ; n < len(batch); n++ {
		m, ok := batch[n].(*message.TopicRequest)
		if !ok || m.Op != abstract.TopicPublish || n > 0 && m.Topic != topic {
			break
		}
		topic = m.Topic
	}
	if n == 0 {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for sub := range t.subscribed[topic] {
		sub.put(batch[:n])
	}
	return n
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
		if s.run != "" && s.run == t.run {
			break // the broker has not lost them; what is not there was removed
		}
		r := topicRequest(abstract.TopicCreate, topic, nil)
		r.see = func(m abstract.BaseMessage) {
			if rsp := m.(*message.TopicResponse); rsp.Code != abstract.OK {
				t.conn.report(refused("create "+topic, rsp.Code, rsp.Message, t.conn.addr))
			}
		}
		requests = append(requests, r)
	}
	for topic := range t.subscribed {
		r := topicRequest(abstract.TopicSubscribe, topic, nil)
		r.see = func(m abstract.BaseMessage) { t.resubscribed(topic, m.(*message.TopicResponse)) }
		requests = append(requests, r)
	}
	t.mu.Unlock()
	if err := s.askAll(ctx, requests); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.run = s.run
	return nil
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
		if t.resubscribe(topic) {
			return
		}
	}
}

// resubscribe makes one try to subscribe again, and returns whether it was the
// last: it succeeded, or nobody wants it any more.
func (t *topics) resubscribe(topic string) bool {
	leave, err := t.enter(t.conn.ctx, topic)
	if err != nil {
		return false
	}
	defer leave()
	return !t.wanted(topic) || t.operate(t.conn.ctx, abstract.TopicSubscribe, topic, nil, true) == nil
}

// close ends all subscriptions. Publications have ended with the connection. It
// waits for the callbacks of both.
func (t *topics) close() {
	t.late.Close()
	t.aside.close()
	t.answers.close()
	t.mu.Lock()
	all := t.subscribed
	t.subscribed = nil
	t.mu.Unlock()
	for _, subs := range all {
		for sub := range subs {
			sub.end(t.conn.closedError())
		}
	}
	t.delivering.Wait()
}

// errCancelled is why next ends after a subscription was cancelled.
var errCancelled = &abstract.Error{Code: abstract.Cancelled, Op: "read a subscription", Message: "the subscription was cancelled"}
