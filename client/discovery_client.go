package client

import (
	"context"
	"iter"
	"slices"
	"sync"

	"trefoil/abstract"
)

// DiscoveryClient finds who provides a method and tells when providers come and
// go. Whatever method it was once asked about it goes on following, also through
// reconnects, until its Conn is closed. Safe for concurrent use.
type DiscoveryClient struct{ conn *Conn }

var (
	_ abstract.Discovery = (*DiscoveryClient)(nil)
	_ abstract.Reporter  = (*DiscoveryClient)(nil)
)

// NewDiscoveryClient makes a DiscoveryClient on a connection. All of one Conn's
// DiscoveryClients know and tell the same.
func NewDiscoveryClient(c *Conn) *DiscoveryClient { return &DiscoveryClient{c} }

// String names the broker, for messages.
func (d *DiscoveryClient) String() string { return "the broker at " + d.conn.addr }

// Discover asks the broker who provides method now. Nobody is an empty list and
// no error; WaitFor waits for somebody.
func (d *DiscoveryClient) Discover(ctx context.Context, method string) ([]abstract.Provider, error) {
	return d.conn.discoveries.discover(ctx, method)
}

// Held returns those providers of method that the broker does not know any more, or
// not yet, and that are believed in for a while: see WithGrace. They are part of the
// list that Follow and Watch tell.
func (d *DiscoveryClient) Held(method string) []abstract.Provider {
	return slices.Clone(d.conn.discoveries.heldOf(method))
}

// Report tells the broker that a provider could not be reached, and why. It returns at
// once, nobody waits for an answer, and of one host no more than one report a second
// goes out. An RpcClient reports by itself.
func (d *DiscoveryClient) Report(p abstract.Provider, reason string) {
	d.conn.discoveries.report(p, reason)
}

// Follow calls fn with the providers of method: once as soon as they are known,
// and after every change. Calls come one at a time on a goroutine of their own;
// when fn is slow, changes are put together. stop returns when fn is not running
// and will not run again; fn must not call it.
func (d *DiscoveryClient) Follow(method string, fn func(abstract.Providers)) (stop func()) {
	f := d.conn.discoveries.follow(method)
	done := make(chan struct{})
	quit := make(chan struct{})
	closed := d.conn.ctx.Err() != nil
	d.conn.discoveries.following.Go(func() {
		defer close(done)
		if closed {
			fn(abstract.Providers{Err: d.conn.closedError()})
			return
		}
		for {
			select {
			case <-quit:
				return
			case <-d.conn.ctx.Done():
				return
			case <-f.changed:
				if p, ok := d.conn.discoveries.taken(f); ok {
					fn(p)
				}
			}
		}
	})
	var once sync.Once
	return func() {
		once.Do(func() { d.conn.discoveries.unfollow(f); close(quit) })
		<-done
	}
}

// Watch returns the providers of method as they are now, and again after every
// change, until ctx ends or the loop is left. Changes that come faster than the
// loop runs are put together. The last pair carries ctx's error or that of a
// closed Conn.
func (d *DiscoveryClient) Watch(ctx context.Context, method string) iter.Seq2[abstract.Providers, error] {
	return func(yield func(abstract.Providers, error) bool) {
		f := d.conn.discoveries.follow(method)
		defer d.conn.discoveries.unfollow(f)
		for {
			select {
			case <-ctx.Done():
				yield(abstract.Providers{}, &abstract.Error{Code: abstract.CodeOf(ctx.Err()), Op: "watch " + method, Message: "the context is over", Err: ctx.Err()})
				return
			case <-d.conn.ctx.Done():
				yield(abstract.Providers{}, d.conn.closedError())
				return
			case <-f.changed:
				if p, ok := d.conn.discoveries.taken(f); ok && p.Err == nil && !yield(p, nil) {
					return
				}
			}
		}
	}
}

// WaitFor waits until somebody provides method, and returns who.
func (d *DiscoveryClient) WaitFor(ctx context.Context, method string) ([]abstract.Provider, error) {
	for p, err := range d.Watch(ctx, method) {
		if err != nil {
			return nil, &abstract.Error{Code: abstract.CodeOf(err), Op: "wait for " + method, Message: "nobody provides it", Err: err}
		}
		if len(p.List) > 0 {
			return p.List, nil
		}
	}
	return nil, d.conn.closedError()
}

// OnOnline calls fn for every provider that comes, of every method this Conn has
// asked about; what a first discovery finds has not just come and is not told.
// What came while the connection was down is. The calls of one Conn's OnOnline and
// OnOffline callbacks come one at a time and in the order of events, on a
// goroutine of their own; they may block, but must not close the Conn. After stop
// none begins.
func (d *DiscoveryClient) OnOnline(fn func(abstract.Provider)) (stop func()) {
	return d.conn.discoveries.listen(&listener{online: fn})
}

// OnOffline calls fn for every provider that goes, also for one that vanished
// while the connection was down. It is not called because the broker is away.
// See OnOnline.
func (d *DiscoveryClient) OnOffline(fn func(abstract.Provider)) (stop func()) {
	return d.OnOfflineWhy(func(p abstract.Provider, _ abstract.OfflineReason) { fn(p) })
}

// OnOfflineWhy is OnOffline that is told the reason, too. An older broker says none.
func (d *DiscoveryClient) OnOfflineWhy(fn func(p abstract.Provider, why abstract.OfflineReason)) (stop func()) {
	return d.conn.discoveries.listen(&listener{offline: fn})
}
