package discovery

import (
	"context"

	"trefoil/bench/internal/harness"
)

// loadSessions opens many sessions with one registration each, and tells by how
// much the registry's memory has grown.
func loadSessions(ctx context.Context, j *harness.Job) (any, error) {
	l, r, addr, meter, err := open(ctx, j)
	if err != nil {
		return nil, err
	}
	defer meter.Close()
	if r.MaxSessions > 0 {
		l.Sessions = min(l.Sessions, r.MaxSessions)
	}
	control, err := harness.OpenControl(ctx, j.Servers[0])
	if err != nil {
		return nil, err
	}
	defer control.Close()
	before, err := control.Snapshot(ctx, true)
	if err != nil {
		return nil, err
	}
	sessions, err := dialAll(ctx, r, addr, l.Sessions, Patient)
	if err != nil {
		return nil, err
	}
	defer closeAll(sessions)
	err = inParallel(ctx, len(sessions), 32, func(ctx context.Context, i int) error {
		service := serviceName(i / instances)
		if err := sessions[i].Prepare(ctx, service); err != nil {
			return err
		}
		return sessions[i].Register(ctx, service, firstPort+i)
	})
	if err != nil {
		return nil, err
	}
	if err := wait(ctx, l.WarmUp); err != nil {
		return nil, err
	}
	after, err := control.Snapshot(ctx, true)
	if err != nil {
		return nil, err
	}
	n := float64(len(sessions))
	s := harness.Sample{FigSessions: n, harness.FigPerConn: (after.RSSKiB - before.RSSKiB) / n, harness.FigPeakServer: after.PeakKiB}
	if after.Go {
		s[harness.FigHeapConn] = (after.HeapKiB - before.HeapKiB) / n
	}
	return s, nil
}

// FigSessions is how many sessions were open.
const FigSessions = "sessions"
