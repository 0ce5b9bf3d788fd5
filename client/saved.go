package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"trefoil/abstract"
)

// saved is the file that keeps the last lists of providers for the time after this
// process. What is read at the start is behind the lock of discoveries.
type saved struct {
	path    string // empty: none
	lists   map[string][]abstract.Provider
	due     *time.Timer // until the file is written
	dirty   bool        // it is to be written
	writing sync.Mutex  // held while it is
}

const (
	savePause   = time.Second            // between two writes of the file
	maxSaved    = 4 << 20                // bytes of the file
	saveFormat  = 1                      // its version
	patientUse  = 500 * time.Millisecond // how long a saved list waits for the broker's answer
	maxHostName = 255
)

// savedFile is the file's text.
type savedFile struct {
	Version int                        `json:"version"`
	Broker  string                     `json:"broker"`
	Methods map[string]json.RawMessage `json:"methods"` // each an array of savedProvider
}

// savedProvider is a provider in the file, as on the wire.
type savedProvider struct {
	Host     string            `json:"host"`
	Port     int               `json:"port"`
	Instance string            `json:"instance,omitempty"`
	Hello    bool              `json:"hello,omitempty"`
	Weight   int               `json:"weight,omitempty"`
	Zone     string            `json:"zone,omitempty"`
	Version  string            `json:"version,omitempty"`
	Tags     []string          `json:"tags,omitempty"`
	Meta     map[string]string `json:"metadata,omitempty"`
	State    string            `json:"state,omitempty"`
	Relay    bool              `json:"relay,omitempty"`
}

func (f *saved) init(c *Conn) {
	if c.cfg.listsIn == "" {
		return
	}
	f.path = filepath.Join(c.cfg.listsIn, savedName(c.addr))
	lists, err := readSaved(f.path)
	if err != nil {
		c.cfg.logger.Warn("saved lists of providers not used", "file", f.path, "err", err)
	}
	f.lists = lists
}

// savedName is the name of the file for a broker's address, the same in every process.
func savedName(addr string) string {
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '_'
	}, addr)
	sum := fnv.New64a()
	_, _ = io.WriteString(sum, addr) // which never fails
	return fmt.Sprintf("%.64s-%016x.json", strings.TrimLeft(plain, "."), sum.Sum64())
}

// of returns a method's saved list, once.
func (f *saved) of(method string) []abstract.Provider {
	list := f.lists[method]
	delete(f.lists, method)
	return list
}

// readSaved reads a file; one that is not there has no lists.
func readSaved(path string) (map[string][]abstract.Provider, error) {
	file, err := readSavedFile(path)
	if err != nil {
		return nil, err
	}
	lists := make(map[string][]abstract.Provider, len(file.Methods))
	for method, text := range file.Methods {
		list, err := decodeSaved(method, text)
		if err != nil {
			return nil, fmt.Errorf("providers of %s: %w", method, err)
		}
		lists[method] = list
	}
	return lists, nil
}

func readSavedFile(path string) (savedFile, error) {
	var file savedFile
	r, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return file, nil
	} else if err != nil {
		return file, err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, maxSaved+1))
	switch {
	case err != nil:
		return file, err
	case len(text) > maxSaved:
		return file, fmt.Errorf("the file has more than %d bytes", maxSaved)
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return savedFile{}, err
	}
	if file.Version != saveFormat {
		return savedFile{}, fmt.Errorf("version %d is not known", file.Version)
	}
	return file, nil
}

func decodeSaved(method string, text json.RawMessage) ([]abstract.Provider, error) {
	var entries []savedProvider
	if err := json.Unmarshal(text, &entries); err != nil {
		return nil, err
	}
	list := make([]abstract.Provider, 0, len(entries))
	for _, e := range entries {
		state, ok := abstract.ParseProviderState(e.State)
		host := abstract.Host{IP: e.Host, Port: e.Port}
		if !ok || e.Host == "" || len(e.Host) > maxHostName || e.Port < 1 || e.Port > 65535 || e.Weight < 0 || e.Weight > abstract.MaxWeight || at(list, host) >= 0 {
			return nil, fmt.Errorf("%s is no provider", host)
		}
		list = append(list, abstract.Provider{Method: method, Host: host, Instance: e.Instance, Hello: e.Hello, Traits: abstract.Traits{
			Weight: e.Weight, Zone: e.Zone, Version: e.Version, Tags: abstract.NewTags(e.Tags...), Meta: abstract.NewMeta(e.Meta), State: state, Relay: e.Relay,
		}})
	}
	return list, nil
}

