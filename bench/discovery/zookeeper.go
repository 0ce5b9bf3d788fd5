package discovery

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"

	"trefoil/bench/internal/harness"
	"trefoil/bench/internal/program"
)

// zooJar is where Debian's package "zookeeper" puts its library; the jar names
// the others that it needs.
const zooJar = "/usr/share/java/zookeeper.jar"

// serveZooKeeper starts one server on files in memory and without fsync. Short
// ticks make the shortest session 400 ms.
func serveZooKeeper(ctx context.Context, _ json.RawMessage) (*harness.Served, error) {
	java, err := program.Find("java", "default-jre-headless")
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(zooJar); err != nil {
		return nil, harness.Absent("there is no %s; apt-get install zookeeper brings it", zooJar)
	}
	addr, port, err := program.FreePort()
	if err != nil {
		return nil, err
	}
	dir, err := program.TempDir("bench-zookeeper-")
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "zoo.cfg")
	settings := fmt.Sprintf("tickTime=200\ndataDir=%s\nclientPortAddress=127.0.0.1\nclientPort=%s\nmaxClientCnxns=0\n"+
		"maxSessionTimeout=120000\nforceSync=no\nadmin.enableServer=false\n", dir, port)
	if err := os.WriteFile(config, []byte(settings), 0o600); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	served, err := program.Serve(ctx, dir, addr, java, "-Xmx256m", "-Dzookeeper.forceSync=no", "-Dzookeeper.skipACL=yes",
		"-cp", dir+":"+zooJar, "org.apache.zookeeper.server.quorum.QuorumPeerMain", config)
	if err != nil {
		return nil, err
	}
	if err := zooRuns(ctx, addr); err != nil {
		served.Stop()
		return nil, err
	}
	return served, nil
}

// zooRuns waits until the server serves: it listens earlier.
func zooRuns(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for !zooServes(ctx, addr) {
		if err := wait(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("ZooKeeper is not ready: %w", err)
		}
	}
	return nil
}

// zooServes asks the server by its command "srvr" what it is; one that does not
// serve yet says so.
func zooServes(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond) // too early a question is never answered
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if _, err := c.Write([]byte("srvr")); err != nil {
		return false
	}
	answer, err := io.ReadAll(io.LimitReader(c, 4<<10))
	return err == nil && bytes.Contains(answer, []byte("Mode: standalone"))
}

// zooSession is one ZooKeeper session.
type zooSession struct {
	conn   *zk.Conn
	closed sync.Once
}

type noLog struct{}

func (noLog) Printf(string, ...any) {}

func dialZooKeeper(ctx context.Context, addr string, patience Patience) (Session, error) {
	timeout := 400 * time.Millisecond
	if patience == Patient {
		timeout = minute
	}
	conn, events, err := zk.Connect([]string{addr}, timeout, zk.WithLogger(noLog{}), zk.WithLogInfo(false))
	if err != nil {
		return nil, err
	}
	has := make(chan struct{})
	go func() {
		var once sync.Once
		for ev := range events { // to the end: the library panics when nobody reads them
			if ev.State == zk.StateHasSession {
				once.Do(func() { close(has) })
			}
		}
	}()
	select {
	case <-has:
		return &zooSession{conn: conn}, nil
	case <-ctx.Done():
		conn.Close()
		return nil, ctx.Err()
	}
}

const zooRoot = "/bench"

func (s *zooSession) Prepare(_ context.Context, services ...string) error {
	for _, node := range append([]string{""}, services...) {
		path := zooRoot
		if node != "" {
			path += "/" + node
		}
		_, err := s.conn.Create(path, nil, zk.FlagPersistent, zk.WorldACL(zk.PermAll))
		if err != nil && !errors.Is(err, zk.ErrNodeExists) {
			return err
		}
	}
	return nil
}

func (s *zooSession) Register(_ context.Context, service string, port int) error {
	path := fmt.Sprintf("%s/%s/127.0.0.1:%d", zooRoot, service, port)
	_, err := s.conn.Create(path, []byte(providerData), zk.FlagEphemeral, zk.WorldACL(zk.PermAll))
	return err
}

func (s *zooSession) Lookup(_ context.Context, service string) (int, error) {
	names, _, err := s.conn.Children(zooRoot + "/" + service)
	return len(names), err
}

// Watch sets a watch, which fires once, and sets it again with each reading of
// the children, as every ZooKeeper client does.
func (s *zooSession) Watch(_ context.Context, service string, fn func(int, bool)) error {
	path := zooRoot + "/" + service
	names, _, changed, err := s.conn.ChildrenW(path)
	if err != nil {
		return err
	}
	go func() {
		known := setOf(names)
		for (<-changed).Err == nil { // with an error the session has ended
			names, _, changed, err = s.conn.ChildrenW(path)
			if err != nil {
				return
			}
			now := setOf(names)
			tellDifference(known, now, fn)
			known = now
		}
	}()
	return nil
}

func setOf(names []string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, n := range names {
		set[n] = true
	}
	return set
}

func tellDifference(before, after map[string]bool, fn func(port int, online bool)) {
	tell := func(from, other map[string]bool, online bool) {
		for name := range from {
			if port, err := portOf(name); err == nil && !other[name] {
				fn(port, online)
			}
		}
	}
	tell(before, after, false)
	tell(after, before, true)
}

func (s *zooSession) Close(context.Context) error {
	s.closed.Do(s.conn.Close)
	return nil
}
