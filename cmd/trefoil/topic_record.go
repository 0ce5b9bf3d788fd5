package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"trefoil/client"
)

// recordSettings is what the flags say of recordings.
type recordSettings struct {
	duration spanValue
	speed    factorValue
	topic    string
}

// recordFlags are those about recordings; subFlags has others.
func recordFlags(s *settings) []flagRow {
	r := &s.record
	return []flagRow{
		{commands: "topic-record", name: "duration", to: &r.duration, help: "end after `D`"},
		{commands: "topic-replay", name: "speed", to: &r.speed, help: "so many `TIMES` as fast as it was recorded, such as 2 or 0.5; 0: as fast as messages are taken (default 1)"},
		{commands: "topic-replay", name: "topic", to: &r.topic, def: "", help: "publish all of it to `TOPIC`, not to where it came from"},
	}
}

func (a *app) recordCommand() *cobra.Command {
	c := a.topicVerb(&settings{}, cobra.Command{
		Use: "record TOPIC FILE [flags]", Args: cobra.ExactArgs(2),
		Short: "Write a topic's messages into a file, with their times, for topic replay",
		Long: "Write a topic's messages into a new file as they come, until an interrupt, --count or\n" +
			"--duration, with what came with them and when: JSON, an object a line. TOPIC may name\n" +
			"many, as for sub. - is standard output.",
		Example: "  trefoil topic record 'orders.>' orders.jsonl --duration 1m\n  trefoil topic record news all.jsonl --from all --count 1000",
	}, false, a.record)
	return completingFlag(a.completingFileBehind(c), "from", "new", "last", "all")
}

// recordOutput says for programs what was recorded.
type recordOutput struct {
	Topic    string  `json:"topic"`
	File     string  `json:"file"`
	Messages int     `json:"messages"`
	Gaps     int     `json:"gaps"`
	Seconds  float64 `json:"seconds"` // from the first message to the last
}

func (a *app) record(ctx context.Context, s *settings, args []string) error {
	if err := positive("timeout", s.timeout); err != nil {
		return err
	}
	opts, err := s.sub.options(args[0], time.Now())
	if err != nil {
		return err
	}
	conn, end, err := a.dialForLong(ctx, s)
	if err != nil {
		return err
	}
	defer end()
	bar := newBar(a.stderr, "messages")
	r := &recorder{
		topics: client.NewTopicClient(conn), most: s.count, longest: time.Duration(s.record.duration),
		ready:    func() { fmt.Fprintf(a.stderr, "recording %s\n", oneLine(args[0])) },
		progress: func(n int, bytes int64) { bar.draw(progressOf{items: int64(n), done: bytes}) },
	}
	w, err := r.run(ctx, args[0], func() (io.WriteCloser, error) { return a.recordingFile(args[1]) }, opts)
	bar.clear()
	if w == nil {
		return err
	}
	out := recordOutput{args[0], args[1], w.messages, w.gaps, float64(w.lastUs) / 1e6}
	return errors.Join(err, a.sayBeside(s, args[1] == "-", out, "recorded %s of %s in %.1f s%s", count(w.messages, "message"), printable(args[0]), out.Seconds, gapsInWords(w.gaps)))
}

// sayBeside is say, on standard error when standard output is taken.
func (a *app) sayBeside(s *settings, taken bool, v any, format string, args ...any) error {
	if !taken {
		return a.say(s, v, format, args...)
	}
	other := &app{stdout: a.stderr}
	return other.say(s, v, format, args...)
}

func gapsInWords(gaps int) string {
	if gaps == 0 {
		return ""
	}
	return fmt.Sprintf(", with %s where messages are missing", count(gaps, "gap"))
}

// recordingFile makes a new file.
func (a *app) recordingFile(name string) (io.WriteCloser, error) {
	if name == "-" {
		return outputOnly{a.stdout}, nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, &plainError{name + " is there already; remove it, or take another name", err}
	}
	return f, err
}

// outputOnly is an output that is neither closed nor written to at its beginning again.
type outputOnly struct{ io.Writer }

func (outputOnly) Close() error { return nil }

// recorder writes what a subscription gets.
type recorder struct {
	topics   *client.TopicClient
	most     int           // messages; 0: until ctx ends
	longest  time.Duration // 0: the same
	ready    func()
	progress func(messages int, bytes int64)

	w     *recordingWriter
	first time.Time // when the first message came, by the clock of the broker or ours
	bytes int64
	err   error // of a gap
}

// run records until ctx ends, or there is enough, into what open returns. The recording is
// whole, whatever the error is; it is nil when none was begun.
func (r *recorder) run(ctx context.Context, name string, open func() (io.WriteCloser, error), opts []client.SubscribeOption) (w *recordingWriter, err error) {
	sub, err := r.topics.Subscribe(ctx, name, nil, append(opts, client.OnGap(r.gap), client.Queue(subscriberQueue))...)
	if err != nil {
		return nil, topicError(ctx, r.topics, name, err)
	}
	defer cancelSubscription(sub)
	to, err := open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	if r.w, err = newRecordingWriter(to, name, time.Now()); err != nil {
		return nil, err
	}
	r.ready()
	if r.longest > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.longest)
		defer cancel()
	}
	err = r.all(ctx, sub)
	return r.w, errors.Join(err, r.err, r.w.finish())
}

func (r *recorder) all(ctx context.Context, sub *client.Subscription) error {
	for m, err := range sub.Messages(ctx) {
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			err = r.message(m)
		}
		if err != nil || r.w.messages == r.most {
			return err
		}
	}
	return nil
}

func (r *recorder) message(m client.Message) error {
	r.bytes += int64(len(m.Data))
	r.progress(r.w.messages+1, r.bytes)
	return r.w.add(recordedLine{AtUs: r.at(m.Time).Microseconds(), Topic: m.Topic, Data: m.Data, Meta: m.Meta, ID: m.MsgID, Offset: m.Offset})
}

// at is how long after the first message one came that the broker took at a moment, or,
// where it does not say when, that comes now.
func (r *recorder) at(taken time.Time) time.Duration {
	if taken.IsZero() {
		taken = time.Now()
	}
	if r.first.IsZero() {
		r.first = taken
	}
	return taken.Sub(r.first)
}

// gap notes that messages are missing.
func (r *recorder) gap(g client.Gap) {
	if err := r.w.add(recordedLine{AtUs: r.w.lastUs, Topic: g.Topic, Gap: true, Missed: g.Missed}); err != nil && r.err == nil {
		r.err = err
	}
}
