package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// Pipeline publishes to one topic without waiting for answers, as long as not too many are
// missing: as fast as the broker takes messages, and with bounded memory. Messages arrive in the
// order of the calls, also over a lost connection: those that had not left are sent on the
// next one. Of those that may have left the error says so, and they are not sent again.
// Safe for concurrent use.
type Pipeline struct {
	topics *topics
	topic  string
	line   *line
	credit chan struct{} // holds an element for each message without an answer
	told   func(n uint64, r Receipt, err error)

	mu      sync.Mutex
	n       uint64        // messages so far
	missing int           // answers
	idle    chan struct{} // closed when none is missing
	failed  int
	faults  []error // of the first of those
}

// maxFaults bounds how many errors Flush returns; the others are counted.
const maxFaults = 16

// Pipeline makes a Pipeline to a topic. window is how many messages may be without an answer,
// one at least: a few hundred fill any connection.
func (t *TopicClient) Pipeline(topic string, window int) *Pipeline {
	return newPipeline(&t.conn.topics, topic, window)
}

// OpenPipeline is Pipeline for who knows the contract only, as typed topics do.
func (t *TopicClient) OpenPipeline(topic string, window int) abstract.PublishPipeline {
	return t.Pipeline(topic, window)
}

func newPipeline(t *topics, topic string, window int) *Pipeline {
	idle := make(chan struct{})
	close(idle)
	return &Pipeline{topics: t, topic: topic, line: newLine(t), credit: make(chan struct{}, max(1, window)), idle: idle}
}

// OnOutcome calls fn for every message with what became of it: n counts those that Publish has taken,
// from 1. The Receipt is filled for those that were published with a Publishing. Calls come
// one at a time, in the order of the answers, on a goroutine of their own; fn may block,
// which holds up other callbacks of publications, but not the Pipeline. Set it before the
// first Publish. Flush returns the errors all the same.
func (p *Pipeline) OnOutcome(fn func(n uint64, r Receipt, err error)) {
	answers := p.topics.answers
	p.told = func(n uint64, r Receipt, err error) {
		if tell := func() { fn(n, r, err) }; !answers.run(tell) {
			go tell() // after Close; an outcome is never lost
		}
	}
}

// Publish sends a message, v as JSON, behind those before it. It waits only while the
// window is full; ctx ends this waiting, and not the message, which has the time of
// WithTimeout. Its error says that the message was not sent; what becomes of one that was,
// OnOutcome and Flush tell. Of with, which may be left out, the first counts; a message
// with one takes the broker longer.
func (p *Pipeline) Publish(ctx context.Context, v any, with ...Publishing) error {
	if len(with) > 0 && with[0].Meta != nil {
		ctx = abstract.WithMetadata(ctx, with[0].Meta)
	}
	raw, err := message.Encode(v)
	if err == nil {
		err = p.enter(ctx)
	}
	if err != nil {
		e := decorate(asError(err), "publish "+p.topic, 0, "")
		e.Sent = abstract.SentNo
		return e
	}
	var more *Publishing
	if len(with) > 0 {
		more = &with[0]
	}
	n := p.begin()
	if p.topics.conn.cfg.chain != nil {
		p.intercepted(ctx, n, raw, more)
		return nil
	}
	p.put(raw, abstract.OutgoingMetadata(ctx), more, func(r Receipt, err error) { p.end(n, r, err) })
	return nil
}

// enter takes a place in the window.
func (p *Pipeline) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case p.credit <- struct{}{}:
		return nil
	default:
	}
	p.line.flush()
	select {
	case p.credit <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-p.topics.conn.ctx.Done():
		return p.topics.conn.closedError()
	}
}

// put hands a message to the line.
func (p *Pipeline) put(raw message.Raw, meta abstract.Metadata, more *Publishing, told func(Receipt, error)) {
	if len(meta) > 0 {
		if err := meta.Check(); err != nil {
			e := decorate(asError(err), "publish "+p.topic, 0, "")
			e.Sent = abstract.SentNo
			told(Receipt{}, e)
			return
		}
	}
	m := &piped{deadline: time.Now().Add(p.topics.conn.cfg.timeout), told: told}
	m.req = message.TopicRequest{Op: abstract.TopicPublish, Topic: p.topic, Message: raw, Meta: meta}
	if more != nil {
		m.req.More = extrasOf(more)
	}
	p.line.put(m)
}

// intercepted sends a message inside the interceptors, and returns when it is in its place,
// or will not be.
func (p *Pipeline) intercepted(ctx context.Context, n uint64, raw message.Raw, more *Publishing) {
	conn := p.topics.conn
	life, stop := context.WithTimeout(ctx, conn.cfg.timeout)
	unbind := context.AfterFunc(conn.ctx, stop)
	placed := make(chan struct{})
	place := sync.OnceFunc(func() { close(placed) })
	what := "publish " + p.topic
	over := p.topics.aside.begin(func() {
		defer stop()
		defer unbind()
		defer place()
		var got Receipt
		err := conn.cfg.sheltered(what, func() error {
			return p.topics.publishInside(life, p.topic, raw, more, func(_ context.Context, op *abstract.Operation) error {
				raw, err := message.Encode(op.Params)
				if err != nil {
					return err
				}
				outcome := make(chan error, 1)
				p.put(raw, op.Meta, more, func(r Receipt, err error) {
					got = r
					outcome <- err
				})
				place()
				return <-outcome
			})
		})
		p.end(n, got, err)
	}, conn.closedError)
	if over != nil {
		unbind()
		stop()
		p.end(n, Receipt{}, decorate(over, what, 0, conn.addr))
		return
	}
	<-placed
}

// begin counts a message, and returns its number.
func (p *Pipeline) begin() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.missing == 0 {
		p.idle = make(chan struct{})
	}
	p.missing++
	p.n++
	return p.n
}

// end notes what became of a message.
func (p *Pipeline) end(n uint64, r Receipt, err error) {
	if p.told != nil {
		p.told(n, r, err)
	}
	p.mu.Lock()
	if err != nil {
		if p.failed++; p.failed <= maxFaults {
			p.faults = append(p.faults, err)
		}
	}
	if p.missing--; p.missing == 0 {
		close(p.idle)
	}
	p.mu.Unlock()
	<-p.credit
}

// Flush waits until every message has its outcome, and returns what went wrong since the
// last Flush: nil when the broker has taken all, else an error that says how many it has
// not, with the first of their errors. When ctx ends first, it returns ctx's error, and
// the messages are on their way still.
func (p *Pipeline) Flush(ctx context.Context) error {
	p.line.flush()
	for {
		p.mu.Lock()
		idle, missing := p.idle, p.missing
		if missing == 0 {
			failed, faults := p.failed, p.faults
			p.failed, p.faults = 0, nil
			p.mu.Unlock()
			return notTaken(failed, faults)
		}
		p.mu.Unlock()
		select {
		case <-idle:
		case <-ctx.Done():
			return &abstract.Error{Code: abstract.CodeOf(ctx.Err()), Op: "wait for what was published to " + p.topic, Err: ctx.Err()}
		}
	}
}

// notTaken is the error of so many messages, of which some errors are known.
func notTaken(failed int, faults []error) error {
	switch failed {
	case 0:
		return nil
	case 1:
		return faults[0]
	}
	return fmt.Errorf("%d messages were not taken, the first of them because: %w", failed, errors.Join(faults...))
}
