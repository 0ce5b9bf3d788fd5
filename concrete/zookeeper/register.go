package zookeeper

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"

	"trefoil/abstract"
	"trefoil/concrete/internal/roster"
)

// tasks is what is to be looked at again.
type tasks struct {
	mu     sync.Mutex
	all    bool
	places map[string]struct{}
	some   chan struct{} // holds an element when there is something
}

func (t *tasks) init() { t.places, t.some = make(map[string]struct{}), make(chan struct{}, 1) }

// everything says that all that was registered is to be looked at.
func (t *tasks) everything() {
	t.mu.Lock()
	t.all = true
	t.mu.Unlock()
	t.wake()
}

// place says that one place is to be looked at.
func (t *tasks) place(path string) {
	t.mu.Lock()
	t.places[path] = struct{}{}
	t.mu.Unlock()
	t.wake()
}

func (t *tasks) wake() {
	select {
	case t.some <- struct{}{}:
	default:
	}
}

func (t *tasks) take() (all bool, places map[string]struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all, places = t.all, t.places
	t.all, t.places = false, make(map[string]struct{})
	return all, places
}

// onOwnEvent is told by the library what happens to the session of the registrations and
// to the places.
func (r *Registry) onOwnEvent(_ *link, ev zk.Event) {
	switch {
	case ev.Type == zk.EventSession && ev.State == zk.StateHasSession:
		r.tasks.everything()
	case ev.Type != zk.EventSession:
		r.tasks.place(ev.Path)
	}
}

// keep registers again what is wanted, whenever there is a session, and removes what
// could not be removed before. It looks at everything now and then, too: somebody may have
// removed a node, and when a connection is made again the library may lose what the watch
// of a place had to tell.
func (r *Registry) keep() {
	const looks = 3 // session timeouts
	ticker := time.NewTicker(looks * r.cfg.SessionTimeout)
	defer ticker.Stop()
	var said string
	for {
		var (
			all    bool
			places map[string]struct{}
		)
		select {
		case <-r.ctx.Done():
			return
		case <-ticker.C:
			all = true
		case <-r.tasks.some:
			all, places = r.tasks.take()
		}
		err := r.catchUp(all, places)
		again := r.cfg.SessionTimeout / 10
		if refused(err) || errors.Is(err, roster.ErrTaken) {
			again = r.cfg.SessionTimeout
		}
		switch {
		case r.ctx.Err() != nil:
			return
		case err == nil:
			said = ""
			continue
		case refused(err) && err.Error() != said:
			r.cfg.Logger.Error("not registered any more; trying again", "err", err)
		case err.Error() != said:
			r.cfg.Logger.Warn("not registered again yet, trying again", "err", err)
		}
		said = err.Error()
		time.AfterFunc(again, r.tasks.everything)
	}
}

// catchUp settles everything, or some places.
func (r *Registry) catchUp(all bool, places map[string]struct{}) error {
	if !all {
		var failed error
		for place := range places {
			failed = errors.Join(failed, r.settlePlace(place))
		}
		return failed
	}
	paths := make(map[string]string) // with their places
	r.mu.Lock()
	for place, at := range r.wanted {
		for path := range at {
			paths[path] = place
		}
	}
	for path := range r.unwanted {
		paths[path] = placeOf(path)
	}
	r.mu.Unlock()
	var failed error
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		err := r.settleBoth(path, paths[path])
		failed = errors.Join(failed, err)
		if err != nil && !refused(err) && !errors.Is(err, roster.ErrTaken) { // there is no connection
			break
		}
	}
	return failed
}

// settle makes a provider's node, and its method's place, what is wanted of them.
func (r *Registry) settle(path, method string) error {
	return r.settleBoth(path, r.placePath(method))
}

