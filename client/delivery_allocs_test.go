//go:build !race

// The race detector makes sync.Pool forget at random, and allocations mean nothing.

package client_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/lv"
	"trefoil/concrete/message"
)

// TestAllocationsOfADelivery counts those of the client: pushes that come together share
// the memory that they arrive in, and have no other.
func TestAllocationsOfADelivery(t *testing.T) {
	const together = 60
	for name, tt := range map[string]struct {
		size int
		most float64 // objects for each message
	}{
		"128 B": {128, 0.1},
		"1 KiB": {1 << 10, 0.25},
	} {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer ln.Close()
			subscribed := make(chan net.Conn, 1)
			ended := make(chan error, 1)
			go func() { ended <- takeSubscriber(ln, subscribed) }()
			conn, err := client.Dial(t.Context(), ln.Addr().String(), client.WithLogger(quiet))
			require.NoError(t, err)
			seen, all := 0, make(chan int, 1)
			_, err = client.NewTopicClient(conn).Subscribe(t.Context(), "news", func(m client.Message) {
				if seen++; seen%together == 0 {
					all <- len(m.Data)
				}
			})
			require.NoError(t, err)
			nc := <-subscribed
			block := bytes.Repeat(pushOf(t, tt.size), together)
			allocs := testing.AllocsPerRun(500, func() {
				if _, err := nc.Write(block); err != nil {
					t.Error(err)
				}
				if got := <-all; got != tt.size {
					t.Error(got)
				}
			})
			t.Logf("%.3f objects", allocs/together)
			assert.LessOrEqual(t, allocs/together, tt.most)
			require.NoError(t, conn.Close())
			require.NoError(t, <-ended)
		})
	}
}

// pushOf is the frame of a push as a broker writes it.
func pushOf(t *testing.T, size int) []byte {
	t.Helper()
	protocol := lv.New(message.New(message.Config{}), lv.Config{})
	push, err := protocol.Append(nil, &message.TopicRequest{Header: message.ID("0123456789abcdef"), Op: abstract.TopicPublish, Topic: "news", Message: message.Raw(`"` + strings.Repeat("x", size-2) + `"`)})
	require.NoError(t, err)
	return lv.Extend(nil, push, []byte(`,"offset":1234567`))
}

// takeSubscriber answers HELLO and one subscribe, and gives the socket away, to be written
// to. It ends with the client's goodbye.
func takeSubscriber(ln net.Listener, subscribed chan<- net.Conn) error {
	nc, err := ln.Accept()
	if err != nil {
		return err
	}
	defer nc.Close()
	protocol := lv.New(message.New(message.Config{}), lv.Config{})
	head := make([]byte, 12)
	for {
		if _, err := io.ReadFull(nc, head); err != nil {
			return err
		}
		rest := make([]byte, binary.BigEndian.Uint32(head)-8)
		if _, err := io.ReadFull(nc, rest); err != nil {
			return err
		}
		id := message.ID(string(rest[:binary.BigEndian.Uint32(head[8:])]))
		var answer []byte
		switch abstract.MType(binary.BigEndian.Uint32(head[4:])) {
		case abstract.ReqHello:
			answer, err = protocol.Append(nil, &message.HelloResponse{Header: id, Version: message.ProtocolVersion, PingMs: 60_000, Misses: 5, MaxFrame: 8 << 20})
		case abstract.ReqTopic:
			answer, err = protocol.Append(nil, &message.TopicResponse{Header: id})
		case abstract.Goodbye:
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := nc.Write(answer); err != nil {
			return err
		}
		if answer != nil && abstract.MType(binary.BigEndian.Uint32(head[4:])) == abstract.ReqTopic {
			subscribed <- nc
		}
	}
}
