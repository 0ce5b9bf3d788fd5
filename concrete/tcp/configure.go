//go:build linux || darwin

package tcp

import (
	"context"
	"io"
	"sync"

	"github.com/cloudwego/netpoll"
)

// bufferSize is netpoll's input node. Above 8 KiB it is given back when empty.
const bufferSize = 16 << 10

// configure sets netpoll up once for the process, because that is how netpoll is.
// Its log goes nowhere: it has a line for every peer that resets its connection.
var configure = sync.OnceValue(func() error {
	return netpoll.Configure(netpoll.Config{BufferSize: bufferSize, Runner: run, LoggerOutput: io.Discard})
})

// run runs our servers' callbacks where they are, on the poller: they only copy.
func run(ctx context.Context, f func()) {
	if _, ours := ctx.(*wire); ours {
		f()
		return
	}
	go f()
}
