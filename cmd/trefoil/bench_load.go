package main

import (
	"context"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// interruptGrace is how long operations that are under way may take to end
	// after an interrupt.
	interruptGrace = time.Second
	// failurePause keeps a server that refuses everything from being asked in a
	// busy loop.
	failurePause = time.Millisecond
)

// load lets workers do operations, one at a time each, for some time.
type load struct {
	unit     string // of the operations, for the progress
	workers  int
	rate     int // operations a second, of all workers; 0 is as many as they can
	duration time.Duration
	// op does one operation that was meant to begin at due, and returns its latency.
	op func(worker int, due time.Time) (time.Duration, error)
	// stop ends all operations that are under way.
	stop  func()
	tally *tally

	stopping   atomic.Bool
	unfinished atomic.Int64
}

// loadEnd says how a load ended; its operations are in the tally.
type loadEnd struct {
	elapsed     time.Duration // until the last operation had ended
	unfinished  int64         // operations that an interrupt ended
	unsent      int64         // operations that were due and had not begun
	interrupted bool
}

// run returns when the last operation has ended: that may be later than the
// duration by an operation's timeout, or after an interrupt by a second.
func (l *load) run(ctx context.Context, progress io.Writer) loadEnd {
	begun := time.Now()
	running, cancel := context.WithTimeout(ctx, l.duration)
	defer cancel()
	pace := newPace(running, l.rate, begun, l.duration)
	var workers sync.WaitGroup
	for w := range l.workers {
		workers.Go(func() { l.work(running, w, pace) })
	}
	ended := make(chan struct{})
	go func() {
		workers.Wait()
		close(ended)
	}()
	l.show(ctx, progress, ended)
	end := loadEnd{interrupted: ctx.Err() != nil}
	open := l.duration // for how long operations could begin
	if end.interrupted {
		open = min(open, time.Since(begun))
		l.interrupt(ended)
	}
	end.elapsed = time.Since(begun)
	cancel()
	pace.ended.Wait()
	end.unfinished, end.unsent = l.unfinished.Load(), pace.unsent(open)
	return end
}

// work does one operation after the other.
func (l *load) work(running context.Context, worker int, pace *pace) {
	for {
		due, ok := pace.next(running)
		if !ok {
			return
		}
		took, err := l.op(worker, due)
		switch {
		case err == nil:
			l.tally.done(worker, took)
		case l.stopping.Load():
			l.unfinished.Add(1)
		default:
			l.tally.fail(worker, err)
			pause(running, failurePause)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// show draws the progress until all workers have ended, or there is an interrupt.
func (l *load) show(ctx context.Context, w io.Writer, ended <-chan struct{}) {
	progress := newBar(w, l.unit)
	defer progress.clear()
	ticker := time.NewTicker(drawEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ended:
			return
		case <-ctx.Done():
			return
		case <-ticker.C:
			passed, ok := time.Since(progress.begun), l.tally.ok.Load()
			progress.draw(progressOf{
				done: int64(passed), total: int64(l.duration), noBytes: true, items: ok,
				note: strconv.FormatInt(int64(float64(ok)/passed.Seconds()), 10) + "/s",
			})
		}
	}
}

// interrupt ends what is under way, after a moment in which it may end by itself.
func (l *load) interrupt(ended <-chan struct{}) {
	select {
	case <-ended:
	case <-time.After(interruptGrace):
		l.stopping.Store(true)
		l.stop()
		<-ended
	}
}
