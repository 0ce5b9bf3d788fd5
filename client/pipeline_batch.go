package client

import (
	"context"
	"sync"

	"trefoil/abstract"
)

// Outgoing is one message of a batch.
type Outgoing = abstract.Outgoing

// Outcome is what became of one message of a batch.
type Outcome = abstract.Outcome

// batchWindow is how many messages of a batch are without an answer at most.
const batchWindow = 1024

// PublishBatch publishes messages in order, many in one write, and returns when each has
// its outcome: the slice has one for each message. The error is nil when all were taken;
// otherwise it says how many were not. Messages that were are not taken back. When ctx
// ends first, the outcome of those on their way is its error, with Sent unknown.
func (t *TopicClient) PublishBatch(ctx context.Context, topic string, messages []Outgoing) ([]Outcome, error) {
	p := newPipeline(&t.conn.topics, topic, min(len(messages), batchWindow))
	p.line.lazy = true
	b := batchOutcomes{list: make([]Outcome, len(messages)), ended: make([]bool, len(messages))}
	return b.publish(ctx, p, messages)
}

// batchOutcomes gathers what became of the messages of a batch.
type batchOutcomes struct {
	mu     sync.Mutex
	list   []Outcome
	ended  []bool
	closed bool // nothing is noted any more
}

func (b *batchOutcomes) note(i int, r Receipt, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.list[i], b.ended[i] = Outcome{Receipt: r, Err: err}, true
	}
}

func (b *batchOutcomes) publish(ctx context.Context, p *Pipeline, messages []Outgoing) ([]Outcome, error) {
	places := make([]int, 0, len(messages)) // of those that the pipeline has taken
	p.told = func(n uint64, r Receipt, err error) {
		b.mu.Lock()
		i := places[n-1]
		b.mu.Unlock()
		b.note(i, r, err)
	}
	for i, m := range messages {
		b.mu.Lock()
		places = append(places, i)
		b.mu.Unlock()
		var with []Publishing
		if m.With != nil {
			with = []Publishing{*m.With}
		}
		if err := p.Publish(ctx, m.Value, with...); err != nil {
			b.mu.Lock()
			places = places[:len(places)-1]
			b.mu.Unlock()
			b.note(i, Receipt{}, err)
		}
	}
	over := p.Flush(ctx)
	return b.close(over)
}

// close returns the outcomes as they are.
func (b *batchOutcomes) close(over error) ([]Outcome, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	failed := 0
	var faults []error
	for i := range b.list {
		o := &b.list[i]
		if !b.ended[i] {
			e := *asError(over)
			e.Sent = abstract.SentUnknown
			o.Err = &e
		}
		if o.Err == nil {
			continue
		}
		if failed++; failed <= maxFaults {
			faults = append(faults, o.Err)
		}
	}
	return b.list, notTaken(failed, faults)
}
