//go:build unix

package examples_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract/registrytest"
	"trefoil/client"
	"trefoil/concrete/zookeeper"
	"trefoil/server"
)

// TestUserServiceWithItsFourNotions runs the programs of the example: once through the
// registry, and once at the provider's address.
func TestUserServiceWithItsFourNotions(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	broker := server.NewBroker("127.0.0.1:0", server.WithTransport(server.StandardNet)) // whose goroutines all end
	require.NoError(t, broker.Listen())
	go broker.Serve()
	defer broker.Shutdown(context.WithoutCancel(ctx))
	conn, err := client.Dial(ctx, broker.Addr().String())
	require.NoError(t, err)
	defer conn.Close()

	args := []string{"-i", config(t), "--addresses", broker.Addr().String()}
	end := provide(ctx, t, args...)
	found, err := client.NewDiscoveryClient(conn).WaitFor(ctx, "user.UserService.Login")
	require.NoError(t, err)
	require.Len(t, found, 1)

	caller := build(t, "./docs/examples/userservice/client")
	assert.Equal(t, read(t, "docs/examples/userservice/output.txt"), output(ctx, t, caller, args...))
	again := output(ctx, t, caller, append(args, "--provider", found[0].Host.String())...)
	assert.Contains(t, again, "friends:  [bob kim]")

	// Somebody without a stub gets the same, and hears which parameter is wrong.
	calls := client.NewRpcClient(client.NewDiscoveryClient(conn))
	defer calls.Close()
	var login map[string]any
	require.NoError(t, calls.Call(ctx, "user.UserService.Login", map[string]string{"name": "eve", "pwd": "secret"}, &login))
	assert.Equal(t, map[string]any{"success": true, "result": map[string]any{"errcode": json.Number("0"), "errmsg": ""}}, login)
	err = calls.Call(ctx, "user.UserService.Login", map[string]any{"name": 1, "pwd": ""}, nil)
	assert.ErrorContains(t, err, `parameter "name" of user.UserService.Login must be string, not integer`)

	end()
}

// TestUserServiceOverZooKeeper runs the same programs with a real ZooKeeper as registry.
func TestUserServiceOverZooKeeper(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	server := registrytest.StartZooKeeper(t)
	registry, err := zookeeper.New(zookeeper.Config{Servers: []string{server.Addr}})
	require.NoError(t, err)
	defer registry.Close()
	args := []string{"-i", config(t), "--registry", "zookeeper", "--addresses", server.Addr}
	end := provide(ctx, t, args...)
	require.Eventually(t, func() bool {
		list, err := registry.Discover(ctx, "user.UserService.GetFriendLists") // the last of them
		return err == nil && len(list) == 1
	}, patience, 10*time.Millisecond)
	assert.Equal(t, read(t, "docs/examples/userservice/output.txt"), output(ctx, t, build(t, "./docs/examples/userservice/client"), args...))
	end()
	list, err := registry.Discover(ctx, "user.UserService.Login")
	require.NoError(t, err)
	assert.Empty(t, list, "it has taken its leave")
}

func config(t *testing.T) string {
	t.Helper()
	name, err := filepath.Abs("userservice/config.json")
	require.NoError(t, err)
	return name
}

// provide runs the provider until end is called, which asks it to stop.
func provide(ctx context.Context, t *testing.T, args ...string) (end func()) {
	t.Helper()
	var logged bytes.Buffer
	provider := exec.CommandContext(ctx, build(t, "./docs/examples/userservice/server"), args...)
	provider.Stderr = &logged
	provider.WaitDelay = patience
	require.NoError(t, provider.Start())
	return func() {
		require.NoError(t, provider.Process.Signal(syscall.SIGTERM))
		require.NoError(t, provider.Wait(), logged.String())
		assert.Contains(t, logged.String(), "level=INFO msg=serving")
	}
}

// output is what a program prints that must end well.
func output(ctx context.Context, t *testing.T, program string, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = patience
	require.NoError(t, cmd.Run(), stderr.String())
	return stdout.String()
}
