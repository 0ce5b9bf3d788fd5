package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"trefoil/abstract"
	"trefoil/client"
)

func (a *app) benchTopicCommand() *cobra.Command {
	c := a.benchOf("topic", "Measure a topic, from publishers to subscribers",
		"Measure a topic of the bench's own. Every publisher sends one message after the\n"+
			"other, each when the broker has answered the one before. Latency counts from\n"+
			"there, or with --rate from when the message was due, to the subscriber's callback.\n"+
			"A subscriber that does not keep up loses messages, which are counted.",
		a.benchTopic)
	c.Example = "  trefoil bench topic --subscribers 100\n  trefoil bench topic --publishers 10 --rate 5000 --json"
	return c
}

// topicBenchOutput is the outcome for programs. Published messages times
// subscribers are deliveries, missed and lost messages.
type topicBenchOutput struct {
	Bench       string          `json:"bench"`
	Topic       string          `json:"topic"`
	Publishers  int             `json:"publishers"`
	Subscribers int             `json:"subscribers"`
	Size        int             `json:"size"` // bytes of a message
	Rate        int             `json:"rate,omitempty"`
	Interrupted bool            `json:"interrupted"`
	Published   *measuredOutput `json:"published"`  // latency is that of the broker's answer
	Deliveries  *measuredOutput `json:"deliveries"` // latency is from the publisher to the callback
	Missed      int64           `json:"missed"`     // subscribers that did not keep up were told so
	Lost        int64           `json:"lost"`       // nothing was heard of
	CPU         cpuOutput       `json:"cpu"`
}

func (a *app) benchTopic(ctx context.Context, s *settings, _ []string) error {
	err := firstError(
		s.checkBench(),
		between("size", s.bench.size, minBenchSize, maxBenchSize),
		between("publishers", s.bench.publishers, 1, maxBenchConns),
		between("subscribers", s.bench.subscribers, 1, maxBenchConns),
		between("rate", s.bench.rate, 0, maxBenchRate),
	)
	if err != nil {
		return err
	}
	control, err := a.dial(ctx, s)
	if err != nil {
		return err
	}
	defer control.Close()
	b := newTopicBench(client.NewTopicClient(control), s.bench)
	defer b.remove(a, s)
	if err := b.create(ctx); err != nil {
		return err
	}
	subscribers, err := a.dialBench(ctx, s, s.bench.subscribers)
	if err != nil {
		return err
	}
	defer subscribers.close()
	publishers, err := a.dialBench(ctx, s, s.bench.publishers)
	if err != nil {
		return err
	}
	defer publishers.close()
	if err := b.subscribe(ctx, subscribers); err != nil {
		return err
	}
	return a.runBenchTopic(ctx, s, b, publishers)
}

func (a *app) runBenchTopic(ctx context.Context, s *settings, b *topicBench, publishers *benchConns) error {
	b.publishers = publishers.list
	l := load{
		unit: "messages", workers: len(publishers.list), rate: s.bench.rate, duration: s.bench.duration,
		op: b.publish, stop: publishers.close, tally: newTally(len(publishers.list)),
	}
	cpu := startCPU()
	begun := time.Now()
	end := l.run(ctx, a.stderr)
	b.await(ctx, s.timeout)
	out := topicBenchOutput{
		Bench: "topic", Topic: b.topic, Publishers: s.bench.publishers, Subscribers: s.bench.subscribers, Size: b.size, Rate: s.bench.rate,
		Interrupted: ctx.Err() != nil, Published: l.tally.measured(end),
		Deliveries: b.deliveries.measured(loadEnd{elapsed: time.Since(begun)}), Missed: b.missed.Load(), CPU: cpu.stop(),
	}
	out.Lost = max(0, out.Published.Operations*int64(out.Subscribers)-out.Deliveries.Operations-out.Missed)
	return errors.Join(
		a.writeReport(s, out, out.print),
		nothingDone("delivery", out.Deliveries, out.Published),
	)
}

