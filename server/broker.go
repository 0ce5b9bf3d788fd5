package server

import (
	"context"
	"net"
	"slices"

	"trefoil/abstract"
)

// Broker runs RpcServer, RegistryServer, TopicServer and NodeServer, or those of
// them that WithRoles names, on one port: what most installations want. All methods are
// safe for concurrent use.
type Broker struct {
	ep       *endpoint
	rpc      *RpcServer // nil without RoleRPC
	registry *RegistryServer
	topics   *TopicServer
}

var _ abstract.BaseServer = (*Broker)(nil)

// NewBroker makes a broker for addr ("host:port", or "unix:/path").
func NewBroker(addr string, opts ...Option) *Broker {
	cfg := newConfig(opts)
	ep := newEndpoint(addr, cfg)
	b := &Broker{ep: ep}
	store := storeOf(cfg)
	if slices.Contains(cfg.roles, RoleRPC) {
		b.rpc = newRpcServer(ep)
	}
	if slices.Contains(cfg.roles, RoleRegistry) {
		b.registry = newRegistryServer(ep, store)
	}
	if b.registry != nil {
		newRelay(ep, b.registry, b.rpc)
	}
	if slices.Contains(cfg.roles, RoleTopic) {
		b.topics = newTopicServer(ep, store)
	}
	if slices.Contains(cfg.roles, RoleNode) {
		newNodeServer(ep, store)
	}
	b.administer()
	return b
}

// HandleFunc serves a method in the broker itself; see RpcServer.HandleFunc and
// Handle. Without RoleRPC it is an error with code Unsupported.
func (b *Broker) HandleFunc(d Description, h Handler) error {
	if b.rpc == nil {
		return b.servesNone()
	}
	return b.rpc.HandleFunc(d, h)
}

// SkippedPushes returns how many pushes were not sent because they were larger
// than their subscriber takes.
func (b *Broker) SkippedPushes() uint64 {
	if b.topics == nil {
		return 0
	}
	return b.topics.Skipped()
}

// Listen binds the address; see Serve.
func (b *Broker) Listen() error { return b.ep.Listen() }

// Addr is the address the broker listens on; nil before Listen.
func (b *Broker) Addr() net.Addr { return b.ep.Addr() }

// Serve serves until Shutdown is called, and then returns nil.
func (b *Broker) Serve() error {
	if b.rpc != nil {
		return b.rpc.Serve()
	}
	return b.ep.Serve()
}

// Shutdown lets running calls finish, writes out what is queued, tells modern
// peers goodbye and closes the connections, within ctx.
func (b *Broker) Shutdown(ctx context.Context) error {
	if b.rpc != nil {
		b.rpc.retire(ctx)
	}
	return b.ep.Shutdown(ctx)
}
