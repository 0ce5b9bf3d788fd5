package client

import (
	"time"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// reports remembers when each host was reported, behind the lock of discoveries.
type reports struct{ last map[abstract.Host]time.Time }

const (
	reportEvery = time.Second // of one host
	maxReported = 1024        // hosts; more than those that fail in one second are not reported
	maxReason   = 256         // bytes
)

// due says whether a host may be reported now, and notes that it is.
func (r *reports) due(h abstract.Host, now time.Time) bool {
	if at, ok := r.last[h]; ok && now.Sub(at) < reportEvery {
		return false
	}
	if len(r.last) >= maxReported {
		for h, at := range r.last {
			if now.Sub(at) >= reportEvery {
				delete(r.last, h)
			}
		}
		if len(r.last) >= maxReported {
			return false
		}
	}
	if r.last == nil {
		r.last = make(map[abstract.Host]time.Time)
	}
	r.last[h] = now
	return true
}

// report tells a modern broker that a provider could not be reached, unless it is away.
func (d *discoveries) report(p abstract.Provider, reason string) {
	s := d.conn.current.Load()
	if s == nil || !s.modern() {
		return
	}
	now := time.Now()
	d.mu.Lock()
	due := d.reports.due(p.Host, now)
	d.mu.Unlock()
	if !due {
		return
	}
	host := p.Host
	s.begin(now.Add(d.conn.cfg.timeout), abstract.RspService, func(id string) abstract.BaseMessage {
		return &message.ServiceRequest{Header: message.ID(id), Op: abstract.ServiceReport, Method: p.Method, Host: &host, Instance: p.Instance, Reason: short(reason)}
	}, func(_ abstract.BaseMessage, err error) {
		if err != nil {
			d.conn.cfg.logger.Debug("report not taken", "peer", d.conn.addr, "host", host.String(), "err", err)
		}
	})
}

// short cuts a text where a character begins.
func short(text string) string {
	if len(text) <= maxReason {
		return text
	}
	n := maxReason
	for n > 0 && text[n]&0xc0 == 0x80 {
		n--
	}
	return text[:n]
}
