package etcd

import (
	"context"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// pulse knows whether etcd, or this process, has been silent for a while. Leases that
// ended then may be those of providers that live, and are on their way back.
type pulse struct {
	mu        sync.Mutex
	begun     bool
	beat      time.Time // when etcd has answered last
	believing time.Time // until then, those who vanish are believed in
}

// beats is how often etcd is asked in one TTL. A lease that was renewed in time survives a
// silence of two thirds of its TTL, so a silence of one third comes first.
const beats = 6

// feel asks etcd for a sign of life, until Close.
func (r *Registry) feel() {
	client, err := r.connection.get(r.ctx)
	for err != nil {
		if r.pause(retryPause); r.ctx.Err() != nil {
			return
		}
		client, err = r.connection.get(r.ctx)
	}
	r.pulse.felt(time.Now(), r.cfg.TTL, r.belief()) // from now on it is to answer
	ticker := time.NewTicker(r.cfg.TTL / beats)
	defer ticker.Stop()
	for {
		ctx, cancel := context.WithTimeout(r.ctx, r.cfg.TTL)
		_, err := client.Get(ctx, r.cfg.Prefix+"/", clientv3.WithKeysOnly(), clientv3.WithSerializable())
		cancel()
		if err == nil || refused(err) {
			r.pulse.felt(time.Now(), r.cfg.TTL, r.belief())
		}
		select {
		case <-ticker.C:
		case <-r.ctx.Done():
			return
		}
	}
}

// wayBack is what a provider takes to come back when etcd does, beside what is left of its
// lease.
const wayBack = connectTimeout + maxRedial

// belief is how long providers are believed in that etcd may have lost.
func (r *Registry) belief() time.Duration { return r.cfg.TTL + wayBack }

// felt takes an answer.
func (p *pulse) felt(now time.Time, ttl, belief time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.beat.IsZero() && now.Sub(p.beat) > ttl/3 {
		p.believing = now.Add(belief)
	}
	p.beat = now
}

// hold is how long those are believed in who vanish now.
func (p *pulse) hold(now time.Time, ttl, belief time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.beat.IsZero() && now.Sub(p.beat) > ttl/3 {
		return belief
	}
	return max(0, p.believing.Sub(now))
}
