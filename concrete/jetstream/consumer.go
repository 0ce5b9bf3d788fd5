package jetstream

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"trefoil/abstract"
)

const (
	nextMessages      = "$JS.API.CONSUMER.MSG.NEXT."
	statusConflict    = "409"
	defaultMaxUnacked = 1024
	maxFetch          = 1000
	// pullPatience is how long a request for entries waits at the server: it is lost with
	// the server, and then made anew.
	pullPatience = 5 * time.Second
	// settling is how long to wait for more when there was one entry, and the server does
	// not say that there are no more, as when too many are not acknowledged.
	settling = 5 * time.Millisecond
	// drainPatience is how long somebody who gives up waits for what is under way.
	drainPatience = 250 * time.Millisecond
)

// consumer is one of JetStream's, which everybody shares who opens it by its name.
type consumer struct {
	l      *log
	name   string
	in     string // JetStream's name
	next   string // where its entries are asked for
	shared *shared
	spare  atomic.Pointer[asked] // a request that is over, whose subscription serves the next one
	life   context.Context       // ends with Close, and with the consumer
	end    context.CancelCauseFunc
}

// shared is what the consumers of one name have in common in this process.
type shared struct {
	life    context.Context // ends when the consumer is removed
	end     context.CancelCauseFunc
	pending pending
}

// Consumer opens a consumer.
func (l *log) Consumer(ctx context.Context, name string, cfg abstract.ConsumerConfig) (abstract.LogConsumer, error) {
	if l.life.Err() != nil {
		return nil, context.Cause(l.life)
	}
	if cfg.AckWait <= 0 {
		cfg.AckWait = abstract.DefaultAckWait
	}
	if cfg.MaxUnacked <= 0 {
		cfg.MaxUnacked = defaultMaxUnacked
	}
	c := &consumer{l: l, name: name, in: consumerName(name)}
	c.next = nextMessages + l.stream + "." + c.in
	within, cancel := l.s.within(ctx, l.life)
	defer cancel()
	if err := c.ensure(within, cfg); err != nil {
		return nil, l.fault("open a consumer", err)
	}
	c.shared = l.share(name)
	c.life, c.end = context.WithCancelCause(c.shared.life)
	return c, nil
}

// share returns what everybody here has in common who opens a consumer.
func (l *log) share(name string) *shared {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.consumers[name] == nil {
		c := &shared{}
		c.life, c.end = context.WithCancelCause(l.life)
		l.consumers[name] = c
	}
	return l.consumers[name]
}

// endConsumer ends what waits for a consumer that was removed here. That somebody else did
// so is noticed by what the server says.
func (l *log) endConsumer(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.consumers[name]; c != nil {
		c.end(errConsumerGone())
		delete(l.consumers, name)
	}
}

// ensure finds the consumer, or makes it; another broker may do so at the same time.
func (c *consumer) ensure(ctx context.Context, cfg abstract.ConsumerConfig) error {
	for {
		err := c.adjust(ctx, cfg)
		if !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return err
		}
		from := cfg.From
		if from == 0 { // "new" would be decided again when the server starts before the first entry
			_, last, err := c.l.Bounds(ctx)
			if err != nil {
				return err
			}
			from = last + 1
		}
		_, err = c.l.s.js.CreateConsumer(ctx, c.l.stream, jetstream.ConsumerConfig{
			Durable:       c.in,
			Description:   "a consumer of Trefoil; its metadata says which",
			DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
			OptStartSeq:   from,
			AckPolicy:     jetstream.AckExplicitPolicy,
			AckWait:       cfg.AckWait,
			MaxDeliver:    -1,
			MaxAckPending: cfg.MaxUnacked,
			Metadata:      map[string]string{metaName: quoted(c.name)},
		})
		if !errors.Is(err, jetstream.ErrConsumerExists) {
			return err
		}
	}
}

// adjust gives a consumer that is there what may be changed.
func (c *consumer) adjust(ctx context.Context, cfg abstract.ConsumerConfig) error {
	there, err := c.l.s.js.Consumer(ctx, c.l.stream, c.in)
	if err != nil {
		return err
	}
	have := there.CachedInfo().Config
	if have.AckWait == cfg.AckWait && have.MaxAckPending == cfg.MaxUnacked {
		return nil
	}
	have.AckWait, have.MaxAckPending = cfg.AckWait, cfg.MaxUnacked
	_, err = c.l.s.js.UpdateConsumer(ctx, c.l.stream, have)
	return err
}

// RemoveConsumer forgets a consumer.
func (l *log) RemoveConsumer(ctx context.Context, name string) error {
	if l.life.Err() != nil {
		return context.Cause(l.life)
	}
	ctx, cancel := l.s.within(ctx, l.life)
	defer cancel()
	err := l.s.js.DeleteConsumer(ctx, l.stream, consumerName(name))
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return l.fault("remove a consumer", err)
	}
	l.endConsumer(name)
	return nil
}

// Consumers returns how far each consumer is.
func (l *log) Consumers(ctx context.Context) ([]abstract.ConsumerInfo, error) {
	if l.life.Err() != nil {
		return nil, context.Cause(l.life)
	}
	ctx, cancel := l.s.within(ctx, l.life)
	defer cancel()
	stream, err := l.s.js.Stream(ctx, l.stream)
	if err != nil {
		return nil, l.fault("list consumers", err)
	}
	list := stream.ListConsumers(ctx)
	var infos []abstract.ConsumerInfo
	for info := range list.Info() {
		if name, ok := unquoted(info.Config.Metadata[metaName]); ok {
			infos = append(infos, infoOf(name, info))
		}
	}
	if err := list.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		return nil, l.fault("list consumers", err)
	}
	return infos, nil
}

