package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/cmd/trefoil/internal/config"
)

// configured writes a configuration file and returns its name.
func configured(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "broker.json")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

func TestTableOfSettingsIsWhole(t *testing.T) {
	keys, flags := map[string]bool{}, map[string]bool{}
	for _, row := range brokerTable(&settings{}) {
		assert.False(t, keys[row.Key], "%s is there twice", row.Key)
		keys[row.Key] = true
		assert.Regexp(t, `^[a-z_]+(\.[a-z_]+)?$`, row.Key)
		assert.Equal(t, row.Secret, row.Flag == "", "%s can be set on the command line, if it is no secret", row.Key)
		assert.False(t, flags[row.Flag] && row.Flag != "", "--%s is there twice", row.Flag)
		flags[row.Flag] = true
		assert.NotEmpty(t, row.Help, row.Key)
		assert.NotContains(t, row.Help+"#", ".#", row.Key)
		canonical, err := row.Canonical(row.Default)
		require.NoError(t, err, "the default of %s", row.Key)
		assert.Equal(t, row.Default, canonical, "the default of %s is written as it is shown", row.Key)
	}
}

// TestEveryFlagOfTheBrokerIsInTheTable keeps settings from being made beside the table.
func TestEveryFlagOfTheBrokerIsInTheTable(t *testing.T) {
	known := []string{"config", "json", "stop-on-eof", "help"}
	for _, row := range brokerTable(&settings{}) {
		known = append(known, row.Flag)
	}
	broker, _, err := (&app{}).root().Find([]string{"broker"})
	require.NoError(t, err)
	usage := broker.Flags().FlagUsages()
	for _, m := range regexp.MustCompile(`(?m)^ *(?:-h, )?--([a-z-]+)`).FindAllStringSubmatch(usage, -1) {
		assert.Contains(t, known, m[1])
	}
}

func TestConfigurationDocumentIsCurrent(t *testing.T) {
	text, err := os.ReadFile("../../docs/configuration.md")
	require.NoError(t, err)
	require.Equal(t, configDocument(), strings.ReplaceAll(string(text), "\r\n", "\n"), "run go generate ./cmd/trefoil")
	f := inProcess(t, "", "config", "docs")
	assert.Equal(t, finished{exitOK, configDocument(), ""}, f)
	for _, row := range brokerTable(&settings{}) {
		assert.Contains(t, string(text), "`"+row.Key+"`")
		assert.Contains(t, string(text), "`"+row.Env()+"`")
		if row.Flag != "" {
			assert.Contains(t, string(text), "`--"+row.Flag+"`")
		}
	}
	for _, area := range logAreas() {
		assert.Contains(t, string(text), "`"+area+"`")
	}
	example := regexp.MustCompile("(?s)```json\n(.*?)```").FindStringSubmatch(string(text))
	require.NotNil(t, example)
	f = inProcess(t, "", "config", "check", configured(t, example[1]))
	assert.Equal(t, exitOK, f.code, "the example of the document: %s%s", f.out, f.err)
	f = inProcess(t, "", "config", "check", configured(t, strings.Replace(example[1], "max_conns", "max_con", 1)))
	fault := regexp.MustCompile("(?m)^broker.json:.*$").FindString(string(text))
	assert.True(t, strings.HasSuffix(strings.TrimSpace(f.out), fault), "%s is what the document says: %s", f.out, fault)
}

