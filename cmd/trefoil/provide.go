package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/stdnet"
	"trefoil/server"
)

// maxWaitingRequests is how many requests may wait for a command to be free.
const maxWaitingRequests = 4096

func (a *app) provideCommand() *cobra.Command {
	c := a.command(cobra.Command{
		Use:   "provide METHOD --exec CMD [flags]",
		Short: "Provide a method whose requests a shell command handles",
		Long: "Provide a method. Every request runs CMD with 'sh -c' in a process group of its\n" +
			"own, which is killed at the deadline. The parameters, one line of JSON, are its\n" +
			"standard input. What it prints is the result: JSON as it is, other text as a\n" +
			"string, nothing as {}. When it exits with another status than 0, the call fails\n" +
			"with rcode 9 and the last line of its standard error. The line 'providing METHOD\n" +
			"on ADDR' on standard output says that the method is registered.",
		Example: "  trefoil provide text.upper --exec \"jq '.text | ascii_upcase'\"",
		Args:    cobra.ExactArgs(1),
	}, a.provide)
	_ = c.MarkFlagRequired("exec")
	return excludeRegistry(c, "broker")
}

func (a *app) provide(ctx context.Context, s *settings, args []string) error {
	if args[0] == "" {
		return usagef("provide needs the name of a method")
	}
	opts, err := s.providerOptions()
	if err != nil {
		return err
	}
	log := a.logger(s)
	commands := newCommands(s.exec, s.timeout, s.maxOutput, log)
	defer commands.stop()

	registry, end, err := a.registrar(ctx, s)
	if err != nil {
		return err
	}
	defer end()
	if s.health != "" {
		health := newCommands(s.health, s.timeout, s.maxOutput, log)
		defer health.stop()
		opts = append(opts, server.WithHealth(health.check))
	}
	srv := server.NewRpcServer(s.listen, append(opts, server.WithLogger(log), server.WithRegistry(registry))...)
	if err := serveCommands(s, srv, args[0], commands); err != nil {
		return &usageError{err.Error()}
	}
	return a.serveMethod(ctx, s, srv, args[0])
}

// registrar returns where to register.
func (a *app) registrar(ctx context.Context, s *settings) (abstract.Registrar, func(), error) {
	s.anyRegistry = true
	other, err := a.otherRegistry(s)
	if err != nil {
		return nil, nil, err
	}
	if other != nil {
		return other, func() { _ = other.Close() }, nil
	}
	conn, end, err := a.dialForLong(ctx, s, client.WithTimeout(registryTimeout), client.WithConnectTimeout(registryTimeout),
		client.WithAutoHeartbeat(false)) // with --ttl the server renews what it has registered
	if err != nil {
		return nil, nil, err
	}
	return client.NewRegistryClient(conn), end, nil
}

// serveCommands serves the method with commands, as calls or as streams.
func serveCommands(s *settings, srv *server.RpcServer, method string, c *commands) error {
	d, err := s.description(method)
	if err != nil {
		return err
	}
	if s.stream {
		return srv.HandleStream(d, c.stream)
	}
	return srv.HandleFunc(d, c.handle)
}

// providerOptions reads the flags of a provider.
func (s *settings) providerOptions() ([]server.Option, error) {
	if strings.TrimSpace(s.exec) == "" {
		return nil, usagef("--exec needs the command that handles a request")
	}
	if err := positive("timeout", s.timeout); err != nil {
		return nil, err
	}
	if err := positive("parallel", s.parallel); err != nil {
		return nil, err
	}
	if err := positive("max-output", s.maxOutput); err != nil {
		return nil, err
	}
	traits, err := s.providerTraits()
	if err != nil {
		return nil, err
	}
	opts := []server.Option{
		server.WithHandlers(s.parallel, maxWaitingRequests), server.WithTraits(traits),
		server.WithStreams(s.parallel, s.parallel), server.WithTTL(s.ttl), server.WithRateLimit(float64(s.callRate), 0),
	}
	if s.shed {
		opts = append(opts, server.WithAdaptiveShedding(), server.WithCallQueue(server.CallQueue{Most: maxWaitingRequests}))
	}
	opts = append(opts, s.compressServer()...)
	if s.tlsCert != "" {
		t, err := stdnet.NewTLS(stdnet.TLSConfig{CertFile: s.tlsCert, KeyFile: s.tlsKey})
		if err != nil {
			return nil, err
		}
		opts = append(opts, server.WithTLS(t))
	}
	if s.advertise != "" {
		host, err := abstract.ParseHost(s.advertise)
		if err != nil {
			return nil, usagef("--advertise %q is not an address; give it as host:port, or as :port for the address that the broker sees", s.advertise)
		}
		return append(opts, server.WithAdvertise(host)), nil
	}
	host, _, err := net.SplitHostPort(s.listen)
	if err != nil {
		return nil, usagef("--listen %q cannot be registered; give host:port, or name an address with --advertise", s.listen)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return nil, usagef("--listen %s says nothing about where callers find it; name their address with --advertise", s.listen)
	}
	return opts, nil
}

// providerTraits is what the flags say that a provider says of itself.
func (s *settings) providerTraits() (abstract.Traits, error) {
	traits := s.traits
	traits.Tags = abstract.NewTags(s.tags)
	facts := make(map[string]string, len(s.meta))
	for _, fact := range s.meta {
		name, value, ok := strings.Cut(fact, "=")
		if !ok || name == "" {
			return traits, usagef("--meta %q is no fact; give it as NAME=VALUE", fact)
		}
		facts[name] = value
	}
	traits.Meta = abstract.NewMeta(facts)
	return traits, nil
}

// registryTimeout bounds what is asked of the broker on a provider's behalf;
// --timeout is about the requests it serves.
const registryTimeout = 5 * time.Second

// serveMethod registers and serves until ctx ends.
func (a *app) serveMethod(ctx context.Context, s *settings, srv *server.RpcServer, method string) error {
	if err := srv.Listen(); err != nil {
		return fmt.Errorf("%w; choose another address with --listen", err)
	}
	return a.serve(ctx, s, srv, func(ctx context.Context) error {
		announcing, cancel := context.WithTimeout(ctx, registryTimeout)
		defer cancel()
		if err := srv.Announce(announcing); err != nil {
			return err
		}
		addr := dialable(srv.Addr())
		where := listening{Event: "providing", Addr: addr, Method: method, Registry: s.otherAt}
		if s.otherAt == "" {
			where.Broker = s.brokerAddr()
		}
		return a.say(s, where, "providing %s on %s", method, addr)
	})
}
