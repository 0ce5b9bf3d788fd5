package topic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"trefoil/bench/internal/harness"
	"trefoil/bench/internal/program"
)

// Figures of the cells with a stopped subscriber.
const (
	FigKept   = "kept"     // deliveries/s to the others, by those without the stopped one
	FigDearer = "dearer"   // broker CPU per delivery to the others, by that without the stopped one
	FigQueue  = "held_kib" // live heap of the broker above that without the stopped one, both with nobody else connected
	FigUntold = "untold"   // messages that the stopped one neither got nor was told to have lost
)

// roleBystander is a program with one subscriber, which is stopped.
const roleBystander = "bystander"

// stopped is a cell in which one more process is subscribed and stopped with SIGSTOP, from
// before the first message on.
type stopped struct {
	name  string
	flood Flood // of the others
	rate  float64
}

func stoppedCells(o harness.Options) []stopped {
	if o.Scale == harness.Smoke {
		return []stopped{{"2 and one stopped", Flood{Topics: 1, Subscribers: 2, Size: 128}, 0}}
	}
	return []stopped{
		{"20 and one stopped 128B", Flood{Topics: 1, Subscribers: 20, Size: 128}, 0},
		{"20 and one stopped 1KiB", Flood{Topics: 1, Subscribers: 20, Size: 1024}, 0},
		{"20 and one stopped 4KiB paced", Flood{Topics: 1, Subscribers: 20, Size: 4096}, 40_000},
	}
}

func runStopped(ctx context.Context, r *harness.Runner) error {
	for _, c := range stoppedCells(r.Options) {
		turn := false
		err := r.Rounds(ctx, c.name, func(ctx context.Context, bus string) (harness.Sample, error) {
			if bus != "trefoil" {
				return nil, harness.ErrNoRow
			}
			turn = !turn
			return c.measure(ctx, r, bus, turn)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// measure runs the cell with the stopped subscriber and without it, in this order or the
// other.
func (c stopped) measure(ctx context.Context, r *harness.Runner, bus string, first bool) (harness.Sample, error) {
	var runs [2]stoppedRun // without, with
	for _, with := range []bool{first, !first} {
		run, err := c.once(ctx, r, bus, with)
		if err != nil {
			return nil, err
		}
		if with {
			runs[1] = run
		} else {
			runs[0] = run
		}
	}
	s := runs[1].sample
	s[FigKept] = s[harness.FigRate] / runs[0].sample[harness.FigRate]
	s[FigDearer] = s[harness.FigCPUServer] / runs[0].sample[harness.FigCPUServer]
	s[FigQueue] = runs[1].heap - runs[0].heap
	s[FigLost] = float64(runs[1].seen.Lost)
	s[FigUntold] = float64(runs[1].untold)
	return s, nil
}

type stoppedRun struct {
	sample harness.Sample // of the others
	heap   float64        // KiB, when the others are gone
	seen   Seen           // by the stopped one, after it went on
	untold uint64
}

func (c stopped) once(ctx context.Context, r *harness.Runner, bus string, with bool) (run stoppedRun, err error) {
	dir, err := program.TempDir("bench-topic-")
	if err != nil {
		return run, err
	}
	defer os.RemoveAll(dir)
	broker, err := r.Serve(ctx, bus, nil)
	if err != nil {
		return run, err
	}
	defer broker.Stop()
	f := c.flood
	f.Bus, f.Addr, f.Progress = bus, broker.Addr, filepath.Join(dir, "progress")
	publisher, err := r.Serve(ctx, rolePublish, f)
	if err != nil {
		return run, err
	}
	defer publisher.Stop()
	var bystander *harness.Process
	if with {
		if bystander, err = r.Serve(ctx, roleBystander, f); err != nil {
			return run, err
		}
		defer bystander.Stop()
		if err := halt(bystander.PID); err != nil {
			return run, err
		}
		defer func() { _ = goOn(bystander.PID) }() // it cannot end otherwise
	}
	warmUp := max(r.Options.WarmUpTime(), c.filling(r.Options))
	err = r.Load(ctx, roleSubscribe, job{f, c.rate, warmUp, r.Options.Interval()}, &run.sample, broker, publisher)
	if err != nil {
		return run, err
	}
	snap, err := broker.Snapshot(ctx, true)
	if err != nil || !with {
		run.heap = snap.HeapKiB
		return run, err
	}
	run.heap = snap.HeapKiB
	if err := goOn(bystander.PID); err != nil {
		return run, err
	}
	published := uint64(run.sample[FigPublished])
	run.seen, err = heardOut(ctx, bystander, published)
	run.untold = published - run.seen.sum()
	return run, err
}

// filling is how long it takes until sockets and the queue of who is stopped are full: 16 MiB
// are enough.
func (c stopped) filling(o harness.Options) time.Duration {
	switch {
	case o.Scale == harness.Smoke:
		return 0
	case c.rate == 0:
		return time.Second
	}
	messages := c.rate / float64(c.flood.Subscribers)
	return time.Duration(float64(16<<20) / float64(c.flood.Size) / messages * float64(time.Second))
}

// heardOut waits until somebody who was stopped has got, or was told of, everything.
func heardOut(ctx context.Context, p *harness.Process, published uint64) (seen Seen, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		if err := p.Command(ctx, "seen", nil, &seen); err != nil {
			return seen, err
		}
		if seen.sum() == published {
			return seen, nil
		}
		if seen.sum() > published {
			return seen, fmt.Errorf("%d messages were published, and it got %d and was told of %d more", published, seen.Received, seen.Lost)
		}
		if err := wait(ctx, 10*time.Millisecond); err != nil {
			break
		}
	}
	return seen, nil // and what is missing is the figure
}

// Seen is what the command "seen" answers.
type Seen struct {
	Received uint64 `json:"received"`
	Lost     uint64 `json:"lost"`
}

func (s Seen) sum() uint64 { return s.Received + s.Lost }

// serveBystander starts a program that is subscribed to the first topic and counts. Like
// the publisher it is no server.
func serveBystander(ctx context.Context, raw json.RawMessage) (*harness.Served, error) {
	var f Flood
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, err
	}
	bus, err := BusOf(f.Bus)
	if err != nil {
		return nil, err
	}
	c, err := bus.Dial(ctx, f.Addr)
	if err != nil {
		return nil, err
	}
	var received, lost atomic.Uint64
	err = c.Subscribe(ctx, f.Topic(0), func(_ []byte, missed uint64) {
		lost.Add(missed)
		received.Add(1)
	})
	if err != nil {
		c.Close()
		return nil, errors.Join(errors.New("subscribe the one that is stopped"), err)
	}
	return &harness.Served{
		Commands: map[string]harness.CommandFunc{
			"seen": func(context.Context, json.RawMessage) (any, error) { return Seen{received.Load(), lost.Load()}, nil },
		},
		Stop: c.Close,
	}, nil
}
