package streams

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/abstract"
	"trefoil/bench/internal/harness"
	"trefoil/client"
)

// job is what the calling process is asked to do.
type job struct {
	Streams int           `json:"streams"` // that are read
	Unread  bool          `json:"unread"`  // there is one more
	Cancels int           `json:"cancels"` // in each phase, or as many as there is time for
	Rate    float64       `json:"rate"`    // messages/s of all streams together, in the paced phase
	WarmUp  time.Duration `json:"warm_up"`
	Measure time.Duration `json:"measure"`
}

// run is one calling process at work.
type run struct {
	job
	calls    *client.RpcClient
	control  *harness.Control
	received atomic.Uint64
	sample   harness.Sample
	next     int // number of a call of methodHang
}

// load measures streams that are silent, that send at a fixed rate, and that send as fast as
// they can: what they come to, what the server holds, and how soon a handler hears that one
// more stream is given up.
func load(ctx context.Context, j *harness.Job) (any, error) {
	r := &run{sample: harness.Sample{}}
	if err := j.Decode(&r.job); err != nil {
		return nil, err
	}
	calls, err := client.DialRpc(ctx, j.Servers[0].Addr, client.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))))
	if err != nil {
		return nil, err
	}
	defer calls.Close()
	r.calls = calls
	if r.control, err = harness.OpenControl(ctx, j.Servers[0]); err != nil {
		return nil, err
	}
	defer r.control.Close()
	every := time.Duration(float64(r.Streams) / r.Rate * float64(time.Second))
	for _, phase := range []struct {
		name  string
		every time.Duration
	}{{steady, every}, {busy, 0}} {
		if err := r.phase(ctx, phase.name, phase.every, j.Servers); err != nil {
			return nil, err
		}
	}
	return r.sample, nil
}

// phase opens streams, lets them send, and ends them.
func (r *run) phase(ctx context.Context, name string, every time.Duration, servers []harness.Ready) error {
	ctx, cancel := context.WithCancel(ctx)
	var reading sync.WaitGroup
	defer reading.Wait()
	defer cancel() // which ends the streams
	all, err := r.open(ctx, every)
	if err != nil {
		return err
	}
	if name == steady { // before anything is sent
		if err := r.cancels(ctx, quiet); err != nil {
			return err
		}
	}
	for i, s := range all {
		if err := s.Send(1); err != nil {
			return err
		}
		if i < r.Streams {
			reading.Go(func() { r.read(s) })
		}
	}
	if err := r.measure(ctx, name, servers); err != nil {
		return err
	}
	if err := r.cancels(ctx, name); err != nil {
		return err
	}
	if len(all) > r.Streams {
		if err := all[r.Streams].Close(); err != nil {
			return err
		}
	}
	if every > 0 { // what is paced shows no difference that is not seen in its rate
		return nil
	}
	return r.beside(ctx, name)
}

// turnsBeside is how often the streams are measured beside one more, and as often without.
const turnsBeside = 16

// beside compares the streams with themselves: in turns without one more stream and with
// it, which is read or not, on the same connection and within a moment, so that nothing
// else is different. A thousandth part of the rate goes to one that is read.
func (r *run) beside(ctx context.Context, phase string) error {
	var rates [2]float64 // without, with
	for i := range 2 * turnsBeside {
		with := (i + 1) / 2 % 2 // each as often before the other as after it
		rate, err := r.turn(ctx, with == 1, r.Measure/16)
		if err != nil {
			return err
		}
		rates[with] += rate
	}
	r.sample[phase+figBeside] = rates[1] / rates[0]
	return nil
}

