package protorpc

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"trefoil/abstract"
	"trefoil/business/protostub"
	"trefoil/client/protorpc"
	"trefoil/server"
)

// Provider serves services and registers their methods. Safe for concurrent use.
type Provider struct {
	app *protorpc.Application
	srv *server.RpcServer
}

var _ abstract.MethodServer = (*Provider)(nil)

// NewProvider makes a Provider that listens and registers as the Application says, with
// any options of an RpcServer beside that.
func NewProvider(app *protorpc.Application, opts ...server.Option) (*Provider, error) {
	registry, err := app.Registry()
	if err != nil {
		return nil, err
	}
	c := app.Config()
	own := []server.Option{server.WithLogger(app.Logger()), server.WithRegistry(registry)}
	if c.Advertise != "" {
		host, err := abstract.ParseHost(c.Advertise)
		if err != nil {
			return nil, err
		}
		own = append(own, server.WithAdvertise(host))
	}
	return &Provider{app, server.NewRpcServer(c.Listen, append(own, opts...)...)}, nil
}

// NotifyService adds a service, as a generated Desc function makes it, before or while
// the Provider runs. On an error the methods before the one that it names are served.
func (p *Provider) NotifyService(s protostub.Service) error {
	if err := protostub.Register(p.srv, s); err != nil {
		return fmt.Errorf("service %s: %w", s.Name, err)
	}
	return nil
}

// ServeMethod adds one method, such as those of a generated Register function.
func (p *Provider) ServeMethod(m abstract.Method) error { return p.srv.ServeMethod(m) }

// Listen binds the address, so that Addr is known; Run does it otherwise.
func (p *Provider) Listen() error { return p.srv.Listen() }

// Addr is the address that the Provider listens on; nil before Listen.
func (p *Provider) Addr() net.Addr { return p.srv.Addr() }

// Run listens, registers the methods and serves them until ctx ends or the process gets
// an interrupt or SIGTERM. Then it takes leave: callers are told to go elsewhere, calls
// under way end, within the Application's drain timeout, and Run returns nil. A
// registry that is away does not keep it from serving: it is told later.
func (p *Provider) Run(ctx context.Context) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := p.Listen(); err != nil {
		return err
	}
	p.app.Logger().Info("serving", "peer", p.Addr().String(), "host", p.app.Config().Advertise)
	served := make(chan error, 1)
	go func() { served <- p.srv.Serve() }()
	var err error
	select {
	case err = <-served:
		served <- nil
	case <-ctx.Done():
	}
	stop() // a second signal ends the process
	limit := time.Duration(p.app.Config().DrainTimeout)
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	if drained := p.srv.Shutdown(leaving); drained != nil && err == nil {
		err = fmt.Errorf("not all calls had ended after %s: %w", limit, drained)
	}
	if last := <-served; err == nil {
		err = last
	}
	return err
}
