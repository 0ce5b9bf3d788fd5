package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"trefoil/abstract"
	"trefoil/business/topic"
	"trefoil/client"
	"trefoil/cmd/trefoil/internal/config"
)

func (a *app) subCommand() *cobra.Command {
	s := &settings{}
	var c *cobra.Command
	c = a.completingTopics(a.commandWith(s, cobra.Command{
		Use:   "sub TOPIC [flags]",
		Short: "Print a topic's messages as they come",
		Long: "Print a topic's messages as they come, until an interrupt or --count: strings as\n" +
			"their text, anything else as JSON. TOPIC may name many: * is any one level of a name,\n" +
			"> at its end any number of them; the topic then stands before each message. The line\n" +
			"'subscribed to TOPIC' on standard error says that messages published from now on will\n" +
			"be seen. What was missed is said there, too, or with --json in an object of its own.",
		Example: "  trefoil sub news --from last\n  trefoil sub 'orders.*' --where lang=en --long\n  trefoil sub orders --consumer billing --from all",
		Args:    cobra.ExactArgs(1),
	}, func(ctx context.Context, s *settings, args []string) error {
		if c.Flags().Changed("ack") && !s.sub.shares() {
			return usagef("--ack is for messages that are acknowledged: those of a --consumer or a --group")
		}
		return a.sub(ctx, s, args)
	}), s, false)
	c.MarkFlagsMutuallyExclusive("group", "consumer")
	a.completingSharers(c, s, "group", groupsOf)
	a.completingSharers(c, s, "consumer", consumersOf)
	return completingFlag(c, "from", "new", "last", "all")
}

// subSettings is what the flags say of a subscription.
type subSettings struct {
	from, group, consumer string
	where                 []string
	window                int
	presence, long, ack   bool
}

// shares says whether messages are shared with others, and acknowledged.
func (t *subSettings) shares() bool { return t.group != "" || t.consumer != "" }

// subFlags are those about subscriptions.
func subFlags(s *settings) []flagRow {
	t := &s.sub
	return []flagRow{
		{commands: "sub topic-record", name: "from", to: &t.from, def: "", help: "begin with `WHERE`: new, last, all that is kept, an offset, a time (2006-01-02T15:04:05Z, '2006-01-02 15:04:05' or 15:04 today), or a duration, such as 10m, for that long ago"},
		{commands: "sub topic-record", name: "where", to: &t.where, def: []string(nil), help: "only messages that came with `NAME=VALUE`; may be given more than once"},
		{commands: "sub topic-record", name: "count", to: &s.count, def: 0, help: "end after `N` messages; 0 goes on"},
		{commands: "sub", name: "group", to: &t.group, def: "", help: "be a member of the queue group `NAME`: of a group each message goes to one member"},
		{commands: "sub", name: "consumer", to: &t.consumer, def: "", help: "be a member of the durable consumer `NAME` of a durable topic: the broker keeps how far it is, also when nobody is there. A new one begins at --from"},
		{commands: "sub", name: "ack", to: &t.ack, def: true, help: "with --group or --consumer: acknowledge each message when it is written; --ack=false leaves it to be delivered again"},
		{commands: "sub", name: "window", to: &t.window, def: 0, help: "as a member of a group or a consumer, take `N` messages before the first of them is printed (0: 1, of a consumer 16)"},
		{commands: "sub", name: "presence", to: &t.presence, def: false, help: "say who subscribes to the topic and who leaves, if it was created with --presence"},
		{commands: "sub", name: "long", short: "l", to: &t.long, def: false, help: "before each message show its offset, its time, its topic and what came with it"},
	}
}

// options are those of the subscription that the flags ask for.
func (t *subSettings) options(name string, now time.Time) ([]client.SubscribeOption, error) {
	var opts []client.SubscribeOption
	if t.from != "" {
		from, err := startOf(t.from, now)
		if err != nil {
			return nil, err
		}
		opts = append(opts, from)
	}
	where, err := metadataOf("where", t.where)
	if err != nil {
		return nil, err
	}
	if len(where) > 0 {
		opts = append(opts, client.Where(where))
	}
	if t.window != 0 && !t.shares() {
		return nil, usagef("--window is for members of a --group or a --consumer")
	}
	if t.window < 0 {
		return nil, usagef("--window must not be negative")
	}
	if t.group != "" {
		opts = append(opts, client.QueueGroup(t.group))
	}
	if t.consumer != "" {
		opts = append(opts, client.Consumer(t.consumer))
	}
	if t.shares() {
		opts = append(opts, client.ManualAck())
	}
	if t.window > 0 {
		opts = append(opts, client.Window(t.window))
	}
	if t.presence && topic.IsWild(name) {
		return nil, usagef("--presence is about one topic, not all of %s", name)
	}
	return opts, nil
}

