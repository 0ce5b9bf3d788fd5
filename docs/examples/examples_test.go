package examples_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// root is the top of the checkout.
const root = "../.."

// patience is how long a program may take; it is never waited out when all is well.
const patience = 3 * time.Minute

// build makes a binary of a package or of Go files, as seen from the top of the
// checkout.
func build(t *testing.T, what ...string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "program")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	cmd := exec.Command("go", append([]string{"build", "-o", binary}, what...)...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return binary
}

func TestExamplesPrintWhatTheyPromise(t *testing.T) {
	for _, name := range []string{"rpc", "topic", "discovery"} {
		t.Run(name, func(t *testing.T) {
			want, err := os.ReadFile(filepath.Join(name, "output.txt"))
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			var stdout, stderr bytes.Buffer
			cmd := exec.CommandContext(ctx, build(t, "./docs/examples/"+name))
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) } // to see where it hangs
			cmd.WaitDelay = patience
			require.NoError(t, cmd.Run(), stderr.String())
			assert.Equal(t, string(want), stdout.String())
		})
	}
}