// settleBoth gives the place away before the node goes, so that who reads only the place
// is not sent to somebody who has gone; and takes it when the node stands.
func (r *Registry) settleBoth(path, place string) error {
	r.mu.Lock()
	_, going := r.unwanted[path]
	r.mu.Unlock()
	if going {
		if err := r.settlePlace(place); err != nil {
			return err
		}
		return r.settleNode(path)
	}
	if err := r.settleNode(path); err != nil {
		return err
	}
	return r.settlePlace(place)
}

// settleNode makes a provider's node what is wanted of it: there, in our session and with
// what the provider says now, or gone.
func (r *Registry) settleNode(path string) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.mu.Lock()
	w := r.wanted[placeOf(path)][path]
	_, going := r.unwanted[path]
	r.mu.Unlock()
	switch {
	case w != nil:
		return r.put(path, w)
	case going:
		return r.remove(path)
	}
	return nil
}

// put makes a provider's node stand.
func (r *Registry) put(path string, w *wanted) error {
	data, session := roster.Encode(w.Provider), r.own.conn.SessionID()
	err := errTurn
	if w.stands == session {
		err = r.renew(path, w, data)
	}
	for errors.Is(err, errTurn) {
		if err = r.create(path, data); errors.Is(err, zk.ErrNodeExists) {
			err = r.renew(path, w, data)
		}
	}
	if err != nil {
		return err
	}
	r.mu.Lock()
	w.claim, w.stands = false, session
	r.mu.Unlock()
	return nil
}

// errTurn says that a node has changed between two steps: once more.
var errTurn = errors.New("the node has changed meanwhile")

func turned(err error) error {
	if errors.Is(err, zk.ErrNoNode) || errors.Is(err, zk.ErrBadVersion) || errors.Is(err, zk.ErrNodeExists) {
		return errTurn
	}
	return err
}

// renew deals with a node that is there already: ours, or that of a process which was at
// our address before, and whose session has not ended yet. That one is replaced in one
// step, so that nobody sees the address without a provider. A process that came after us
// keeps it, until its session ends.
func (r *Registry) renew(path string, w *wanted, data []byte) error {
	old, stat, err := r.own.conn.Get(path)
	switch {
	case errors.Is(err, zk.ErrNoNode):
		return errTurn
	case err != nil:
		return err
	case r.owns(stat):
		if bytes.Equal(old, data) {
			return nil
		}
		_, err = r.own.conn.Set(path, data, stat.Version)
		return turned(err)
	}
	if other, ok := roster.Decode(w.Method, old); ok && other.Instance != w.Instance && !w.claim {
		return roster.ErrTaken
	}
	return r.replace(path, stat.Version, data)
}

// owns says whether a node is one of our session.
func (r *Registry) owns(stat *zk.Stat) bool {
	return stat.EphemeralOwner != 0 && stat.EphemeralOwner == r.own.conn.SessionID()
}

// replace makes a node of another session one of ours.
func (r *Registry) replace(path string, version int32, data []byte) error {
	_, err := r.own.conn.Multi(&zk.DeleteRequest{Path: path, Version: version},
		&zk.CreateRequest{Path: path, Data: data, Acl: r.acl, Flags: zk.FlagEphemeral})
	return turned(err)
}

// create makes an ephemeral node, and the permanent ones above it.
func (r *Registry) create(path string, data []byte) error {
	_, err := r.own.conn.Create(path, data, zk.FlagEphemeral, r.acl)
	if !errors.Is(err, zk.ErrNoNode) {
		return err
	}
	for i := 1; i < len(path); i++ {
		if path[i] != '/' {
			continue
		}
		if _, err := r.own.conn.Create(path[:i], nil, 0, r.acl); err != nil && !errors.Is(err, zk.ErrNodeExists) {
			if there, _, look := r.own.conn.Exists(path[:i]); look != nil || !there { // we may have no right to make it, and it is there
				return err
			}
		}
	}
	_, err = r.own.conn.Create(path, data, zk.FlagEphemeral, r.acl)
	return err
}

