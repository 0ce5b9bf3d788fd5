//go:build !race

// The race detector makes sync.Pool forget at random, and allocations mean nothing.

package client_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/lv"
	"trefoil/concrete/message"
	"trefoil/server"
)

type echoed struct {
	Text string `json:"text"`
}

// TestAllocationsOfACall counts those of the client and of the server together:
// a call costs what its values cost, and little beside it.
func TestAllocationsOfACall(t *testing.T) {
	srv := server.NewRpcServer("127.0.0.1:0", server.WithLogger(quiet))
	require.NoError(t, server.Handle(srv, "echo", func(_ context.Context, in echoed) (string, error) { return in.Text, nil }))
	require.NoError(t, srv.Listen())
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve() }()
	ctx := t.Context()
	rpc, err := client.DialRpc(ctx, srv.Addr().String(), patient()...)
	require.NoError(t, err)

	var out string
	in := &echoed{Text: "a text that is as long as the texts of a benchmark are, more or less"}
	answers := make(chan error, 1)
	for name, mode := range map[string]struct {
		call func() error
		most float64
	}{
		"Call":       {func() error { return rpc.Call(ctx, "echo", in, &out) }, 11},
		"CallFuture": {func() error { return rpc.CallFuture(ctx, "echo", in).Wait(ctx, &out) }, 13},
		"CallFunc": {func() error {
			rpc.CallFunc(ctx, "echo", in, func(r client.Reply, err error) { answers <- err })
			return <-answers
		}, 14},
	} {
		t.Run(name, func(t *testing.T) {
			for range 100 {
				require.NoError(t, mode.call())
			}
			allocs := testing.AllocsPerRun(2000, func() {
				if mode.call() != nil {
					t.Error("failed")
				}
			})
			t.Logf("%.1f objects", allocs)
			assert.LessOrEqual(t, allocs, mode.most)
		})
	}
	require.NoError(t, rpc.Close())
	require.NoError(t, srv.Shutdown(context.Background()))
	require.NoError(t, <-ended)
}

// TestAllocationsOfARegistration counts those of the client alone, and with a broker's: a
// registration costs what has to be kept of it and one request.
func TestAllocationsOfARegistration(t *testing.T) {
	broker := server.NewBroker("127.0.0.1:0", server.WithLogger(quiet))
	require.NoError(t, broker.Listen())
	ended := make(chan error, 1)
	go func() { ended <- broker.Serve() }()
	for _, tt := range []struct {
		name, addr string
		most       float64
	}{
		{"client", yes(t), 10},
		{"client and broker", broker.Addr().String(), 30},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx := t.Context()
			conn, err := client.Dial(ctx, tt.addr, patient()...)
			require.NoError(t, err)
			defer conn.Close()
			registry := client.NewRegistryClient(conn)
			p := abstract.Provider{Method: "svc.do", Host: abstract.Host{IP: "127.0.0.1", Port: 10_000}, Instance: "one"}
			allocs := testing.AllocsPerRun(900, func() {
				p.Host.Port++
				if err := registry.Register(ctx, p); err != nil {
					t.Error(err)
				}
			})
			t.Logf("%.1f objects", allocs)
			assert.LessOrEqual(t, allocs, tt.most)
		})
	}
	require.NoError(t, broker.Shutdown(context.Background()))
	require.NoError(t, <-ended)
}

// yes is a registry that agrees to everything, and allocates nothing for that.
func yes(t *testing.T) (addr string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() {
		nc, err := ln.Accept()
		if err == nil {
			err = agree(nc)
		}
		ended <- err
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		require.NoError(t, <-ended)
	})
	return ln.Addr().String()
}

// agree answers HELLO and then every registration, until the client says goodbye.
func agree(nc net.Conn) error {
	defer nc.Close()
	const header, idLen = 12, 16
	protocol := lv.New(message.New(message.Config{}), lv.Config{})
	met, err := protocol.Append(nil, &message.HelloResponse{Header: message.ID("hello"), Version: message.ProtocolVersion, PingMs: 60_000, Misses: 5, MaxFrame: 8 << 20})
	if err != nil {
		return err
	}
	done, err := protocol.Append(nil, &message.ServiceResponse{Header: message.ID("0123456789abcdef"), Op: abstract.ServiceRegister})
	if err != nil {
		return err
	}
	frame := make([]byte, 4<<10)
	for {
		if _, err := io.ReadFull(nc, frame[:header]); err != nil {
			return err
		}
		rest := frame[header : 4+binary.BigEndian.Uint32(frame)]
		if _, err := io.ReadFull(nc, rest); err != nil {
			return err
		}
		answer := done
		switch t := abstract.MType(binary.BigEndian.Uint32(frame[4:])); t {
		case abstract.ReqHello:
			answer = met
		case abstract.ReqService:
			copy(done[header:header+idLen], rest)
		case abstract.Goodbye:
			return nil
		default:
			return errors.New("a " + t.String())
		}
		if _, err := nc.Write(answer); err != nil {
			return err
		}
	}
}
