package client_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/message"
)

// savedFile is the only file in dir.
func savedFile(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	return files[0]
}

// A client that starts while the broker is away calls the providers of the last time.
func TestCallsWithListsOfTheLastTime(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lists")
	inWorld(t, func(w *world) {
		b := w.broker()
		p := w.provider(host(1), client.NewRegistryClient(w.dial()))
		first := w.dial(client.WithListsIn(dir))
		_, err := client.NewDiscoveryClient(first).Discover(ctx, "who")
		require.NoError(w, err)
		require.NoError(w, first.Close()) // writes at once
		b.stop()

		conn := client.Open("broker", client.WithListsIn(dir), client.WithTransport(w.net.Client), client.WithLogger(quiet))
		defer conn.Close()
		d := client.NewDiscoveryClient(conn)
		rpc := w.rpc(d)
		begun := time.Now()
		var who string
		require.NoError(w, rpc.Call(ctx, "who", nil, &who))
		assert.Equal(w, host(1), who)
		assert.LessOrEqual(w, time.Since(begun), time.Second)
		assert.Len(w, d.Held("who"), 1)

		b = w.broker()
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Empty(w, d.Held("who"), "the broker has answered")
		require.NoError(w, rpc.Call(ctx, "who", nil, &who))
		p.stop()
		synctest.Wait()
		begun = time.Now()
		assert.ErrorIs(w, rpc.Call(ctx, "who", nil, nil), abstract.ErrMethodNotFound)
		b.stop()
		assert.ErrorIs(w, rpc.Call(ctx, "who", nil, nil), abstract.ErrMethodNotFound, "nobody provides it: that is known, and no reason to wait")
		assert.Zero(w, time.Since(begun))
	})
}

// Without an answer, and without a list of the last time, nothing is known.
func TestCallWaitsForTheBrokerThatHasNeverAnswered(t *testing.T) {
	inWorld(t, func(w *world) {
		conn := client.Open("broker", client.WithTransport(w.net.Client), client.WithLogger(quiet))
		defer conn.Close()
		rpc := w.rpc(client.NewDiscoveryClient(conn))
		call := rpc.CallFuture(ctx, "who", nil)
		time.Sleep(2 * time.Second)
		w.broker()
		w.provider(host(1), client.NewRegistryClient(w.dial()))
		assert.NotErrorIs(w, call.Wait(ctx, nil), abstract.ErrTimeout)
	})
}

func TestCallSaysThatTheBrokerHasNotAnswered(t *testing.T) {
	inWorld(t, func(w *world) {
		conn := client.Open("broker", client.WithTransport(w.net.Client), client.WithLogger(quiet))
		defer conn.Close()
		err := w.rpc(client.NewDiscoveryClient(conn)).Call(ctx, "who", nil, nil)
		require.ErrorIs(w, err, abstract.ErrUnavailable)
		assert.ErrorContains(w, err, "the registry has not said who provides the method")
	})
}

func TestListsAreSaved(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := newScripted(t)
		b.knows(5, 1)
		b.hosts[0] = message.ProviderHost{
			Host: abstract.Host{IP: "h", Port: 1}, Instance: "i", Hello: true,
			Traits: abstract.Traits{Weight: 7, Zone: "z", Version: "v", Tags: "a,b", Meta: `{"k":"v"}`, State: abstract.Unhealthy, Relay: true},
		}
		b.start()
		conn := b.dial(client.WithListsIn(dir))
		s := follow(client.NewDiscoveryClient(conn))
		synctest.Wait()
		want := s.last.List
		for i := range 100 {
			b.notice(uint64(6+i), abstract.ServiceOnline, 1, abstract.Traits{Weight: 7, Zone: "z", Version: "v", Tags: "a,b", Meta: `{"k":"v"}`, State: abstract.Unhealthy, Relay: true})
		}
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		info, err := os.Stat(savedFile(t, dir))
		require.NoError(t, err)
		if filepath.Separator == '/' {
			assert.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "for its owner only")
		}
		b.stop()

		again := b.open(client.WithListsIn(dir))
		s = follow(client.NewDiscoveryClient(again))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		want[0].Instance = "" // as the notices said
		assert.Equal(t, want, s.last.List, "with all that it says of itself")
		assert.Equal(t, want, s.last.Held)
	})
}

// A broker that answers is believed, and not asked to compete with an old list.
func TestAnswerComesBeforeTheSavedList(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := newScripted(t)
		b.knows(5, 1, 2, 3)
		b.start()
		follow(client.NewDiscoveryClient(b.dial(client.WithListsIn(dir))))
		time.Sleep(2 * time.Second)
		b.knows(6, 4)
		s := follow(client.NewDiscoveryClient(b.dial(client.WithListsIn(dir))))
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, []int{4}, s.list())
		assert.Equal(t, 1, s.calls)
	})
}

// Two processes share a directory: neither loses the other's methods.
func TestSavedListsOfOthersStay(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := newScripted(t)
		b.knows(5, 1)
		b.start()
		for _, method := range []string{"m", "n"} {
			conn := b.dial(client.WithListsIn(dir))
			_, err := client.NewDiscoveryClient(conn).Discover(ctx, method)
			require.NoError(t, err)
			require.NoError(t, conn.Close())
		}
		b.stop()
		d := client.NewDiscoveryClient(b.open(client.WithListsIn(dir)))
		for _, method := range []string{"m", "n"} {
			list, err := d.WaitFor(ctx, method)
			require.NoError(t, err)
			assert.Equal(t, []int{1}, ports(list), method)
		}
	})
}

func TestDamagedListsAreNotUsed(t *testing.T) {
	for name, text := range map[string]string{
		"empty":               "",
		"no JSON":             "{",
		"cut off":             `{"version":1,"broker":"broker","methods":{"m":[{"host":"h","po`,
		"of another version":  `{"version":2,"methods":{"m":[{"host":"h","port":1}]}}`,
		"without a host":      `{"version":1,"methods":{"m":[{"port":1}]}}`,
		"with a wrong port":   `{"version":1,"methods":{"m":[{"host":"h","port":65536}]}}`,
		"with a host twice":   `{"version":1,"methods":{"m":[{"host":"h","port":1},{"host":"h","port":1}]}}`,
		"in an unknown state": `{"version":1,"methods":{"m":[{"host":"h","port":1,"state":"asleep"}]}}`,
		"too long":            `{"version":1,"methods":{"m":[{"host":"h","port":1}]}}` + strings.Repeat(" ", 5<<20),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				b := newScripted(t)
				b.knows(5, 1)
				b.start()
				conn := b.dial(client.WithListsIn(dir))
				_, err := client.NewDiscoveryClient(conn).Discover(ctx, "m")
				require.NoError(t, err)
				require.NoError(t, conn.Close())
				b.stop()
				file := savedFile(t, dir)
				require.NoError(t, os.WriteFile(file, []byte(text), 0o600))

				var log bytes.Buffer
				conn = client.Open("broker", client.WithListsIn(dir), client.WithTransport(b.net.Client), client.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
				defer conn.Close()
				s := follow(client.NewDiscoveryClient(conn))
				time.Sleep(time.Minute)
				synctest.Wait()
				assert.Zero(t, s.calls)
				assert.Contains(t, log.String(), "saved lists of providers not used")
				b.start()
				time.Sleep(time.Minute)
				synctest.Wait()
				assert.Equal(t, []int{1}, s.list())
				saved, err := os.ReadFile(file)
				require.NoError(t, err)
				assert.Contains(t, string(saved), `"port":1`, "it is replaced")
			})
		})
	}
}
