package topic

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"

	"trefoil/bench/internal/harness"
	"trefoil/bench/internal/program"
)

// serveRedis starts redis-server on a free port of the loopback, with nothing
// written to disk and no limit on what waits for a subscriber.
func serveRedis(ctx context.Context, _ json.RawMessage) (*harness.Served, error) {
	path, err := program.Find("redis-server", "redis-server")
	if err != nil {
		return nil, err
	}
	addr, port, err := program.FreePort()
	if err != nil {
		return nil, err
	}
	dir, err := program.TempDir("bench-redis-")
	if err != nil {
		return nil, err
	}
	return program.Serve(ctx, dir, addr, path, "--bind", "127.0.0.1", "--port", port, "--dir", dir,
		"--save", "", "--appendonly", "no", "--maxclients", "15000", "--client-output-buffer-limit", "pubsub 0 0 0")
}

// redisConn speaks RESP with as little work as possible, so that the server is
// what is measured: go-redis costs several times as much per message.
type redisConn struct {
	conn net.Conn
	out  *bufio.Writer
	in   *bufio.Reader
	line []byte
	busy bool // replies to publishes are being read
}

func dialRedis(ctx context.Context, addr string) (Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &redisConn{conn: c, out: bufio.NewWriterSize(c, 16<<10), in: bufio.NewReaderSize(c, 16<<10)}, nil
}

func (c *redisConn) Create(context.Context, string) error { return nil }

// Publish does not wait for the number of receivers that Redis answers.
func (c *redisConn) Publish(_ context.Context, topic string, payload []byte) error {
	if !c.busy {
		c.busy = true
		go func() { _, _ = io.Copy(io.Discard, c.in) }()
	}
	c.line = append(c.line[:0], "*3\r\n$7\r\nPUBLISH\r\n$"...)
	c.line = strconv.AppendInt(c.line, int64(len(topic)), 10)
	c.line = append(append(append(c.line, "\r\n"...), topic...), "\r\n$"...)
	c.line = strconv.AppendInt(c.line, int64(len(payload)), 10)
	c.line = append(append(append(c.line, "\r\n"...), payload...), "\r\n"...)
	_, err := c.out.Write(c.line)
	return err
}

func (c *redisConn) Flush() error { return c.out.Flush() }

func (c *redisConn) Subscribe(_ context.Context, topic string, fn func([]byte, uint64)) error {
	if _, err := fmt.Fprintf(c.out, "*2\r\n$9\r\nSUBSCRIBE\r\n$%d\r\n%s\r\n", len(topic), topic); err != nil {
		return err
	}
	if err := c.Flush(); err != nil {
		return err
	}
	if err := c.push(func([]byte) {}); err != nil {
		return fmt.Errorf("redis did not answer SUBSCRIBE: %w", err)
	}
	go func() {
		for c.push(func(payload []byte) { fn(payload, 0) }) == nil {
		}
	}()
	return nil
}

// push reads one array of three: the kind, the channel, and the payload or a number.
func (c *redisConn) push(fn func(payload []byte)) error {
	if n, err := c.number('*'); err != nil || n != 3 {
		return errors.Join(err, errUnexpected)
	}
	for range 2 {
		if err := c.text(func([]byte) {}); err != nil {
			return err
		}
	}
	if b, err := c.in.Peek(1); err != nil || b[0] == '$' {
		return errors.Join(err, c.text(fn))
	}
	_, err := c.number(':')
	return err
}

var errUnexpected = errors.New("this is no push of a message")

func (c *redisConn) text(fn func([]byte)) error {
	n, err := c.number('$')
	if err != nil {
		return err
	}
	b, err := c.in.Peek(n + 2)
	if err != nil {
		return err
	}
	fn(b[:n])
	_, err = c.in.Discard(n + 2)
	return err
}

// number reads a line of a kind and a number.
func (c *redisConn) number(kind byte) (int, error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < 4 || line[0] != kind {
		return 0, fmt.Errorf("%w: %q", errUnexpected, line)
	}
	n := 0
	for _, d := range line[1 : len(line)-2] {
		n = 10*n + int(d-'0')
	}
	return n, nil
}

func (c *redisConn) Close() { _ = c.conn.Close() }
