package jetstream

import (
	"context"
	"fmt"
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
	meta, err := m.Metadata()
	if err != nil {
		return nil
	}
	return &delivery{
		l: c.l, delivered: int(meta.NumDelivered), reply: m.Reply,
		entry: abstract.LogEntry{Offset: meta.Sequence.Stream, Time: meta.Timestamp, ID: idIn(m.Header), Data: m.Data},
	}
}

// Entry returns the entry.
func (d *delivery) Entry() abstract.LogEntry { return d.entry }

// Delivered is how often the entry has been delivered.
func (d *delivery) Delivered() int { return d.delivered }

// Ack acknowledges the entry. When it fails it can be tried again.
func (d *delivery) Ack(ctx context.Context) error { return d.end(ctx, "+ACK") }

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
