package zookeeper

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"

	"trefoil/abstract"
	"trefoil/concrete/internal/roster"
)

// Config says where ZooKeeper is. Servers is needed, the rest has defaults.
type Config struct {
	Servers []string // "host:port" of its members; without a port, 2181

	// SessionTimeout is how long registrations outlive a process, and callers believe in
	// what they cannot see; default 10 s. It should be the same for all, and one that the
	// server grants: 4 to 40 s where its tickTime is the usual one.
	SessionTimeout time.Duration

	Root               string       // a path that all others stand below, such as "/trefoil"; default: none
	Username, Password string       // for ZooKeeper's scheme "digest"; nodes can then be read by all and changed by this user only
	TLS                *tls.Config  // nil: none
	Logger             *slog.Logger // default slog.Default()
}

// Registry is a registry on ZooKeeper. Safe for concurrent use; Close it.
//
// It has up to two connections: one whose session the registrations belong to, from the
// first Register on, and one for reading, from the first Discover or Follow on.
type Registry struct {
	cfg    Config
	dial   zk.Dialer
	acl    []zk.ACL
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	ended  sync.WaitGroup // goroutines of ours
	tasks  tasks
	lines  lines

	writing sync.Mutex // one change of ZooKeeper at a time, so that the last word stays the last

	mu       sync.Mutex
	own      *link                         // of the registrations; nil: there were none yet
	entered  chan struct{}                 // closed when own may be used
	wanted   map[string]map[string]*wanted // by place, by path
	unwanted map[string]struct{}           // paths that could not be removed yet
	services map[string]*service           // by path
	closed   bool
}

// wanted is a provider that is to stand in ZooKeeper.
type wanted struct {
	abstract.Provider
	claim  bool  // it takes its path from a process that was there before
	stands int64 // the session in which it was put there last
}

var _ abstract.Registry = (*Registry)(nil)

// New makes a Registry. It connects in the background when it is first needed, and goes
// on trying; an error is one of the Config.
func New(cfg Config) (*Registry, error) { return newRegistry(cfg, net.DialTimeout) }

func newRegistry(cfg Config, dial zk.Dialer) (*Registry, error) {
	cfg.Servers = slices.DeleteFunc(slices.Clone(cfg.Servers), func(s string) bool { return s == "" })
	if len(cfg.Servers) == 0 {
		return nil, abstract.Errorf(abstract.InvalidParams, "no servers given; name at least one as host:port")
	}
	if cfg.Root = strings.TrimSuffix(cfg.Root, "/"); cfg.Root != "" && (cfg.Root[0] != '/' || path.Clean(cfg.Root) != cfg.Root || strings.ContainsFunc(cfg.Root, unprintable)) {
		return nil, abstract.Errorf(abstract.InvalidParams, "the root %q is no path such as /trefoil", cfg.Root)
	}
	if cfg.Username == "" && cfg.Password != "" || strings.Contains(cfg.Username, ":") {
		return nil, abstract.Errorf(abstract.InvalidParams, "a password needs a username, without a colon in it")
	}
	cfg.SessionTimeout = cmp.Or(max(cfg.SessionTimeout, 0), 10*time.Second)
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	r := &Registry{
		cfg: cfg, dial: dial, acl: zk.WorldACL(zk.PermAll), entered: make(chan struct{}),
		wanted: make(map[string]map[string]*wanted), unwanted: make(map[string]struct{}), services: make(map[string]*service),
	}
	if cfg.Username != "" {
		r.acl = append(zk.WorldACL(zk.PermRead), zk.DigestACL(zk.PermAll, cfg.Username, cfg.Password)...)
	}
	if cfg.TLS != nil {
		r.dial = overTLS(dial, cfg.TLS)
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.tasks.init()
	r.lines.init()
	return r, nil
}

func unprintable(c rune) bool { return c < ' ' || c == 0x7f }

// Register puts providers into ZooKeeper and keeps them there, through expired sessions
// and restarts, until Unregister or Close. It waits for as long as ctx allows, and without
// a deadline for the session's timeout; when the providers do not stand there by then the
// error says so, and they are registered as soon as ZooKeeper is there. What ZooKeeper
// refuses is not tried again, and nothing of that call is registered then.
func (r *Registry) Register(ctx context.Context, providers ...abstract.Provider) error {
	for _, p := range providers {
		if err := roster.Check(p); err != nil {
			return err
		}
	}
	r.mu.Lock()
	if err := r.enter(); err != nil {
		r.mu.Unlock()
		return err
	}
	for _, p := range providers {
		r.want(p)
	}
	r.mu.Unlock()
	err := r.do(ctx, "register", func() error {
		for _, p := range providers {
			if err := r.settle(r.providerPath(p), p.Method); err != nil {
				return err
			}
		}
		return nil
	})
	if refused(err) {
		r.mu.Lock()
		for _, p := range providers {
			r.drop(p)
		}
		r.mu.Unlock()
		r.tasks.everything()
	}
	return err
}

// Unregister takes providers back. One that is not registered is no error. It waits as
// Register does; what could not be removed by then is removed later.
func (r *Registry) Unregister(ctx context.Context, providers ...abstract.Provider) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return roster.ErrClosed()
	}
	var dropped []abstract.Provider
	for _, p := range providers {
		if r.drop(p) {
			dropped = append(dropped, p)
		}
	}
	none := len(dropped) == 0 || r.own.conn.SessionID() == 0 // what is still on its way will be removed when there is a session
	r.mu.Unlock()
	if none {
		return nil
	}
	return r.do(ctx, "unregister", func() error {
		for _, p := range dropped {
			if err := r.settle(r.providerPath(p), p.Method); err != nil {
				return err
			}
		}
		return nil
	})
}

