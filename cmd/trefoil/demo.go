package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"trefoil/abstract"
	"trefoil/client"
)

func (a *app) demoCommand() *cobra.Command {
	return a.command(cobra.Command{
		Use:   "demo [DIR] [flags]",
		Short: "See it all at work: count the words of a directory, and lose a provider on the way",
		Long: "Start a broker and three providers that count words as processes of their own,\n" +
			"and send them every text file below DIR (the source tree of the Go toolchain when\n" +
			"left out): in all three call modes, 64 calls in flight. Halfway one provider is\n" +
			"killed with SIGKILL while calls are in flight on it. At the end their totals stand\n" +
			"next to a direct count of the same files.\n\n" +
			"The demo exits with 0 only if the totals are equal, calls were in flight on the\n" +
			"killed provider, its OFFLINE arrived and those calls moved to another one.",
		Args: cobra.MaximumNArgs(1),
	}, a.demo)
}

func (a *app) demo(ctx context.Context, s *settings, args []string) error {
	if err := positive("timeout", s.timeout); err != nil {
		return err
	}
	begun := time.Now()
	dir, err := demoDir(ctx, args)
	if err != nil {
		return err
	}
	v, err := a.survey(ctx, s, dir)
	if err != nil {
		return err
	}
	team, err := startTeam(ctx)
	defer team.stop()
	if err != nil {
		return err
	}
	a.introduce(s, team)
	d := &demoRun{app: a, settings: s, survey: v, team: team}
	report, err := d.run(ctx)
	if err != nil {
		return err
	}
	report.Seconds = ms(time.Since(begun)) / 1000
	return a.conclude(s, report)
}

// survey counts directly what the providers will count.
func (a *app) survey(ctx context.Context, s *settings, dir string) (*survey, error) {
	if !s.json {
		fmt.Fprintf(a.stdout, "reading %s\n", dir)
	}
	progress := newBar(a.stderr, "files")
	defer progress.clear()
	return surveyDir(ctx, dir, func(t totals) {
		progress.draw(progressOf{done: t.Bytes, items: t.Files, note: "counting directly"})
	})
}

func (a *app) introduce(s *settings, t *team) {
	if s.json {
		return
	}
	for _, p := range t.all() {
		fmt.Fprintf(a.stdout, "%s: pid %d at %s\n", p.name, p.pid(), p.addr)
	}
}

// conclude prints the report. What is wrong is an error.
func (a *app) conclude(s *settings, r *demoReport) error {
	r.judge()
	var err error
	if s.json {
		err = writeJSON(a.stdout, r)
	} else {
		fmt.Fprintln(a.stdout)
		err = r.print(a.stdout)
	}
	if err == nil && !r.OK {
		err = errors.New(strings.Join(r.Problems, "; "))
	}
	return err
}

// demoRun is the demo from the moment its processes are there.
type demoRun struct {
	*app
	settings *settings
	survey   *survey
	team     *team
}

// run does the job and returns what came of it.
func (d *demoRun) run(ctx context.Context) (*demoReport, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d.team.watch(ctx, cancel)
	conn, err := d.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	listener, err := d.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer listener.Close()

	discovery := client.NewDiscoveryClient(conn)
	tracker := newTracker()
	calls := client.NewRpcClient(discovery, client.WithLogger(d.logger(d.settings)), client.WithPicker(func() abstract.Picker { return tracker }))
	defer calls.Close()
	if err := d.warmUp(ctx, discovery, calls, tracker); err != nil {
		return nil, err
	}
	progress, err := newProgressTopic(ctx, conn, listener, d.stderr)
	if err != nil {
		return nil, err
	}
	defer progress.bar.clear()
	kill := newKilling(d.team, tracker, d.survey.direct.Bytes)
	defer kill.follow(discovery)()
	send := newSender(calls, tracker, d.settings.timeout, cancel)
	if err := d.sendAll(ctx, send, kill, progress); err != nil {
		return nil, err
	}
	return d.report(send, kill, progress), nil
}

func (d *demoRun) connect(ctx context.Context) (*client.Conn, error) {
	return client.Dial(ctx, d.team.broker.addr, client.WithLogger(d.logger(d.settings)), client.WithTimeout(demoPatience))
}

// warmUp waits until all providers are discovered, and calls each of them once.
func (d *demoRun) warmUp(ctx context.Context, discovery *client.DiscoveryClient, calls *client.RpcClient, t *tracker) error {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	for p, err := range discovery.Watch(ctx, demoMethod) {
		if err != nil {
			return fmt.Errorf("waiting for %d providers: %w", demoProviders, err)
		}
		if len(p.List) == demoProviders {
			break
		}
	}
	for _, p := range d.team.providers {
		t.aimAt(p.addr)
		var r countResult
		if err := calls.Call(ctx, demoMethod, countParams{}, &r); err != nil {
			return fmt.Errorf("call the %s: %w", p.name, err)
		}
		if r.By != p.addr {
			return fmt.Errorf("the process at %s answered a call to the %s at %s", r.By, p.name, p.addr)
		}
		t.answer(r.By)
	}
	return nil
}

// sendAll sends everything, with the kill halfway, while the progress is published.
func (d *demoRun) sendAll(ctx context.Context, send *sender, kill *killing, progress *progressTopic) error {
	publishing, stop := context.WithCancel(context.Background())
	published := make(chan error, 1)
	go func() {
		published <- progress.publish(publishing, func() demoProgress { return d.progress(send, kill) })
	}()

	err := send.sendAll(ctx, d.survey, func(sent totals, next int) error { return kill.before(ctx, sent, next) })
	if err == nil {
		err = context.Cause(ctx) // a call that failed, or a process that ended
	}
	if err == nil {
		err = kill.wait(ctx)
	}
	stop()
	return errors.Join(err, <-published)
}

func (d *demoRun) progress(send *sender, kill *killing) demoProgress {
	now, all := send.counted(), d.survey.direct
	p := demoProgress{Files: now.Files, FilesTotal: all.Files, Bytes: now.Bytes, BytesTotal: all.Bytes}
	kill.mu.Lock()
	defer kill.mu.Unlock()
	if !kill.killed.IsZero() {
		p.Note = "killed " + kill.victim.name
	}
	return p
}

func (d *demoRun) report(send *sender, kill *killing, progress *progressTopic) *demoReport {
	r := &demoReport{
		Dir: d.survey.dir, ByCalls: send.counted(), Direct: d.survey.direct,
		NotText: d.survey.notText, Unreadable: d.survey.unreadable,
		Calls: callsReport{
			Total: send.next, Sync: send.modes["sync"], Future: send.modes["future"], Callback: send.modes["callback"],
			InFlight: send.window.peak(), MaxAllowed: demoInFlight,
		},
		Kill:     kill.report(send),
		Progress: progressReport{progress.published, progress.received.Load()},
	}
	for _, p := range d.team.providers {
		r.Providers = append(r.Providers, providerReport{p.name, p.pid(), p.addr, send.tracker.answeredBy(p.addr)})
	}
	return r
}
