package discovery

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"time"

	"trefoil/abstract"
	"trefoil/bench/internal/harness"
	"trefoil/client"
	"trefoil/server"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func serveTrefoil(context.Context, json.RawMessage) (*harness.Served, error) {
	broker := server.NewBroker("127.0.0.1:0", server.WithLogger(quiet()))
	if err := broker.Listen(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		_ = broker.Serve()
		close(ended)
	}()
	return &harness.Served{Addr: broker.Addr().String(), Stop: func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = broker.Shutdown(ctx)
		<-ended
	}}, nil
}

type trefoilSession struct {
	conn      *client.Conn
	registry  *client.RegistryClient
	discovery *client.DiscoveryClient
}

// dialTrefoil takes no notice of patience: a provider lives as long as its connection.
func dialTrefoil(ctx context.Context, addr string, _ Patience) (Session, error) {
	conn, err := client.Dial(ctx, addr, client.WithLogger(quiet()),
		client.WithConnectTimeout(30*time.Second), client.WithHelloTimeout(30*time.Second), client.WithTimeout(30*time.Second))
	if err != nil {
		return nil, err
	}
	return &trefoilSession{conn, client.NewRegistryClient(conn), client.NewDiscoveryClient(conn)}, nil
}

func (s *trefoilSession) Prepare(context.Context, ...string) error { return nil }

func (s *trefoilSession) Register(ctx context.Context, service string, port int) error {
	return s.registry.Register(ctx, abstract.Provider{Method: service, Host: abstract.Host{IP: "127.0.0.1", Port: port}})
}

func (s *trefoilSession) Lookup(ctx context.Context, service string) (int, error) {
	list, err := s.discovery.Discover(ctx, service)
	return len(list), err
}

func (s *trefoilSession) Watch(ctx context.Context, service string, fn func(int, bool)) error {
	tell := func(online bool) func(abstract.Provider) {
		return func(p abstract.Provider) {
			if p.Method == service {
				fn(p.Host.Port, online)
			}
		}
	}
	s.discovery.OnOnline(tell(true))
	s.discovery.OnOffline(tell(false))
	_, err := s.discovery.Discover(ctx, service)
	return err
}

func (s *trefoilSession) Close(context.Context) error { return s.conn.Close() }
