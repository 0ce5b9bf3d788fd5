//go:build !linux && !darwin

package sock

import (
	"net"

	"trefoil/concrete/internal/link"
)

// directWriter cannot write without waiting on this system.
type directWriter struct{}

func (d *directWriter) init(net.Conn) {}

func (d *directWriter) tryWrite([][]byte) (int, error) { return 0, nil }

func NewSource(nc net.Conn, small int) link.Source { return newPlainSource(nc, small) }
