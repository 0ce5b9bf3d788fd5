package client

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/abstract"
	"trefoil/business/protect"
)

// provider is the connection to one provider. It is opened by the first call,
// and again after a loss, with a pause that grows while that fails.
type provider struct {
	owner   *providers
	listed  atomic.Pointer[abstract.Provider] // as some method lists it
	addr    string
	how     mode
	breaker *protect.Breaker // nil: it has none
	lists   int              // methods that list it; behind the owner's lock

	gone      atomic.Bool  // another process has its address
	shut      atomic.Int64 // it is called through the broker until then, the same way; 0: it never was
	busyUntil atomic.Int64 // it asked us to stay away until then; nanoseconds since the owner began

	current atomic.Pointer[session] // nil while there is no connection; changed with mu held

	mu         sync.Mutex
	connecting bool
	slow       bool // connecting takes so long that calls go elsewhere
	retired    bool
	failures   int
	problem    error     // why it could not be reached last; nil when it could
	restUntil  time.Time // after a failure: other providers are preferred until then
	waiting    map[*routing]struct{}
}

// info is what the provider says of itself.
func (h *provider) info() *abstract.Provider { return h.listed.Load() }

// ailing says whether the provider could not be reached just now, or takes its
// time.
func (h *provider) ailing(now time.Time) bool {
	if h.current.Load() != nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.slow || now.Before(h.restUntil) || h.gone.Load()
}

// busy says whether the provider asked us to stay away for a while.
func (h *provider) busy(now time.Time) bool {
	until := h.busyUntil.Load()
	return until != 0 && int64(now.Sub(h.owner.begun)) < until
}

// stayAway makes calls go elsewhere for a while, where they can.
func (h *provider) stayAway(wait time.Duration) {
	if wait > 0 {
		until := time.Now().Add(wait)
		h.busyUntil.Store(int64(until.Sub(h.owner.begun)))
		h.owner.watchOut(until)
	}
}

// unreachable takes note of a connection that could not be opened, and tells the
// registry. One that another process has in its place is not tried again before the
// registry has a new list.
func (h *provider) unreachable(err error) {
	if abstract.CodeOf(err) == abstract.WrongInstance {
		h.gone.Store(true)
	}
	if h.owner.report != nil && h.owner.client.ctx.Err() == nil {
		h.owner.report(*h.info(), asError(err).Error())
	}
}

// acquire gives a routing the provider's session, as soon as there is one.
func (h *provider) acquire(w *routing) {
	h.mu.Lock()
	if s := h.current.Load(); s != nil {
		h.mu.Unlock()
		w.fn(s, h.addr, nil)
		return
	}
	if h.waiting == nil {
		h.waiting = make(map[*routing]struct{})
	}
	h.waiting[w] = struct{}{}
	w.at.Store(h)
	start := !h.connecting
	h.connecting = true
	h.mu.Unlock()
	if start {
		go h.connect()
	}
}

func (h *provider) forget(w *routing) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.waiting, w)
}

// connectPatience is how long calls wait for a connection to be opened before
// they try another provider.
const connectPatience = 300 * time.Millisecond

// takeLong sends the calls that wait for the connection to other providers. Those
// that find none come back.
func (h *provider) takeLong() {
	h.mu.Lock()
	if !h.connecting {
		h.mu.Unlock()
		return
	}
	h.slow = true
	waiting := h.waiting
	h.waiting = h.loyal(waiting)
	for w := range h.waiting {
		delete(waiting, w)
	}
	h.mu.Unlock()
	for w := range waiting {
		w.failed(h, &abstract.Error{Code: abstract.Unavailable, Message: "connecting to " + h.addr + " takes long", Sent: abstract.SentNo})
	}
}

// connect makes one try to open the connection, and tells who waits for it.
func (h *provider) connect() {
	patience := time.AfterFunc(connectPatience, h.takeLong)
	s, err := h.owner.wire.openTo(h.owner.client.ctx, h.addr, h.info().Instance, h.how, h.lost)
	patience.Stop()
	h.mu.Lock()
	h.connecting, h.slow = false, false
	waiting := h.waiting
	h.waiting = nil
	unwanted := h.retired
	h.problem = err
	if err == nil {
		h.failures = 0
		select {
		case <-s.Done(): // lost already, and lost() has not found it
		default:
			h.current.Store(s)
		}
	} else {
		h.restUntil = time.Now().Add(max(backoff(&h.owner.client.cfg, h.failures), hinted(asError(err))))
		h.failures++
	}
	h.mu.Unlock()
	if err != nil {
		h.unreachable(err)
	}
	for w := range waiting {
		if err == nil {
			w.fn(s, h.addr, nil)
		} else {
			w.failed(h, asError(err))
		}
	}
	if err == nil && unwanted {
		s.leaveWhenIdle(h.owner.client.ctx)
	}
}

// lost is called by a session that is gone; its calls have ended.
func (h *provider) lost(s *session, _ error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current.CompareAndSwap(s, nil) {
		h.restUntil = time.Now().Add(backoff(&h.owner.client.cfg, h.failures))
	}
}

// retire closes the connection of a provider that went OFFLINE: calls in flight
// may end first, new ones do not come here.
func (h *provider) retire() {
	h.mu.Lock()
	h.retired = true
	s := h.current.Load()
	h.mu.Unlock()
	if s != nil {
		go s.leaveWhenIdle(h.owner.client.ctx)
	}
}

func (h *provider) close() {
	h.mu.Lock()
	h.retired = true
	s := h.current.Load()
	waiting := h.waiting
	h.waiting = nil
	h.mu.Unlock()
	for w := range waiting {
		w.fn(nil, "", &abstract.Error{Code: abstract.Disconnected, Message: "the client was closed", Sent: abstract.SentNo})
	}
	if s != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.leave(ctx, "the client closes")
	}
}
