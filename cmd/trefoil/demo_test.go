package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// goodReport is a report with nothing wrong in it.
func goodReport() demoReport {
	t := totals{Files: 2, Lines: 3, Words: 4, Bytes: 5}
	return demoReport{
		ByCalls: t, Direct: t,
		Calls: callsReport{Total: 3, Sync: 1, Future: 1, Callback: 1},
		Kill:  killReport{InFlight: 1, Offline: true, OfflineMs: 1, Moved: 1},
	}
}

func TestDemoFailsWhenAnythingIsNotAsPromised(t *testing.T) {
	for name, spoil := range map[string]func(*demoReport){
		"files":              func(r *demoReport) { r.ByCalls.Files++ },
		"lines":              func(r *demoReport) { r.ByCalls.Lines-- },
		"words":              func(r *demoReport) { r.Direct.Words++ },
		"bytes":              func(r *demoReport) { r.Direct.Bytes-- },
		"none in flight":     func(r *demoReport) { r.Kill.InFlight = 0 },
		"no OFFLINE":         func(r *demoReport) { r.Kill.Offline = false },
		"none moved":         func(r *demoReport) { r.Kill.Moved = 0 },
		"a call got nowhere": func(r *demoReport) { r.Calls.Future = 0 },
	} {
		for _, asJSON := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				r := goodReport()
				spoil(&r)
				var out bytes.Buffer
				a := &app{stdout: &out}
				err := a.conclude(&settings{json: asJSON}, &r)
				require.Error(t, err)
				assert.False(t, r.OK)
				assert.Len(t, r.Problems, 1)
				assert.NotEmpty(t, out.String())
			})
		}
	}
	r := goodReport()
	require.NoError(t, (&app{stdout: &bytes.Buffer{}}).conclude(&settings{}, &r))
	assert.True(t, r.OK)
}

func TestReportShowsBothTotalsAndTheThreeFacts(t *testing.T) {
	r := goodReport()
	r.Kill = killReport{Name: "provider 2", PID: 77, InFlight: 12, Offline: true, OfflineMs: 3.5, Moved: 11, Percent: 50}
	var out bytes.Buffer
	require.NoError(t, r.print(&out))
	for _, want := range []string{"by calls", "directly", "equal: yes", "in flight on it: 12", "3.5 ms", "moved on:   11", "pid 77"} {
		assert.Contains(t, out.String(), want)
	}
	r.ByCalls.Words++
	r.Kill.Offline = false
	out.Reset()
	require.NoError(t, r.print(&out))
	assert.Contains(t, out.String(), "equal: no")
	assert.Contains(t, out.String(), "OFFLINE arrived:       no")
}

func TestReportIsOneJSONObject(t *testing.T) {
	r := goodReport()
	var out bytes.Buffer
	require.NoError(t, (&app{stdout: &out}).conclude(&settings{json: true}, &r))
	var back demoReport
	require.NoError(t, json.Unmarshal(out.Bytes(), &back))
	assert.Equal(t, r, back)
}

func TestBarFillsItsLineAndNoMore(t *testing.T) {
	for name, c := range map[string]struct {
		p    progressOf
		want string
	}{
		"nothing yet":     {progressOf{total: 100}, "[                    ]   0%  0 files"},
		"half":            {progressOf{done: 50, total: 100, items: 3}, "[==========          ]  50%  3 files"},
		"all":             {progressOf{done: 100, total: 100, items: 9}, "[====================] 100%  9 files"},
		"more than all":   {progressOf{done: 150, total: 100}, "[====================] 100%"},
		"unknown total":   {progressOf{done: 2_500_000, items: 7}, "7 files  2.5 MB  1.2s"},
		"note":            {progressOf{note: "killed it"}, "killed it"},
		"a long note":     {progressOf{note: strings.Repeat("long ", 100)}, "long long"},
		"note with ESC":   {progressOf{note: "a\x1b[2Jb"}, "a\uFFFD[2Jb"},
		"note not ASCII":  {progressOf{note: strings.Repeat("世", 100)}, "世世"},
		"note, two lines": {progressOf{note: "a\nb"}, "a b"},
	} {
		t.Run(name, func(t *testing.T) {
			line := render(c.p, "files", 1234*time.Millisecond)
			assert.Contains(t, line, c.want)
			assert.Equal(t, barWidth, utf8.RuneCountInString(line))
			assert.NotContains(t, line, "\n")
		})
	}
}