// turn returns the messages a second of the streams for a moment.
func (r *run) turn(ctx context.Context, more bool, slice time.Duration) (float64, error) {
	if more {
		s, err := r.calls.OpenStream(ctx, methodFlow, flowArgs{})
		if err != nil {
			return 0, err
		}
		defer s.Close()
		if err := s.Send(1); err != nil {
			return 0, err
		}
		if !r.Unread {
			go func() {
				var m json.RawMessage
				for s.Receive(&m) == nil {
				}
			}()
		}
	}
	if err := wait(ctx, slice/2); err != nil { // what is under way is of the turn before
		return 0, err
	}
	before, begun := r.received.Load(), time.Now()
	if err := wait(ctx, slice); err != nil {
		return 0, err
	}
	return float64(r.received.Load()-before) / time.Since(begun).Seconds(), nil
}

// open opens the streams, the one that is not read the last.
func (r *run) open(ctx context.Context, every time.Duration) ([]abstract.Stream, error) {
	n := r.Streams
	if r.Unread {
		n++
	}
	var all []abstract.Stream
	for range n {
		s, err := r.calls.OpenStream(ctx, methodFlow, flowArgs{every})
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// read takes the messages of a stream until it ends.
func (r *run) read(s abstract.Stream) {
	var m json.RawMessage
	for s.Receive(&m) == nil {
		r.received.Add(1)
	}
}

// measure takes the rate of all streams together, and what the server holds.
func (r *run) measure(ctx context.Context, phase string, servers []harness.Ready) error {
	if err := wait(ctx, r.WarmUp); err != nil {
		return err
	}
	meter, err := harness.NewMeter(ctx, servers)
	if err != nil {
		return err
	}
	defer meter.Close()
	if err := meter.Start(ctx); err != nil {
		return err
	}
	before := r.received.Load()
	if err := wait(ctx, r.Measure); err != nil {
		return err
	}
	figures, err := meter.Stop(ctx, func() uint64 { return r.received.Load() - before })
	if err != nil {
		return err
	}
	for name, v := range figures {
		r.sample[phase+name] = v
	}
	held, err := r.control.Snapshot(ctx, true)
	r.sample[phase+figHeap] = held.HeapKiB
	return err
}

// fewest is how many cancels there are in any case.
const fewest = 5

// pause lies between two cancels, so that each is one of its own.
const pause = 2 * time.Millisecond

// cancels opens one more stream and gives it up, again and again: the figures are the times
// from there until the handler's context has ended.
func (r *run) cancels(ctx context.Context, phase string) error {
	begun := make(map[int]int64, r.Cancels)
	for late := time.Now().Add(2 * r.Measure); len(begun) < r.Cancels && (len(begun) < fewest || time.Now().Before(late)); {
		s, err := r.calls.OpenStream(ctx, methodHang, hangArgs{r.next})
		if err != nil {
			return err
		}
		begun[r.next] = harness.Monotonic()
		if err := s.Close(); err != nil {
			return err
		}
		r.next++
		if err := wait(ctx, pause); err != nil {
			return err
		}
	}
	ended, err := r.ended(ctx, len(begun))
	if err != nil {
		return err
	}
	took := make([]time.Duration, 0, len(begun))
	for n, at := range begun {
		took = append(took, time.Duration(ended[n]-at))
	}
	slices.Sort(took)
	for name, share := range map[string]float64{harness.FigP50: 0.50, harness.FigP99: 0.99, harness.FigMax: 1} {
		r.sample[phase+name] = float64(took[int(share*float64(len(took)-1))]) / float64(time.Microsecond)
	}
	return nil
}

// patience is how long handlers may take to hear of the end.
const patience = time.Minute

// ended waits until n handlers have ended, and returns when they did.
func (r *run) ended(ctx context.Context, n int) (map[int]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	all := make(map[int]int64, n)
	for len(all) < n {
		var some map[int]int64
		if err := r.control.Command(ctx, cmdEnds, nil, &some); err != nil {
			return nil, fmt.Errorf("%d of %d handlers have heard of the end: %w", len(all), n, err)
		}
		for i, at := range some {
			all[i] = at
		}
		if err := wait(ctx, pause); err != nil {
			return nil, err
		}
	}
	return all, nil
}

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