// startOf reads where a subscription begins.
func startOf(text string, now time.Time) (client.SubscribeOption, error) {
	switch text {
	case "new":
		return client.FromNew(), nil
	case "last":
		return client.FromLast(), nil
	case "all":
		return client.FromAll(), nil
	}
	if offset, err := strconv.ParseUint(text, 10, 63); err == nil {
		if offset == 0 {
			return nil, usagef("--from 0: offsets begin with 1; 'all' is all that is kept")
		}
		return client.FromOffset(offset), nil
	}
	if ago, err := config.ParseDuration(text); err == nil && ago > 0 {
		return client.FromTime(now.Add(-ago)), nil
	}
	at, err := parseMoment(text, now)
	if err != nil {
		return nil, usagef("--from %q is not known; it is new, last, all, an offset, a time such as '2006-01-02 15:04:05' or 15:04, or a duration such as 10m for that long ago", text)
	}
	return client.FromTime(at), nil
}

// messageOutput is a message for programs.
type messageOutput struct {
	Topic  string          `json:"topic"`
	ID     string          `json:"id"`
	Data   json.RawMessage `json:"data"`
	Missed uint64          `json:"missed,omitempty"` // lost right before this one

	Meta      abstract.Metadata `json:"meta,omitempty"`    // what came beside it
	MsgID     string            `json:"msg_id,omitempty"`  // what its publisher called it
	Offset    uint64            `json:"offset,omitempty"`  // where it stands in its topic
	TimeMs    int64             `json:"time_ms,omitempty"` // when the broker took it; not of one that was delivered at once
	Delivered int               `json:"delivered,omitempty"`
}

// topicEventOutput says for programs what is no message.
type topicEventOutput struct {
	Event        string `json:"event"` // gap, joined or left
	Topic        string `json:"topic"`
	Missed       uint64 `json:"missed,omitempty"`    // messages; of a gap without it the number is not known
	Recovered    *bool  `json:"recovered,omitempty"` // false: the connection was lost, and what was published meanwhile is gone; or the offset to begin with is not there
	*keptOffsets        // of the latter: what is there
	*client.Presence
}

// subscriber prints what a subscription gets. Presence comes on another goroutine than
// messages.
type subscriber struct {
	app  *app
	set  *settings
	wild bool

	mu    sync.Mutex
	start *missedStart // until it is told; nil: there is nothing to tell
	err   error        // of the output
}

// subscriberQueue is how many bytes of messages may wait to be printed, or recorded.
const subscriberQueue = 256 << 20

func (a *app) sub(ctx context.Context, s *settings, args []string) (err error) {
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
	topics := client.NewTopicClient(conn)
	p := &subscriber{app: a, set: s, wild: topic.IsWild(args[0])}
	if !isTerminal(a.stdout) && !s.sub.shares() { // what is acknowledged is written before
		lazy := newLazyWriter(a.stdout)
		p.app = &app{stdout: lazy, stderr: a.stderr}
		defer func() { err = cmp.Or(err, lazy.flush()) }()
	}
	opts = append(opts, client.OnGap(p.gap), client.Queue(subscriberQueue))
	if s.sub.presence {
		told, stop := p.tellPresence()
		defer stop()
		opts = append(opts, client.OnPresence(told))
	}
	p.start = missingStart(ctx, topics, args[0], s.sub.from)
	sub, err := topics.Subscribe(ctx, args[0], nil, opts...)
	if err != nil {
		return topicError(ctx, topics, args[0], err)
	}
	fmt.Fprintf(a.stderr, "subscribed to %s\n", oneLine(args[0]))
	defer cancelSubscription(sub)
	seen := 0
	for m, err := range sub.Messages(ctx) {
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := p.print(m); err != nil {
			return err
		}
		if s.sub.shares() && s.sub.ack {
			if err := m.Ack(context.WithoutCancel(ctx)); err != nil {
				return err
			}
		}
		if seen++; seen == s.count {
			return nil
		}
	}
	return nil
}

