package protorpc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"trefoil/abstract"
	"trefoil/client/protorpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "config.json")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

func TestDefaults(t *testing.T) {
	app, err := protorpc.NewApplication(nil)
	require.NoError(t, err)
	assert.Equal(t, protorpc.Config{
		Registry: "broker", Addresses: []string{"127.0.0.1:7700"}, Listen: "127.0.0.1:0",
		Timeout: protorpc.Duration(5 * time.Second), ConnectTimeout: protorpc.Duration(5 * time.Second), DrainTimeout: protorpc.Duration(10 * time.Second),
		Log: protorpc.LogConfig{Format: "text"},
	}, app.Config())
	assert.Empty(t, app.Args())
	require.NoError(t, app.Close())
	require.NoError(t, app.Close(), "twice is harmless")
	_, err = app.Registry()
	require.ErrorIs(t, err, abstract.ErrDisconnected)
}

func TestFlagsGoOverTheFile(t *testing.T) {
	name := file(t, `{"registry":"mine","addresses":["a:1","b:2"],"listen":":9000","advertise":"1.2.3.4:5","token":"t","timeout":"1.5s","connect_timeout":"2s","drain_timeout":"3s","log":{"level":"debug","format":"json"}}`)
	mine := protorpc.WithRegistry("mine", func(protorpc.Config, *slog.Logger) (abstract.Registry, error) { return nil, nil })
	want := protorpc.Config{
		Registry: "mine", Addresses: []string{"a:1", "b:2"}, Listen: ":9000", Advertise: "1.2.3.4:5", Token: "t",
		Timeout: protorpc.Duration(1500 * time.Millisecond), ConnectTimeout: protorpc.Duration(2 * time.Second), DrainTimeout: protorpc.Duration(3 * time.Second),
		Log: protorpc.LogConfig{Level: slog.LevelDebug, Format: "json"},
	}
	app, err := protorpc.NewApplication([]string{"-i", name}, mine)
	require.NoError(t, err)
	assert.Equal(t, want, app.Config())

	var word string
	own := protorpc.WithFlags(func(flags *flag.FlagSet) { flags.StringVar(&word, "word", "", "a flag of the program's own") })
	app, err = protorpc.NewApplication([]string{"--timeout=7s", "--addresses", "c:3", "-word", "w", "-i", name, "--log-level", "warn", "rest", "-x"}, mine, own)
	require.NoError(t, err)
	want.Timeout, want.Addresses, want.Log.Level = protorpc.Duration(7*time.Second), []string{"c:3"}, slog.LevelWarn
	assert.Equal(t, want, app.Config())
	assert.Equal(t, "w", word)
	assert.Equal(t, []string{"rest", "-x"}, app.Args())

	text, err := json.Marshal(app.Config())
	require.NoError(t, err)
	assert.Contains(t, string(text), `"timeout":"7s"`)
}

func TestWrongConfigurationsAreNamed(t *testing.T) {
	tests := []struct {
		name, file string
		args       []string
		want       string
	}{
		{"no file", "", []string{"-i", "/none/such"}, "read the configuration: open /none/such"},
		{"no JSON", `{`, nil, "config.json: unexpected EOF"},
		{"something after it", `{} {}`, nil, "config.json: something stands after the object"},
		{"an unknown member", `{"adresses":[]}`, nil, `unknown field "adresses"`},
		{"a time without a unit", `{"timeout":"5"}`, nil, `give a time above 0 with its unit, such as "1.5s"`},
		{"a time that is no text", `{"timeout":5}`, nil, "timeout"},
		{"an unknown level", `{"log":{"level":"loud"}}`, nil, "loud"},
		{"too large", `{"token":"` + string(bytes.Repeat([]byte("x"), 1<<20)) + `"}`, nil, "is larger than 1048576 bytes"},
		{"an unknown registry", `{"registry":"consul"}`, nil, `registry "consul" is not known to this program`},
		{"no address", `{"addresses":[]}`, nil, `"addresses" is empty; name where the registry is`},
		{"an empty address", ``, []string{"--addresses="}, "an address of the registry is empty"},
		{"two brokers", ``, []string{"--addresses", "a:1,b:2"}, "a broker has one address; 2 are given"},
		{"an unknown format", ``, []string{"--log-format", "xml"}, `log format "xml" is not known; take text or json`},
		{"nowhere to be called", ``, []string{"--advertise", "here"}, `"here" is not an address to be called at; give host:port`},
		{"a negative time", ``, []string{"--timeout", "-1s"}, `give a time above 0`},
		{"an unknown flag", ``, []string{"--colour"}, "flag provided but not defined: -colour"},
		{"no time", ``, []string{"--timeout", "5"}, `invalid value "5" for flag -timeout: give a time above 0 with its unit, such as "1.5s"; --help lists the flags`},
		{"a log file nowhere", ``, []string{"--log-file", "/none/such/log"}, "open /none/such/log"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := tt.args
			if tt.file != "" {
				args = append([]string{"-i", file(t, tt.file)}, args...)
			}
			var said bytes.Buffer
			_, err := protorpc.NewApplication(args, protorpc.WithOutput(&said))
			assert.ErrorContains(t, err, tt.want)
			assert.Empty(t, said.String(), "who gets the error prints it")
		})
	}
}