// want notes a provider that is to stand in ZooKeeper. It is called with the lock held.
func (r *Registry) want(p abstract.Provider) {
	place, path := r.placePath(p.Method), r.providerPath(p)
	if r.wanted[place] == nil {
		r.wanted[place] = make(map[string]*wanted)
	}
	switch w := r.wanted[place][path]; {
	case w == nil || w.Instance != p.Instance:
		r.wanted[place][path] = &wanted{Provider: p, claim: true}
	case w.Provider != p:
		r.wanted[place][path] = &wanted{Provider: p, claim: w.claim, stands: w.stands}
	}
	delete(r.unwanted, path)
}

// drop notes that a provider is not to stand there any more. False: it was not. Another
// instance at the same address is another provider. It is called with the lock held.
func (r *Registry) drop(p abstract.Provider) bool {
	place, path := r.placePath(p.Method), r.providerPath(p)
	w := r.wanted[place][path]
	if w == nil || w.Instance != p.Instance {
		return false
	}
	if delete(r.wanted[place], path); len(r.wanted[place]) == 0 {
		delete(r.wanted, place)
	}
	r.unwanted[path] = struct{}{}
	return true
}

// enter begins the session of the registrations, if that was not done. It is called with
// the lock held.
func (r *Registry) enter() error {
	if r.closed {
		return roster.ErrClosed()
	}
	if r.own != nil {
		return nil
	}
	own, err := r.connect(r.onOwnEvent)
	if err != nil {
		return err
	}
	r.own = own
	r.ended.Go(func() {
		own.introduceWithin(r.ctx, &r.cfg)
		close(r.entered)
		r.keep()
	})
	return nil
}

// do runs something that may wait for the connection, for as long as ctx allows. It is
// tried again when only the connection was lost.
func (r *Registry) do(ctx context.Context, op string, fn func() error) error {
	ctx, cancel := roster.Within(ctx, r.cfg.SessionTimeout)
	defer cancel()
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return roster.ErrClosed()
	}
	ended := make(chan error, 1)
	r.ended.Go(func() { ended <- r.persist(ctx, fn) })
	r.mu.Unlock()
	select {
	case err := <-ended:
		return r.fault(ctx, op, err)
	case <-ctx.Done():
		return r.fault(ctx, op, ctx.Err())
	case <-r.ctx.Done():
		return roster.ErrClosed()
	}
}

// persist tries something until it works, is refused, or nobody waits for it any more.
func (r *Registry) persist(ctx context.Context, fn func() error) error {
	select {
	case <-r.entered:
	case <-ctx.Done():
		return ctx.Err()
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
	for {
		err := fn()
		if err == nil || refused(err) || errors.Is(err, roster.ErrTaken) {
			return err
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-r.ctx.Done():
			return err
		}
	}
}

// fault makes an error that says what is the matter.
func (r *Registry) fault(ctx context.Context, op string, err error) error {
	switch {
	case err == nil:
		return nil
	case r.ctx.Err() != nil:
		return roster.ErrClosed()
	case refused(err):
		return refusal(op, err)
	}
	return roster.Fault(ctx, op, "ZooKeeper", r.cfg.Servers, err)
}

// refusal is what we say of what refused says.
func refusal(op string, err error) *abstract.Error {
	if errors.Is(err, zk.ErrNoAuth) || errors.Is(err, zk.ErrAuthFailed) {
		return &abstract.Error{Code: abstract.Denied, Op: op, Message: "ZooKeeper does not let this user do that; look at the ACL of the nodes, and at the username", Err: err}
	}
	return &abstract.Error{Code: abstract.InvalidParams, Op: op, Message: "ZooKeeper refuses: " + err.Error(), Err: err}
}

// refused says whether an error is ZooKeeper's last word. All others come from the
// connection or the server, and pass.
func refused(err error) bool {
	for _, final := range []error{zk.ErrNoAuth, zk.ErrAuthFailed, zk.ErrInvalidACL, zk.ErrNoChildrenForEphemerals, zk.ErrBadArguments, zk.ErrInvalidPath} {
		if errors.Is(err, final) {
			return true
		}
	}
	return false
}

// String names the servers, for messages.
func (r *Registry) String() string { return "ZooKeeper at " + strings.Join(r.cfg.Servers, ", ") }

// Close ends the session, and with it the registrations, and waits for callbacks that
// run. Without a connection it cannot take the registrations back: they end with the
// session's timeout.
func (r *Registry) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	services, own := r.services, r.own
	r.services = nil
	r.mu.Unlock()
	r.cancel()
	if own != nil {
		own.close()
	}
	r.lines.close()
	for _, s := range services {
		s.close()
	}
	r.ended.Wait()
	return nil
}
