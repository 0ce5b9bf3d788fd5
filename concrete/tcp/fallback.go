//go:build !linux && !darwin

package tcp

import (
	"context"
	"net"

	"trefoil/abstract"
)

// NewServer makes a server whose Listen says that stdnet is to be used.
func NewServer(string, abstract.TransportConfig) abstract.BaseServer { return nowhere{} }

// NewClient makes a client whose Connect says that stdnet is to be used.
func NewClient(string, abstract.TransportConfig) abstract.BaseClient { return nowhere{} }

// nowhere is the transport of systems without netpoll.
type nowhere struct{}

func (nowhere) err() error {
	return abstract.Errorf(abstract.Unsupported, "there is no netpoll on this system; use the stdnet transport")
}

// Listen fails.
func (n nowhere) Listen() error { return n.err() }

// Serve fails.
func (n nowhere) Serve() error { return n.err() }

// Shutdown has nothing to do.
func (nowhere) Shutdown(context.Context) error { return nil }

// Addr is nil.
func (nowhere) Addr() net.Addr { return nil }

// Connect fails.
func (n nowhere) Connect(context.Context) (abstract.BaseConnection, error) { return nil, n.err() }
