package idle

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"trefoil/bench/internal/harness"
	"trefoil/bench/internal/program"
)

// liveHeap is one file more in the binary, for the one thing about it that can
// only be told from inside. It does nothing until it is asked.
//
//go:embed liveheap.go.txt
var liveHeap []byte

const (
	liveHeapFile   = "liveheap.go"
	liveHeapSocket = "liveheap.sock"
)

// build builds cmd/trefoil of the module beside this one into dir and returns its
// path: what gives memory back when nothing goes on is part of the command.
func build(ctx context.Context, dir string) (string, error) {
	if _, err := exec.LookPath("go"); err != nil {
		return "", harness.Absent("there is no go command to build trefoil with")
	}
	list := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "trefoil")
	var said bytes.Buffer
	list.Stderr = &said
	out, err := list.Output()
	if err != nil {
		return "", fmt.Errorf("find the module trefoil (run this from bench/): %w: %s", err, bytes.TrimSpace(said.Bytes()))
	}
	module := strings.TrimSpace(string(out))
	extra := filepath.Join(dir, liveHeapFile)
	if err := os.WriteFile(extra, liveHeap, 0o600); err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]map[string]string{
		"Replace": {filepath.Join(module, "cmd", "trefoil", liveHeapFile): extra},
	})
	if err != nil {
		return "", err
	}
	overlayFile := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "trefoil")
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-overlay", overlayFile, "-o", binary, "./cmd/trefoil")
	build.Dir = module
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build cmd/trefoil: %w: %s", err, bytes.TrimSpace(out))
	}
	return binary, nil
}

// serveBinary runs `trefoil broker`; its argument is the path of the binary.
func serveBinary(ctx context.Context, raw json.RawMessage) (*harness.Served, error) {
	var binary string
	if err := json.Unmarshal(raw, &binary); err != nil {
		return nil, err
	}
	addr, _, err := program.FreePort()
	if err != nil {
		return nil, err
	}
	dir, err := program.TempDir("bench-broker-")
	if err != nil {
		return nil, err
	}
	served, err := program.Serve(ctx, dir, addr, binary, "broker", "--listen", addr, "--log-level", "error")
	if err != nil {
		return nil, err
	}
	served.Live = func(ctx context.Context) (float64, error) { return live(ctx, filepath.Join(dir, liveHeapSocket)) }
	return served, nil
}

// live asks for the live heap, in KiB.
func live(ctx context.Context, socket string) (float64, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	text, err := io.ReadAll(conn)
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(string(text), 64)
}

// startBinary starts the broker that build has built.
func startBinary(binary string) func(context.Context, *harness.Runner) ([]*harness.Process, error) {
	return func(ctx context.Context, r *harness.Runner) ([]*harness.Process, error) {
		p, err := r.Serve(ctx, roleBinary, binary)
		if err != nil {
			return nil, err
		}
		return []*harness.Process{p}, nil
	}
}
