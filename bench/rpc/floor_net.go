package rpc

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"

	"trefoil/bench/internal/harness"
)

// The floors. floorNet is what all ratios are taken to.
const (
	floorNet     = "floor-net"
	floorNetpoll = "floor-netpoll"
)

func floors() []contestant {
	return []contestant{
		{name: floorNet, kind: harness.Floor, serve: serveFloorNet, dial: dialFloor, inline: true},
		{name: floorNetpoll, kind: harness.Floor, serve: serveFloorNetpoll, dial: dialFloor, inline: true},
	}
}

// serveFloorNet echoes frames on one goroutine per connection. It writes when no
// further whole frame has been received.
func serveFloorNet(context.Context, serveSpec) (*harness.Served, error) {
	ln, err := listen()
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go echoFrames(conn)
		}
	}()
	return &harness.Served{Addr: ln.Addr().String(), Stop: func() { ln.Close() }}, nil
}

const floorBuffer = 64 << 10

func echoFrames(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReaderSize(conn, floorBuffer)
	var out []byte
	for {
		head, err := r.Peek(4)
		if err != nil {
			return
		}
		size := int(binary.BigEndian.Uint32(head))
		if size < 4 || size > maxFrame {
			return
		}
		at := len(out)
		out = append(out, make([]byte, 4+size)...)
		if _, err := io.ReadFull(r, out[at:]); err != nil {
			return
		}
		if len(out) < floorBuffer && wholeFrameWaits(r) {
			continue
		}
		if _, err := conn.Write(out); err != nil {
			return
		}
		out = out[:0]
	}
}

// wholeFrameWaits says whether the next frame can be read without waiting.
func wholeFrameWaits(r *bufio.Reader) bool {
	if r.Buffered() < frameHeader {
		return false
	}
	head, _ := r.Peek(4) // it is buffered
	return r.Buffered() >= 4+int(binary.BigEndian.Uint32(head))
}
