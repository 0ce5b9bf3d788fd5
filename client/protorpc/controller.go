package protorpc

import (
	"context"
	"sync"
	"time"

	"trefoil/abstract"
)

// Controller follows one call over a Channel, which gets it with the call's context, and
// can cancel it. After Reset it can follow another one. The zero value is ready. Safe
// for concurrent use.
type Controller struct {
	mu        sync.Mutex
	err       error
	timeout   time.Duration
	cancelled bool
	notify    []func()
	cancel    context.CancelFunc // of the call under way; nil: there is none
	calls     uint64             // that have begun
}

type controllerKey struct{}

// Context returns the context for the call that the Controller follows: the first
// parameter of the stub's method.
func (c *Controller) Context(ctx context.Context) context.Context {
	return context.WithValue(ctx, controllerKey{}, c)
}

// SetTimeout sets how long calls take at most, where the context does not end earlier;
// 0, as at first, is what the Application says.
func (c *Controller) SetTimeout(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timeout = max(0, d)
}

// Failed says whether the call has failed. It is false while the call is under way.
func (c *Controller) Failed() bool { return c.Err() != nil }

// ErrorText says why the call has failed; empty when it has not.
func (c *Controller) ErrorText() string {
	if err := c.Err(); err != nil {
		return err.Error()
	}
	return ""
}

// Err is the error that the call has returned; nil when it has not failed.
func (c *Controller) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// SetFailed makes the Controller one of a call that has failed, for a reason in words.
func (c *Controller) SetFailed(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = abstract.Errorf(abstract.Internal, "%s", reason)
}

// Reset makes the Controller ready for another call. Its timeout stays. It must not be
// called while a call is under way.
func (c *Controller) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err, c.cancelled, c.notify = nil, false, nil
	if c.cancel == nil {
		c.calls++ // what the last one's result turns out to be is not of interest any more
	}
}

// StartCancel cancels the call that is under way, which ends with Cancelled, and until
// Reset every call that is begun with the Controller.
func (c *Controller) StartCancel() {
	c.mu.Lock()
	if c.cancelled {
		c.mu.Unlock()
		return
	}
	c.cancelled = true
	cancel, notify := c.cancel, c.notify
	c.notify = nil
	c.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	for _, fn := range notify {
		fn()
	}
}

// IsCanceled says whether StartCancel was called.
func (c *Controller) IsCanceled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cancelled
}

// NotifyOnCancel calls fn once StartCancel is called: at once when it was. After Reset
// it is not called any more.
func (c *Controller) NotifyOnCancel(fn func()) {
	c.mu.Lock()
	if !c.cancelled {
		c.notify = append(c.notify, fn)
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	fn()
}

// tracked is a call that a Controller follows; nil is one that nobody follows.
type tracked struct {
	*Controller
	number uint64                // of the Controller's calls
	limit  []abstract.CallOption // the Controller's timeout
}

// begin makes the Controller that ctx holds follow a call, and returns the context for
// that. t is nil when ctx holds none.
func begin(ctx context.Context) (t *tracked, own context.Context, err error) {
	c, ok := ctx.Value(controllerKey{}).(*Controller)
	if !ok {
		return nil, ctx, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.cancel != nil:
		return nil, nil, abstract.Errorf(abstract.InvalidParams, "the controller follows another call; take one for each call at a time")
	case c.cancelled:
		c.err = abstract.Errorf(abstract.Cancelled, "the controller was cancelled before the call began")
		return nil, nil, c.err
	}
	c.err = nil
	c.calls++
	t = &tracked{Controller: c, number: c.calls}
	if limit := c.timeout; limit > 0 {
		t.limit = []abstract.CallOption{func(o *abstract.CallOptions) { o.Timeout = limit }}
	}
	own, c.cancel = context.WithCancel(ctx)
	return t, own, nil
}

// options are a call's, after those that the Controller has; what is asked of one call
// counts more.
func (t *tracked) options(opts []abstract.CallOption) []abstract.CallOption {
	if t == nil || t.limit == nil {
		return opts
	}
	return append(t.limit[:1:1], opts...)
}

// end tells the Controller how the call has ended, and returns the same.
func (t *tracked) end(err error) error {
	if t == nil {
		return err
	}
	t.mu.Lock()
	if t.number == t.calls {
		t.err = err
	}
	t.mu.Unlock()
	t.release()
	return err
}

// note tells the Controller what has become of the result of a call that has ended, and
// returns the same.
func (t *tracked) note(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil && t.number == t.calls {
		t.err = err
	}
	return err
}

// release makes the Controller free for another call.
func (t *tracked) release() {
	t.mu.Lock()
	var cancel context.CancelFunc
	if t.number == t.calls {
		cancel, t.cancel = t.cancel, nil
	}
	t.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}
