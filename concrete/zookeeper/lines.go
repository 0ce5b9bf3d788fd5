package zookeeper

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
)

// line is a link for reading and watching. When it is lost it is thrown away, with its
// session and all its watches, and the next one reads everything again: nothing that
// happened in between can be missed.
type line struct {
	*link
	up, lost  chan struct{} // closed when it has a session, and has lost its connection after that
	once      sync.Once
	believing time.Time // until then, providers that are missing are believed in
}

// lines is the line there is.
type lines struct {
	mu      sync.Mutex
	begun   bool
	current *line         // nil: there is none now
	there   chan struct{} // closed while there is one
}

func (ls *lines) init() { ls.there = make(chan struct{}) }

// set makes l the line; nil: there is none for now.
func (ls *lines) set(l *line) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.current = l
	if l != nil {
		close(ls.there)
	} else {
		ls.there = make(chan struct{})
	}
}

// get waits for a line; nil: ctx has ended.
func (ls *lines) get(ctx context.Context) *line {
	for {
		ls.mu.Lock()
		l, there := ls.current, ls.there
		ls.mu.Unlock()
		if l != nil {
			return l
		}
		select {
		case <-there:
		case <-ctx.Done():
			return nil
		}
	}
}

// close ends the line there is, so that nobody waits for an answer over it.
func (ls *lines) close() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.current != nil {
		ls.current.lose()
	}
}

func (l *line) lose() { l.once.Do(func() { close(l.lost) }) }

// wayBack is what a provider takes to come back beside its session's timeout: the client
// library waits a second before each round of its servers.
const wayBack = 3 * time.Second

// hold is how long providers that are missing now are believed in. They may have lost
// their sessions with the same server as we our connection, and be on their way back.
func (l *line) hold() time.Duration { return max(0, time.Until(l.believing)) }

// keepLine keeps a line, until Close.
func (r *Registry) keepLine() {
	for first := true; r.ctx.Err() == nil; first = false {
		l := r.openLine()
		if l == nil {
			continue
		}
		if !first {
			l.believing = time.Now().Add(r.cfg.SessionTimeout + wayBack)
		}
		r.lines.set(l)
		select {
		case <-l.lost:
		case <-r.ctx.Done():
		}
		r.lines.set(nil)
		r.ended.Go(l.close) // which may take a moment
		pause(r.ctx, rand.N(2*retryPause))
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// openLine returns a line that has a session; nil: it was lost again, or Close was called.
func (r *Registry) openLine() *line {
	l := &line{up: make(chan struct{}), lost: make(chan struct{})}
	var up sync.Once
	link, err := r.connect(func(of *link, ev zk.Event) {
		switch {
		case ev.Type != zk.EventSession:
			r.changed(ev.Path)
		case ev.State == zk.StateHasSession:
			of.wires.stopMaking()
			up.Do(func() { close(l.up) })
		case ev.State == zk.StateDisconnected && of.wires.isClosed():
			l.lose()
		}
	})
	if err != nil {
		r.cfg.Logger.Warn("no connection to ZooKeeper", "err", err)
		pause(r.ctx, r.cfg.SessionTimeout/10)
		return nil
	}
	l.link = link
	defer context.AfterFunc(r.ctx, link.wires.close)() // or the server might let us wait
	select {
	case <-l.up:
		err = r.freshen(l)
	case <-r.ctx.Done():
		err = r.ctx.Err()
	}
	if err != nil {
		l.close()
		pause(r.ctx, retryPause)
		return nil
	}
	return l
}

// freshen says who we are, and brings the server up to date: it may be one that is behind
// the one that we had before.
func (r *Registry) freshen(l *line) error {
	if err := l.introduce(&r.cfg); err != nil {
		return err
	}
	_, err := l.conn.Sync("/")
	return err
}
