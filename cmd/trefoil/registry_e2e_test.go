//go:build unix

package main

import (
	"encoding/json"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract/registrytest"
	"trefoil/concrete/etcd/etcdtest"
)

// startProviderAt is startProvider at another registry than a broker's.
func startProviderAt(t *testing.T, registry, method, command string) (p *proc, addr string) {
	t.Helper()
	p = start(t, "provide", method, "--exec", command, "--registry", registry)
	addr, ok := strings.CutPrefix(p.line(p.out), "providing "+method+" on ")
	require.True(t, ok)
	return p, addr
}

// Providers and callers meet without a broker.
func TestCallsWithoutABroker(t *testing.T) {
	t.Setenv("TREFOIL_BROKER", "127.0.0.1:1") // nobody is there
	for name, url := range map[string]func() string{
		"zookeeper": func() string {
			return "zookeeper://" + registrytest.StartZooKeeper(t).Addr + "/trefoil?timeout=8s"
		},
		"etcd": func() string { return "etcd://" + etcdtest.Start(t) + "/my/services?timeout=8s" },
	} {
		t.Run(name, func(t *testing.T) {
			registry := url()
			watch := start(t, "discover", "text.upper", "--watch", "--registry", registry)
			require.Equal(t, "watching text.upper", watch.line(watch.out))
			provider, addr := startProviderAt(t, registry, "text.upper", "tr a-z A-Z")
			require.Equal(t, "ONLINE "+addr, watch.line(watch.out))
			assert.Equal(t, finished{exitOK, `{"A":"B"}` + "\n", ""}, do(t, "call", "text.upper", `{"a":"b"}`, "--registry", registry))
			assert.Equal(t, finished{exitOK, addr + "\n", ""}, do(t, "discover", "text.upper", "--registry", registry))
			t.Setenv("TREFOIL_REGISTRY", registry)
			f := do(t, "discover", "text.upper", "--json")
			require.Equal(t, exitOK, f.code, f.err)
			var out struct{ Providers []providerOutput }
			require.NoError(t, json.Unmarshal([]byte(f.out), &out))
			require.Len(t, out.Providers, 1)
			assert.True(t, out.Providers[0].Hello)
			f = do(t, "describe", "text.upper")
			assert.Equal(t, exitOK, f.code, f.err)
			assert.Contains(t, f.out, addr)
			f = do(t, "call", "nobody.there")
			assert.Equal(t, exitFailed, f.code)
			assert.Contains(t, f.err, "nobody provides nobody.there now")

			provider.signal(syscall.SIGTERM)
			require.Equal(t, "CHANGED "+addr+" draining", watch.line(watch.out))
			require.Equal(t, "OFFLINE "+addr, watch.line(watch.out))
			assert.Equal(t, exitOK, provider.wait())
			provider, addr = startProviderAt(t, registry, "text.upper", "cat")
			require.Equal(t, "ONLINE "+addr, watch.line(watch.out))
			provider.signal(syscall.SIGKILL)
			require.Equal(t, "OFFLINE "+addr, watch.line(watch.out), "when its session has ended")
			watch.signal(os.Interrupt)
			assert.Equal(t, exitOK, watch.wait())
		})
	}
}

func TestRegistryURLOfABrokerIsTheBroker(t *testing.T) {
	_, broker := startBroker(t)
	_, addr := startProviderAt(t, "trefoil://"+broker, "echo", "cat")
	assert.Equal(t, finished{exitOK, addr + "\n", ""}, do(t, "discover", "echo", "--registry", "trefoil://"+broker))
	assert.Equal(t, finished{exitOK, "{}\n", ""}, do(t, "call", "echo", "--broker", broker))
}

func TestRegistryThatIsAwayIsSaid(t *testing.T) {
	nobody := freeAddr(t)
	for name, registry := range map[string]string{"ZooKeeper": "zookeeper://" + nobody, "etcd": "etcd://" + nobody} {
		f := inProcess(t, "", "discover", "m", "--registry", registry, "--timeout", "300ms")
		assert.Equal(t, exitFailed, f.code)
		assert.Contains(t, f.err, name+" did not answer in time; is it running at ")
		assert.Contains(t, f.err, nobody)
		for _, way := range []string{"--mode=sync", "--all", "--stream", "--oneway"} {
			f = inProcess(t, "", "call", "m", way, "--registry", registry, "--timeout", "300ms")
			assert.Equal(t, exitFailed, f.code)
			assert.Contains(t, f.err, "the registry has not said who provides the method before the deadline; is "+name+" at ", way)
			assert.Contains(t, f.err, nobody)
		}
		f = inProcess(t, "", "describe", "m", "--registry", registry, "--timeout", "300ms")
		assert.Equal(t, exitFailed, f.code)
		assert.Contains(t, f.err, nobody)
	}
}