func TestConfigCheckSaysWhereEveryFaultIs(t *testing.T) {
	name := configured(t, "{\n  \"listn\": \"a:1\",\n  \"limits\": {\"max_conns\": 0}\n}\n")
	f := inProcess(t, "", "config", "check", name)
	assert.Equal(t, exitFailed, f.code)
	lines := strings.Split(strings.TrimSpace(f.out), "\n")
	require.Len(t, lines, 2)
	assert.Equal(t, name+`:2:3: the key "listn" is not known; did you mean "listen"?`, lines[0])
	assert.Equal(t, name+`:3:27: limits.max_conns: 0 is too little; it is at least 1`, lines[1])
	assert.Contains(t, f.err, "has 2 faults")

	f = inProcess(t, "", "config", "check", name, "--json")
	assert.Equal(t, exitFailed, f.code)
	lines = strings.Split(strings.TrimSpace(f.out), "\n")
	require.Len(t, lines, 2)
	var out faultOutput
	require.NoError(t, json.Unmarshal([]byte(lines[1]), &out))
	assert.Equal(t, faultOutput{name, 3, 27, "limits.max_conns: 0 is too little; it is at least 1"}, out)

	name = configured(t, "{}")
	assert.Equal(t, finished{exitOK, name + " is all right\n", ""}, inProcess(t, "", "config", "check", name))
	f = inProcess(t, "", "config", "check", filepath.Join(t.TempDir(), "none"))
	assert.Equal(t, exitFailed, f.code)
	assert.Equal(t, 1, strings.Count(f.err, "\n"), f.err)
	f = inProcess(t, "", "config", "check", configured(t, strings.Repeat(" ", maxConfig)+"{}"))
	assert.Equal(t, exitFailed, f.code)
	assert.Contains(t, f.err, "larger than")
}

func TestConfigShowSaysWhereEveryValueCameFrom(t *testing.T) {
	name := configured(t, `{"drain_timeout": "1s", "limits": {"max_conns": 10, "max_depth": 99}}`)
	t.Setenv("TREFOIL_LIMITS_MAX_CONNS", "20")
	t.Setenv("TREFOIL_LIMITS_MAX_NODES", "30")
	t.Setenv(configEnv, name)
	f := inProcess(t, "", "config", "show", "--max-nodes", "40", "--log-compress")
	require.Equal(t, exitOK, f.code, f.err)
	got := map[string]string{}
	for line := range strings.Lines(f.out) {
		fields := strings.Fields(line)
		got[fields[0]] = strings.Join(fields[1:], " ")
	}
	for key, want := range map[string]string{
		"drain_timeout":    "1s " + name + ":1:19",
		"limits.max_depth": "99 " + name + ":1:66",
		"limits.max_conns": "20 TREFOIL_LIMITS_MAX_CONNS in the environment",
		"limits.max_nodes": "40 --max-nodes",
		"log.compress":     "true --log-compress",
		"log.level":        "info default",
		"log.file":         "- default",
	} {
		assert.Equal(t, want, got[key], key)
	}
	assert.Len(t, got, len(brokerTable(&settings{})))

	f = inProcess(t, "", "config", "show", "--json", "--config", configured(t, `{"log": {"levels": {"rpc": "off"}}}`))
	require.Equal(t, exitOK, f.code, f.err)
	values := map[string]any{}
	origins := map[string]config.Origin{}
	for line := range strings.Lines(f.out) {
		var v struct {
			Key    string
			Value  any
			Origin config.Origin
		}
		require.NoError(t, json.Unmarshal([]byte(line), &v))
		values[v.Key], origins[v.Key] = v.Value, v.Origin
	}
	assert.Equal(t, map[string]any{"rpc": "off"}, values["log.levels"])
	assert.Equal(t, 20.0, values["limits.max_conns"])
	assert.Equal(t, "environment", origins["limits.max_conns"].From)
	assert.Equal(t, "file", origins["log.levels"].From)
}

// TestEverySettingComesFromFileEnvironmentAndFlag sets each of them in each way to
// something else than its default.
func TestEverySettingComesFromFileEnvironmentAndFlag(t *testing.T) {
	for _, row := range brokerTable(&settings{}) {
		t.Run(row.Key, func(t *testing.T) {
			sample, ok := otherValues[row.Key]
			require.True(t, ok, "otherValues needs a value for it")
			name := configured(t, nested(row.Key, sample.json))
			show := func(args ...string) string {
				f := inProcess(t, "", append([]string{"config", "show"}, args...)...)
				require.Equal(t, exitOK, f.code, f.err)
				m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(row.Key) + ` +(\S+) +(.*)$`).FindStringSubmatch(f.out)
				require.NotNil(t, m, f.out)
				assert.NotEqual(t, row.Default, m[1])
				if row.Secret {
					assert.NotContains(t, f.out, sample.text)
				} else {
					assert.Equal(t, sample.text, m[1])
				}
				return m[2]
			}
			assert.Contains(t, show("--config", name), name)
			if row.Flag != "" {
				assert.Equal(t, "--"+row.Flag, show("--"+row.Flag+"="+sample.text))
			}
			t.Setenv(row.Env(), sample.text)
			assert.Contains(t, show(), row.Env())
		})
	}
}

