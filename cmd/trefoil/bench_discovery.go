package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"trefoil/abstract"
	"trefoil/client"
)

func (a *app) benchDiscoveryCommand() *cobra.Command {
	c := a.benchOf("discovery", "Measure look-ups, registrations, and how soon they are seen",
		"Measure three things, a third of the time each: look-ups of a method; registrations,\n"+
			"each of which is taken back before the next; and, with one registration at a time,\n"+
			"how long after its begin a watcher on another connection is told ONLINE.",
		a.benchDiscovery)
	c.Example = "  trefoil bench discovery --sessions 64 --json"
	return c
}

// discoveryOutput is the outcome for programs. What an interrupt left out is not there.
type discoveryOutput struct {
	Bench         string          `json:"bench"`
	Method        string          `json:"method"` // the names of the bench's methods begin like this
	Sessions      int             `json:"sessions"`
	Interrupted   bool            `json:"interrupted"`
	LookUps       *measuredOutput `json:"lookups,omitempty"`
	Registrations *measuredOutput `json:"registrations,omitempty"`
	Online        *measuredOutput `json:"online,omitempty"` // latency is from the begin of a registration to the watcher's callback
	CPU           cpuOutput       `json:"cpu"`
}

func (a *app) benchDiscovery(ctx context.Context, s *settings, _ []string) error {
	err := firstError(s.checkBench(), between("sessions", s.bench.sessions, 1, maxBenchConns))
	if err != nil {
		return err
	}
	conns, err := a.dialBench(ctx, s, s.bench.sessions+2) // with one for the provider that is looked up, and the watcher's
	if err != nil {
		return err
	}
	defer conns.close() // also unregisters what could not be
	b := &discoveryBench{name: uniqueName("method"), conns: conns, timeout: s.timeout, ended: make(chan struct{})}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	return a.runBenchDiscovery(ctx, s, b)
}

func (a *app) runBenchDiscovery(ctx context.Context, s *settings, b *discoveryBench) error {
	out := discoveryOutput{Bench: "discovery", Method: b.name, Sessions: s.bench.sessions}
	var done []*measuredOutput
	cpu := startCPU()
	for _, part := range []struct {
		unit    string
		workers int
		op      func(int, time.Time) (time.Duration, error)
		to      **measuredOutput
	}{
		{"look-ups", s.bench.sessions, b.lookUp, &out.LookUps},
		{"registrations", s.bench.sessions, b.register, &out.Registrations},
		{"notices", 1, b.online, &out.Online},
	} {
		if ctx.Err() != nil {
			break
		}
		l := load{unit: part.unit, workers: part.workers, duration: s.bench.duration / 3, op: part.op, stop: b.stop, tally: newTally(part.workers)}
		*part.to = l.tally.measured(l.run(ctx, a.stderr))
		done = append(done, *part.to)
	}
	out.Interrupted, out.CPU = ctx.Err() != nil, cpu.stop()
	return errors.Join(
		a.writeReport(s, out, out.print),
		nothingDone("operation", done...),
	)
}

func (o *discoveryOutput) print(w io.Writer) {
	fmt.Fprintf(w, "%s\n", plural(o.Sessions, "session"))
	for _, part := range []struct {
		what string
		m    *measuredOutput
	}{{"look-ups", o.LookUps}, {"registrations, each taken back,", o.Registrations}, {"registrations seen by a watcher", o.Online}} {
		if part.m != nil {
			part.m.print(w, part.what)
		}
	}
	o.CPU.print(w, "the sessions")
}

// discoveryBench looks up and registers under names of its own.
type discoveryBench struct {
	name    string
	conns   *benchConns
	timeout time.Duration
	notices chan notice
	ended   chan struct{}
	port    int // of the last registration that the watcher was to see
}

// notice is what the watcher was told.
type notice struct {
	port int
	at   time.Time
}

// providerAt is a provider that nobody calls: no port is listened on.
func providerAt(method string, port int) abstract.Provider {
	return abstract.Provider{Method: method, Host: abstract.Host{IP: "127.0.0.1", Port: port}}
}

func (b *discoveryBench) sessions() []*client.Conn { return b.conns.list[2:] }

func (b *discoveryBench) watched() string { return b.name + ".watched" }

// prepare registers what is looked up, and begins to watch.
func (b *discoveryBench) prepare(ctx context.Context) error {
	if err := client.NewRegistryClient(b.conns.list[0]).Register(ctx, providerAt(b.name, 1)); err != nil {
		return err
	}
	b.notices = make(chan notice, 1024)
	watcher := client.NewDiscoveryClient(b.conns.list[1])
	watcher.OnOnline(func(p abstract.Provider) {
		select {
		case b.notices <- notice{p.Host.Port, time.Now()}:
		default: // nobody has waited for a long time
		}
	})
	_, err := watcher.Discover(ctx, b.watched())
	return err
}

func (b *discoveryBench) stop() {
	close(b.ended)
	b.conns.close()
}

var errNotFound = abstract.Errorf(abstract.Internal, "a look-up did not find the one provider that is registered")

func (b *discoveryBench) lookUp(worker int, due time.Time) (time.Duration, error) {
	list, err := client.NewDiscoveryClient(b.sessions()[worker]).Discover(context.Background(), b.name)
	took := time.Since(due)
	if err == nil && len(list) != 1 {
		err = errNotFound
	}
	return took, err
}

// register registers a provider and takes it back; its latency is that of the first.
func (b *discoveryBench) register(worker int, _ time.Time) (time.Duration, error) {
	return b.registered(worker, providerAt(fmt.Sprintf("%s.%d", b.name, worker), 1), func() error { return nil })
}

// registered registers, calls while, and unregisters.
func (b *discoveryBench) registered(worker int, p abstract.Provider, while func() error) (time.Duration, error) {
	ctx, registry := context.Background(), client.NewRegistryClient(b.sessions()[worker])
	begun := time.Now()
	err := registry.Register(ctx, p)
	took := time.Since(begun)
	if err == nil {
		err = while()
	}
	return took, firstError(err, registry.Unregister(ctx, p)) // also when it may not be registered
}

// online registers a provider, and returns how long it took until the watcher was told.
func (b *discoveryBench) online(worker int, _ time.Time) (took time.Duration, err error) {
	b.port = b.port%65_535 + 1
	begun := time.Now()
	_, err = b.registered(worker, providerAt(b.watched(), b.port), func() (err error) {
		took, err = b.told(b.port, begun)
		return err
	})
	return took, err
}

var errNotTold = abstract.Errorf(abstract.Timeout, "the watcher was not told")

// told waits until the watcher is told of the provider at a port.
func (b *discoveryBench) told(port int, begun time.Time) (time.Duration, error) {
	patience := time.NewTimer(b.timeout)
	defer patience.Stop()
	for {
		select {
		case n := <-b.notices:
			if n.port == port {
				return n.at.Sub(begun), nil
			}
		case <-patience.C:
			return 0, errNotTold
		case <-b.ended:
			return 0, errBenchEnded
		}
	}
}
