package udp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
)

// Sender sends datagrams to one address. Safe for concurrent use.
type Sender struct {
	socket *socket
	to     netip.AddrPort
	once   sync.Once
}

// socket is what all Senders of a process share that send over the same version of
// IP: a process with ten thousand clients needs no ten thousand descriptors for
// their heartbeats. It is there while somebody uses it.
type socket struct {
	network string
	conn    *net.UDPConn
	users   int
}

// shared are the sockets in use. There is nothing else that all clients of a process
// have in common.
var shared struct {
	mu      sync.Mutex
	sockets map[string]*socket // by network
}

// Dial makes a Sender for "host:port". It waits for nothing but the host's name to
// be resolved: nobody answers whether anybody is there. The caller closes it.
func Dial(ctx context.Context, addr string) (*Sender, error) {
	to, err := resolve(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("send heartbeats to %s: %w", addr, err)
	}
	network := "udp6"
	if to.Addr().Is4() {
		network = "udp4"
	}
	s, err := use(network)
	if err != nil {
		return nil, fmt.Errorf("send heartbeats to %s: %w", addr, err)
	}
	return &Sender{socket: s, to: to}, nil
}

func resolve(ctx context.Context, addr string) (netip.AddrPort, error) {
	if to, err := netip.ParseAddrPort(addr); err == nil {
		return netip.AddrPortFrom(to.Addr().Unmap(), to.Port()), nil
	}
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return netip.AddrPort{}, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "udp", service)
	if err != nil {
		return netip.AddrPort{}, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(ips[0].Unmap(), uint16(port)), nil
}

// use returns the socket of a network.
func use(network string) (*socket, error) {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	s := shared.sockets[network]
	if s == nil {
		conn, err := net.ListenUDP(network, nil)
		if err != nil {
			return nil, err
		}
		if shared.sockets == nil {
			shared.sockets = make(map[string]*socket)
		}
		s = &socket{network: network, conn: conn}
		shared.sockets[network] = s
	}
	s.users++
	return s, nil
}

// Send sends one datagram. An error says that this one was not sent; the next may
// still be, so there is nothing to be done about it but to count it.
func (s *Sender) Send(datagram []byte) error {
	_, err := s.socket.conn.WriteToUDPAddrPort(datagram, s.to)
	return err
}

// Close gives the Sender's part of its socket back. It is not used after that.
func (s *Sender) Close() error {
	var err error
	s.once.Do(func() {
		shared.mu.Lock()
		defer shared.mu.Unlock()
		if s.socket.users--; s.socket.users == 0 {
			delete(shared.sockets, s.socket.network)
			err = s.socket.conn.Close()
		}
	})
	return err
}
