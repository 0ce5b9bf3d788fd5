package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// demoReport is the outcome of the demo.
type demoReport struct {
	OK         bool             `json:"ok"`
	Problems   []string         `json:"problems,omitempty"`
	Dir        string           `json:"dir"`
	ByCalls    totals           `json:"by_calls"` // what the providers counted
	Direct     totals           `json:"direct"`   // what this process counted
	NotText    int              `json:"not_text"` // files left out
	Unreadable int              `json:"unreadable"`
	Calls      callsReport      `json:"calls"`
	Kill       killReport       `json:"kill"`
	Providers  []providerReport `json:"providers"`
	Progress   progressReport   `json:"progress"`
	Seconds    float64          `json:"seconds"`
}

type callsReport struct {
	Total      int `json:"total"`
	Sync       int `json:"sync"`
	Future     int `json:"future"`
	Callback   int `json:"callback"`
	InFlight   int `json:"in_flight"` // the most at once
	MaxAllowed int `json:"in_flight_limit"`
}

// killReport is what the SIGKILL of a provider did.
type killReport struct {
	Name        string  `json:"name"`
	PID         int     `json:"pid"`
	Addr        string  `json:"addr"`
	Percent     int     `json:"percent"`   // how much had been sent
	InFlight    int     `json:"in_flight"` // calls sent to it and not answered, when it was killed
	Offline     bool    `json:"offline"`   // the OFFLINE arrived
	OfflineMs   float64 `json:"offline_ms"`
	Moved       int     `json:"moved"`         // calls that it was sent, and that others answered
	Repeated    int     `json:"repeated"`      // answers that report more than one attempt, in the modes that tell
	LastMovedMs float64 `json:"last_moved_ms"` // from the kill to the last of them
}

type providerReport struct {
	Name     string `json:"name"`
	PID      int    `json:"pid"`
	Addr     string `json:"addr"`
	Answered int    `json:"answered"`
}

type progressReport struct {
	Published int   `json:"published"`
	Received  int64 `json:"received"`
}

// judge fills in what is wrong, if anything is.
func (r *demoReport) judge() {
	r.Problems = nil
	wrong := func(format string, args ...any) { r.Problems = append(r.Problems, fmt.Sprintf(format, args...)) }
	if r.ByCalls != r.Direct {
		wrong("the totals by calls and the direct count differ: %+v and %+v", r.ByCalls, r.Direct)
	}
	if r.Kill.InFlight < 1 {
		wrong("no call was in flight on the provider when it was killed")
	}
	if !r.Kill.Offline {
		wrong("the OFFLINE of the killed provider did not arrive")
	}
	if r.Kill.Moved < 1 {
		wrong("no call moved from the killed provider to another one")
	}
	if r.Calls.Sync+r.Calls.Future+r.Calls.Callback != r.Calls.Total {
		wrong("%d calls were started, but %d have ended well", r.Calls.Total, r.Calls.Sync+r.Calls.Future+r.Calls.Callback)
	}
	r.OK = len(r.Problems) == 0
}

// print writes the report for people.
func (r *demoReport) print(w io.Writer) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tfiles\tlines\twords\tbytes\t")
	for _, row := range []struct {
		name string
		totals
	}{{"by calls", r.ByCalls}, {"directly", r.Direct}} {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t\n", row.name, row.Files, row.Lines, row.Words, row.Bytes)
	}
	_ = t.Flush() // a strings.Builder takes everything
	fmt.Fprintf(&b, "equal: %s\n\n", yesNo(r.ByCalls == r.Direct))

	k := r.Kill
	fmt.Fprintf(&b, "%s, pid %d, was killed with SIGKILL when %d%% had been sent\n", k.Name, k.PID, k.Percent)
	fmt.Fprintf(&b, "  calls in flight on it: %d\n", k.InFlight)
	if k.Offline {
		fmt.Fprintf(&b, "  OFFLINE arrived:       yes, %.1f ms after the kill\n", k.OfflineMs)
	} else {
		fmt.Fprint(&b, "  OFFLINE arrived:       no\n")
	}
	fmt.Fprintf(&b, "  calls that moved on:   %d", k.Moved)
	if late := k.InFlight - k.Moved; late > 0 {
		fmt.Fprintf(&b, "; %d had been answered just before", late)
	}
	if k.Repeated > 0 {
		fmt.Fprintf(&b, "; %d report a further attempt (sync mode does not), the last %.1f ms after the kill", k.Repeated, k.LastMovedMs)
	}
	b.WriteString("\n\n")

	c := r.Calls
	fmt.Fprintf(&b, "%d calls: %d sync, %d future, %d callback; up to %d in flight\n", c.Total, c.Sync, c.Future, c.Callback, c.InFlight)
	for _, p := range r.Providers {
		fmt.Fprintf(&b, "%s, pid %d at %s, answered %d\n", p.Name, p.PID, p.Addr, p.Answered)
	}
	fmt.Fprintf(&b, "%d messages published on %s, %d received\n", r.Progress.Published, demoTopic, r.Progress.Received)
	fmt.Fprintf(&b, "%d files left out: %d are no text, %d could not be read\n", r.NotText+r.Unreadable, r.NotText, r.Unreadable)
	fmt.Fprintf(&b, "%.1f s\n", r.Seconds)
	_, err := io.WriteString(w, b.String())
	return err
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
