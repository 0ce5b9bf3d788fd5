package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"trefoil/abstract"
)

// connectionsHelper is a process that holds many connections to a broker, each
// speaking raw frames: HELLO, a discovery, and then whatever the broker says.
// It prints a line when all of them have been answered ("discovered"), have got
// an ONLINE ("online"), and have answered a ping ("pinged"). It ends with its input.
func connectionsHelper(args []string, stdin io.Reader, stdout io.Writer) int {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	h := &connections{addr: args[0], method: args[2], all: int64(n), stdout: stdout}
	connecting := make(chan struct{}, 64) // so many at once
	for range n {
		go func() {
			if err := h.hold(connecting); err != nil {
				fmt.Fprintln(stdout, "failed:", err)
			}
		}()
	}
	_, _ = io.Copy(io.Discard, stdin)
	return 0
}

// connections counts what all connections of the process have seen.
type connections struct {
	addr, method               string
	all                        int64
	stdout                     io.Writer
	discovered, online, pinged atomic.Int64
}

func (h *connections) count(n *atomic.Int64, what string) {
	if n.Add(1) == h.all {
		fmt.Fprintln(h.stdout, what)
	}
}

// hold opens one connection and answers what comes.
func (h *connections) hold(connecting chan struct{}) error {
	connecting <- struct{}{}
	c, err := net.DialTimeout("tcp", h.addr, patience)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := writeFrame(c, abstract.ReqHello, "hello", `{"version":1,"agent":"connections","max_frame":65536}`); err != nil {
		return err
	}
	r := bufio.NewReaderSize(c, 512)
	pinged := false
	for {
		mtype, id, body, err := readFrame(r)
		if err != nil {
			return err
		}
		switch mtype {
		case abstract.RspHello:
			err = writeFrame(c, abstract.ReqService, "d", `{"optype":1,"method":"`+h.method+`"}`)
		case abstract.RspService:
			h.count(&h.discovered, "discovered")
			<-connecting
		case abstract.ReqService:
			if isOnline(body) {
				h.count(&h.online, "online")
			}
		case abstract.Ping:
			err = writeFrame(c, abstract.Pong, id, `{}`)
			if !pinged {
				pinged = true
				h.count(&h.pinged, "pinged")
			}
		default:
			err = fmt.Errorf("unexpected %v: %s", mtype, body)
		}
		if err != nil {
			return err
		}
	}
}

func isOnline(body []byte) bool {
	var notice struct {
		Op int `json:"optype"`
	}
	return json.Unmarshal(body, &notice) == nil && notice.Op == int(abstract.ServiceOnline)
}

func writeFrame(c net.Conn, t abstract.MType, id, body string) error {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(id)+len(body)))
	b = binary.BigEndian.AppendUint32(b, uint32(t))
	b = binary.BigEndian.AppendUint32(b, uint32(len(id)))
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	_, err := c.Write(append(append(b, id...), body...))
	return err
}

func readFrame(r io.Reader) (t abstract.MType, id string, body []byte, err error) {
	var header [12]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, "", nil, err
	}
	length, idLen := binary.BigEndian.Uint32(header[:]), binary.BigEndian.Uint32(header[8:])
	if length < 8 || length > 65536 || idLen > length-8 {
		return 0, "", nil, fmt.Errorf("bad frame: length %d, id %d", length, idLen)
	}
	rest := make([]byte, length-8)
	if _, err := io.ReadFull(r, rest); err != nil {
		return 0, "", nil, err
	}
	return abstract.MType(binary.BigEndian.Uint32(header[4:])), string(rest[:idLen]), rest[idLen:], nil
}
