package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// root is the top of the checkout.
const root = "../.."

// plugins are the directory with both plugins, built once.
var plugins = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "plugins")
	if err != nil {
		return "", err
	}
	for _, pkg := range []string{"trefoil/cmd/protoc-gen-trefoil", "google.golang.org/protobuf/cmd/protoc-gen-go"} {
		binary := filepath.Join(dir, filepath.Base(pkg))
		if runtime.GOOS == "windows" {
			binary += ".exe"
		}
		if out, err := exec.Command("go", "build", "-o", binary, pkg).CombinedOutput(); err != nil {
			return dir, &buildError{pkg, string(out), err}
		}
	}
	return dir, nil
})

type buildError struct {
	pkg, out string
	err      error
}

func (e *buildError) Error() string { return "build " + e.pkg + ": " + e.err.Error() + "\n" + e.out }

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := plugins(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// needTool skips the test where a tool is missing, but for where every test must run.
func needTool(t *testing.T, name, from string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
		return path
	case os.Getenv("TREFOIL_REQUIRE_ALL") != "":
		t.Fatalf("%s is not there; install %s", name, from)
	}
	t.Skipf("NOT CHECKED: %s is not there; install %s", name, from)
	return ""
}

// run runs a generator with both plugins on its path.
func run(t *testing.T, dir, tool string, args ...string) (output string, err error) {
	t.Helper()
	bin, err := plugins()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), tool, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// protoc generates what one .proto file needs; opts are the plugin's, but for those that
// begin with "go:", which are protoc-gen-go's.
func protoc(t *testing.T, dir, file, out string, opts ...string) (output string, err error) {
	t.Helper()
	own, messages := []string{"paths=source_relative"}, []string{"paths=source_relative"}
	for _, o := range opts {
		if theirs, ok := strings.CutPrefix(o, "go:"); ok {
			messages = append(messages, theirs)
		} else {
			own = append(own, o)
		}
	}
	return run(t, dir, needTool(t, "protoc", "protobuf-compiler and libprotobuf-dev"), "-I.",
		"--go_out="+out, "--go_opt="+strings.Join(messages, ","),
		"--trefoil_out="+out, "--trefoil_opt="+strings.Join(own, ","), file)
}
