//go:build unix

package registrytest

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// zooKeeperJar is where Debian's package "zookeeper" puts its library; it names the others
// that it needs.
const zooKeeperJar = "/usr/share/java/zookeeper.jar"

// ZooKeeper is a real ZooKeeper server in a process of its own, alone in its cluster. It
// ends with the test.
type ZooKeeper struct {
	Addr string
	dir  string
	cmd  *exec.Cmd
}

// StartZooKeeper starts a server on a free port of the loopback. Where there is no
// ZooKeeper the test is skipped and says so, or fails when TREFOIL_REQUIRE_ALL is set.
func StartZooKeeper(t testing.TB) *ZooKeeper {
	t.Helper()
	if _, err := os.Stat(zooKeeperJar); err != nil {
		notTested(t, "there is no "+zooKeeperJar+": apt-get install zookeeper brings it")
	}
	if _, err := exec.LookPath("java"); err != nil {
		notTested(t, "there is no java: apt-get install default-jre-headless brings it")
	}
	z := &ZooKeeper{Addr: FreeAddr(t), dir: t.TempDir()}
	_, port, _ := net.SplitHostPort(z.Addr)
	config := fmt.Sprintf("tickTime=200\ninitLimit=10\nsyncLimit=5\ndataDir=%s/data\nclientPort=%s\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n"+
		"maxClientCnxns=0\nminSessionTimeout=400\nmaxSessionTimeout=60000\n4lw.commands.whitelist=*\n", z.dir, port)
	require.NoError(t, os.WriteFile(filepath.Join(z.dir, "zoo.cfg"), []byte(config), 0o600))
	z.Run(t)
	t.Cleanup(z.Kill)
	return z
}

// notTested ends the test loudly: it shows nothing then.
func notTested(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("TREFOIL_REQUIRE_ALL") != "" {
		t.Fatal(why)
	}
	t.Skip("NOT TESTED on a real ZooKeeper: " + why)
}

// Run starts the server again, on what it has kept.
func (z *ZooKeeper) Run(t testing.TB) {
	z.cmd = exec.Command("java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
		"-cp", z.dir+":"+zooKeeperJar, "org.apache.zookeeper.server.quorum.QuorumPeerMain", filepath.Join(z.dir, "zoo.cfg"))
	z.cmd.Stdout, z.cmd.Stderr = io.Discard, io.Discard
	require.NoError(t, z.cmd.Start())
	require.Eventually(t, z.serves, 2*time.Minute, 50*time.Millisecond, "ZooKeeper does not serve")
}

// serves asks the server whether it does: it listens earlier.
func (z *ZooKeeper) serves() bool {
	c, err := net.DialTimeout("tcp", z.Addr, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte("srvr")); err != nil {
		return false
	}
	text, _ := io.ReadAll(c)
	return strings.Contains(string(text), "Mode:")
}

// Kill ends the server without a word.
func (z *ZooKeeper) Kill() {
	_ = z.cmd.Process.Kill()
	_ = z.cmd.Wait()
}

// Stop stops the server where it is, and Continue lets it go on.
func (z *ZooKeeper) Stop(t testing.TB) { require.NoError(t, z.cmd.Process.Signal(syscall.SIGSTOP)) }

// Continue is Stop's end.
func (z *ZooKeeper) Continue(t testing.TB) {
	require.NoError(t, z.cmd.Process.Signal(syscall.SIGCONT))
}