func (o *topicBenchOutput) print(w io.Writer) {
	fmt.Fprintf(w, "%s to %s, %d bytes a message\n", plural(o.Publishers, "publisher"), plural(o.Subscribers, "subscriber"), o.Size)
	o.Deliveries.print(w, "deliveries")
	p := *o.Published
	fmt.Fprintf(w, "%d messages were published, %s/s", p.Operations, perSecond(p.PerSecond))
	if p.Latency != nil {
		fmt.Fprintf(w, "; the broker's answer  p50 %s  p99 %s", inUnits(p.Latency.P50), inUnits(p.Latency.P99))
	}
	fmt.Fprintln(w)
	p.printProblems(w)
	fmt.Fprintf(w, "%d deliveries were missed by subscribers that did not keep up\n", o.Missed)
	if o.Lost > 0 {
		fmt.Fprintf(w, "%d deliveries were not heard of\n", o.Lost)
	}
	o.CPU.print(w, "the publishers and the subscribers")
}

// topicBench publishes to a topic of its own, and takes what comes.
type topicBench struct {
	topic       string
	size        int
	control     *client.TopicClient
	publishers  []*client.Conn
	subscribers int
	epoch       time.Time // messages say how long after it they were due
	deliveries  *tally
	missed      atomic.Int64
	ended       chan struct{} // an element for each subscriber that has got the last message
}

func newTopicBench(control *client.TopicClient, s benchSettings) *topicBench {
	return &topicBench{
		topic: uniqueName("topic"), size: s.size, control: control, subscribers: s.subscribers, epoch: time.Now(),
		deliveries: newTally(s.subscribers), ended: make(chan struct{}, s.subscribers),
	}
}

func (b *topicBench) create(ctx context.Context) error { return b.control.Create(ctx, b.topic) }

// remove removes the topic, whatever has happened.
func (b *topicBench) remove(a *app, s *settings) {
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	err := b.control.Remove(ctx, b.topic)
	if err != nil && !errors.Is(err, abstract.ErrTopicNotFound) {
		a.logger(s).Warn("could not remove the bench's topic, remove it with 'trefoil topic remove'", "topic", b.topic, "err", err)
	}
}

func (b *topicBench) subscribe(ctx context.Context, conns *benchConns) error {
	return inParallel(len(conns.list), func(i int) error {
		_, err := client.NewTopicClient(conns.list[i]).Subscribe(ctx, b.topic, func(m client.Message) { b.receive(i, m) })
		return err
	})
}

// dueDigits is how many hexadecimal digits a message begins with: when it was due.
const dueDigits = 16

// publish publishes one message.
func (b *topicBench) publish(worker int, due time.Time) (time.Duration, error) {
	text := dueText(b.size, due.Sub(b.epoch))
	err := client.NewTopicClient(b.publishers[worker]).Publish(context.Background(), b.topic, text)
	return time.Since(due), err
}

// receive takes one message of one subscriber.
func (b *topicBench) receive(subscriber int, m client.Message) {
	passed := time.Since(b.epoch)
	b.missed.Add(int64(m.Missed))
	if due, ok := dueOf(m.Data); ok {
		b.deliveries.done(subscriber, passed-due)
		return
	}
	b.ended <- struct{}{} // there is room: the last message comes once
}

// dueText is a message that says when it was due.
func dueText(size int, due time.Duration) json.RawMessage {
	return padded(size, fmt.Sprintf(`"%0*x`, dueDigits, due.Nanoseconds()), `"`)
}

// dueOf reads when a message was due; the last one does not say.
func dueOf(data json.RawMessage) (time.Duration, bool) {
	if len(data) < dueDigits+2 {
		return 0, false
	}
	n, err := strconv.ParseInt(string(data[1:1+dueDigits]), 16, 64)
	return time.Duration(n), err == nil
}

// await publishes a last message and waits until every subscriber has it, and so
// everything before it, or knows what it has missed.
func (b *topicBench) await(ctx context.Context, timeout time.Duration) {
	waiting, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(interruptGrace, cancel) })()
	if b.control.Publish(waiting, b.topic, "end") != nil {
		return // then the count says what was not heard of
	}
	for range b.subscribers {
		select {
		case <-b.ended:
		case <-waiting.Done():
			return
		}
	}
}
