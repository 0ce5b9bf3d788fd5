package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/spf13/cobra"

	"trefoil/client"
)

func (a *app) replayCommand() *cobra.Command {
	return a.commandWith(&settings{}, cobra.Command{
		Use: "replay FILE [flags]", Args: cobra.ExactArgs(1),
		Annotations: map[string]string{inTable: "topic-replay"},
		Short:       "Publish what topic record has written, at the same intervals",
		Long: "Publish what topic record has written, in the same order, with what came with each\n" +
			"message, and at the same intervals: each message has its time, counted from the\n" +
			"beginning, so that delays do not add up; how late they were is said at the end. The\n" +
			"topics must be there. - reads standard input. A file whose end is missing is replayed\n" +
			"as far as it goes, and the exit status is 1.",
		Example: "  trefoil topic replay orders.jsonl --speed 10\n  trefoil topic replay orders.jsonl --topic orders.test --speed 0",
	}, a.replay)
}

// replayOutput says for programs what was replayed.
type replayOutput struct {
	File       string  `json:"file"`
	Messages   int     `json:"messages"`
	Duplicates int     `json:"duplicates"` // of those, by their ids, that their topic had taken before
	Gaps       int     `json:"gaps"`       // in the recording
	RecordedS  float64 `json:"recorded_s"` // from the first message to the last
	TookS      float64 `json:"took_s"`     // the same, now
	Speed      float64 `json:"speed"`

	// With a speed: how late messages were, and by how much of the time that it should have
	// taken it took longer.
	LateMs    float64 `json:"late_ms"`     // on average
	LateMaxMs float64 `json:"late_max_ms"` // the latest
	OffBy     float64 `json:"off_percent"`
}

func (o *replayOutput) String() string {
	text := fmt.Sprintf("replayed %s in %.3f s", count(o.Messages, "message"), o.TookS)
	if o.Speed > 0 && o.Messages > 1 {
		text += fmt.Sprintf(", recorded in %.3f s, at speed %g: late by %.3f ms on average, %.3f ms at most; spacing off by %.2f %%", o.RecordedS, o.Speed, o.LateMs, o.LateMaxMs, o.OffBy)
	}
	if o.Duplicates > 0 {
		text += fmt.Sprintf("; %d had been taken before, by their ids", o.Duplicates)
	}
	return text + gapsInWords(o.Gaps)
}

func (a *app) replay(ctx context.Context, s *settings, args []string) error {
	if err := positive("timeout", s.timeout); err != nil {
		return err
	}
	from := a.stdin
	if args[0] != "-" {
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		from = f
	}
	file, err := openRecording(from)
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	going, stop := context.WithCancel(ctx)
	defer stop()
	r := &replayer{file: file, speed: s.record.speed.factor(), topic: s.record.topic, bar: newBar(a.stderr, "messages"), size: sizeOf(from)}
	r.pub = newPublisher(stop, r.took)
	end, err := r.pub.connect(ctx, a, s)
	if err != nil {
		return err
	}
	defer end()
	r.pace = newPacer()
	defer r.pace.close()
	err = r.run(ctx, going)
	r.bar.clear()
	out := r.output(args[0])
	return errors.Join(err, a.say(s, out, "%s", out))
}

// replayer publishes a recording.
type replayer struct {
	file  *recordingReader
	pub   *publisher
	speed float64 // 0: as fast as it goes
	topic string  // empty: those of the recording
	pace  *pacer
	bar   *bar
	size  int64 // of the file, where it is known

	taken, duplicates int
	first, last       int64         // when the first and the last were due, in microseconds
	sentFirst, sent   time.Duration // when they went, after the beginning
}

// took notes a message that was published.
func (r *replayer) took(_ outgoing, got client.Receipt) {
	r.taken++
	if got.Duplicate {
		r.duplicates++
	}
}

// run publishes the messages. going ends with ctx, and when one is not taken.
func (r *replayer) run(ctx, going context.Context) error {
	err := r.each(ctx, going)
	r.pub.settle()
	if failed, _ := r.pub.failure(); failed != nil {
		return fmt.Errorf("line %d of the recording: %w", failed.place, topicError(ctx, r.pub.topics, failed.topic, failed.err))
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// each publishes each message when it is due. It returns io.EOF behind the last one.
func (r *replayer) each(ctx, going context.Context) error {
	for n := 1; ; n++ {
		m, err := r.file.message()
		if err != nil {
			return err
		}
		if n == 1 {
			r.first = m.AtUs
		}
		r.last = m.AtUs
		if r.speed > 0 {
			if err := r.pace.until(going, time.Duration(float64(m.AtUs-r.first)/r.speed)*time.Microsecond); err != nil {
				return err
			}
		}
		r.sent = r.pace.passed()
		if n == 1 {
			r.sentFirst = r.sent
		}
		if !r.pub.send(ctx, r.outgoing(&m)) {
			return errNotTaken
		}
		r.bar.draw(progressOf{items: int64(n), done: r.file.read, total: r.size})
	}
}

// outgoing is a message as it goes out again.
func (r *replayer) outgoing(m *recordedLine) outgoing {
	to := m.Topic
	if r.topic != "" {
		to = r.topic
	}
	return outgoing{place: r.file.line, topic: to, data: m.Data, how: client.Publishing{ID: m.ID, Meta: m.Meta}}
}

func (r *replayer) output(file string) *replayOutput {
	o := &replayOutput{
		File: file, Messages: r.taken, Duplicates: r.duplicates, Gaps: r.file.gaps,
		RecordedS: float64(r.last-r.first) / 1e6, TookS: (r.sent - r.sentFirst).Seconds(), Speed: r.speed,
	}
	if r.speed == 0 {
		return o
	}
	o.LateMs, o.LateMaxMs = milliseconds(r.pace.late()), milliseconds(r.pace.worst)
	if should := o.RecordedS / r.speed; should > 0 {
		o.OffBy = 100 * math.Abs(o.TookS-should) / should
	}
	return o
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