// nested is a file with one setting.
func nested(key, value string) string {
	if area, leaf, ok := strings.Cut(key, "."); ok {
		return `{"` + area + `": {"` + leaf + `": ` + value + `}}`
	}
	return `{"` + key + `": ` + value + `}`
}

// otherValues has a value for every setting that is not its default, as a file has
// it and as text.
var otherValues = map[string]struct{ json, text string }{
	"listen":                   {`"127.0.0.1:7799"`, "127.0.0.1:7799"},
	"serve":                    {`["registry", "topic"]`, "registry,topic"},
	"data":                     {`"/tmp/trefoil-data"`, "/tmp/trefoil-data"},
	"restart_grace":            {`"11s"`, "11s"},
	"relay":                    {`false`, "false"},
	"drain_timeout":            {`"50ms"`, "50ms"},
	"registry.health_interval": {`"7s"`, "7s"},
	"registry.health_timeout":  {`"3s"`, "3s"},
	"registry.dial_back":       {`"1s"`, "1s"},
	"registry.health_failures": {`4`, "4"},
	"registry.loss_percent":    {`60`, "60"},
	"registry.tls_ca":          {`"/tmp/ca.pem"`, "/tmp/ca.pem"},
	"registry.loss_hold":       {`"2m"`, "2m"},
	"etcd.endpoints":           {`["http://127.0.0.1:1", "http://127.0.0.1:2"]`, "http://127.0.0.1:1,http://127.0.0.1:2"},
	"etcd.prefix":              {`"/other"`, "/other"},
	"etcd.username":            {`"broker"`, "broker"},
	"etcd.password":            {`"s3cret"`, "s3cret"},
	"topics.sync":              {`"interval=200ms"`, "interval=200ms"},
	"topics.quota":             {`"10GiB"`, "10GiB"},
	"topics.auto":              {`"{\"a.*\":{\"retain\":true}}"`, `{"a.*":{"retain":true}}`},
	"topics.nats":              {`["nats://127.0.0.1:1", "nats://127.0.0.1:2"]`, "nats://127.0.0.1:1,nats://127.0.0.1:2"},
	"topics.nats_credentials":  {`"/tmp/broker.creds"`, "/tmp/broker.creds"},
	"topics.nats_prefix":       {`"other"`, "other"},
	"topics.nats_replicas":     {`3`, "3"},
	"limits.max_frame":         {`"16MiB"`, "16MiB"},
	"limits.max_depth":         {`64`, "64"},
	"limits.max_conns":         {`50`, "50"},
	"limits.accept_rate":       {`100`, "100"},
	"limits.call_rate":         {`50`, "50"},
	"limits.call_burst":        {`7`, "7"},
	"limits.max_queued":        {`"16MiB"`, "16MiB"},
	"limits.max_inbound":       {`"16MiB"`, "16MiB"},
	"limits.write_timeout":     {`"11s"`, "11s"},
	"limits.frame_timeout":     {`"50ms"`, "50ms"},
	"limits.subscriber_queue":  {`"30MiB"`, "30MiB"},
	"limits.streams_per_conn":  {`7`, "7"},
	"limits.max_streams":       {`70`, "70"},
	"limits.stream_window":     {`"4KiB"`, "4KiB"},
	"limits.watcher_queue":     {`"64KiB"`, "64KiB"},
	"limits.max_nodes":         {`1000`, "1000"},
	"limits.topic_memory":      {`"1GiB"`, "1GiB"},
	"limits.scheduled":         {`5000`, "5000"},
	"limits.scheduled_bytes":   {`"2GiB"`, "2GiB"},
	"limits.max_node_bytes":    {`"1MiB"`, "1MiB"},
	"tls.cert":                 {`"/tmp/cert.pem"`, "/tmp/cert.pem"},
	"tls.key":                  {`"/tmp/key.pem"`, "/tmp/key.pem"},
	"tls.client_ca":            {`"/tmp/ca.pem"`, "/tmp/ca.pem"},
	"tls.require_client_cert":  {`true`, "true"},
	"access.policy":            {`"/tmp/policy.json"`, "/tmp/policy.json"},
	"access.tokens":            {`"/tmp/tokens.json"`, "/tmp/tokens.json"},
	"ping.interval":            {`"3s"`, "3s"},
	"ping.misses":              {`6`, "6"},
	"sessions.interval":        {`"3s"`, "3s"},
	"sessions.misses":          {`6`, "6"},
	"sessions.heartbeats":      {`false`, "false"},
	"log.level":                {`"error"`, "error"},
	"log.levels":               {`{"conn": "debug", "server": "off"}`, "conn=debug,server=off"},
	"log.format":               {`"json"`, "json"},
	"log.file":                 {`"/tmp/trefoil.log"`, "/tmp/trefoil.log"},
	"log.max_size":             {`"1MiB"`, "1MiB"},
	"log.max_backups":          {`1`, "1"},
	"log.max_age":              {`"1d"`, "1d"},
	"log.compress":             {`true`, "true"},
	"log.queue_lines":          {`1`, "1"},
	"log.queue_bytes":          {`"4KiB"`, "4KiB"},
	"compression":              {`["zstd", "none"]`, "zstd,none"},
	"compress_above":           {`"1KiB"`, "1KiB"},
}

