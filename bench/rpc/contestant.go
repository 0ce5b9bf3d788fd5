package rpc

import (
	"context"
	"encoding/json"
	"net"
	"slices"

	"trefoil/bench/internal/harness"
)

// caller is one connection of a contestant. Its calls may overlap, but for those
// whose contestant says that they do not.
type caller interface {
	// Call echoes a text, waits, and checks what came back.
	Call(ctx context.Context, p payload) error
	Close()
}

// launcher is a caller whose calls end in a callback.
type launcher interface {
	caller
	Launch(ctx context.Context, p payload, done func(error))
}

// contestant is one way to make remote calls.
type contestant struct {
	name string
	kind harness.Kind
	note string // what a reader of the results must know

	serve func(ctx context.Context, spec serveSpec) (*harness.Served, error)
	// helper names a program of helpers that is started first.
	helper string
	// dial opens one connection. addr is the server's address, or the helper's
	// where there is one.
	dial func(ctx context.Context, addr string) (caller, error)

	serial bool // one call at a time on a connection
	inline bool // its handlers run one after the other: no part in cells with slow requests
}

// serveSpec is what a server is told.
type serveSpec struct {
	Helper    string // address of the helper
	Slow      bool   // some requests will be slow
	ConnBytes int    // of texts in flight on one connection
}

func contestants() []contestant {
	return slices.Concat(floors(), trefoils(), []contestant{
		natsContestant(), grpcContestant(), netRPC(), netRPCJSON(),
		drpcContestant(), ttrpcContestant(), connectContestant(), fasthttpContestant(), arpcContestant(),
	})
}

// helpers are servers that stand between client and server.
func helpers() map[string]harness.ServeFunc {
	return map[string]harness.ServeFunc{
		helperNATS:   contestant{serve: serveNATSServer}.serveFunc(),
		helperBroker: contestant{serve: serveBroker}.serveFunc(),
	}
}

func find(name string) (contestant, bool) {
	list := contestants()
	i := slices.IndexFunc(list, func(c contestant) bool { return c.name == name })
	if i < 0 {
		return contestant{}, false
	}
	return list[i], true
}

// has says whether the contestant takes part in a cell.
func (c contestant) has(l cell) bool {
	if l.few && !slices.Contains(growing, c.name) {
		return false
	}
	return !c.inline || l.slow == 0
}

// growing are those who take part in the cells with few calls on many connections.
var growing = []string{floorNet, "trefoil", "nats"}

// conns is how many connections a load opens: contestants that are serial need
// one for each call in flight.
func (c contestant) conns(l cell) int {
	if c.serial {
		return max(l.conns, l.inFlight)
	}
	return l.conns
}

// serveFunc adapts serve to the harness.
func (c contestant) serveFunc() harness.ServeFunc {
	return func(ctx context.Context, raw json.RawMessage) (*harness.Served, error) {
		var spec serveSpec
		if err := json.Unmarshal(raw, &spec); err != nil {
			return nil, err
		}
		return c.serve(ctx, spec)
	}
}

// listen opens a listener on a free port of the loopback interface.
func listen() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }
