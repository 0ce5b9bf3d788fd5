package idle

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/bench/internal/harness"
	"trefoil/client"
	"trefoil/server"
)

// serveBroker runs a broker.
func serveBroker(context.Context, json.RawMessage) (*harness.Served, error) {
	b := server.NewBroker("127.0.0.1:0", server.WithLogger(quiet()), server.WithAcceptRate(0))
	if err := b.Listen(); err != nil {
		return nil, err
	}
	go func() { _ = b.Serve() }() // it listens already
	return &harness.Served{Addr: b.Addr().String(), Stop: func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = b.Shutdown(ctx) // the process ends anyway
	}}, nil
}

func startBroker(ctx context.Context, r *harness.Runner) ([]*harness.Process, error) {
	p, err := r.Serve(ctx, roleBroker, nil)
	if err != nil {
		return nil, err
	}
	return []*harness.Process{p}, nil
}

// quiet keeps logs out of what is measured.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// burstSpec is a load that publishes much and then nothing.
type burstSpec struct {
	MiB   int // published, and pushed to every subscriber
	Pause time.Duration
}

const (
	burstTopic   = "burst"
	publishers   = 16 // connections
	publishing   = 16 // messages in flight on each
	subscribers  = 4
	messageBytes = 64 << 10
)

// loadBurst compares a broker's memory before a burst and some time after it,
// with the same connections. Before, one message per publisher has gone through.
func loadBurst(ctx context.Context, job *harness.Job) (any, error) {
	var spec burstSpec
	if err := job.Decode(&spec); err != nil {
		return nil, err
	}
	control, err := harness.OpenControl(ctx, job.Servers[0])
	if err != nil {
		return nil, err
	}
	defer control.Close()
	conns, err := burstConns(ctx, job.Servers[0].Addr)
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	if err := publish(ctx, conns[:publishers], publishers); err != nil {
		return nil, err
	}
	before, err := both(ctx, control)
	if err != nil {
		return nil, err
	}
	if err := publish(ctx, conns[:publishers], spec.MiB<<20/messageBytes); err != nil {
		return nil, err
	}
	if err := pause(ctx, spec.Pause); err != nil {
		return nil, err
	}
	after, err := both(ctx, control)
	if err != nil {
		return nil, err
	}
	return harness.Sample{
		figBurstMiB:          float64(spec.MiB),
		figHeapBefore:        before.live,
		figHeapAfter:         after.live,
		harness.FigHeapRatio: after.live / before.live,
		figRSSBefore:         before.rss,
		figRSSPeak:           after.peak,
		figRSSAfter:          after.rss,
		harness.FigRSSRatio:  after.rss / before.rss,
	}, nil
}

// burstConns opens the publishers' connections and, after them, the subscribers'.
func burstConns(ctx context.Context, addr string) ([]*client.Conn, error) {
	var conns []*client.Conn
	for i := range publishers + subscribers {
		conn, err := client.Dial(ctx, addr, client.WithLogger(quiet()), client.WithTimeout(time.Minute))
		if err != nil {
			return conns, fmt.Errorf("connect: %w", err)
		}
		conns = append(conns, conn)
		topics := client.NewTopicClient(conn)
		if i == 0 {
			err = topics.Create(ctx, burstTopic)
		}
		if err == nil && i >= publishers {
			_, err = topics.Subscribe(ctx, burstTopic, func(client.Message) {})
		}
		if err != nil {
			return conns, err
		}
	}
	return conns, nil
}

// publish sends n messages, as fast as the broker takes them.
func publish(ctx context.Context, conns []*client.Conn, n int) error {
	text := strings.Repeat("x", messageBytes)
	var (
		wg     sync.WaitGroup
		next   atomic.Int64
		failed atomic.Pointer[error]
	)
	for i := range publishing * len(conns) {
		topics := client.NewTopicClient(conns[i%len(conns)])
		wg.Go(func() {
			for failed.Load() == nil && next.Add(1) <= int64(n) {
				if err := topics.Publish(ctx, burstTopic, text); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// memory is what a process holds: as it is, and what of it is live.
type memory struct{ rss, peak, live float64 }

// both reads the resident memory as the process left it, and only then has it
// collect its garbage to see what is live.
func both(ctx context.Context, c *harness.Control) (memory, error) {
	asIs, err := c.Snapshot(ctx, false)
	if err != nil {
		return memory{}, err
	}
	settled, err := c.Snapshot(ctx, true)
	return memory{rss: asIs.RSSKiB, peak: asIs.PeakKiB, live: settled.HeapKiB}, err
}
