package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"trefoil/abstract"
	"trefoil/client"
)

// killInFlight is how many calls a provider is given between being stopped and
// being killed, if there are as many.
const killInFlight = 8

// killWithin is how long it may take until that many are there. On a machine that is so
// slow one has to do: the broker and the callers take a provider that answers no pings for
// lost after a while, whether it was killed or not.
const killWithin = 3 * time.Second

// killing kills one provider halfway, and watches what that does.
type killing struct {
	team    *team
	tracker *tracker
	half    int64 // bytes
	begun   bool  // only for before

	done chan error // gets the outcome of the kill, once it was begun

	mu      sync.Mutex
	victim  *process
	killed  time.Time
	percent int
	given   int           // attempts that it had been given when it was killed
	open    int           // those of them that it had not answered
	offline time.Time     // when the OFFLINE has come
	gone    chan struct{} // closed then
}

func newKilling(t *team, tr *tracker, total int64) *killing {
	return &killing{team: t, tracker: tr, half: total / 2, done: make(chan error, 1), gone: make(chan struct{})}
}

// follow listens for the OFFLINE of the killed provider.
func (k *killing) follow(d *client.DiscoveryClient) (stop func()) {
	return d.OnOffline(k.went)
}

// went notes that a provider is OFFLINE: the victim may be so already when it is stopped.
func (k *killing) went(p abstract.Provider) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.victim != nil && p.Host.String() == k.victim.addr && k.offline.IsZero() {
		k.offline = time.Now()
		close(k.gone)
	}
}

// before is called before each chunk is sent. The one that goes past the half
// starts the kill: a provider is stopped where it is, so that the calls it gets
// from now on stay in flight, and is killed as soon as there are some.
func (k *killing) before(ctx context.Context, sent totals, next int) error {
	if k.begun || sent.Bytes+int64(next) < k.half {
		return nil
	}
	k.begun = true
	victim := k.tracker.busiest(k.team.providers)
	k.mu.Lock()
	k.victim = victim
	if total := 2 * k.half; total > 0 {
		k.percent = int(100 * sent.Bytes / total)
	}
	k.mu.Unlock()
	if err := victim.freeze(); err != nil {
		return fmt.Errorf("stop the %s: %w", victim.name, err)
	}
	base, _ := k.tracker.attempts(victim.addr)
	k.tracker.aimAt(victim.addr)
	go func() { k.done <- k.killWhenBusy(ctx, victim, base) }()
	return nil
}

// waitBusy waits until the victim has calls.
func (k *killing) waitBusy(ctx context.Context, addr string, base int) error {
	soon, cancel := context.WithTimeout(ctx, killWithin)
	defer cancel()
	err := k.tracker.waitBusy(soon, addr, base, killInFlight)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return k.tracker.waitBusy(ctx, addr, base, 1)
	}
	return err
}

func (k *killing) killWhenBusy(ctx context.Context, victim *process, base int) error {
	if err := k.waitBusy(ctx, victim.addr, base); err != nil {
		return fmt.Errorf("waiting for calls to the %s: %w", victim.name, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.given, k.open = k.tracker.attempts(victim.addr)
	k.killed = time.Now()
	victim.kill()
	k.tracker.aimAt("")
	return nil
}

// wait returns when the provider was killed and its OFFLINE has come, or did
// not come in time: that is for the report to say.
func (k *killing) wait(ctx context.Context) error {
	select {
	case err := <-k.done:
		if err != nil {
			return err
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	timer := time.NewTimer(demoPatience)
	defer timer.Stop()
	select {
	case <-k.gone:
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// report says what happened. Every call has ended well when it is made, so what
// the killed provider had been given and never answered was answered by others.
func (k *killing) report(s *sender) killReport {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := killReport{
		Name: k.victim.name, PID: k.victim.pid(), Addr: k.victim.addr, Percent: k.percent,
		InFlight: k.open,
		Offline:  !k.offline.IsZero(), OfflineMs: ms(max(0, k.offline.Sub(k.killed))),
		Moved:    k.given - k.tracker.answeredBy(k.victim.addr),
		Repeated: s.repeated,
	}
	if s.repeated > 0 {
		r.LastMovedMs = ms(s.lastMoved.Sub(k.killed))
	}
	return r
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
