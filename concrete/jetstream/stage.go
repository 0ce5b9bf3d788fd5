package jetstream

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// The server keeps a batch in a directory of its own before it goes into the stream, so that
// one that a crash interrupts is finished later. When it makes that directory it also writes
// a description of it, which nobody reads, and syncs four times for that: twice as often as
// for the messages. A description that is there it leaves alone. So we make it, and sync
// nothing: after a crash one that is missing, or empty, does no harm.
const (
	batchesDir = "batches"
	metaFile   = "meta.inf"
)

// stage makes the directory of a batch, but not that of a stream: one that was just removed
// would be there again.
func (m *member) stage(stream, id string) {
	dir := m.batchDir(stream, id)
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) { // the stream's first one
		_ = os.Mkdir(filepath.Dir(dir), 0o700)
		err = os.Mkdir(dir, 0o700)
	}
	if err == nil {
		_ = os.WriteFile(filepath.Join(dir, metaFile), []byte("{}"), 0o600)
	}
}

// unstage removes it, when the server has refused the batch: it may have done so before it
// looked there. Otherwise it is the server's to remove.
func (m *member) unstage(stream, id string) { _ = os.RemoveAll(m.batchDir(stream, id)) }

func (m *member) batchDir(stream, id string) string {
	return filepath.Join(m.streamDir(stream), batchesDir, batchName(id))
}

// batchName is the name that the server has for the directory of a batch.
func batchName(id string) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	sum := sha256.Sum256([]byte(id))
	name := sum[:8]
	for i, b := range name {
		name[i] = digits[int(b)%len(digits)]
	}
	return string(name)
}
