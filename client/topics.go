package client

import (
	"cmp"
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/abstract"
	"trefoil/business/dispatch"
	"trefoil/concrete/lv"
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
	aside   asides        // publications inside interceptors

	// session has the subscriptions. What comes over it may be acknowledged before everything
	// else is restored, and it is the Conn's current one.
	session atomic.Pointer[session]

	mu         sync.Mutex
	created    map[string]*abstract.TopicSettings // nil: a plain one
	subscribed map[string]map[*Subscription]struct{}
	places     map[string]position      // how far the plain subscriptions are
	tagged     map[string]*Subscription // those of their own, by what the broker calls them
	retrying   map[string]bool          // subscriptions that a restarted broker refused
	resuming   int                      // the same, of their own
	gates      map[string]*gate
	lastTag    atomic.Uint64
	run        string // of the broker that knows what was created
	delivering sync.WaitGroup
}

// position is how far a subscription is in a topic.
type position struct {
	epoch string
	last  uint64
}

func (t *topics) init(c *Conn) {
	t.conn = c
	t.created, t.subscribed = make(map[string]*abstract.TopicSettings), make(map[string]map[*Subscription]struct{})
	t.places, t.tagged = make(map[string]position), make(map[string]*Subscription)
	t.retrying, t.gates = make(map[string]bool), make(map[string]*gate)
	t.wakes.New = func() any { return make(chan struct{}, 1) }
	t.answers, t.late = newSerial(), workers.New(workers.Config{})
	t.aside.most = int64(c.cfg.maxPending)
	c.wire.pushes = t.onPushes
	dispatch.On(c.wire.dispatch, abstract.Gap, t.onGap)
	dispatch.On(c.wire.dispatch, abstract.ReqTopic, t.onNotice)
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

// ask asks for an operation that changes nothing when it is done twice.
func (t *topics) ask(ctx context.Context, op abstract.TopicOp, topic string, x *message.TopicExtras) (*message.TopicResponse, error) {
	return t.askWith(ctx, &message.TopicRequest{Op: op, Topic: topic, More: x}, true)
}

func (t *topics) askWith(ctx context.Context, req *message.TopicRequest, harmless bool) (*message.TopicResponse, error) {
	r := t.again(req)
	r.harmless = harmless
	return t.askBuilt(ctx, req.Op.String()+" "+req.Topic, r)
}

func (t *topics) askBuilt(ctx context.Context, what string, r request) (*message.TopicResponse, error) {
	m, err := t.conn.ask(ctx, what, r)
	if err != nil {
		return nil, err
	}
	rsp := m.(*message.TopicResponse)
	if rsp.Code != abstract.OK {
		return nil, refused(what, rsp.Code, rsp.Message, t.conn.addr)
	}
	return rsp, nil
}

func (t *topics) create(ctx context.Context, topic string, settings *abstract.TopicSettings) error {
	if _, err := t.askWith(ctx, createRequest(topic, settings), true); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.created[topic] = settings
	return nil
}

func createRequest(topic string, settings *abstract.TopicSettings) *message.TopicRequest {
	req := &message.TopicRequest{Op: abstract.TopicCreate, Topic: topic}
	if settings != nil {
		req.More = &message.TopicExtras{Settings: message.WriteTopicSettings(*settings)}
	}
	return req
}

// recreate notes what a topic that we created has become.
func (t *topics) recreate(topic string, settings abstract.TopicSettings) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ours := t.created[topic]; ours {
		t.created[topic] = &settings
	}
}

