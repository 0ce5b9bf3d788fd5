package jetstream

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"trefoil/abstract"
)

// delivery is an entry that waits to be acknowledged.
type delivery struct {
	l         *log
	entry     abstract.LogEntry
	delivered int
	reply     string // where to acknowledge it
	done      atomic.Bool
}

// delivery reads what a consumer sent; nil when that is a status.
func (c *consumer) delivery(m *nats.Msg) abstract.LogDelivery {
	at, ok := placeIn(m.Reply)
	if !ok {
		return nil
	}
	return &delivery{
		l: c.l, delivered: at.delivered, reply: m.Reply,
		entry: abstract.LogEntry{Offset: at.offset, Time: time.Unix(0, at.stamp), ID: idIn(m.Header), Data: m.Data},
	}
}

// place is what the subject says where an entry is acknowledged.
type place struct {
	delivered int
	offset    uint64
	stamp     int64 // nanoseconds
}

// The subjects where entries are acknowledged:
//
//	$JS.ACK.STREAM.CONSUMER.DELIVERED.OFFSET.DELIVERY.STAMP.PENDING
//	$JS.ACK.DOMAIN.ACCOUNT.STREAM.CONSUMER.DELIVERED.OFFSET.DELIVERY.STAMP.PENDING...
const (
	ackPrefix     = "$JS.ACK."
	ackLevels     = 7 // behind the prefix
	ackLevelsLong = 9 // or more
)

func placeIn(subject string) (at place, ok bool) {
	rest, ok := strings.CutPrefix(subject, ackPrefix)
	levels := strings.Count(rest, ".") + 1
	if !ok || levels != ackLevels && levels < ackLevelsLong {
		return at, false
	}
	skip := 2 // stream, consumer
	if levels >= ackLevelsLong {
		skip = 4
	}
	for range skip {
		_, rest, _ = strings.Cut(rest, ".")
	}
	var numbers [4]uint64 // delivered, offset, delivery, stamp
	for i := range numbers {
		var level string
		var err error
		level, rest, _ = strings.Cut(rest, ".")
		if numbers[i], err = strconv.ParseUint(level, 10, 64); err != nil {
			return at, false
		}
	}
	return place{delivered: int(numbers[0]), offset: numbers[1], stamp: int64(numbers[3])}, true
}

// Entry returns the entry.
func (d *delivery) Entry() abstract.LogEntry { return d.entry }

// Delivered is how often the entry has been delivered.
func (d *delivery) Delivered() int { return d.delivered }

// Ack acknowledges the entry. When it fails it can be tried again.
func (d *delivery) Ack(ctx context.Context) error { return d.end(ctx, acknowledged) }

const acknowledged = "+ACK"

// Ack acknowledges entries. What one connection says to a consumer is taken in order, so
// only the last of them is answered.
func (c *consumer) Ack(ctx context.Context, list ...abstract.LogDelivery) error {
	taken := make([]*delivery, 0, len(list))
	for _, d := range list {
		if d, ours := d.(*delivery); ours && d.done.CompareAndSwap(false, true) {
			taken = append(taken, d)
		}
	}
	if len(taken) == 0 {
		return nil
	}
	err := c.l.ackAll(ctx, taken)
	if err != nil {
		for _, d := range taken {
			d.done.Store(false)
		}
	}
	return err
}

func (l *log) ackAll(ctx context.Context, list []*delivery) error {
	last := len(list) - 1
	word := []byte(acknowledged)
	for _, d := range list[:last] {
		if err := l.s.nc.Publish(d.reply, word); err != nil {
			return l.fault("acknowledge", err)
		}
	}
	return list[last].say(ctx, acknowledged)
}

// Nack gives the entry back.
func (d *delivery) Nack(ctx context.Context, delay time.Duration) error {
	if delay <= 0 {
		return d.end(ctx, "-NAK")
	}
	return d.end(ctx, fmt.Sprintf(`-NAK {"delay": %d}`, delay))
}

// Progress begins AckWait anew.
func (d *delivery) Progress(ctx context.Context) error {
	if d.done.Load() {
		return nil
	}
	return d.say(ctx, "+WPI")
}

func (d *delivery) end(ctx context.Context, word string) error {
	if !d.done.CompareAndSwap(false, true) {
		return nil
	}
	err := d.say(ctx, word)
	if err != nil {
		d.done.Store(false)
	}
	return err
}

// say sends a word to the consumer and waits until it knows.
func (d *delivery) say(ctx context.Context, word string) error {
	ctx, cancel := d.l.s.within(ctx, d.l.life)
	defer cancel()
	_, err := d.l.s.nc.RequestWithContext(ctx, d.reply, []byte(word))
	return d.l.fault("acknowledge", err)
}