func TestBarDrawsNothingWhenNobodyLooks(t *testing.T) {
	var out bytes.Buffer
	b := newBar(&out, "files")
	b.draw(progressOf{})
	b.clear()
	assert.Empty(t, out.String())
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer null.Close()
	assert.False(t, isTerminal(null))
	r, w := newPipe(t)
	assert.False(t, isTerminal(r))
	assert.False(t, isTerminal(w))
}

func TestBarDrawsTenTimesASecondAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		b := &bar{w: &out, unit: "files", begun: time.Now()}
		for range 1000 {
			b.draw(progressOf{})
			time.Sleep(time.Millisecond) // of virtual time
		}
		assert.Equal(t, 10, strings.Count(out.String(), "\r"))
		b.clear()
		assert.True(t, strings.HasSuffix(out.String(), "\r"+strings.Repeat(" ", barWidth)+"\r"))
	})
}

func TestWindowBoundsCallsAndBytes(t *testing.T) {
	w := newWindow()
	for range demoInFlight {
		require.True(t, w.tryEnter(1))
	}
	assert.False(t, w.tryEnter(1), "too many calls")
	w.leave(1)
	assert.False(t, w.tryEnter(demoBytes), "too many bytes")
	assert.True(t, w.tryEnter(1))
	assert.Equal(t, demoInFlight, w.peak())
	assert.True(t, newWindow().tryEnter(demoBytes+1), "one is always let in")
}

func TestWindowLetsGoOfWhoeverWaitsWhenTheDemoEnds(t *testing.T) {
	w := newWindow()
	require.NoError(t, w.enter(t.Context(), demoBytes))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, w.enter(ctx, 1), context.Canceled)
	w.leave(demoBytes)
	require.NoError(t, w.enter(t.Context(), 1))
}

// threeProviders is a discovery's list, and the same as processes.
func threeProviders() (list []abstract.Provider, processes []*process) {
	for port := 1; port <= 3; port++ {
		host := abstract.Host{IP: "h", Port: port}
		list = append(list, abstract.Provider{Host: host})
		processes = append(processes, &process{addr: host.String()})
	}
	return list, processes
}

func TestTrackerTakesTurnsUnlessAimed(t *testing.T) {
	tr := newTracker()
	list, _ := threeProviders()
	got := make(map[int]int)
	for range 6 {
		got[tr.Pick(list)]++
	}
	assert.Equal(t, map[int]int{0: 2, 1: 2, 2: 2}, got)
	for want := range list {
		tr.aimAt(list[want].Host.String())
		assert.Equal(t, want, tr.Pick(list))
	}
}

func TestTrackerKnowsWhatIsInFlight(t *testing.T) {
	tr := newTracker()
	list, processes := threeProviders()
	for range 2 {
		tr.aimAt("h:2")
		tr.Pick(list)
	}
	tr.aimAt("h:3")
	tr.Pick(list)
	assert.Equal(t, "h:2", tr.busiest(processes).addr)
	busy := func(base, want int) bool {
		yes, hopeless := tr.busy("h:2", base, want)
		assert.False(t, hopeless)
		return yes
	}
	assert.True(t, busy(0, 2))
	assert.False(t, busy(0, 3))
	assert.False(t, busy(1, 2), "one of them may have been answered")
	tr.answer("h:3")
	assert.True(t, busy(0, 3), "there are no others")
	assert.False(t, busy(2, 1), "none of them is certain")
	tr.setPosting(true)
	assert.False(t, busy(0, 3), "the last one may not have been sent yet")
	tr.setPosting(false)
	tr.answer("h:2")
	given, open := tr.attempts("h:2")
	assert.Equal(t, 2, given)
	assert.Equal(t, 1, open)
	tr.answer("h:2")
	assert.False(t, busy(0, 3), "nothing is in flight")
}

