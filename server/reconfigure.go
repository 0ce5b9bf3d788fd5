package server

import (
	"time"

	"trefoil/abstract"
	"trefoil/business/registry"
)

// SetCompression changes, while the broker runs, how it compresses, as WithCompression says:
// for peers that say HELLO from then on. Others go on as they have agreed, so c must make
// whole what they compress, with methods that need not be among its Methods any more;
// otherwise their connections are closed.
func (b *Broker) SetCompression(c abstract.Compression) { b.ep.protocol.SetCompression(c) }

// SetHealthChecks changes, while the broker runs, how its registry looks whether providers
// can be reached, all but how many checks are under way at once. With an Interval the next
// look begins at once.
func (b *Broker) SetHealthChecks(h HealthChecks) {
	if b.registry != nil {
		b.registry.health.set(h)
	}
}

// SetDialBack changes, while the broker runs, what WithDialBack says, for providers that
// register from then on.
func (b *Broker) SetDialBack(timeout time.Duration) {
	if b.registry != nil {
		b.registry.dialBack.set(timeout)
	}
}

// SetLossProtection changes, while the broker runs, when losses are not believed. Protection
// that has begun ends when it was to.
func (b *Broker) SetLossProtection(p LossProtection) {
	if b.registry != nil {
		b.registry.losses.Configure(p.config())
	}
}

func (p LossProtection) config() registry.LossConfig {
	return registry.LossConfig{Share: p.Share, Hold: p.Hold}
}

// set changes the settings of checks from now on.
func (h *health) set(cfg HealthChecks) {
	cfg.Concurrency = h.cfg.Load().Concurrency
	cfg = cfg.withDefaults()
	h.cfg.Store(&cfg)
	if cfg.Interval > 0 {
		h.start()
	}
	select {
	case h.news <- struct{}{}:
	default:
	}
}
