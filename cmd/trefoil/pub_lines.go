package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"trefoil/client"
)

// maxLine is the longest line that pub reads: a frame has room for it, unless
// most of it needs escapes.
const maxLine = 7 << 20

// linePublisher is one run of pub over many lines.
type linePublisher struct {
	app   *app
	set   *settings
	topic string
	at    time.Time
	pub   *publisher
	pace  *pacer // nil: as fast as they are taken

	out  pubOutput
	bar  *bar
	size int64 // of the input, where it is known
	err  error // of the output
}

// pubLines publishes every line of a file, or of standard input. Every message has the
// timeout for itself, and the input may take as long as it likes.
func (a *app) pubLines(ctx context.Context, s *settings, topic string, at time.Time) error {
	from := a.stdin
	if s.pub.file != "" {
		f, err := os.Open(s.pub.file)
		if err != nil {
			return err
		}
		defer f.Close()
		from = f
	}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	l := &linePublisher{
		app: a, set: s, topic: topic, at: at, bar: newBar(a.stderr, "messages"), size: sizeOf(from),
		out: pubOutput{Topic: topic, Oneway: s.pub.oneway},
	}
	l.pub = newPublisher(stop, l.taken)
	end, err := l.pub.connect(ctx, a, s)
	if err != nil {
		return err
	}
	defer end()
	if s.pub.rate > 0 {
		l.pace = newPacer()
		defer l.pace.close()
	}
	if s.pub.oneway {
		err = l.sendAll(reading, from)
	} else {
		err = l.publishAll(ctx, reading, from)
	}
	l.bar.clear()
	if ctx.Err() != nil { // the error will say that it was interrupted, and not how far it was
		return errors.Join(err, a.published(s, l.out))
	}
	if err != nil {
		return fmt.Errorf("%d messages were published, then: %w", l.out.Published, err)
	}
	return errors.Join(l.err, a.published(s, l.out))
}

// publishAll publishes the lines; reading ends when one of them is not taken.
func (l *linePublisher) publishAll(ctx, reading context.Context, from io.Reader) error {
	err := l.each(reading, from, func(m outgoing) error {
		if !l.pub.send(ctx, m) {
			return errNotTaken
		}
		return nil
	})
	l.pub.settle()
	first, last := l.pub.failure()
	switch {
	case first == nil:
		return err
	case last > first.place:
		return fmt.Errorf("line %d: %w; lines behind it, up to line %d, had been sent and were published", first.place, topicError(ctx, l.pub.topics, l.topic, first.err), last)
	}
	return fmt.Errorf("line %d: %w", first.place, topicError(ctx, l.pub.topics, l.topic, first.err))
}

// errNotTaken ends the reading of lines; the publisher knows why.
var errNotTaken = errors.New("a message was not taken")

// each reads the lines, and gives each to do when it is due.
func (l *linePublisher) each(ctx context.Context, from io.Reader, do func(outgoing) error) error {
	n := 0
	for line, err := range lines(ctx, from) {
		if err != nil {
			return err
		}
		n++
		data, err := encodeMessage(l.set.kind, line)
		if err == nil && l.pace != nil {
			err = l.pace.until(ctx, time.Duration(float64(n-1)*float64(time.Second)/float64(l.set.pub.rate)))
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		m := outgoing{place: n, topic: l.topic, data: data, how: l.set.pub.publishing(l.at, n), report: l.set.pub.report, size: len(line)}
		if err := do(m); err != nil {
			return err
		}
	}
	return nil
}

// taken notes a message that was published.
func (l *linePublisher) taken(m outgoing, got client.Receipt) {
	l.out.Published++
	if got.Duplicate {
		l.out.Duplicates++
	}
	l.out.Bytes += int64(m.size)
	l.bar.draw(progressOf{done: l.out.Bytes + int64(l.out.Published), total: l.size, items: int64(l.out.Published)})
	if !m.report || l.err != nil {
		return
	}
	receipt := newReceiptOutput(got)
	l.err = l.app.say(l.set, struct {
		Line int `json:"line"`
		*receiptOutput
	}{m.place, receipt}, "line %d: %s", m.place, receipt)
}

// sendAll sends the lines without waiting for answers, but so many only as the
// connection takes.
func (l *linePublisher) sendAll(ctx context.Context, from io.Reader) error {
	waiting, bytes := 0, 0
	err := l.each(ctx, from, func(m outgoing) error {
		if waiting++; waiting > publishWindow || bytes+len(m.data) > publishWindowBytes {
			if err := arrived(ctx, l.pub.topics); err != nil {
				return err
			}
			waiting, bytes = 1, 0
		}
		bytes += len(m.data)
		if err := l.pub.topics.Send(ctx, m.topic, m.data); err != nil {
			return fmt.Errorf("line %d: %w", m.place, err)
		}
		l.taken(m, client.Receipt{})
		return nil
	})
	if err != nil {
		return err
	}
	return arrived(ctx, l.pub.topics)
}

// sizeOf is how much there is to read, or 0 when that is not known.
func sizeOf(r io.Reader) int64 {
	f, ok := r.(*os.File)
	if !ok {
		return 0
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	return info.Size()
}

// lines yields the lines of r, or the error that ended them: also that of ctx,
// while a read is still waiting for input.
func lines(ctx context.Context, r io.Reader) func(yield func(string, error) bool) {
	return func(yield func(string, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		type item struct {
			line string
			err  error
		}
		next := make(chan item, 64)
		go func() {
			defer close(next)
			scanner := bufio.NewScanner(r)
			scanner.Buffer(nil, maxLine)
			for scanner.Scan() {
				select {
				case next <- item{line: scanner.Text()}:
				case <-ctx.Done():
					return
				}
			}
			err := scanner.Err()
			if errors.Is(err, bufio.ErrTooLong) {
				err = fmt.Errorf("a line is longer than %d bytes; shorter lines can be published", maxLine)
			}
			if err != nil {
				next <- item{err: err}
			}
		}()
		for {
			select {
			case it, ok := <-next:
				if !ok || !yield(it.line, it.err) {
					return
				}
			case <-ctx.Done():
				yield("", ctx.Err())
				return
			}
		}
	}
}