func TestHelpNamesEveryFlag(t *testing.T) {
	var said bytes.Buffer
	_, err := protorpc.NewApplication([]string{"--help"}, protorpc.WithOutput(&said))
	require.ErrorIs(t, err, flag.ErrHelp)
	for _, name := range []string{"-i FILE", "-registry", "-addresses ADDRESS,...", "-listen ADDRESS", "-advertise", "-timeout TIME", "-connect-timeout", "-drain-timeout", "-log-level LEVEL", "-log-format", "-log-file FILE"} {
		assert.Contains(t, said.String(), name)
	}
}

func TestLogGoesWhereItWasToldTo(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	for range 2 { // the second time adds to it
		app, err := protorpc.NewApplication([]string{"--log-file", name, "--log-format", "json", "--log-level", "warn"})
		require.NoError(t, err)
		app.Logger().Info("not this")
		app.Logger().Warn("but this")
		require.NoError(t, app.Close())
	}
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	assert.Equal(t, 2, bytes.Count(text, []byte(`"msg":"but this"`)))
	assert.NotContains(t, string(text), "not this")

	var said bytes.Buffer
	app, err := protorpc.NewApplication(nil, protorpc.WithLogger(slog.New(slog.NewTextHandler(&said, nil))))
	require.NoError(t, err)
	app.Logger().Info("here")
	assert.Contains(t, said.String(), "msg=here")
	require.NoError(t, app.Close())
}

// registry is one that is closed at last.
type registry struct {
	abstract.Registry
	closed int
}

func (r *registry) Close() error {
	r.closed++
	return nil
}

func TestProgramsPassRegistries(t *testing.T) {
	r := new(registry)
	opened := 0
	app, err := protorpc.NewApplication([]string{"--registry", "mine", "--addresses", "a:1,b:2"}, protorpc.WithRegistry("mine", func(c protorpc.Config, log *slog.Logger) (abstract.Registry, error) {
		opened++
		assert.Equal(t, []string{"a:1", "b:2"}, c.Addresses)
		assert.NotNil(t, log)
		return r, nil
	}))
	require.NoError(t, err)
	assert.Equal(t, 0, opened, "not before it is wanted")
	for range 2 {
		got, err := app.Registry()
		require.NoError(t, err)
		assert.Same(t, r, got)
	}
	require.NoError(t, app.Close())
	assert.Equal(t, 1, opened)
	assert.Equal(t, 1, r.closed)

	app, err = protorpc.NewApplication([]string{"--registry", "mine"}, protorpc.WithRegistry("mine", func(protorpc.Config, *slog.Logger) (abstract.Registry, error) {
		return nil, context.DeadlineExceeded
	}))
	require.NoError(t, err)
	_, err = protorpc.NewChannel(app)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, app.Close())
}

// TestFlagsOfTheProgramAreSetOnce: one that may be given often would have each value twice.
func TestFlagsOfTheProgramAreSetOnce(t *testing.T) {
	name := file(t, `{"listen":":9000"}`)
	var words []string
	var loud bool
	defined := 0
	app, err := protorpc.NewApplication([]string{"-loud", "-word", "a", "-i", name, "-word", "b"}, protorpc.WithFlags(func(flags *flag.FlagSet) {
		defined++
		flags.BoolVar(&loud, "loud", false, "")
		flags.Func("word", "", func(text string) error {
			words = append(words, text)
			return nil
		})
	}))
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "b"}, words)
	assert.True(t, loud)
	assert.Equal(t, 1, defined)
	assert.Equal(t, ":9000", app.Config().Listen)
	require.NoError(t, app.Close())
}
