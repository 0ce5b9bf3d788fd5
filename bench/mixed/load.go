package mixed

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/bench/internal/harness"
	"trefoil/bench/topic"
)

// serveSubscribers starts a program that holds the flooded subscribers. Its
// command "received" tells how many messages they got.
func serveSubscribers(ctx context.Context, raw json.RawMessage) (*harness.Served, error) {
	var f topic.Flood
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, err
	}
	subs, err := topic.Subscribe(ctx, f)
	if err != nil {
		return nil, err
	}
	return &harness.Served{Commands: map[string]harness.CommandFunc{
		"received": func(context.Context, json.RawMessage) (any, error) {
			return received{subs.Received(), subs.Lost(), harness.Monotonic()}, nil
		},
	}, Stop: subs.Close}, nil
}

// received is how many messages had arrived at a moment.
type received struct {
	Messages uint64 `json:"messages"`
	Lost     uint64 `json:"lost"`
	At       int64  `json:"at"`
}

// job is what the calling process is asked to do.
type job struct {
	System  string        `json:"system"`
	Topic   string        `json:"topic"`
	Rate    float64       `json:"rate"` // calls per second
	WarmUp  time.Duration `json:"warm_up"`
	Measure time.Duration `json:"measure"`
}

// The phases of a run; their names begin those of their figures.
const (
	quiet = "quiet_" // no flood
	full  = "full_"  // at saturation
	half  = "half_"  // at half the rate of saturation
)

// run is one calling process at work.
type run struct {
	job
	caller                          caller
	broker, publishers, subscribers harness.Ready
	sample                          harness.Sample
	failed                          atomic.Uint64
}

// loadCalls goes through the phases. Its servers are the broker, the publishers
// and the subscribers.
func loadCalls(ctx context.Context, j *harness.Job) (any, error) {
	r := &run{broker: j.Servers[0], publishers: j.Servers[1], subscribers: j.Servers[2], sample: harness.Sample{}}
	if err := j.Decode(&r.job); err != nil {
		return nil, err
	}
	sys, err := systemOf(r.System)
	if err != nil {
		return nil, err
	}
	if r.caller, err = sys.dial(ctx, r.broker.Addr); err != nil {
		return nil, err
	}
	defer r.caller.close()
	if sys.Same {
		if err := r.caller.subscribe(ctx, r.Topic); err != nil {
			return nil, err
		}
	}
	if err := r.phase(ctx, quiet); err != nil {
		return nil, err
	}
	if err := r.flooded(ctx, full, 0); err != nil {
		return nil, err
	}
	if err := r.flooded(ctx, half, r.sample[full+figRate]/2); err != nil {
		return nil, err
	}
	peak, err := r.brokerPeak(ctx)
	if err != nil {
		return nil, err
	}
	r.sample[harness.FigPeakServer] = peak
	for _, p := range []string{half, full} {
		r.sample[p+figRatio] = r.sample[p+harness.FigP99] / r.sample[quiet+harness.FigP99]
	}
	return r.sample, nil
}

// brokerPeak is the most memory that the broker held, in KiB.
func (r *run) brokerPeak(ctx context.Context) (float64, error) {
	control, err := harness.OpenControl(ctx, r.broker)
	if err != nil {
		return 0, err
	}
	defer control.Close()
	s, err := control.Snapshot(ctx, false)
	return s.PeakKiB, err
}

// flooded is a phase with a flood, whose rate it measures; rate 0 is saturation.
func (r *run) flooded(ctx context.Context, name string, rate float64) error {
	if err := harness.Command(ctx, r.publishers, "start", topic.Start{Rate: rate}, nil); err != nil {
		return err
	}
	if err := wait(ctx, r.WarmUp); err != nil {
		return err
	}
	var before, after received
	if err := harness.Command(ctx, r.subscribers, "received", nil, &before); err != nil {
		return err
	}
	if err := r.phase(ctx, name); err != nil {
		return err
	}
	if err := harness.Command(ctx, r.subscribers, "received", nil, &after); err != nil {
		return err
	}
	r.sample[name+figRate] = float64(after.Messages-before.Messages) / (float64(after.At-before.At) / 1e9)
	r.sample[name+topic.FigLost] = float64(after.Lost - before.Lost)
	if err := harness.Command(ctx, r.publishers, "stop", nil, nil); err != nil {
		return err
	}
	return r.settle(ctx)
}

// settle waits until nothing arrives any more.
func (r *run) settle(ctx context.Context) error {
	var before, after received
	for {
		if err := harness.Command(ctx, r.subscribers, "received", nil, &before); err != nil {
			return err
		}
		if err := wait(ctx, 50*time.Millisecond); err != nil {
			return err
		}
		if err := harness.Command(ctx, r.subscribers, "received", nil, &after); err != nil {
			return err
		}
		if before.Messages == after.Messages {
			return nil
		}
	}
}

// phase calls at the fixed rate and takes the latencies.
func (r *run) phase(ctx context.Context, name string) error {
	r.calls(ctx, r.WarmUp, &harness.Histogram{})
	var latency harness.Histogram
	r.failed.Store(0)
	r.calls(ctx, r.Measure, &latency)
	figures := harness.Sample{}
	latency.Figures(figures)
	for key, v := range figures {
		r.sample[name+key] = v
	}
	r.sample[name+harness.FigErrors] = float64(r.failed.Load())
	return ctx.Err()
}

// calls returns when every call has ended. A call that fails took as long as it
// took to fail.
func (r *run) calls(ctx context.Context, d time.Duration, latency *harness.Histogram) {
	var wg sync.WaitGroup
	defer wg.Wait()
	harness.Pace(ctx, r.Rate, d, func(due int64) {
		wg.Go(func() {
			if err := r.caller.call(ctx); err != nil {
				r.failed.Add(1)
			}
			latency.Record(time.Duration(harness.Monotonic() - due))
		})
	})
}

// wait waits, or returns why it could not.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