func TestFaultyConfigurationKeepsTheBrokerFromStarting(t *testing.T) {
	name := configured(t, `{"listen": "127.0.0.1:0", "limit": {}}`)
	t.Setenv("TREFOIL_PING_MISSES", "")
	f := inProcess(t, "", "broker", "--config", name)
	assert.Equal(t, exitUsage, f.code)
	assert.Empty(t, f.out)
	assert.Equal(t, "trefoil broker: "+name+`:1:27: the key "limit" is not known; did you mean "limits"?`+"\n", f.err)

	f = inProcess(t, "", "broker", "--data", t.TempDir(), "--etcd", "http://127.0.0.1:1")
	assert.Equal(t, exitUsage, f.code)
	assert.Contains(t, f.err, "--etcd: data and etcd.endpoints are two places for the same")

	t.Setenv("TREFOIL_PING_MISSES", "many")
	f = inProcess(t, "", "broker", "--listen", "127.0.0.1:0")
	assert.Equal(t, exitUsage, f.code)
	assert.Contains(t, f.err, `TREFOIL_PING_MISSES in the environment: "many" is no whole number`)
	assert.Equal(t, 1, strings.Count(f.err, "\n"))

	f = inProcess(t, "", "broker", "--config", filepath.Join(t.TempDir(), "none"))
	assert.Equal(t, exitFailed, f.code)
	assert.Contains(t, f.err, "none")
}

func TestFaultsOfFlagsNameTheFlag(t *testing.T) {
	for flag, text := range map[string]string{
		"--max-conns": "0", "--log-levels": "rcp=debug", "--frame-timeout": "1ms", "--max-frame": "3", "--log-max-size": "1500KiB",
		"--log-max-age": "36h", "--listen": "nowhere", "--heartbeats": "perhaps", "--topic-sync": "never", "--serve": "kitchen",
	} {
		f := inProcess(t, "", "broker", flag+"="+text)
		assert.Equal(t, exitUsage, f.code, flag)
		assert.Contains(t, f.err, flag)
		assert.Equal(t, 1, strings.Count(f.err, "\n"), f.err)
	}
}

func TestLogFileThatCannotBeOpenedKeepsTheBrokerFromStarting(t *testing.T) {
	dir := t.TempDir()
	f := inProcess(t, "", "broker", "--listen", "127.0.0.1:0", "--log-file", dir)
	assert.Equal(t, exitFailed, f.code)
	assert.Contains(t, f.err, dir)
}

func TestConfigNeedsToBeToldWhatToDo(t *testing.T) {
	for _, args := range [][]string{{"config"}, {"config", "check"}, {"config", "bogus"}, {"config", "show", "x"}} {
		f := inProcess(t, "", args...)
		assert.Equal(t, exitUsage, f.code, args)
		assert.Contains(t, f.err, "--help")
	}
	var commands []string
	for _, c := range (&app{}).configCommand().Commands() {
		commands = append(commands, c.Name())
	}
	slices.Sort(commands)
	assert.Equal(t, []string{"check", "docs", "show"}, commands)
}