// send queues a message that nobody answers.
func (t *topics) send(topic string, v any, meta abstract.Metadata) error {
	err := meta.Check()
	var raw message.Raw
	if err == nil {
		raw, err = message.Encode(v)
	}
	if err != nil {
		return decorate(asError(err), "send "+topic, 0, "")
	}
	s := t.conn.current.Load()
	if s == nil {
		return &abstract.Error{Code: abstract.Unavailable, Op: "send " + topic, Message: "there is no connection to " + t.conn.addr + " now", Sent: abstract.SentNo}
	}
	return s.say(&message.TopicRequest{Header: message.ID("0"), Op: abstract.TopicSend, Topic: topic, Message: raw, Meta: meta})
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
	if err := sub.asks.check(); err != nil {
		return decorate(asError(err), "subscribe "+sub.topic, 0, "")
	}
	if !t.add(sub) {
		return t.conn.closedError()
	}
	if !sub.asks.own {
		leave, err := t.enter(ctx, sub.topic)
		if err != nil {
			t.drop(sub)
			return err
		}
		defer leave()
	}
	if err := t.askBegun(ctx, sub, false, t.begun); err != nil {
		t.drop(sub)
		return err
	}
	return nil
}

// askBegun asks for a subscription, and notes where it begins before the first push; again:
// it was lost.
func (t *topics) askBegun(ctx context.Context, sub *Subscription, again bool, begun func(*Subscription, *message.TopicResponse)) error {
	r := request{want: abstract.RspTopic, harmless: true, build: sub.build(again)}
	r.see = func(m abstract.BaseMessage) {
		if rsp := m.(*message.TopicResponse); rsp.Code == abstract.OK {
			begun(sub, rsp)
		}
	}
	_, err := t.askBuilt(ctx, "subscribe "+sub.topic, r)
	return err
}

// add notes a subscription; false: the Conn is closed.
func (t *topics) add(sub *Subscription) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.subscribed == nil: // after Close
		return false
	case sub.asks.own:
		t.tagged[sub.held.tag] = sub
	case t.subscribed[sub.topic] == nil:
		t.subscribed[sub.topic] = map[*Subscription]struct{}{sub: {}}
	default:
		t.subscribed[sub.topic][sub] = struct{}{}
	}
	return true
}

// build makes the request for a subscription, each time it is sent anew: its tag may have
// changed.
func (s *Subscription) build(again bool) func(id string) abstract.BaseMessage {
	return func(id string) abstract.BaseMessage {
		req := s.request(again)
		req.Header = message.ID(id)
		return &req
	}
}

// request asks the broker for a subscription; again: it was lost.
func (s *Subscription) request(again bool) message.TopicRequest {
	if !s.asks.own {
		return message.TopicRequest{Op: abstract.TopicSubscribe, Topic: s.topic}
	}
	x := s.asks.extras
	s.mu.Lock()
	defer s.mu.Unlock()
	x.Sub = s.held.tag
	if again && s.epoch != "" && !s.asks.shares() {
		x.From, x.Epoch = message.TopicFrom{Where: message.FromOffset, Offset: s.last + 1}, s.epoch
	}
	if s.places != nil {
		x.Resume = s.places.request(s.resumeRoom())
	}
	return message.TopicRequest{Op: abstract.TopicSubscribe, Topic: s.topic, More: &x}
}

// renew gives subscriptions of their own new tags, for a new connection: what came over
// the old one can no longer be acknowledged. It is called with the lock held.
func (t *topics) renew() {
	renewed := make(map[string]*Subscription, len(t.tagged))
	for _, sub := range t.tagged {
		sub.mu.Lock()
		sub.held = &holding{sub, t.newTag()}
		renewed[sub.held.tag] = sub
		sub.mu.Unlock()
	}
	t.tagged = renewed
}

func (t *topics) newTag() string { return strconv.FormatUint(t.lastTag.Add(1), 36) }

