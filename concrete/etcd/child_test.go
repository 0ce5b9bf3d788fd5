//go:build unix

package etcd

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/goleak"

	"trefoil/abstract/registrytest"
	"trefoil/concrete/etcd/etcdtest"
)

// childEnv tells the test binary to be an etcd: the directory of its data, and behind a
// colon its address.
const (
	childDir  = "TREFOIL_ETCD_CHILD_DIR"
	childAddr = "TREFOIL_ETCD_CHILD_ADDR"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		beEtcd(dir, os.Getenv(childAddr))
		return
	}
	goleak.VerifyTestMain(m)
}

// beEtcd serves until standard input ends, as it does when the test dies.
func beEtcd(dir, addr string) {
	ec := etcdtest.Config(dir, addr)
	e, err := embed.StartEtcd(ec)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	<-e.Server.ReadyNotify()
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// process is an etcd in a process of its own, which can be stopped and killed.
type process struct {
	t         testing.TB
	dir, addr string
	cmd       *exec.Cmd
	stdin     io.Closer
}

func startProcess(t *testing.T) *process {
	p := &process{t: t, dir: t.TempDir(), addr: registrytest.FreeAddr(t)}
	p.run()
	t.Cleanup(p.kill)
	return p
}

func (p *process) run() {
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), childDir+"="+p.dir, childAddr+"="+p.addr)
	out, err := p.cmd.StdoutPipe()
	require.NoError(p.t, err)
	p.stdin, err = p.cmd.StdinPipe()
	require.NoError(p.t, err)
	require.NoError(p.t, p.cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(p.t, err)
	require.Equal(p.t, "ready\n", line)
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	_ = p.stdin.Close()
}

func (p *process) signal(s syscall.Signal) { require.NoError(p.t, p.cmd.Process.Signal(s)) }
