package harness

import (
	"context"
	"fmt"
	"time"
)

// Meter accounts what servers and this process use during a measured interval.
// Not safe for concurrent use.
type Meter struct {
	servers []Ready
	ctrl    []*Control

	client  Snapshot
	before  []Snapshot
	cpu     []time.Duration // of the servers, at the start
	started time.Time
	tracing *tracing // nil: nobody asks for one
}

// NewMeter connects to the servers' control addresses. The caller closes it.
func NewMeter(ctx context.Context, servers []Ready) (*Meter, error) {
	m := &Meter{servers: servers, tracing: newTracing()}
	for _, r := range servers {
		c, err := OpenControl(ctx, r)
		if err != nil {
			m.Close()
			return nil, err
		}
		m.ctrl = append(m.ctrl, c)
	}
	return m, nil
}

// Close closes the connections.
func (m *Meter) Close() {
	for _, c := range m.ctrl {
		c.Close()
	}
}

// awaitOne waits until there is an operation, for as long as longer at most.
func awaitOne(ctx context.Context, count func() uint64) {
	end := time.After(longer)
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for count() == 0 {
		select {
		case <-look.C:
		case <-end:
			return
		case <-ctx.Done():
			return
		}
	}
}

// Start begins the interval. Load may be running already.
func (m *Meter) Start(ctx context.Context) error {
	m.before, m.cpu = m.before[:0], m.cpu[:0]
	for i := range m.ctrl {
		s, err := m.ctrl[i].Snapshot(ctx, false)
		if err != nil {
			return err
		}
		m.before = append(m.before, s)
	}
	client, err := Self(false)
	if err != nil {
		return err
	}
	if m.tracing != nil {
		if err := m.tracing.start(ctx, m.servers, m.ctrl); err != nil {
			return err
		}
	}
	// CPU time is read last, so that the snapshots are not in it.
	for _, r := range m.servers {
		cpu, err := cpuOf(r.PIDs)
		if err != nil {
			return err
		}
		m.cpu = append(m.cpu, cpu)
	}
	client.CPU, err = ProcessCPU(selfPID)
	if err != nil {
		return err
	}
	m.client, m.started = client, time.Now()
	return nil
}

// longer is how long an interval in which no operation ended is made longer at most.
const longer = 10 * time.Second

// Stop ends the interval and gives its figures for the number of operations that
// count returns at that moment. While that is none, the interval goes on, for a bounded
// time. Of each server's CPU time there is also a figure of its own, "cpu_server<i>_us",
// when there are several.
func (m *Meter) Stop(ctx context.Context, count func() uint64) (Sample, error) {
	awaitOne(ctx, count)
	took := time.Since(m.started)
	ops := float64(count())
	client, err := ProcessCPU(selfPID)
	if err != nil {
		return nil, err
	}
	cpu := make([]time.Duration, len(m.servers))
	for i, r := range m.servers {
		if cpu[i], err = cpuOf(r.PIDs); err != nil {
			return nil, err
		}
		cpu[i] -= m.cpu[i]
	}
	if m.tracing != nil {
		if err := m.tracing.stop(ctx); err != nil {
			return nil, err
		}
	}
	if ops == 0 {
		return nil, fmt.Errorf("no operation ended within %s", took.Round(time.Millisecond))
	}
	s := Sample{FigOps: ops, FigSeconds: took.Seconds(), FigRate: ops / took.Seconds()}
	s[FigCPUClient] = micros(client-m.client.CPU) / ops
	s.addServerCPU(cpu, ops)
	if m.tracing != nil {
		s[figTraced] = ops
	}
	return s, m.memory(ctx, s, ops)
}

func (s Sample) addServerCPU(cpu []time.Duration, ops float64) {
	var sum time.Duration
	for i, d := range cpu {
		sum += d
		if len(cpu) > 1 {
			s[fmt.Sprintf("cpu_server%d_us", i)] = micros(d) / ops
		}
	}
	s[FigCPUServer] = micros(sum) / ops
	s[FigCPU] = s[FigCPUClient] + s[FigCPUServer]
}

// memory adds what Go's runtime and the kernel know of memory.
func (m *Meter) memory(ctx context.Context, s Sample, ops float64) error {
	self, err := Self(false)
	if err != nil {
		return err
	}
	s[FigAllocClient] = float64(self.Mallocs-m.client.Mallocs) / ops
	s[FigRSSClient], s[FigPeakClient] = self.RSSKiB, self.PeakKiB
	allocs, all := 0.0, len(m.ctrl) > 0
	for i, c := range m.ctrl {
		now, err := c.Snapshot(ctx, false)
		if err != nil {
			return err
		}
		s[FigRSSServer] += now.RSSKiB
		s[FigPeakServer] += now.PeakKiB
		allocs += float64(now.Mallocs - m.before[i].Mallocs)
		all = all && now.Go
	}
	if all {
		s[FigAllocServer] = allocs / ops
	}
	return nil
}
