package etcd

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trefoil/abstract"
	"trefoil/concrete/internal/roster"
)

// Config says where etcd is. Endpoints is needed, the rest has defaults.
type Config struct {
	Endpoints          []string      // "http://host:port" or "https://host:port" of its members
	TTL                time.Duration // how long registrations outlive a process, in whole seconds; default 10 s, at least 2 s; to be the same for all
	Prefix             string        // that all keys begin with; default "/trefoil/providers"
	TLS                *tls.Config   // nil: what https endpoints need by default
	Username, Password string        // empty: none
	Logger             *slog.Logger  // default slog.Default()
}

// minTTL is the shortest that etcd grants with its usual settings.
const minTTL = 2 * time.Second

// Registry is a registry on etcd. Safe for concurrent use; Close it.
type Registry struct {
	cfg        Config
	connection connection
	ctx        context.Context // ends with Close
	cancel     context.CancelFunc
	ended      sync.WaitGroup // goroutines of ours
	leases     leases
	pulse      pulse

	mu      sync.Mutex
	entered bool               // a lease is kept
	wanted  map[string]*wanted // by key
	methods map[string]*followed
	closed  bool
}

// wanted is a provider that is to stand in etcd.
type wanted struct {
	abstract.Provider
	claim bool // it takes its key from a process that was there before
}

var _ abstract.Registry = (*Registry)(nil)

// New makes a Registry. It connects in the background and goes on trying; an error
// is one of the Config.
func New(cfg Config) (*Registry, error) {
	cfg.Endpoints = slices.DeleteFunc(slices.Clone(cfg.Endpoints), func(s string) bool { return s == "" })
	if len(cfg.Endpoints) == 0 {
		return nil, abstract.Errorf(abstract.InvalidParams, "no endpoints given; name at least one as http://host:port")
	}
	if cfg.Username == "" != (cfg.Password == "") {
		return nil, abstract.Errorf(abstract.InvalidParams, "username and password go together; one of them is empty")
	}
	cfg.TTL = max(cmp.Or(cfg.TTL, 10*time.Second), minTTL).Round(time.Second)
	cfg.Prefix = strings.TrimRight(cmp.Or(cfg.Prefix, "/trefoil/providers"), "/")
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	r := &Registry{cfg: cfg, wanted: make(map[string]*wanted), methods: make(map[string]*followed)}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.leases.init()
	r.connection.init()
	r.ended.Go(r.dial)
	return r, nil
}

// methodPrefix is what the keys of a method's providers begin with.
func (r *Registry) methodPrefix(method string) string {
	return r.cfg.Prefix + "/" + url.PathEscape(method) + "/"
}

func (r *Registry) key(p abstract.Provider) string {
	return r.methodPrefix(p.Method) + url.PathEscape(p.Host.String())
}

// Register puts providers into etcd and keeps them there, through lost leases and
// restarts, until Unregister or Close. It waits for as long as ctx allows, and without a
// deadline for the TTL; when the providers do not stand there by then the error says so,
// and they are registered as soon as etcd is there. What etcd refuses is not tried again,
// and nothing of that call is registered then.
func (r *Registry) Register(ctx context.Context, providers ...abstract.Provider) error {
	for _, p := range providers {
		if err := roster.Check(p); err != nil {
			return err
		}
	}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return roster.ErrClosed()
	}
	if !r.entered {
		r.entered = true
		r.ended.Go(r.keep)
	}
	keys := make([]string, len(providers))
	for i, p := range providers {
		keys[i] = r.key(p)
		r.want(keys[i], p)
	}
	r.mu.Unlock()
	err := r.settle(ctx, "register", keys)
	if refused(err) {
		r.mu.Lock()
		for i, p := range providers {
			r.drop(keys[i], p)
		}
		r.mu.Unlock()
		r.leases.renew()
	}
	return err
}

// Unregister takes providers back. One that is not registered is no error. It waits as
// Register does; what could not be removed by then goes with its lease.
func (r *Registry) Unregister(ctx context.Context, providers ...abstract.Provider) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return roster.ErrClosed()
	}
	var keys []string
	for _, p := range providers {
		if key := r.key(p); r.drop(key, p) {
			keys = append(keys, key)
		}
	}
	r.mu.Unlock()
	if r.leases.never() {
		return nil
	}
	return r.settle(ctx, "unregister", keys)
}

// want notes a provider that is to stand in etcd. It is called with the lock held.
func (r *Registry) want(key string, p abstract.Provider) {
	switch w := r.wanted[key]; {
	case w == nil || w.Instance != p.Instance:
		r.wanted[key] = &wanted{Provider: p, claim: true}
	case w.Provider != p:
		r.wanted[key] = &wanted{Provider: p, claim: w.claim}
	}
}

// drop notes that a provider is not to stand there any more. False: it was not. Another
// instance at the same address is another provider. It is called with the lock held.
func (r *Registry) drop(key string, p abstract.Provider) bool {
	if w := r.wanted[key]; w == nil || w.Instance != p.Instance {
		return false
	}
	delete(r.wanted, key)
	return true
}

// fault makes an error that says what is the matter.
func (r *Registry) fault(ctx context.Context, op string, err error) error {
	switch {
	case err == nil:
		return nil
	case r.ctx.Err() != nil:
		return roster.ErrClosed()
	case refused(err):
		return &abstract.Error{Code: abstract.Denied, Op: op, Message: "etcd does not let this user do that: " + err.Error(), Err: err}
	}
	return roster.Fault(ctx, op, "etcd", r.cfg.Endpoints, err)
}

// refused says whether an error is etcd's last word. All others come from the connection
// or the server, and pass.
func refused(err error) bool {
	if err == nil {
		return false
	}
	if code := status.Code(err); code == codes.PermissionDenied {
		return true
	}
	for _, final := range []error{rpctypes.ErrPermissionDenied, rpctypes.ErrUserEmpty, rpctypes.ErrAuthFailed} {
		if errors.Is(rpctypes.Error(err), final) {
			return true
		}
	}
	return errors.Is(err, abstract.ErrDenied)
}

// String names the endpoints, for messages.
func (r *Registry) String() string { return "etcd at " + strings.Join(r.cfg.Endpoints, ", ") }

// Close takes back what was registered and waits for callbacks that run. Without a
// connection it cannot take anything back: the registrations end with the TTL.
func (r *Registry) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	methods := r.methods
	r.methods = nil
	r.mu.Unlock()
	r.leave()
	r.cancel()
	for _, m := range methods {
		m.roster.Close()
	}
	r.ended.Wait()
	return r.connection.close()
}