// begun notes where a subscription began.
func (t *topics) begun(sub *Subscription, rsp *message.TopicResponse) {
	if !sub.asks.own {
		t.mu.Lock()
		defer t.mu.Unlock()
		if at := t.places[sub.topic]; at.epoch != rsp.Epoch && len(t.subscribed[sub.topic]) > 0 {
			t.places[sub.topic] = position{rsp.Epoch, rsp.Offset}
		}
		return
	}
	if sub.places != nil {
		sub.begunMany(rsp, false)
		return
	}
	sub.mu.Lock()
	defer sub.mu.Unlock()
	sub.begun = true
	if rsp.Recovered == message.No { // of what is gone
		sub.note(Gap{Topic: sub.topic, Unrecovered: true})
		sub.wake()
	}
	if rsp.Recovered == message.No || sub.epoch != rsp.Epoch {
		sub.epoch, sub.last = rsp.Epoch, rsp.Offset
	}
}

// drop takes a subscription away and returns whether the broker is to be told.
func (t *topics) drop(sub *Subscription) (last bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if sub.asks.own {
		tag := sub.holding().tag
		if t.tagged[tag] != sub {
			return false
		}
		delete(t.tagged, tag)
		return true
	}
	subs := t.subscribed[sub.topic]
	if _, ok := subs[sub]; !ok {
		return false
	}
	delete(subs, sub)
	if len(subs) == 0 {
		delete(t.subscribed, sub.topic)
		delete(t.places, sub.topic)
		return true
	}
	return false
}

func (t *topics) cancelAll(ctx context.Context, topic string) error {
	t.mu.Lock()
	subs := t.subscribed[topic]
	delete(t.subscribed, topic)
	delete(t.places, topic)
	var own []*Subscription
	for tag, sub := range t.tagged {
		if sub.topic == topic {
			own = append(own, sub)
			delete(t.tagged, tag)
		}
	}
	t.mu.Unlock()
	for sub := range subs {
		sub.end(errCancelled)
	}
	var err error
	for _, sub := range own {
		sub.end(errCancelled)
		err = cmp.Or(err, t.unsubscribe(ctx, sub))
	}
	if len(subs) > 0 || len(own) == 0 {
		err = cmp.Or(err, t.unsubscribeFrom(ctx, topic))
	}
	return err
}

// unsubscribe tells the broker that a subscription has ended.
func (t *topics) unsubscribe(ctx context.Context, sub *Subscription) error {
	if !sub.asks.own {
		return t.unsubscribeFrom(ctx, sub.topic)
	}
	_, err := t.ask(ctx, abstract.TopicCancel, sub.topic, &message.TopicExtras{Sub: sub.holding().tag})
	return err
}

