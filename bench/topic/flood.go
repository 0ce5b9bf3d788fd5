package topic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/bench/internal/harness"
)

// Flood says who publishes to whom: one publishing connection for each topic, and
// the same number of subscribing connections.
type Flood struct {
	Bus         string `json:"bus"`
	Addr        string `json:"addr"`
	Topics      int    `json:"topics"`
	Subscribers int    `json:"subscribers"` // of each topic
	Size        int    `json:"size"`        // of a message, in bytes
	Progress    string `json:"progress"`    // the file that publishers and subscribers share
}

// Topic is the name of one of the topics.
func (f Flood) Topic(i int) string { return fmt.Sprintf("bench.topic.%d", i) }

func (f Flood) connections() int { return f.Topics * f.Subscribers }

// Start is the argument of a publishing program's command "start".
type Start struct {
	// Rate is how many deliveries per second to aim at, one message at a time;
	// 0 publishes as fast as the window allows.
	Rate float64 `json:"rate"`
}

// ServePublisher starts a program that publishes: it takes the commands "start"
// and "stop". It is no server, and is not accounted as one.
func ServePublisher(ctx context.Context, raw json.RawMessage) (*harness.Served, error) {
	var f Flood
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, err
	}
	p, err := newPublisher(ctx, f)
	if err != nil {
		return nil, err
	}
	return &harness.Served{
		Commands: map[string]harness.CommandFunc{
			"start": func(_ context.Context, arg json.RawMessage) (any, error) {
				var s Start
				if err := json.Unmarshal(arg, &s); err != nil {
					return nil, err
				}
				return struct{}{}, p.start(ctx, s.Rate)
			},
			"stop": func(context.Context, json.RawMessage) (any, error) { return p.stop() },
		},
		Stop: p.close,
	}, nil
}

// Published is what the command "stop" answers.
type Published struct {
	Messages uint64 `json:"messages"`
	Stalls   uint64 `json:"stalls"` // windows that were given up because a subscriber stood still
	Errors   uint64 `json:"errors"`
	Error    string `json:"error,omitempty"` // the first one
}

// publisher is the publishing process.
type publisher struct {
	flood   Flood
	bus     Bus
	conns   []Conn // one for each topic
	shared  *progress
	windows []*window

	mu      sync.Mutex
	cancel  context.CancelFunc // not nil while it publishes
	running sync.WaitGroup

	messages, errors atomic.Uint64
	firstError       atomic.Pointer[string]
}

func newPublisher(ctx context.Context, f Flood) (*publisher, error) {
	bus, err := BusOf(f.Bus)
	if err != nil {
		return nil, err
	}
	shared, err := openProgress(f.Progress, f.connections())
	if err != nil {
		return nil, err
	}
	p := &publisher{flood: f, bus: bus, shared: shared}
	for i := range f.Topics {
		c, err := bus.Dial(ctx, f.Addr)
		if err != nil {
			p.close()
			return nil, err
		}
		p.conns = append(p.conns, c)
		if err := c.Create(ctx, f.Topic(i)); err != nil {
			p.close()
			return nil, err
		}
		slots := shared.slots[i*f.Subscribers : (i+1)*f.Subscribers]
		p.windows = append(p.windows, newWindow(windowSize(f.Size, f.connections()), slots))
	}
	return p, nil
}

func (p *publisher) close() {
	_, _ = p.stop()
	for _, c := range p.conns {
		c.Close()
	}
	p.shared.free()
}

// start publishes until stop.
func (p *publisher) start(ctx context.Context, rate float64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cancel != nil {
		return errors.New("it publishes already; stop it first")
	}
	ctx, p.cancel = context.WithCancel(ctx)
	p.messages.Store(0)
	if rate > 0 {
		p.running.Go(func() { p.pace(ctx, rate/float64(p.flood.Subscribers)) })
		return nil
	}
	for _, w := range p.windows {
		w.begin()
	}
	p.running.Go(func() { follow(ctx, p.windows, p.flood.connections()) })
	for i := range p.conns {
		for range p.bus.InFlight {
			p.running.Go(func() { p.saturate(ctx, i) })
		}
	}
	return nil
}

func (p *publisher) stop() (Published, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cancel != nil {
		p.cancel()
		p.running.Wait()
		p.cancel = nil
	}
	out := Published{Messages: p.messages.Load(), Errors: p.errors.Load()}
	for _, w := range p.windows {
		out.Stalls += w.stalls
	}
	if first := p.firstError.Load(); first != nil {
		out.Error = *first
	}
	return out, nil
}

// timedEvery is how many messages there are for one whose latency is taken when
// the bus is saturated: clocks cost, and subscribers are what is measured.
const timedEvery = 64

// saturate publishes to one topic as fast as its window allows.
func (p *publisher) saturate(ctx context.Context, i int) {
	conn, w, topic := p.conns[i], p.windows[i], p.flood.Topic(i)
	payload := newPayload(p.flood.Size)
	all := context.WithoutCancel(ctx) // what was counted is sent, also at the end
	flush := func() { p.check(ctx, conn.Flush()) }
	for ctx.Err() == nil {
		n, ok := w.take(flush)
		if !ok {
			return
		}
		if n%timedEvery == 0 {
			putStamp(payload, now())
		} else {
			untimed(payload)
		}
		p.check(ctx, conn.Publish(all, topic, payload))
		p.messages.Add(1)
	}
}

// pace publishes messages one at a time at a steady rate, to the topics in turn.
func (p *publisher) pace(ctx context.Context, rate float64) {
	type order struct {
		topic int
		due   int64
	}
	all := context.WithoutCancel(ctx)
	publish := func(o order, payload []byte) {
		putStamp(payload, o.due)
		p.check(ctx, p.conns[o.topic].Publish(all, p.flood.Topic(o.topic), payload))
		p.check(ctx, p.conns[o.topic].Flush())
		p.messages.Add(1)
	}
	n := 0
	next := func(due int64) order {
		o := order{n % p.flood.Topics, due}
		p.windows[o.topic].sent.Add(1)
		n++
		return o
	}
	if p.bus.InFlight == 1 {
		payload := newPayload(p.flood.Size)
		harness.Pace(ctx, rate, time.Hour, func(due int64) { publish(next(due), payload) })
		return
	}
	orders := make(chan order, 1<<16)
	defer close(orders)
	for range p.bus.InFlight {
		p.running.Go(func() {
			payload := newPayload(p.flood.Size)
			for o := range orders {
				publish(o, payload)
			}
		})
	}
	harness.Pace(ctx, rate, time.Hour, func(due int64) {
		select {
		case orders <- next(due):
		case <-ctx.Done():
		}
	})
}

// check counts what failed, but for what the end of the run cut off.
func (p *publisher) check(ctx context.Context, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	p.errors.Add(1)
	text := err.Error()
	p.firstError.CompareAndSwap(nil, &text)
}
