package discovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"trefoil/bench/internal/harness"
)

// Figures of the cells that time changes, in milliseconds: medians over the
// changes of one round, until the first and until the last watcher was told.
const (
	FigRegisterFirst = "register_first_ms"
	FigRegisterLast  = "register_last_ms"
	FigCloseLast     = "close_last_ms"
	FigKillFirst     = "kill_first_ms"
	FigKillLast      = "kill_last_ms"
)

// watched is the service that everybody watches.
const watched = "bench.watched"

// provide is the argument of a providing process.
type provide struct {
	Registry string `json:"registry"`
	Addr     string `json:"addr"`
}

// serveProvider starts a program that opens a session ("open"), registers a
// provider with it ("register"), and leaves ("close"). The last two answer with
// the moment just before.
func serveProvider(_ context.Context, raw json.RawMessage) (*harness.Served, error) {
	var what provide
	if err := json.Unmarshal(raw, &what); err != nil {
		return nil, err
	}
	r, err := registryOf(what.Registry)
	if err != nil {
		return nil, err
	}
	p := &provider{registry: r, addr: what.Addr}
	return &harness.Served{Commands: map[string]harness.CommandFunc{
		"open":     p.open,
		"register": p.register,
		"close":    p.close,
	}}, nil
}

type provider struct {
	registry Registry
	addr     string
	mu       sync.Mutex
	session  Session
}

func (p *provider) open(ctx context.Context, _ json.RawMessage) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, err := p.registry.Dial(ctx, p.addr, Impatient)
	p.session = s
	return struct{}{}, err
}

func (p *provider) register(ctx context.Context, raw json.RawMessage) (any, error) {
	var port int
	if err := json.Unmarshal(raw, &port); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session == nil {
		return nil, errNoSession
	}
	began := harness.Monotonic()
	return began, p.session.Register(ctx, watched, port)
}

func (p *provider) close(ctx context.Context, _ json.RawMessage) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session == nil {
		return nil, errNoSession
	}
	began := harness.Monotonic()
	return began, p.session.Close(ctx)
}

var errNoSession = errors.New("there is no session; open one first")

// loadChanges watches with many sessions and times what they are told. Its
// servers are the registry and the providers; all but the first are there to be
// killed.
func loadChanges(ctx context.Context, j *harness.Job) (any, error) {
	l, r, addr, meter, err := open(ctx, j)
	if err != nil {
		return nil, err
	}
	defer meter.Close()
	sessions, err := dialAll(ctx, r, addr, l.Sessions, Patient)
	if err != nil {
		return nil, err
	}
	defer closeAll(sessions)
	w := newWatchers(l.Sessions)
	if err := sessions[0].Prepare(ctx, watched); err != nil {
		return nil, err
	}
	err = inParallel(ctx, len(sessions), 32, func(ctx context.Context, i int) error { return sessions[i].Watch(ctx, watched, w.told) })
	if err != nil {
		return nil, err
	}
	var t times
	if err := t.comeAndGo(ctx, w, j.Servers[1], l.Repeats); err != nil {
		return nil, err
	}
	if err := t.vanish(ctx, w, j.Servers[2:], firstPort+l.Repeats); err != nil {
		return nil, err
	}
	return t.sample(), nil
}

// times are the measured times of one round, from the change to its watchers.
type times struct{ registerFirst, registerLast, closeLast, killFirst, killLast []time.Duration }

// patience is how long watchers may take to be told: expiry takes seconds.
const patience = time.Minute

// comeAndGo registers and closes a provider again and again.
func (t *times) comeAndGo(ctx context.Context, w *watchers, p harness.Ready, repeats int) error {
	for i := range repeats {
		port := firstPort + i
		online, offline := w.expect(port, true), w.expect(port, false)
		if err := harness.Command(ctx, p, "open", nil, nil); err != nil {
			return err
		}
		var at int64
		if err := harness.Command(ctx, p, "register", port, &at); err != nil {
			return err
		}
		first, last, err := online.wait(ctx, "a registration")
		if err != nil {
			return err
		}
		t.registerFirst = append(t.registerFirst, time.Duration(first-at))
		t.registerLast = append(t.registerLast, time.Duration(last-at))
		if err := harness.Command(ctx, p, "close", nil, &at); err != nil {
			return err
		}
		if _, last, err = offline.wait(ctx, "a closed session"); err != nil {
			return err
		}
		t.closeLast = append(t.closeLast, time.Duration(last-at))
	}
	return nil
}

// vanish kills providers.
func (t *times) vanish(ctx context.Context, w *watchers, victims []harness.Ready, port int) error {
	for i, p := range victims {
		online, offline := w.expect(port+i, true), w.expect(port+i, false)
		err := errors.Join(harness.Command(ctx, p, "open", nil, nil), harness.Command(ctx, p, "register", port+i, nil))
		if err != nil {
			return err
		}
		if _, _, err := online.wait(ctx, "a registration"); err != nil {
			return err
		}
		process, err := os.FindProcess(p.PID)
		if err != nil {
			return err
		}
		at := harness.Monotonic()
		if err := process.Kill(); err != nil {
			return err
		}
		first, last, err := offline.wait(ctx, "a killed process")
		if err != nil {
			return err
		}
		t.killFirst = append(t.killFirst, time.Duration(first-at))
		t.killLast = append(t.killLast, time.Duration(last-at))
	}
	return nil
}

func (t *times) sample() harness.Sample {
	s := harness.Sample{}
	for figure, list := range map[string][]time.Duration{
		FigRegisterFirst: t.registerFirst, FigRegisterLast: t.registerLast,
		FigCloseLast: t.closeLast, FigKillFirst: t.killFirst, FigKillLast: t.killLast,
	} {
		if len(list) > 0 {
			slices.Sort(list)
			s[figure] = float64(list[len(list)/2]) / 1e6
		}
	}
	return s
}

// watchers collects what watchers are told.
type watchers struct {
	n        int
	mu       sync.Mutex
	expected map[change]*arrivals
}

type change struct {
	port   int
	online bool
}

// arrivals are the reports of one change.
type arrivals struct {
	left        int
	first, last int64
	all         chan struct{} // closed when every watcher has reported
}

func newWatchers(n int) *watchers {
	return &watchers{n: n, expected: make(map[change]*arrivals)}
}

// expect must be called before the change is made.
func (w *watchers) expect(port int, online bool) *arrivals {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := &arrivals{left: w.n, all: make(chan struct{})}
	w.expected[change{port, online}] = a
	return a
}

// told is called by one watcher.
func (w *watchers) told(port int, online bool) {
	at := harness.Monotonic()
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.expected[change{port, online}]
	if a == nil || a.left == 0 {
		return
	}
	if a.first == 0 {
		a.first = at
	}
	a.last = max(a.last, at)
	if a.left--; a.left == 0 {
		close(a.all)
	}
}

// wait returns when the first and the last watcher were told.
func (a *arrivals) wait(ctx context.Context, of string) (first, last int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-a.all:
		return a.first, a.last, nil
	case <-ctx.Done():
		return 0, 0, fmt.Errorf("not every watcher was told of %s: %w", of, ctx.Err())
	}
}
