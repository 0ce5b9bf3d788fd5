package main

import (
	"context"
	"errors"
	"fmt"

	"trefoil/abstract"
	"trefoil/client"
)

// dial connects to the broker that the flags name.
func (a *app) dial(ctx context.Context, s *settings, opts ...client.Option) (*client.Conn, error) {
	addr := s.brokerAddr()
	own, err := a.clientOptions(s)
	if err != nil {
		return nil, err
	}
	if s.listsIn != "" { // good for something although the broker is away
		return client.Open(addr, append(own, append(opts, client.WithListsIn(s.listsIn))...)...), nil
	}
	conn, err := client.Dial(ctx, addr, append(own, opts...)...)
	if err != nil {
		return nil, noBroker(addr, err)
	}
	return conn, nil
}

// noBroker says why there is no connection to a broker. One that is there and does not
// take us is another matter than none.
func noBroker(addr string, err error) error {
	if text := refusal(err); text != "" {
		return &plainError{addr + ": " + text, err}
	}
	if errors.Is(err, abstract.ErrDisconnected) {
		return &plainError{fmt.Sprintf("%s closes the connection (%v); if that broker wants TLS, give --tls or --tls-ca FILE", addr, rootCause(err)), err}
	}
	return &plainError{fmt.Sprintf("no broker at %s (%v); start one with 'trefoil broker' or name it with --broker", addr, rootCause(err)), err}
}

// refusal is what somebody has said who does not take us, or whom we do not take; empty:
// nobody has.
func refusal(err error) string {
	var e *abstract.Error
	for errors.As(err, &e) {
		if e.Code == abstract.Denied {
			return e.Message
		}
		err = e.Err
	}
	return ""
}

// dialForLong is for commands that outlive a connection: they tell when it goes
// and when it is back. Inside a shell, which does so itself, they use its connection.
func (a *app) dialForLong(ctx context.Context, s *settings, opts ...client.Option) (conn *client.Conn, end func(), err error) {
	if a.shared != nil {
		return a.shared, func() {}, nil
	}
	log, addr := a.logger(s), s.brokerAddr()
	conn, err = a.dial(ctx, s, append(opts,
		client.OnConnected(func() { log.Info("connected to the broker", "peer", addr) }),
		client.OnDisconnected(func(err error) { log.Warn("lost the broker, connecting again", "peer", addr, "err", err) }),
	)...)
	return conn, func() { _ = conn.Close() }, err
}

func (a *app) clientOptions(s *settings) ([]client.Option, error) {
	opts := []client.Option{client.WithLogger(a.logger(s)), client.WithTimeout(s.timeout), client.WithConnectTimeout(s.timeout)}
	opts = append(opts, s.compressClient()...)
	secure, err := s.secureClient(a.logger(s))
	return append(opts, secure...), err
}

// plainError says in a user's words what an error means here.
type plainError struct {
	text string
	err  error
}

func (e *plainError) Error() string { return e.text }
func (e *plainError) Unwrap() error { return e.err }

// rootCause is what the system said, without what our layers said about it.
func rootCause(err error) error {
	for {
		var e *abstract.Error
		if !errors.As(err, &e) || e.Err == nil {
			return err
		}
		err = e.Err
	}
}

// methodError says what to do about a method that nobody provides.
func methodError(method string, err error) error {
	var e *abstract.Error
	if errors.As(err, &e) && e.Code == abstract.ServiceNotFound && !e.FromPeer {
		return &plainError{nobodyProvides(method), err}
	}
	return err
}

func nobodyProvides(method string) string {
	return fmt.Sprintf("nobody provides %s now; start a provider, or wait for one with 'trefoil discover %s --watch'", method, method)
}
