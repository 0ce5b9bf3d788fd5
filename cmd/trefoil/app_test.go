package main

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// freeAddr is an address at which nobody listens, and nobody can before the test ends: it
// is the near end of a connection of ours.
func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	c, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c.LocalAddr().String()
}

func TestNobodyListensAtAFreeAddress(t *testing.T) {
	addr := freeAddr(t)
	_, err := net.Dial("tcp", addr)
	require.Error(t, err)
	_, err = net.Listen("tcp", addr)
	require.Error(t, err, "it is taken")
}

func TestWrongUsageExitsWithTwoAndOneLine(t *testing.T) {
	for name, args := range map[string][]string{
		"unknown command":             {"bogus"},
		"unknown topic command":       {"topic", "bogus"},
		"topic without a command":     {"topic"},
		"unknown flag":                {"call", "m", "--bogus"},
		"bad duration":                {"call", "m", "--timeout", "soon"},
		"hedge without idempotent":    {"call", "m", "--hedge", "1ms"},
		"hedge before":                {"call", "m", "--idempotent", "--hedge", "-1ms"},
		"fewer attempts than none":    {"call", "m", "--retry", "-1"},
		"no time":                     {"call", "m", "--timeout", "0s"},
		"negative count":              {"sub", "t", "--count", "-1"},
		"no method":                   {"call"},
		"too many arguments":          {"call", "m", "{}", "x"},
		"parameters not JSON":         {"call", "m", "{"},
		"parameters empty":            {"call", "m", ""},
		"parameters no object":        {"call", "m", "[1]"},
		"parameters null":             {"call", "m", "null"},
		"unknown mode":                {"call", "m", "--mode", "later"},
		"broker and direct":           {"call", "m", "--broker", "a:1", "--direct", "b:1"},
		"unknown role":                {"broker", "--serve", "rpc,kitchen"},
		"no role":                     {"broker", "--serve", ""},
		"broker with an argument":     {"broker", "x"},
		"unknown log level":           {"broker", "--log-level", "loud"},
		"unknown log format":          {"broker", "--log-format", "xml"},
		"provide without a command":   {"provide", "m"},
		"provide an empty command":    {"provide", "m", "--exec", " "},
		"provide everywhere":          {"provide", "m", "--exec", "cat", "--listen", "0.0.0.0:0"},
		"provide on a bad address":    {"provide", "m", "--exec", "cat", "--listen", "nowhere"},
		"advertise no address":        {"provide", "m", "--exec", "cat", "--advertise", "here"},
		"provide nothing at once":     {"provide", "m", "--exec", "cat", "--parallel", "0"},
		"message not JSON":            {"pub", "t", "{", "--type", "json"},
		"message not UTF-8":           {"pub", "t", "\xff"},
		"unknown type of message":     {"pub", "t", "x", "--type", "xml"},
		"topic without a name":        {"topic", "create"},
		"delete without an offset":    {"topic", "delete", "t"},
		"delete no offset":            {"topic", "delete", "t", "first"},
		"delete offset 0":             {"topic", "delete", "t", "0"},
		"discover without a method":   {"discover"},
		"demo with two directories":   {"demo", "a", "b"},
		"version with an argument":    {"version", "x"},
		"unknown flag of the program": {"--bogus"},
	} {
		t.Run(name, func(t *testing.T) {
			f := inProcess(t, "", args...)
			assert.Equal(t, exitUsage, f.code)
			assert.Empty(t, f.out)
			assert.Equal(t, 1, strings.Count(f.err, "\n"), f.err)
			assert.Contains(t, f.err, "--help")
		})
	}
}

func TestUnknownRoleNamesTheKnownOnes(t *testing.T) {
	f := inProcess(t, "", "broker", "--serve", "kitchen")
	assert.Contains(t, f.err, "rpc, registry, topic")
}

