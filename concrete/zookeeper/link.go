package zookeeper

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
)

// link is a client of the library with its session, and what it watches.
type link struct {
	conn   *zk.Conn
	events <-chan zk.Event // closed when the library has ended
	wires  *wires

	mu    sync.Mutex
	armed map[watch]struct{}
}

// watch is something that the server tells of, once.
type watch struct {
	path string
	kind watchKind
}

type watchKind uint8

const (
	ofChildren  watchKind = iota
	ofData                // of a node that is there
	ofExistence           // of a node that is not
)

// connect makes a link, which connects in the background. told is called by the
// library's own goroutines and must not block.
func (r *Registry) connect(told func(*link, zk.Event)) (*link, error) {
	l := &link{
		armed: make(map[watch]struct{}),
		wires: &wires{under: r.dial, patience: max(r.cfg.SessionTimeout/3, time.Second)},
	}
	ready := make(chan struct{}) // closed when l is complete
	conn, events, err := zk.Connect(r.cfg.Servers, r.cfg.SessionTimeout,
		zk.WithDialer(l.wires.dial), zk.WithHostProvider(new(servers)), zk.WithMaxBufferSize(maxAnswer),
		zk.WithLogInfo(false), zk.WithLogger(logger{r.cfg.Logger}), zk.WithEventCallback(func(ev zk.Event) {
			<-ready
			l.disarm(ev)
			told(l, ev)
		}))
	if err != nil {
		return nil, fmt.Errorf("connect to ZooKeeper: %w", err)
	}
	l.conn, l.events = conn, events
	close(ready)
	return l, nil
}

// maxAnswer is the longest answer that is taken from a server: the names of some hundred
// thousand providers of one service.
const maxAnswer = 64 << 20

// logger passes on what the library says.
type logger struct{ to *slog.Logger }

// Printf is zk.Logger's.
func (l logger) Printf(format string, args ...any) {
	l.to.Debug("zookeeper client", "err", fmt.Sprintf(format, args...))
}

// introduce says who we are, if there is anything to say. The library says it again on
// every later connection.
func (l *link) introduce(cfg *Config) error {
	if cfg.Username == "" {
		return nil
	}
	return l.conn.AddAuth("digest", []byte(cfg.Username+":"+cfg.Password))
}

// introduceWithin is introduce that tries again until it has worked or ctx ends.
func (l *link) introduceWithin(ctx context.Context, cfg *Config) {
	for l.introduce(cfg) != nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(retryPause):
		}
	}
}

// retryPause is between two attempts at what failed with the connection.
const retryPause = 50 * time.Millisecond

// close ends the session, when the server can be told so, and waits for the library.
func (l *link) close() {
	if l.conn.State() != zk.StateHasSession {
		l.wires.close()
	}
	l.conn.Close()
	l.wires.close()
	for range l.events {
	}
}

// arm says that a watch is about to be set. False: it stands already, and is not to be
// set again, as the library keeps each until it fires.
func (l *link) arm(path string, kind watchKind) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := watch{path, kind}
	if _, ok := l.armed[w]; ok {
		return false
	}
	l.armed[w] = struct{}{}
	return true
}

// disarmed says that a watch could not be set.
func (l *link) disarmed(path string, kind watchKind) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.armed, watch{path, kind})
}

// disarm takes the watches of an event for fired.
func (l *link) disarm(ev zk.Event) {
	var kinds []watchKind
	switch ev.Type {
	case zk.EventNodeCreated:
		kinds = []watchKind{ofExistence}
	case zk.EventNodeDataChanged:
		kinds = []watchKind{ofData, ofExistence}
	case zk.EventNodeChildrenChanged:
		kinds = []watchKind{ofChildren}
	case zk.EventNodeDeleted, zk.EventNotWatching:
		kinds = []watchKind{ofChildren, ofData, ofExistence}
	}
	for _, k := range kinds {
		l.disarmed(ev.Path, k)
	}
}

// children lists a node's children, and sees to it that their next change is told.
func (l *link) children(path string) ([]string, error) {
	if !l.arm(path, ofChildren) {
		names, _, err := l.conn.Children(path)
		return names, err
	}
	names, _, _, err := l.conn.ChildrenW(path)
	if err != nil {
		l.disarmed(path, ofChildren)
	}
	return names, err
}

// data reads a node, and sees to it that its next change is told.
func (l *link) data(path string) ([]byte, *zk.Stat, error) {
	if !l.arm(path, ofData) {
		return l.conn.Get(path)
	}
	data, stat, _, err := l.conn.GetW(path)
	if err != nil {
		l.disarmed(path, ofData)
	}
	return data, stat, err
}

// awaits sees to it that a node's creation is told. True: it is there already.
func (l *link) awaits(path string) (bool, error) {
	if !l.arm(path, ofExistence) {
		there, _, err := l.conn.Exists(path)
		return there, err
	}
	there, _, _, err := l.conn.ExistsW(path)
	if err != nil {
		l.disarmed(path, ofExistence)
	}
	return there, err
}
