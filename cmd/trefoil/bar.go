package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// barWidth fits the narrowest usual terminal: 80 columns, of which the last
// stays free, since some terminals wrap when it is written.
const barWidth = 79

// drawEvery is how often a bar is drawn at most.
const drawEvery = 100 * time.Millisecond

// bar draws progress in one line of a terminal, over and over. When its writer
// is no terminal it draws nothing. It is for one goroutine.
type bar struct {
	w     io.Writer // nil: nobody is looking
	unit  string
	begun time.Time
	drawn time.Time // zero: the line is empty
}

func newBar(w io.Writer, unit string) *bar {
	b := &bar{unit: unit, begun: time.Now()}
	if isTerminal(w) {
		b.w = w
	}
	return b
}

// progressOf is how far something has come.
type progressOf struct {
	done, total int64 // in bytes; total is 0 when it is not known
	noBytes     bool  // done and total are something else, and not shown but as a part
	items       int64
	note        string
}

// draw draws, unless it just did.
func (b *bar) draw(p progressOf) {
	if b.w == nil || time.Since(b.drawn) < drawEvery {
		return
	}
	b.drawn = time.Now()
	fmt.Fprint(b.w, "\r", render(p, b.unit, time.Since(b.begun)))
}

// clear leaves an empty line.
func (b *bar) clear() {
	if b.w != nil && !b.drawn.IsZero() {
		fmt.Fprint(b.w, "\r", strings.Repeat(" ", barWidth), "\r")
		b.drawn = time.Time{}
	}
}

// render is the line that a bar draws: always barWidth columns, so that it
// covers the line before it.
func render(p progressOf, unit string, passed time.Duration) string {
	text := fmt.Sprintf("%d %s  ", p.items, unit)
	if !p.noBytes {
		text += megabytes(p.done) + "  "
	}
	text += passed.Truncate(100 * time.Millisecond).String()
	if p.note != "" {
		text += "  " + oneLine(p.note)
	}
	if p.total > 0 {
		const cells = 20
		part := min(1, max(0, float64(p.done)/float64(p.total)))
		full := int(part * cells)
		text = fmt.Sprintf("[%s%s] %3d%%  %s", strings.Repeat("=", full), strings.Repeat(" ", cells-full), int(part*100), text)
	}
	return fit(text, barWidth)
}

// fit cuts or pads s to width columns.
func fit(s string, width int) string {
	columns := []rune(s)
	if len(columns) > width {
		return string(columns[:width])
	}
	return s + strings.Repeat(" ", width-len(columns))
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