func infoOf(name string, info *jetstream.ConsumerInfo) abstract.ConsumerInfo {
	begun := max(info.Config.OptStartSeq, 1) - 1 // replicas count from the first acknowledgement only
	return abstract.ConsumerInfo{
		Name: name, Acked: max(info.AckFloor.Stream, begun), Pending: info.NumPending,
		Unacked: info.NumAckPending, Redelivered: info.NumRedelivered,
	}
}

// Info returns how far the consumer is.
func (c *consumer) Info(ctx context.Context) (abstract.ConsumerInfo, error) {
	if c.life.Err() != nil {
		return abstract.ConsumerInfo{}, context.Cause(c.life)
	}
	ctx, cancel := c.l.s.within(ctx, c.life)
	defer cancel()
	there, err := c.l.s.js.Consumer(ctx, c.l.stream, c.in)
	if err != nil {
		return abstract.ConsumerInfo{}, c.l.fault("ask for a consumer", err)
	}
	return infoOf(c.name, there.CachedInfo()), nil
}

// Close ends what waits in Fetch.
func (c *consumer) Close() error {
	c.end(errConsumerClosed)
	c.dropSpare()
	return nil
}

// Fetch waits for entries.
func (c *consumer) Fetch(ctx context.Context, most int) ([]abstract.LogDelivery, error) {
	both, leave := join(ctx, c.life)
	defer leave()
	for {
		if c.life.Err() != nil {
			return nil, context.Cause(c.life)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		list, err := c.pull(both, max(min(most, maxFetch), 1))
		if len(list) > 0 {
			return list, nil
		}
		if err != nil && both.Err() == nil {
			return nil, err
		}
	}
}

// pull waits for one request, and returns what it brings. No entries and no error mean
// that there was none in time.
func (c *consumer) pull(ctx context.Context, most int) ([]abstract.LogDelivery, error) {
	a := c.shared.pending.take()
	if a == nil {
		var err error
		if a, err = c.ask(most); unreachable(err) { // connected again soon
			return nil, pause(ctx)
		} else if err != nil {
			return nil, c.l.fault("fetch", err)
		}
	}
	list, end := c.collect(ctx, a.sub, min(most, a.left))
	a.left -= len(list)
	switch {
	case end == goesOn && a.left > 0:
		return c.leave(ctx, a, list), nil
	case end == trouble:
		_ = a.sub.Unsubscribe()
		return list, c.explain(ctx)
	}
	c.keep(a)
	return list, nil
}

// ask makes a request for so many entries that are there, or for the next if there is none.
func (c *consumer) ask(most int) (*asked, error) {
	a := c.spare.Swap(nil)
	if a == nil {
		inbox := nats.NewInbox()
		sub, err := c.l.s.nc.SubscribeSync(inbox)
		if err != nil {
			return nil, err
		}
		a = &asked{sub: sub, inbox: inbox}
	}
	a.left = most
	body := strconv.AppendInt([]byte(`{"batch":`), int64(most), 10)
	body = strconv.AppendInt(append(body, `,"no_wait":true,"expires":`...), int64(pullPatience), 10)
	if err := c.l.s.nc.PublishRequest(c.next, a.inbox, append(body, '}')); err != nil {
		_ = a.sub.Unsubscribe()
		return nil, err
	}
	return a, nil
}

// keep keeps a request that is over for the next one: the server sends nothing more to its
// subscription until it is asked.
func (c *consumer) keep(a *asked) {
	if a = c.spare.Swap(a); a != nil {
		_ = a.sub.Unsubscribe()
	}
	if c.life.Err() != nil {
		c.dropSpare()
	}
}

func (c *consumer) dropSpare() {
	if a := c.spare.Swap(nil); a != nil {
		_ = a.sub.Unsubscribe()
	}
}

// ending is how a request for entries ends at the server.
type ending int

const (
	goesOn  ending = iota // it does not yet
	over                  // there is no more, or was none in time
	trouble               // nobody knows the consumer, or it ended, or a leader did
)

// collect takes what comes until it is enough, the server says that there is no more, or
// there is no more for a moment.
func (c *consumer) collect(ctx context.Context, sub *nats.Subscription, most int) (list []abstract.LogDelivery, _ ending) {
	patient, cancel := context.WithTimeout(ctx, pullPatience+time.Second)
	defer cancel()
	for len(list) < most {
		var m *nats.Msg
		var err error
		if len(list) == 0 {
			m, err = sub.NextMsgWithContext(patient)
		} else {
			m, err = sub.NextMsg(settling)
		}
		if errors.Is(err, nats.ErrNoResponders) {
			return list, trouble
		}
		if err != nil {
			return list, goesOn
		}
		d := c.delivery(m)
		switch status := m.Header.Get(headerStatus); {
		case d != nil:
			list = append(list, d)
		case status == statusConflict:
			return list, trouble
		case status != "":
			return list, over
		}
	}
	return list, goesOn
}

// explain says whether the consumer is gone. If not, it can be asked again in a moment.
func (c *consumer) explain(ctx context.Context) error {
	_, err := c.Info(ctx)
	switch abstract.CodeOf(err) {
	case abstract.NotFound, abstract.TopicNotFound, abstract.Overloaded:
		return err
	}
	return pause(ctx)
}
