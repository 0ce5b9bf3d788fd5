package stdnet

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"trefoil/abstract"
)

// split returns the network and the address of "host:port" or "unix:/path".
func split(addr string) (network, address string) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		return "unix", path
	}
	return "tcp", addr
}

// clearSocket removes the socket file of a server that is gone.
func clearSocket(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at socket file: %w", err)
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return &abstract.Error{Code: abstract.Exists, Op: "listen unix:" + path,
			Message: "the file is there and is no socket; remove it or take another path"}
	}
	nc, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = nc.Close()
		return &abstract.Error{Code: abstract.Exists, Op: "listen unix:" + path,
			Message: "another process listens there; stop it or take another path"}
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove the socket file of a server that is gone: %w", err)
	}
	return nil
}
