package topic

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"trefoil/bench/internal/harness"
)

// Bus is one contestant: something that carries messages from publishers to
// subscribers.
type Bus struct {
	Name string
	Kind harness.Kind
	// Serve starts the broker in this process, or a program as its child.
	Serve harness.ServeFunc
	// Dial opens one connection to the broker.
	Dial func(ctx context.Context, addr string) (Conn, error)
	// InFlight is how many goroutines publish on one connection: 1 where
	// Publish returns before the broker has answered.
	InFlight int
	// Shapes are who publishes to how many in the saturated cells that it has a part in; nil: it has one everywhere.
	Shapes []string
}

// in says whether a bus has a part in a cell.
func (b Bus) in(c cell) bool {
	return b.Shapes == nil || c.rate == 0 && slices.ContainsFunc(b.Shapes, func(s string) bool { return strings.HasPrefix(c.name, s+" ") })
}

// Conn is one connection to a Bus. A connection either publishes or subscribes.
type Conn interface {
	// Create makes a topic, where a bus wants that. It may be called again.
	Create(ctx context.Context, topic string) error
	// Publish sends a message, a JSON string of fixed length. It may keep it in a
	// buffer until Flush; it does not keep payload. Not safe for concurrent use
	// where Bus.InFlight is 1.
	Publish(ctx context.Context, topic string, payload []byte) error
	// Flush writes what Publish has kept.
	Flush() error
	// Subscribe returns when the broker has the subscription. For each message
	// fn is called with its payload, which it must not keep, and with how many
	// were lost before it, one call at a time.
	Subscribe(ctx context.Context, topic string, fn func(payload []byte, missed uint64)) error
	Close()
}

// Buses returns the contestants, the floor first.
func Buses() []Bus {
	return []Bus{
		{Name: "floor", Kind: harness.Floor, Serve: serveFloor, Dial: dialFloor, InFlight: 1},
		{Name: "trefoil", Kind: harness.Ours, Serve: ServeTrefoil, Dial: dialTrefoil, InFlight: 1},
		{Name: "trefoil-history", Kind: harness.Ours, Serve: ServeTrefoil, Dial: dialHistory, InFlight: 1, Shapes: []string{"1x100", "10x10", "1x3"}},
		{Name: "nats", Kind: harness.Peer, Serve: ServeNATS, Dial: dialNATS, InFlight: 1},
		{Name: "redis", Kind: harness.Peer, Serve: serveRedis, Dial: dialRedis, InFlight: 1},
	}
}

// BusOf returns the contestant with a name.
func BusOf(name string) (Bus, error) {
	for _, b := range Buses() {
		if b.Name == name {
			return b, nil
		}
	}
	return Bus{}, fmt.Errorf("there is no contestant %q in this table", name)
}
