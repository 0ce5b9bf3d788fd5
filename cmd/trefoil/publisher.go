package main

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	"trefoil/abstract"
	"trefoil/client"
)

const (
	// publishWindow and publishWindowBytes bound what is on its way: of the latter one
	// message may be more.
	publishWindow      = 256
	publishWindowBytes = 4 << 20
)

// publisher publishes many messages, in their order, many of them on their way at the same
// time. It ends with the first that is not taken. Its methods are for one goroutine, but
// for lostConnection.
type publisher struct {
	topics *client.TopicClient
	up     func() bool                    // whether there is a connection
	done   func(outgoing, client.Receipt) // told of each that was taken, one at a time
	stop   context.CancelFunc             // called at the first failure

	mu       sync.Mutex
	changed  sync.Cond
	inflight int // messages
	bytes    int
	last     int // place of the last that was taken
	failed   *failedMessage
	trip     context.Context // ends when the connection is lost
	lose     context.CancelCauseFunc
}

// outgoing is a message to be published.
type outgoing struct {
	place  int // its line
	topic  string
	data   json.RawMessage
	how    client.Publishing
	report bool // the receipt is wanted
	size   int  // of its text
}

// failedMessage is the first message that was not taken.
type failedMessage struct {
	outgoing
	err error
}

// newPublisher makes a publisher that has no connection yet.
func newPublisher(stop context.CancelFunc, done func(outgoing, client.Receipt)) *publisher {
	p := &publisher{stop: stop, done: done}
	p.changed.L = &p.mu
	p.trip, p.lose = context.WithCancelCause(context.Background())
	return p
}

// connect gives the publisher its connection, which end closes. In a shell, which does not
// tell when its own is lost, messages go one at a time.
func (p *publisher) connect(ctx context.Context, a *app, s *settings) (end func(), err error) {
	if a.shared != nil {
		p.topics, p.up = client.NewTopicClient(a.shared), func() bool { return false }
		return func() {}, nil
	}
	conn, end, err := a.dialForLong(ctx, s, client.OnDisconnected(func(error) { p.lostConnection() }))
	if err != nil {
		return nil, err
	}
	p.topics, p.up = client.NewTopicClient(conn), conn.Connected
	return end, nil
}

// errLostOnTheWay is what became of messages that were on their way when the connection was
// lost. They are not tried again, as others behind them could come first.
var errLostOnTheWay error = &plainError{"the connection was lost before the broker's answer came: whether this message was published is not known", abstract.ErrDisconnected}

// lostConnection ends what is on its way. Messages that come later go by the next
// connection.
func (p *publisher) lostConnection() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose(errLostOnTheWay)
	p.trip, p.lose = context.WithCancelCause(context.Background())
}

// send publishes a message as soon as there is room for it. It returns when the message is
// on its way, or false when nothing goes any more.
func (p *publisher) send(ctx context.Context, m outgoing) bool {
	alone := m.report || asksForMore(m.how)
	p.mu.Lock()
	trip := p.trip // taken before the connection is looked at: with that it ends
	p.mu.Unlock()
	if alone || !p.up() {
		return p.sendAlone(ctx, m)
	}
	if !p.enter(m) {
		return false
	}
	ctx, cancel := context.WithCancelCause(ctx)
	forget := context.AfterFunc(trip, func() { cancel(context.Cause(trip)) })
	p.topics.PublishFunc(carryingToo(ctx, m.how.Meta), m.topic, m.data, func(err error) {
		forget()
		if err != nil && errors.Is(context.Cause(ctx), errLostOnTheWay) {
			err = errLostOnTheWay
		}
		cancel(nil)
		p.ended(m, client.Receipt{}, err)
	})
	return true
}

// sendAlone publishes a message when those before it have been answered, and waits.
func (p *publisher) sendAlone(ctx context.Context, m outgoing) bool {
	if !p.settle() || !p.enter(m) {
		return false
	}
	got, err := publishOne(ctx, p.topics, m.topic, m.data, m.how, m.report)
	p.ended(m, got, err)
	return err == nil
}

// enter waits for room. It returns false when a message has failed.
func (p *publisher) enter(m outgoing) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.inflight > 0 && (p.inflight >= publishWindow || p.bytes+len(m.data) > publishWindowBytes) {
		p.changed.Wait()
	}
	if p.failed != nil {
		return false
	}
	p.inflight++
	p.bytes += len(m.data)
	return true
}

// settle waits for the end of what is on its way. It returns false when a message has
// failed.
func (p *publisher) settle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.inflight > 0 {
		p.changed.Wait()
	}
	return p.failed == nil
}

// ended notes what became of a message.
func (p *publisher) ended(m outgoing, got client.Receipt, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inflight--
	p.bytes -= len(m.data)
	p.changed.Broadcast()
	switch {
	case err == nil:
		p.last = max(p.last, m.place)
		p.done(m, got)
	case p.failed == nil || m.place < p.failed.place:
		p.failed = &failedMessage{m, err}
		p.stop()
	}
}

// failure is the first message that was not taken, and the last that was, when everything
// has settled.
func (p *publisher) failure() (first *failedMessage, last int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed, p.last
}