func encodeSaved(list []abstract.Provider) (json.RawMessage, error) {
	entries := make([]savedProvider, len(list))
	for i, p := range list {
		entries[i] = savedProvider{
			Host: p.Host.IP, Port: p.Host.Port, Instance: p.Instance, Hello: p.Hello,
			Weight: p.Weight, Zone: p.Zone, Version: p.Version, Tags: p.Tags.All(), Relay: p.Relay,
		}
		if p.Meta != "" {
			entries[i].Meta = p.Meta.All()
		}
		if p.State != abstract.Up {
			entries[i].State = p.State.String()
		}
	}
	return json.Marshal(entries)
}

// listsChanged sees to it that the file is written soon. It is called with the lock held.
func (d *discoveries) listsChanged() {
	if f := &d.saved; f.path != "" && !f.dirty && !d.closed {
		f.dirty, f.due = true, time.AfterFunc(savePause, d.save)
	}
}

// save writes the file, if it is to be written.
func (d *discoveries) save() {
	d.saved.writing.Lock()
	defer d.saved.writing.Unlock()
	d.mu.Lock()
	if !d.saved.dirty {
		d.mu.Unlock()
		return
	}
	d.saved.dirty = false
	ours := make(map[string][]abstract.Provider, len(d.methods))
	for name, m := range d.methods {
		if m.roster.known {
			ours[name] = m.roster.list
		}
	}
	d.mu.Unlock()
	if err := d.saved.write(d.conn.addr, ours); err != nil {
		d.conn.cfg.logger.Warn("lists of providers not saved", "file", d.saved.path, "err", err)
	}
}

// write puts lists into the file, beside those of methods that only others follow: of
// an earlier time, or of another process with the same broker.
func (f *saved) write(broker string, ours map[string][]abstract.Provider) error {
	file := savedFile{Version: saveFormat, Broker: broker, Methods: make(map[string]json.RawMessage)}
	size := len(broker) + 64
	add := func(method string, text json.RawMessage) {
		if size += 6*len(method) + len(text) + 4; size <= maxSaved { // as if all of a name were escaped
			file.Methods[method] = text
		}
	}
	for method, list := range ours {
		text, err := encodeSaved(list)
		if err != nil {
			return err
		}
		if len(list) > 0 {
			add(method, text)
		}
	}
	others, _ := readSavedFile(f.path) // damaged: it is replaced
	for method, text := range others.Methods {
		if _, known := ours[method]; !known {
			add(method, text)
		}
	}
	text, err := json.Marshal(file)
	if err != nil {
		return err
	}
	return replaceFile(f.path, text)
}

// replaceFile writes a file so that nobody sees half of it.
func replaceFile(path string, text []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = temp.Write(text)
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temp.Name())
	}
	return err
}

// awaitAnswer uses a method's saved list when the broker turns out to be away, or takes
// its time. It is called with the lock held.
func (d *discoveries) awaitAnswer(m *followed) {
	if d.away {
		m.roster.load(m.saved)
		m.saved = nil
		return
	}
	time.AfterFunc(patientUse, func() { d.useSaved(m) })
}

// useSaved uses a method's saved list, if there is no answer.
func (d *discoveries) useSaved(m *followed) {
	d.happen(m, abstract.OfflineVanished, func(time.Time) advice {
		list := m.saved
		m.saved = nil
		return m.roster.load(list)
	})
}

// brokerAway is called when a try to connect has failed: saved lists are used from now on.
func (d *discoveries) brokerAway() {
	d.mu.Lock()
	first := !d.away
	d.away = true
	methods := make([]*followed, 0, len(d.methods))
	for _, m := range d.methods {
		if first && len(m.saved) > 0 {
			methods = append(methods, m)
		}
	}
	d.mu.Unlock()
	slices.SortFunc(methods, func(a, b *followed) int { return strings.Compare(a.method, b.method) })
	for _, m := range methods {
		d.useSaved(m)
	}
}

// closeSaved writes what waits to be written.
func (d *discoveries) closeSaved() {
	d.mu.Lock()
	if d.saved.due != nil {
		d.saved.due.Stop()
	}
	d.mu.Unlock()
	d.save()
}