func TestWithoutBrokerCommandsFailAndSayWhatToDo(t *testing.T) {
	addr := freeAddr(t)
	for name, args := range map[string][]string{
		"call":     {"call", "m", "--broker", addr},
		"direct":   {"call", "m", "--direct", addr},
		"provide":  {"provide", "m", "--exec", "cat", "--broker", addr},
		"discover": {"discover", "m", "--broker", addr},
		"watch":    {"discover", "m", "--watch", "--broker", addr},
		"create":   {"topic", "create", "t", "--broker", addr},
		"pub":      {"pub", "t", "x", "--broker", addr},
		"pub -":    {"pub", "t", "-", "--broker", addr},
		"sub":      {"sub", "t", "--broker", addr},
	} {
		t.Run(name, func(t *testing.T) {
			f := inProcess(t, "", args...)
			assert.Equal(t, exitFailed, f.code)
			assert.Empty(t, f.out)
			assert.Equal(t, 1, strings.Count(f.err, "\n"), f.err)
			assert.Contains(t, f.err, addr)
			assert.Contains(t, f.err, "--")
		})
	}
}

func TestBrokerAddressComesFromFlagThenEnvironmentThenDefault(t *testing.T) {
	t.Setenv("TREFOIL_BROKER", "")
	assert.Equal(t, "127.0.0.1:7700", (&settings{}).brokerAddr())
	t.Setenv("TREFOIL_BROKER", "env:1")
	assert.Equal(t, "env:1", (&settings{}).brokerAddr())
	assert.Equal(t, "flag:1", (&settings{broker: "flag:1"}).brokerAddr())
}

func TestFailedCallIsOneJSONObjectWithItsError(t *testing.T) {
	addr := freeAddr(t)
	f := inProcess(t, "", "call", "m", "--direct", addr, "--json")
	require.Equal(t, exitFailed, f.code)
	var out callOutput
	require.NoError(t, json.Unmarshal([]byte(f.out), &out))
	require.NotNil(t, out.Error)
	assert.Equal(t, "unavailable", out.Error.Code)
	assert.Equal(t, "no", out.Error.Sent)
	assert.Equal(t, "m", out.Method)
}

func TestVersionNamesTheProtocol(t *testing.T) {
	f := inProcess(t, "", "version")
	require.Equal(t, exitOK, f.code, f.err)
	assert.Contains(t, f.out, "protocol 1")
	f = inProcess(t, "", "version", "--json")
	var out versionOutput
	require.NoError(t, json.Unmarshal([]byte(f.out), &out))
	assert.Equal(t, 1, out.Protocol)
}

func TestEveryCommandHasHelp(t *testing.T) {
	for _, args := range [][]string{
		{}, {"broker"}, {"call"}, {"provide"}, {"discover"}, {"topic"}, {"topic", "create"}, {"topic", "remove"},
		{"pub"}, {"sub"}, {"demo"}, {"version"},
	} {
		f := inProcess(t, "", append(args, "--help")...)
		assert.Equal(t, exitOK, f.code)
		assert.Contains(t, f.out, "Usage:")
		assert.Empty(t, f.err)
	}
}

func TestFlagTableAndCommandsKnowEachOther(t *testing.T) {
	a := &app{}
	commands := make(map[string]*cobra.Command)
	var collect func(*cobra.Command)
	collect = func(c *cobra.Command) {
		commands[tableName(c)] = c
		for _, sub := range c.Commands() {
			collect(sub)
		}
	}
	collect(a.root())
	for _, row := range flagTable(&settings{}) {
		for name := range strings.FieldsSeq(row.commands) {
			require.Contains(t, commands, name, "--"+row.name)
			assert.NotNil(t, commands[name].Flags().Lookup(row.name), "%s --%s", name, row.name)
		}
		assert.NotEmpty(t, row.help)
	}
}

func TestDemoNeedsADirectoryWithText(t *testing.T) {
	empty := t.TempDir()
	file := filepath.Join(empty, "binary")
	require.NoError(t, os.WriteFile(file, []byte{0}, 0o600))
	for name, dir := range map[string]string{
		"no text":      empty,
		"not there":    filepath.Join(empty, "missing"),
		"no directory": file,
	} {
		t.Run(name, func(t *testing.T) {
			f := inProcess(t, "", "demo", dir)
			assert.Equal(t, exitFailed, f.code)
			assert.Equal(t, 1, strings.Count(f.err, "\n"), f.err)
		})
	}
}

func TestErrorsFromPeersCannotSteerTheTerminal(t *testing.T) {
	assert.Equal(t, "a b \uFFFD[2J", oneLine("a\r\nb\n\x1b[2J"))
}