// cancelSubscription ends a subscription and waits until the broker knows, so that it
// has heard what was acknowledged, too.
func cancelSubscription(sub *client.Subscription) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = sub.Cancel(ctx) // the connection ends anyway
}

// print prints one message.
func (p *subscriber) print(m client.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return p.err
	}
	p.start = nil // what is missing later is another matter
	out := messageOutput{Topic: m.Topic, ID: m.ID, Data: m.Data, Missed: m.Missed, Meta: m.Meta, MsgID: m.MsgID, Offset: m.Offset, Delivered: m.Delivered}
	if !m.Time.IsZero() {
		out.TimeMs = m.Time.UnixMilli()
	}
	return p.app.say(p.set, out, "%s%s", p.before(m), p.text(m))
}

// text is what a message says.
func (p *subscriber) text(m client.Message) string {
	text := string(m.Data)
	var plain string
	if json.Unmarshal(m.Data, &plain) == nil && text != "null" {
		text = plain
		if isTerminal(p.app.stdout) {
			text = printable(text)
		}
	}
	return text
}

// before is what stands before a message.
func (p *subscriber) before(m client.Message) string {
	if !p.set.sub.long {
		if p.wild {
			return printable(m.Topic) + "\t"
		}
		return ""
	}
	words := []string{"#" + strconv.FormatUint(m.Offset, 10), moment(m.Time), oneLine(m.Topic)}
	for _, name := range slices.Sorted(maps.Keys(m.Meta)) {
		words = append(words, oneLine(name+"="+m.Meta[name]))
	}
	if m.Delivered > 1 {
		words = append(words, fmt.Sprintf("(delivered %d times)", m.Delivered))
	}
	return strings.Join(words, " ") + "\t"
}

// moment is when a message was taken: now, if it was delivered at once.
func moment(t time.Time) string {
	if t.IsZero() {
		t = time.Now()
	}
	return t.Format("15:04:05.000")
}

// gap says that messages are lost.
func (p *subscriber) gap(g client.Gap) {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := topicEventOutput{Event: "gap", Topic: g.Topic, Missed: g.Missed}
	text := fmt.Sprintf("missed %s here: they came faster than they were read", count(int(min(g.Missed, 1<<31-1)), "message"))
	switch {
	case g.Unrecovered && p.start != nil:
		out.Recovered, out.keptOffsets = new(bool), &p.start.kept
		text = oneLine(p.start.in(g.Topic))
		p.start = nil
	case g.Unrecovered:
		out.Recovered = new(bool)
		text = oneLine("messages of " + g.Topic + " may be missing here: what was published while nobody listened is not kept any more")
	}
	p.tell(out, text)
}

// tell prints what is no message.
func (p *subscriber) tell(out topicEventOutput, text string) {
	if p.set.json {
		p.err = cmp.Or(p.err, writeJSON(p.app.stdout, out))
		return
	}
	fmt.Fprintln(p.app.stderr, text)
}

// presenceRoom is how many may come and go before the first of them is printed.
const presenceRoom = 1024

// tellPresence returns what is called when somebody comes or goes, and what ends it.
func (p *subscriber) tellPresence() (told func(client.Presence), stop func()) {
	queue, ended := make(chan client.Presence, presenceRoom), make(chan struct{})
	var printing sync.WaitGroup
	printing.Go(func() {
		for {
			select {
			case who := <-queue:
				p.presence(who)
			case <-ended:
				return
			}
		}
	})
	told = func(who client.Presence) {
		select {
		case queue <- who:
		default: // the output is stuck, and so is all else
		}
	}
	return told, func() { close(ended); printing.Wait() }
}

func (p *subscriber) presence(who client.Presence) {
	p.mu.Lock()
	defer p.mu.Unlock()
	event := "left"
	if who.Joined {
		event = "joined"
	}
	p.tell(topicEventOutput{Event: event, Topic: who.Topic, Presence: &who}, fmt.Sprintf("%s: %s", event, oneLine(presentInWords(who))))
}
