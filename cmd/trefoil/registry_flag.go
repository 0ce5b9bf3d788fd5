package main

import (
	"context"
	"iter"
	"os"
	"sync"

	"github.com/spf13/cobra"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/etcd"
	"trefoil/concrete/zookeeper"
)

// registryFlags are those about other registries than a broker's.
func registryFlags(s *settings) []flagRow {
	return []flagRow{
		{commands: "provide call discover describe", name: "registry", to: &s.registry, def: "", help: "the registry at `URL`: zookeeper://HOST:PORT,HOST:PORT/ROOT, etcd://HOST:PORT,HOST:PORT or trefoil://HOST:PORT, which is what --broker says (default $" + registryEnv + ", then the broker)"},
	}
}

// excludeRegistry says which flags go without --registry.
func excludeRegistry(c *cobra.Command, others ...string) *cobra.Command {
	for _, other := range others {
		c.MarkFlagsMutuallyExclusive(other, "registry")
	}
	return c
}

// otherRegistry opens the registry that the flags or the environment name; nil: it is the
// broker's.
func (a *app) otherRegistry(s *settings) (abstract.Registry, error) {
	text := s.registry
	if text == "" && s.broker == "" && s.anyRegistry {
		text = os.Getenv(registryEnv)
	}
	if text == "" {
		return nil, nil
	}
	u, err := parseRegistry(text)
	if err != nil {
		return nil, err
	}
	if u.scheme == "trefoil" {
		s.broker = u.servers[0]
		return nil, nil
	}
	switch { // what only a broker has
	case s.listsIn != "":
		return nil, usagef("--lists-in is for brokers; it does not go with %s", u.scheme)
	case s.ttl > 0:
		return nil, usagef("--ttl is for brokers; with %s the time that registrations outlive their process is said as in --registry '%s?timeout=10s'", u.scheme, u.String())
	case s.relayed:
		return nil, usagef("--relay goes through a broker; with %s every call is direct", u.scheme)
	}
	secure, err := u.tlsConfig()
	if err != nil {
		return nil, err
	}
	s.otherAt = u.String()
	if u.scheme == "etcd" {
		return etcd.New(etcd.Config{
			Endpoints: u.endpoints(), TTL: u.timeout, Prefix: u.path, TLS: secure,
			Username: u.username, Password: u.password, Logger: a.logger(s),
		})
	}
	return zookeeper.New(zookeeper.Config{
		Servers: u.servers, SessionTimeout: u.timeout, Root: u.path, TLS: secure,
		Username: u.username, Password: u.password, Logger: a.logger(s),
	})
}

// strangersOptions are those of connections to providers that another registry names. They
// do not learn our token: anybody may be a provider.
func (a *app) strangersOptions(s *settings) ([]client.Option, error) {
	opts := []client.Option{client.WithLogger(a.logger(s)), client.WithTimeout(s.timeout), client.WithConnectTimeout(s.timeout)}
	secure, err := s.tlsClient(a.logger(s))
	return append(append(opts, s.compressClient()...), secure...), err
}

// changesOf is DiscoveryClient.Watch for any registry.
func changesOf(ctx context.Context, d abstract.Discovery, method string) iter.Seq2[abstract.Providers, error] {
	return func(yield func(abstract.Providers, error) bool) {
		var (
			mu   sync.Mutex
			all  []abstract.Providers
			some = make(chan struct{}, 1)
		)
		stop := d.Follow(method, func(p abstract.Providers) {
			mu.Lock()
			all = append(all, p)
			mu.Unlock()
			select {
			case some <- struct{}{}:
			default:
			}
		})
		defer stop()
		for {
			select {
			case <-ctx.Done():
				yield(abstract.Providers{}, ctx.Err())
				return
			case <-some:
			}
			mu.Lock()
			news := all
			all = nil
			mu.Unlock()
			for _, p := range news {
				if !yield(p, nil) {
					return
				}
			}
		}
	}
}
