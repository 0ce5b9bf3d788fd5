package udp

import (
	"context"
	"fmt"
	"net"
)

// Sender sends datagrams to one address. Safe for concurrent use.
type Sender struct{ conn net.Conn }

// Dial makes a Sender for "host:port". It waits for nothing but the host's name to
// be resolved: nobody answers whether anybody is there. The caller closes it.
func Dial(ctx context.Context, addr string) (*Sender, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", addr)
	if err != nil {
		return nil, fmt.Errorf("send heartbeats to %s: %w", addr, err)
	}
	return &Sender{conn}, nil
}

// Send sends one datagram. An error says that this one was not sent, or that an
// earlier one found nobody; the next may still arrive, so there is nothing to be
// done about it but to count it.
func (s *Sender) Send(datagram []byte) error {
	_, err := s.conn.Write(datagram)
	return err
}

// Close closes the Sender's socket. Send fails from then on.
func (s *Sender) Close() error { return s.conn.Close() }
