package discovery

import (
	"context"
	"fmt"
	"time"

	"trefoil/bench/internal/harness"
)

// Registry is one contestant.
type Registry struct {
	Name string
	Kind harness.Kind
	// Serve starts the registry in this process, or a program as its child.
	Serve harness.ServeFunc
	// Dial opens one session over a connection of its own.
	Dial func(ctx context.Context, addr string, patience Patience) (Session, error)
	// WarmUp is how many times as long the warm-up is; 0 is once. A JVM compiles
	// what it has seen run for a while.
	WarmUp int
	// MaxSessions is how many sessions the memory cell opens at most; 0 is no limit.
	MaxSessions int
}

// Patience is how soon the registry gives up a session it no longer hears of.
type Patience int

// Patient takes a minute, so that nobody is kept busy with heartbeats; Impatient
// takes the shortest time that the registry allows.
const (
	Patient Patience = iota
	Impatient
)

// Session is one client of a Registry. Safe for concurrent use.
type Session interface {
	// Prepare makes what a service needs before anybody registers.
	Prepare(ctx context.Context, services ...string) error
	// Register makes the provider known until the session ends.
	Register(ctx context.Context, service string, port int) error
	// Lookup asks the registry who provides a service, and returns how many do.
	Lookup(ctx context.Context, service string) (int, error)
	// Watch returns when from now on fn is called for every provider of the
	// service that comes and goes. Calls may come at the same time.
	Watch(ctx context.Context, service string, fn func(port int, online bool)) error
	// Close leaves: the registry knows at once that the providers are gone.
	Close(ctx context.Context) error
}

// Registries returns the contestants.
func Registries() []Registry {
	return []Registry{
		{Name: "trefoil", Kind: harness.Ours, Serve: serveTrefoil, Dial: dialTrefoil},
		{Name: "etcd", Kind: harness.Peer, Serve: serveEtcd, Dial: dialEtcd, MaxSessions: 2000},
		{Name: "zookeeper", Kind: harness.Peer, Serve: serveZooKeeper, Dial: dialZooKeeper, WarmUp: 10},
	}
}

func registryOf(name string) (Registry, error) {
	for _, r := range Registries() {
		if r.Name == name {
			return r, nil
		}
	}
	return Registry{}, fmt.Errorf("there is no contestant %q in this table", name)
}

// minute is the patience of Patient.
const minute = time.Minute

// providerData is what a provider leaves beside its address, where there is room
// for it.
var providerData = func() string {
	b := make([]byte, 128)
	for i := range b {
		b[i] = 'd'
	}
	return string(b)
}()