func TestTrackerGivesUpWhenNothingIsLeft(t *testing.T) {
	tr := newTracker()
	list, _ := threeProviders()
	tr.aimAt("h:1")
	tr.Pick(list)
	tr.answer("h:1")
	tr.finish()
	require.ErrorIs(t, tr.waitBusy(t.Context(), "h:1", 0, 3), errNotBusy)
}

func TestTrackerWakesWhoWaitsForCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTracker()
		list, _ := threeProviders()
		done := make(chan error, 1)
		go func() { done <- tr.waitBusy(t.Context(), "h:1", 0, 3) }()
		for range 3 {
			synctest.Wait()
			assert.Empty(t, done)
			tr.post(func() {
				tr.aimAt("h:1")
				tr.Pick(list)
				tr.Pick(list)
			})
		}
		require.NoError(t, <-done)
	})
}

func TestOfflineOfAStoppedProviderCountsBeforeItIsKilled(t *testing.T) {
	_, processes := threeProviders()
	k := newKilling(&team{}, newTracker(), 100)
	k.victim = processes[1]
	k.victim.cmd = &exec.Cmd{Process: &os.Process{}}
	k.went(abstract.Provider{Host: abstract.Host{IP: "h", Port: 1}})
	assert.False(t, k.report(&sender{}).Offline, "that was another one")
	for range 2 {
		k.went(abstract.Provider{Host: abstract.Host{IP: "h", Port: 2}})
	}
	<-k.gone
	k.killed = time.Now()
	r := k.report(&sender{})
	assert.True(t, r.Offline)
	assert.Zero(t, r.OfflineMs)
}

// On a machine on which calls take long, one is enough.
func TestSlowVictimIsKilledWithFewCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTracker()
		list, _ := threeProviders()
		k := newKilling(&team{}, tr, 100)
		tr.setPosting(true)
		tr.aimAt("h:2")
		tr.Pick(list)
		begun := time.Now()
		require.NoError(t, k.waitBusy(t.Context(), "h:2", 0))
		assert.Equal(t, killWithin, time.Since(begun))
		over, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, k.waitBusy(over, "h:2", 1), context.DeadlineExceeded, "there is none")
	})
}

func TestFileThatChangedIsNotSent(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(path, []byte("a b\n"), 0o600))
	v, err := surveyDir(t.Context(), dir, func(totals) {})
	require.NoError(t, err)
	require.Len(t, v.files, 1)
	assert.Equal(t, totals{Files: 1, Lines: 1, Words: 2, Bytes: 4}, v.direct)
	f, err := v.open(v.files[0])
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.NoError(t, os.WriteFile(path, []byte("a b c\n"), 0o600))
	_, err = v.open(v.files[0])
	require.ErrorContains(t, err, "changed")
}

func TestSurveyLeavesOutWhatIsNoText(t *testing.T) {
	dir := makeTree(t, map[string]string{"a/b.txt": "x y\n", "bin": "a\x00", "latin1": "caf\xe9\n", "empty": ""})
	require.NoError(t, os.Symlink(filepath.Join(dir, "a"), filepath.Join(dir, "link")))
	seen := 0
	v, err := surveyDir(t.Context(), dir, func(totals) { seen++ })
	require.NoError(t, err)
	assert.Equal(t, 4, seen)
	assert.Equal(t, 2, v.notText)
	assert.Zero(t, v.unreadable)
	assert.Equal(t, totals{Files: 2, Lines: 1, Words: 2, Bytes: 4}, v.direct)
}

// makeTree makes a directory with files.
func makeTree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
	return dir
}

func TestFirstLineIsCaughtHoweverItComes(t *testing.T) {
	for name, writes := range map[string][]string{
		"at once":     {"ready\nmore\n"},
		"in pieces":   {"re", "ady", "\n", "more"},
		"then a lot":  {"ready\n", strings.Repeat("x", 1<<20)},
		"with others": {"ready\n", "second\n", "third\n"},
	} {
		f := &firstLine{line: make(chan []byte, 1)}
		for _, w := range writes {
			n, err := f.Write([]byte(w))
			require.NoError(t, err)
			require.Equal(t, len(w), n)
		}
		assert.Equal(t, "ready", string(<-f.line), name)
		assert.Less(t, len(f.buf), 10_000)
	}
}
