package main

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"

	"golang.org/x/term"
)

// terminal is the user's terminal in raw mode, with a line editor. What others print
// appears above the line that is being typed.
type terminal struct {
	*term.Terminal
	file    *os.File
	before  *term.State
	history *history
	resized func()

	typed *keys         // without interrupts
	asked chan struct{} // for the next line
	lines chan typedLine
	once  sync.Once

	mu        sync.Mutex
	interrupt context.CancelFunc // of the command that runs
	width     int
}

type typedLine struct {
	text string
	err  error
}

// What the editor gets in place of an interrupt: go to the end of the line, and
// delete it.
const dropLine = "\x05\x15"

const interruptKey = 3 // Ctrl-C

// openTerminal takes over the terminal, if in and out are one. close gives it back.
func openTerminal(in io.Reader, out io.Writer) (t *terminal, ok bool) {
	file, ok1 := in.(*os.File)
	show, ok2 := out.(*os.File)
	if !ok1 || !ok2 || !term.IsTerminal(int(file.Fd())) || !term.IsTerminal(int(show.Fd())) {
		return nil, false
	}
	before, err := term.MakeRaw(int(file.Fd()))
	if err != nil {
		return nil, false
	}
	typed := newKeys()
	t = &terminal{file: file, before: before, typed: typed, history: openHistory(), asked: make(chan struct{}), lines: make(chan typedLine, 1), width: 80}
	t.Terminal = term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{typed, show}, "trefoil> ")
	t.Terminal.History = t.history
	t.fit()
	t.resized = onResize(t.fit)
	go t.pump()
	go t.edit()
	return t, true
}

// close restores the terminal.
func (t *terminal) close() {
	t.once.Do(func() {
		close(t.asked)
		t.resized()
		t.history.save()
		t.typed.end()
		_ = term.Restore(int(t.file.Fd()), t.before)
		_, _ = t.file.WriteString("\n")
	})
}

// rescue gives the terminal back before a panic of a goroutine ends the process, so
// that its text can be read and typing goes on as before. It is deferred.
func (t *terminal) rescue() {
	if p := recover(); p != nil {
		_ = term.Restore(int(t.file.Fd()), t.before)
		panic(p)
	}
}

// fit takes the terminal's size over.
func (t *terminal) fit() {
	width, height, err := term.GetSize(int(t.file.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return
	}
	_ = t.SetSize(width, height)
	t.mu.Lock()
	t.width = width
	t.mu.Unlock()
}

// pump passes on what is typed. An interrupt ends the command that runs, or drops
// the line. It ends with the process: a read of a terminal cannot be taken back.
func (t *terminal) pump() {
	defer t.rescue()
	defer t.typed.end()
	b := make([]byte, 1024)
	for {
		n, err := t.file.Read(b)
		for _, c := range b[:n] {
			if c == interruptKey {
				t.interrupted()
				continue
			}
			t.typed.write(c)
		}
		if err != nil {
			return
		}
	}
}

func (t *terminal) interrupted() {
	t.mu.Lock()
	stop := t.interrupt
	t.mu.Unlock()
	if stop != nil {
		t.typed.drop()
		stop()
		return
	}
	t.typed.write([]byte(dropLine)...)
}

// interruptible is a context for a command, which an interrupt ends.
func (t *terminal) interruptible(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	t.mu.Lock()
	t.interrupt = cancel
	t.mu.Unlock()
	return ctx, func() {
		t.mu.Lock()
		t.interrupt = nil
		t.mu.Unlock()
		cancel()
	}
}

// edit reads lines as they are asked for: there is no prompt while a command runs.
func (t *terminal) edit() {
	defer t.rescue()
	for range t.asked {
		line, err := t.ReadLine()
		if errors.Is(err, term.ErrPasteIndicator) { // the line was pasted, which is as good as typed
			err = nil
		}
		t.lines <- typedLine{line, err}
		if err != nil {
			return
		}
	}
}

// readLine returns the next line. The error is io.EOF at the end, or ctx's.
func (t *terminal) readLine(ctx context.Context) (string, error) {
	select {
	case t.asked <- struct{}{}:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	select {
	case line := <-t.lines:
		return line.text, line.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// complete sets what Tab does: fn returns a longer line, and what there is to choose from.
func (t *terminal) complete(fn func(line string) (longer string, choice []string)) {
	asked := "" // the line at which Tab was pressed last
	t.AutoCompleteCallback = func(line string, pos int, key rune) (string, int, bool) {
		if key != '\t' {
			return "", 0, false
		}
		longer, choice := fn(line[:pos])
		if longer == line[:pos] && len(choice) > 1 && asked == line {
			t.mu.Lock()
			width := t.width
			t.mu.Unlock()
			_, _ = io.WriteString(t, columns(choice, width))
		}
		asked = longer + line[pos:]
		return asked, len(longer), true
	}
}