// remove removes a node of ours that nobody wants.
func (r *Registry) remove(path string) error {
	err := errTurn
	for errors.Is(err, errTurn) {
		var stat *zk.Stat
		_, stat, err = r.own.conn.Get(path)
		if err == nil && r.owns(stat) {
			if err = r.own.conn.Delete(path, stat.Version); !errors.Is(err, zk.ErrNoNode) {
				err = turned(err)
			}
		}
	}
	if err != nil && !errors.Is(err, zk.ErrNoNode) && !errors.Is(err, zk.ErrNoAuth) { // ours we may read
		return err
	}
	r.mu.Lock()
	delete(r.unwanted, path)
	r.mu.Unlock()
	return nil
}

// settlePlace makes /Service/Method what is wanted of it: while we provide the method it
// names one live provider, ours or somebody else's, and we are told when it changes.
func (r *Registry) settlePlace(path string) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	for {
		offers := r.offersFor(path)
		data, stat, err := r.lookAtPlace(path, len(offers) > 0)
		mine := err == nil && r.owns(stat)
		i := slices.IndexFunc(offers, func(o offer) bool { return o.host == string(data) })
		switch {
		case errors.Is(err, zk.ErrNoNode) && len(offers) > 0:
			if err = r.offer(offers[0], &zk.CreateRequest{Path: path, Data: []byte(offers[0].host), Acl: r.acl, Flags: zk.FlagEphemeral}); err == nil {
				err = errTurn // once more, to be told of its next change
			}
		case errors.Is(err, zk.ErrNoNode):
			return nil
		case err != nil:
		case mine && i >= 0:
			return nil
		case mine && len(offers) > 0:
			err = r.offer(offers[0], &zk.SetDataRequest{Path: path, Data: []byte(offers[0].host), Version: stat.Version})
		case mine:
			err = turned(r.own.conn.Delete(path, stat.Version))
		case i >= 0 && stat.EphemeralOwner != 0: // a process before us at the address, or one after us
			if err = r.lookAfter(offers[i]); err == nil {
				err = r.replace(path, stat.Version, data)
			}
		default: // another provider's
			return nil
		}
		if errors.Is(err, errGone) {
			return nil // it is settled when the provider stands again
		}
		if err != nil && !errors.Is(err, errTurn) {
			return err
		}
	}
}

// offer is a provider of ours that a place may name.
type offer struct{ host, path string }

// errGone says that a provider's own node is not there.
var errGone = errors.New("the provider does not stand there")

// offer makes a place name a provider, if the provider's own node is there: who finds one
// finds the other.
func (r *Registry) offer(o offer, op any) error {
	done, err := r.own.conn.Multi(&zk.CheckVersionRequest{Path: o.path, Version: -1}, op)
	if len(done) > 0 && errors.Is(done[0].Error, zk.ErrNoNode) {
		return errGone
	}
	return turned(err)
}

// lookAfter looks whether a provider's own node is still ours. If not, somebody has taken
// its address, and it is not offered any more.
func (r *Registry) lookAfter(o offer) error {
	_, stat, err := r.own.conn.Get(o.path)
	if err != nil && !errors.Is(err, zk.ErrNoNode) {
		return err
	}
	if err == nil && r.owns(stat) {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if w := r.wanted[placeOf(o.path)][o.path]; w != nil {
		w.stands = 0
	}
	return errTurn
}

// lookAtPlace reads a place, and watches it if it matters to us.
func (r *Registry) lookAtPlace(path string, matters bool) ([]byte, *zk.Stat, error) {
	if matters {
		return r.own.data(path)
	}
	return r.own.conn.Get(path)
}

// offersFor are those that we have for a place, in order.
func (r *Registry) offersFor(place string) []offer {
	r.mu.Lock()
	defer r.mu.Unlock()
	var offers []offer
	for path, w := range r.wanted[place] {
		if w.State == abstract.Up && w.stands != 0 && w.stands == r.own.conn.SessionID() {
			offers = append(offers, offer{w.Host.String(), path})
		}
	}
	slices.SortFunc(offers, func(a, b offer) int { return strings.Compare(a.host, b.host) })
	return offers
}
