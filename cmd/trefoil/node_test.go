package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/client"
)

// connect gives a shell a connection for the time of a test.
func (sh *treeShell) connect(t *testing.T, broker string) {
	conn, err := client.Dial(t.Context(), broker)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	sh.conn, sh.nodes = conn, client.NewNodeClient(conn)
}

func TestNodesFromTheCommandLine(t *testing.T) {
	_, broker := startBroker(t)
	t.Setenv("TREFOIL_BROKER", broker)
	file := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.WriteFile(file, []byte("\x00\xff binary \x1b[31m"), 0o600))
	steps := []struct {
		stdin string
		args  string
		code  int
		out   string
		err   string
	}{
		{"", "create /userService", exitOK, "/userService\n", ""},
		{"", "create /userService/userinfo hello", exitOK, "/userService/userinfo\n", ""},
		{"", "get /userService/userinfo", exitOK, "hello", ""},
		{"", "get /userService/userinfo --linearizable", exitOK, "hello", ""},
		{"", "create /userService/userinfo again", exitFailed, "", "is there already"},
		{"", "create /none/x 1", exitFailed, "", "there is no node \"/none\" to put \"/none/x\" in"},
		{"", "create /none/x 1 --parents", exitOK, "/none/x\n", ""},
		{"", "create /none/n- --sequential", exitOK, "/none/n-0000000000\n", ""},
		{"", "create /none/n- -q", exitOK, "/none/n-0000000001\n", ""},
		{"", "set /userService/userinfo there --version 1", exitOK, "version 2\n", ""},
		{"", "set /userService/userinfo there --version 1", exitFailed, "", "has version 2, not 1"},
		{"from stdin", "set /none -", exitOK, "version 2\n", ""},
		{"", "get /none", exitOK, "from stdin", ""},
		{"", "set /none @" + file, exitOK, "version 3\n", ""},
		{"", "get /none", exitOK, "\x00\xff binary \x1b[31m", ""},
		{"", "set /none @/no/such/file", exitFailed, "", "no such file"},
		{strings.Repeat("x", maxNodeInput), "set /none -", exitFailed, "", "at most 1 MiB"},
		{"", "ls", exitOK, "none\nuserService\n", ""},
		{"", "ls / -R", exitOK, "/none\n/none/n-0000000000\n/none/n-0000000001\n/none/x\n/userService\n/userService/userinfo\n", ""},
		{"", "exists /none", exitOK, "true\n", ""},
		{"", "exists /nothing", exitFailed, "false\n", "there is no such node"},
		{"", "stat /nothing", exitFailed, "", "there is no node"},
		{"", "delete /none", exitFailed, "", "has 3 children"},
		{"", "delete /none --recursive", exitOK, "deleted /none\n", ""},
		{"", "get relative", exitFailed, "", "does not begin with a slash"},
		{"", "create /services/x 1", exitFailed, "", "register"},
		{`{"op":"create","path":"/m"}` + "\n\n" + `{"op":"set","path":"/m","data":"2"}`, "multi", exitOK, "/m\n/m\n", ""},
		{`{"op":"set","path":"/m","data":"3"}` + "\n" + `{"op":"check","path":"/m","version":9}`, "multi -", exitFailed, "", "operation 2: "},
		{"", "get /m", exitOK, "2", ""},
		{`{"op":"set","pfad":"/m"}`, "multi", exitFailed, "", "line 1: json: unknown field"},
		{`{"op":"get","path":"/m"}`, "multi", exitFailed, "", "it is create, set, delete or check"},
		{"", "multi", exitFailed, "", "there are no operations"},
		{`{"op":"set","path":"/m","data":{"base64":"AP8="}}`, "multi", exitOK, "/m\n", ""},
		{"", "get /m", exitOK, "\x00\xff", ""},
		{`{"op":"set","path":"/m","data":7}`, "multi", exitFailed, "", "data is a string, or"},
		{`{"op":"set","path":"/m","data":{"base46":"AP8="}}`, "multi", exitFailed, "", "data is a string, or"},
		{"", "watch /m --subtree --children", exitUsage, "", "give one"},
		{"", "set /m x --version -1", exitUsage, "", "must not be negative"},
		{"", "", exitUsage, "", "say what to do"},
	}
	for _, step := range steps {
		f := inProcess(t, step.stdin, append([]string{"node"}, strings.Fields(step.args)...)...)
		assert.Equal(t, step.code, f.code, "%s: %s", step.args, f.err)
		assert.Equal(t, step.out, f.out, step.args)
		assert.Contains(t, f.err, step.err, step.args)
	}
}

func TestNodesForPrograms(t *testing.T) {
	_, broker := startBroker(t)
	t.Setenv("TREFOIL_BROKER", broker)
	require.Equal(t, exitOK, inProcess(t, "", "node", "create", "/a", "text").code)
	require.Equal(t, exitOK, inProcess(t, "\xff", "node", "create", "/b", "-").code)
	var out nodeOutput
	require.NoError(t, json.Unmarshal([]byte(inProcess(t, "", "node", "get", "/a", "--json").out), &out))
	require.NotNil(t, out.Data)
	assert.Equal(t, "text", *out.Data)
	assert.EqualValues(t, 1, out.Version)
	require.NoError(t, json.Unmarshal([]byte(inProcess(t, "", "node", "get", "/b", "--json").out), &out))
	assert.Equal(t, "/w==", out.Base64)
	f := inProcess(t, "", "node", "get", "/none", "--json")
	assert.Equal(t, exitFailed, f.code)
	assert.Contains(t, f.out, `"rcode":26`)
	f = inProcess(t, "", "node", "ls", "--json")
	assert.Equal(t, 2, strings.Count(f.out, "\n"))
}