// unsubscribeFrom tells the broker that nobody here wants the topic any more, if that
// is still so.
func (t *topics) unsubscribeFrom(ctx context.Context, topic string) error {
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

// tagOf is the name of the subscription that a push is for.
func tagOf(m *message.TopicRequest) string {
	if m.More == nil {
		return ""
	}
	return m.More.Sub
}

// onPushes gives the pushes that a batch begins with to their topic's
// subscriptions, and returns how many these are: those of one topic.
func (t *topics) onPushes(batch []abstract.BaseMessage) int {
	topic, tag, n := "", "", 0
	for ; n < len(batch); n++ {
		m, ok := batch[n].(*message.TopicRequest)
		if !ok || m.Op != abstract.TopicPublish || n > 0 && (m.Topic != topic || tagOf(m) != tag) {
			break
		}
		topic, tag = m.Topic, tagOf(m)
	}
	if n == 0 {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if tag != "" {
		if sub := t.tagged[tag]; sub != nil {
			sub.put(batch[:n])
		}
		return n
	}
	for sub := range t.subscribed[topic] {
		sub.put(batch[:n])
		topic = sub.topic // a key made of what has come would keep all that came with it
	}
	if last := batch[n-1].(*message.TopicRequest).Offset; last > 0 {
		if at, ok := t.places[topic]; ok {
			at.last = last
			t.places[topic] = at
		}
	}
	return n
}

// onNotice takes what a broker says of topics that is no push: one was removed, or
// somebody came or went.
func (t *topics) onNotice(_ *session, m *message.TopicRequest) {
	tag := tagOf(m)
	switch m.Op {
	case abstract.TopicRemove:
		t.removed(m.Topic, tag, m.Message)
	case abstract.TopicSubscribe, abstract.TopicCancel:
		t.mu.Lock()
		sub := t.tagged[tag]
		t.mu.Unlock()
		if sub == nil || sub.asks.present == nil {
			return
		}
		p := Presence{}
		if message.Decode(m.Message, &p) == nil {
			p.Topic, p.Joined = m.Topic, m.Op == abstract.TopicSubscribe
			sub.asks.present(p)
		}
	}
}

// removed ends the subscriptions to a topic that is gone, or the one that the broker has
// ended.
func (t *topics) removed(topic, tag string, why message.Raw) {
	var said struct {
		Code    abstract.RCode `json:"rcode"`
		Message string         `json:"message"`
	}
	_ = message.Decode(why, &said)
	if said.Code == abstract.OK {
		said.Code = abstract.TopicNotFound
	}
	err := refused("read a subscription to "+topic, said.Code, said.Message, t.conn.addr)
	var over []*Subscription
	t.mu.Lock()
	if tag != "" {
		if sub := t.tagged[tag]; sub != nil {
			over = append(over, sub)
			delete(t.tagged, tag)
		}
	} else {
		for sub := range t.subscribed[topic] {
			over = append(over, sub)
		}
		delete(t.subscribed, topic)
		delete(t.places, topic)
	}
	t.mu.Unlock()
	for _, sub := range over {
		sub.finish(err)
	}
	if len(over) > 0 {
		t.conn.report(err)
	}
}

// onGap notes that the broker dropped messages, because we did not read fast enough.
func (t *topics) onGap(_ *session, n *message.GapNotice) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n.Sub != "" {
		if sub := t.tagged[n.Sub]; sub != nil {
			sub.miss(n.Missed)
		}
		return
	}
	for sub := range t.subscribed[n.Topic] {
		sub.miss(n.Missed)
	}
}

// restore creates topics and subscribes again.
func (t *topics) restore(ctx context.Context, s *session) error {
	t.session.Store(s)
	t.mu.Lock()
	var requests []request
	for topic, settings := range t.created {
		if s.run != "" && s.run == t.run {
			break // the broker has not lost them; what is not there was removed
		}
		r := t.again(createRequest(topic, settings))
		r.see = func(m abstract.BaseMessage) {
			if rsp := m.(*message.TopicResponse); rsp.Code != abstract.OK {
				t.conn.report(refused("create "+topic, rsp.Code, rsp.Message, t.conn.addr))
			}
		}
		requests = append(requests, r)
	}
	for topic := range t.subscribed {
		r := t.again(t.plainAgain(topic))
		r.see = func(m abstract.BaseMessage) { t.resubscribed(topic, m.(*message.TopicResponse)) }
		requests = append(requests, r)
	}
	if t.tagged != nil {
		t.renew()
	}
	for _, sub := range t.tagged {
		r := request{want: abstract.RspTopic, harmless: true, build: sub.build(true)}
		r.see = func(m abstract.BaseMessage) { t.resumed(s, sub, m.(*message.TopicResponse)) }
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

func (t *topics) again(req *message.TopicRequest) request {
	return request{want: abstract.RspTopic, harmless: true, build: func(id string) abstract.BaseMessage {
		m := *req
		m.Header = message.ID(id)
		return &m
	}}
}

// plainAgain asks for the plain subscription to a topic that was lost, from where it was.
// It is called with the lock held.
func (t *topics) plainAgain(topic string) *message.TopicRequest {
	req := &message.TopicRequest{Op: abstract.TopicSubscribe, Topic: topic}
	if at := t.places[topic]; at.epoch != "" {
		req.More = &message.TopicExtras{From: message.TopicFrom{Where: message.FromOffset, Offset: at.last + 1}, Epoch: at.epoch}
	}
	return req
}

// resumed looks at the answer to a subscription of its own that was restored.
func (t *topics) resumed(s *session, sub *Subscription, rsp *message.TopicResponse) {
	if rsp.Code == abstract.OK {
		t.begunAnew(sub, rsp)
		return
	}
	t.conn.report(refused("subscribe "+sub.topic, rsp.Code, rsp.Message, t.conn.addr))
	t.mu.Lock()
	t.resuming++
	t.mu.Unlock()
	go t.resume(s, sub)
}

// begunAnew notes where a restored subscription goes on.
func (t *topics) begunAnew(sub *Subscription, rsp *message.TopicResponse) {
	if sub.places != nil {
		sub.begunMany(rsp, true)
		return
	}
	t.begun(sub, rsp)
}

// resume subscribes until that succeeds, or nobody wants it any more. With the session it
// leaves the matter to the next one.
func (t *topics) resume(s *session, sub *Subscription) {
	defer func() {
		t.mu.Lock()
		t.resuming--
		t.mu.Unlock()
	}()
	for try := 2; !sub.ended.Load(); try++ {
		select {
		case <-t.conn.ctx.Done():
			return
		case <-s.gone:
			return
		case <-time.After(backoff(&t.conn.cfg, try)):
		}
		if t.askBegun(t.conn.ctx, sub, true, t.begunAnew) == nil {
			return
		}
	}
}

// resubscribed looks at the answer to a subscription that was restored. A topic
// that is not there yet will be made again by whoever made it; we go on asking.
func (t *topics) resubscribed(topic string, rsp *message.TopicResponse) {
	if rsp.Code == abstract.OK {
		t.mu.Lock()
		defer t.mu.Unlock()
		if at, ok := t.places[topic]; ok && (rsp.Recovered == message.No || at.epoch != rsp.Epoch) {
			t.places[topic] = position{rsp.Epoch, rsp.Offset}
		}
		if rsp.Recovered == message.No {
			for sub := range t.subscribed[topic] {
				sub.lost()
			}
		}
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
	t.mu.Lock()
	req := t.plainAgain(topic)
	t.mu.Unlock()
	if !t.wanted(topic) {
		return true
	}
	r := t.again(req)
	r.see = func(m abstract.BaseMessage) {
		if rsp := m.(*message.TopicResponse); rsp.Code == abstract.OK {
			t.resubscribed(topic, rsp)
		}
	}
	_, err = t.askBuilt(t.conn.ctx, "subscribe "+topic, r)
	return err == nil
}

// close ends all subscriptions. Publications have ended with the connection. It
// waits for the callbacks of both.
func (t *topics) close() {
	t.late.Close()
	t.aside.close()
	t.answers.close()
	t.mu.Lock()
	all, own := t.subscribed, t.tagged
	t.subscribed, t.tagged = nil, nil
	t.mu.Unlock()
	for _, sub := range own {
		sub.end(t.conn.closedError())
	}
	for _, subs := range all {
		for sub := range subs {
			sub.end(t.conn.closedError())
		}
	}
	t.delivering.Wait()
}

// errCancelled is why next ends after a subscription was cancelled.
var errCancelled = &abstract.Error{Code: abstract.Cancelled, Op: "read a subscription", Message: "the subscription was cancelled"}

// say queues a message that nobody answers.
func (s *session) say(m *message.TopicRequest) error {
	if !s.modern() {
		return abstract.Errorf(abstract.Unsupported, "%s is an existing program, which answers every message: use Publish", s.name())
	}
	b, err := s.protocol.Append(lv.Memory(room(m)), m)
	if err == nil {
		err = s.judge.CheckSize(len(b))
	}
	if err == nil {
		err = s.Queue(abstract.Frame{Class: abstract.ClassTopic, Count: 1, Bytes: s.pack(b), Free: lv.Recycle})
	}
	if err != nil {
		return decorate(asError(err), m.Op.String()+" "+m.Topic, 0, "")
	}
	s.flushLater()
	return nil
}
