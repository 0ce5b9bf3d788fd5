package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRegistryURLs(t *testing.T) {
	for text, want := range map[string]registryURL{
		"trefoil://h:1":       {scheme: "trefoil", servers: []string{"h:1"}},
		"trefoil://h":         {scheme: "trefoil", servers: []string{"h:7700"}},
		"zookeeper://a,b:2":   {scheme: "zookeeper", servers: []string{"a:2181", "b:2"}},
		"zookeeper://a/x/y/":  {scheme: "zookeeper", servers: []string{"a:2181"}, path: "/x/y"},
		"etcd://[::1]:2379":   {scheme: "etcd", servers: []string{"[::1]:2379"}},
		"etcd://a?timeout=5s": {scheme: "etcd", servers: []string{"a:2379"}, timeout: 5 * time.Second},
		"zookeeper://me:p%40s%3Aw@a:1,b:2/r": {
			scheme: "zookeeper", servers: []string{"a:1", "b:2"}, path: "/r", username: "me", password: "p@s:w",
		},
		"etcd+tls://a:1?ca=/ca.pem&cert=/c.pem&key=/k.pem": {
			scheme: "etcd", secure: true, servers: []string{"a:1"}, ca: "/ca.pem", cert: "/c.pem", key: "/k.pem",
		},
	} {
		have, err := parseRegistry(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, have, text)
		assert.NotContains(t, have.String(), "p@s:w")
	}
}

func TestRegistryURLsThatAreNone(t *testing.T) {
	for text, says := range map[string]string{
		"h:1":                       "is no URL",
		"consul://h:1":              `"consul" is no registry`,
		"http://h:1":                `"http" is no registry`,
		"trefoil+tls://h:1":         "is no registry",
		"zookeeper://":              "is no address",
		"zookeeper://a,,b":          "is no address",
		"zookeeper://a:b":           "is no address",
		"zookeeper://a:99999":       "is no address",
		"etcd://u@h":                "NAME:PASSWORD",
		"etcd://u:%zz@h":            "NAME:PASSWORD",
		"etcd://h?timeout=x":        "is no time",
		"etcd://h?timeout=-1s":      "is no time",
		"etcd://h?ttl=1s":           `"ttl" is not known`,
		"etcd://h?ca=f":             "etcd+tls://",
		"etcd+tls://h?cert=f":       "belong together",
		"etcd://h?%zz":              "NAME=VALUE",
		"trefoil://h:1,i:2":         "nothing else",
		"trefoil://h:1/root":        "nothing else",
		"trefoil://u:secret@h:1":    "nothing else",
		"zookeeper://u:secret@h:xx": "is no address",
	} {
		f := inProcess(t, "", "discover", "m", "--registry", text)
		assert.Equal(t, exitUsage, f.code, text)
		assert.Contains(t, f.err, says, text)
		assert.NotContains(t, f.err, "secret", text)
	}
}

func TestFlagsThatOnlyABrokerUnderstands(t *testing.T) {
	const zk = "zookeeper://127.0.0.1:1"
	for _, args := range [][]string{
		{"provide", "m", "--exec", "cat", "--registry", zk, "--ttl", "5s"},
		{"provide", "m", "--exec", "cat", "--registry", zk, "--broker", "h:1"},
		{"call", "m", "--registry", zk, "--relay"},
		{"call", "m", "--registry", zk, "--direct", "h:1"},
		{"call", "m", "--registry", zk, "--lists-in", t.TempDir()},
		{"discover", "m", "--registry", zk, "--lists-in", t.TempDir()},
		{"discover", "m", "--registry", zk, "--watch", "--broker", "h:1"},
	} {
		f := inProcess(t, "", args...)
		assert.Equal(t, exitUsage, f.code, "%v: %s", args, f.err)
	}
}
