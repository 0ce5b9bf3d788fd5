package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/cmd/trefoil/internal/config"
)

func TestErrorsForProgramsSayWhatTheyAre(t *testing.T) {
	dial := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for name, c := range map[string]struct {
		err   error
		rcode abstract.RCode
		code  string
		sent  string
	}{
		"usage":            {usagef("--x is missing"), 0, "usage", ""},
		"usage far in":     {fmt.Errorf("line 3: %w", usagef("--x is missing")), 0, "usage", ""},
		"faulty settings":  {config.FaultErrors{{Text: "no"}}, 0, "configuration", ""},
		"no such file":     {fmt.Errorf("read: %w", &fs.PathError{Op: "open", Path: "x", Err: fs.ErrNotExist}), 0, "file", ""},
		"a rename":         {&os.LinkError{Op: "rename", Old: "a", New: "b", Err: fs.ErrPermission}, 0, "file", ""},
		"anything":         {errors.New("odd"), 0, "failed", ""},
		"end of input":     {io.ErrUnexpectedEOF, 0, "failed", ""},
		"deadline":         {context.DeadlineExceeded, 16, "timeout", ""},
		"slow network":     {&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, 16, "timeout", ""},
		"interrupt":        {context.Canceled, 17, "cancelled", ""},
		"no connection":    {dial, 18, "unavailable", ""},
		"no such host":     {&net.DNSError{Name: "nowhere", IsNotFound: true}, 18, "unavailable", ""},
		"an rcode":         {noBroker("a:1", &abstract.Error{Code: abstract.Unavailable, Sent: abstract.SentNo, Err: dial}), 18, "unavailable", "no"},
		"the peer's own":   {abstract.Errorf(abstract.Internal, "oops"), 9, "internal error", "unknown"},
		"an unknown rcode": {abstract.Errorf(77, "news"), 77, "rcode 77", "unknown"},
		"lost on the way":  {errLostOnTheWay, 4, "disconnected", "unknown"},
		"a lost session":   {errSessionLost, 29, "session expired", "unknown"},
		"a file of ours":   {&abstract.Error{Code: abstract.InvalidParams, Err: &fs.PathError{Op: "open", Path: "x", Err: fs.ErrPermission}}, 0, "file", ""},
	} {
		t.Run(name, func(t *testing.T) {
			out := newErrorOutput(c.err)
			assert.Equal(t, c.rcode, out.RCode)
			assert.Equal(t, c.code, out.Code)
			assert.Equal(t, c.sent, out.Sent)
			assert.Equal(t, c.err.Error(), out.Message)
		})
	}
}

// toldIn is the error that a command wrote for programs.
func toldIn(t *testing.T, f finished) errorOutput {
	t.Helper()
	var out struct{ Error *errorOutput }
	lines := strings.Split(strings.TrimSpace(f.out), "\n")
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &out), f.out)
	require.NotNil(t, out.Error, f.out)
	assert.Equal(t, 1, strings.Count(f.err, "\n"), "people are told, too: %s", f.err)
	return *out.Error
}

func TestFailedCommandsTellProgramsWhy(t *testing.T) {
	addr := freeAddr(t)
	missing := filepath.Join(t.TempDir(), "missing")
	broken := filepath.Join(t.TempDir(), "broker.json")
	require.NoError(t, os.WriteFile(broken, []byte(`{"listen":7}`), 0o600))
	for name, c := range map[string]struct {
		args   []string
		status int
		code   string
	}{
		"unknown flag":          {[]string{"sub", "t", "--json", "--bogus"}, exitUsage, "usage"},
		"unknown flag first":    {[]string{"sub", "t", "--bogus", "--json"}, exitUsage, "usage"},
		"a missing argument":    {[]string{"topic", "info", "--json"}, exitUsage, "usage"},
		"a senseless value":     {[]string{"sub", "t", "--json", "--from", "never"}, exitUsage, "usage"},
		"flags that exclude":    {[]string{"call", "m", "--json", "--broker", "a:1", "--direct", "b:1"}, exitUsage, "usage"},
		"a faulty file":         {[]string{"broker", "--json", "--config", broken}, exitUsage, "configuration"},
		"a missing file":        {[]string{"broker", "--json", "--config", missing}, exitFailed, "file"},
		"no lines to publish":   {[]string{"pub", "t", "--json", "--file", missing}, exitFailed, "file"},
		"no certificates":       {[]string{"topic", "ls", "--json", "--tls-ca", missing}, exitFailed, "file"},
		"no broker":             {[]string{"topic", "ls", "--json", "--broker", addr}, exitFailed, "unavailable"},
		"nobody who is watched": {[]string{"discover", "m", "--watch", "--json", "--broker", addr}, exitFailed, "unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			f := inProcess(t, "", c.args...)
			assert.Equal(t, c.status, f.code)
			out := toldIn(t, f)
			assert.Equal(t, c.code, out.Code)
			assert.NotEmpty(t, out.Message)
		})
	}
}

func TestProgramsAreNotToldWhereTheyDoNotAsk(t *testing.T) {
	f := inProcess(t, "", "pub", "t", "x", "--bogus", "--", "--json")
	assert.Equal(t, exitUsage, f.code)
	assert.Empty(t, f.out, "--json is an argument there")
}

func TestInterruptedCommandsSayJustThat(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	var out, problems strings.Builder
	code := run(ctx, []string{"topic", "ls", "--json", "--broker", freeAddr(t)}, strings.NewReader(""), &out, &problems)
	assert.Equal(t, exitFailed, code)
	told := toldIn(t, finished{code, out.String(), problems.String()})
	assert.Equal(t, errorOutput{RCode: abstract.Cancelled, Code: "cancelled", Message: "interrupted"}, told)
	assert.Equal(t, "trefoil topic ls: interrupted\n", problems.String())
}
